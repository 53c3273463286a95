#include "send.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "fail.h"
#include "memory.h"
#include "net.h"
#include "serve.h"
#include "thread.h"
#include "trace.h"
#include "wire.h"

enum { RETRY_MS = 20, NO_SEND = -1 };

typedef struct {
  const NodeSend *send;
  Slot *slot;
} Item;

/* The ring holds every send of every slot, so it cannot overflow. */
typedef struct {
  const char *peer;
  const char *address_text;
  Address address;
  uint64_t deadline_ns;
  int socket;
  pthread_mutex_t lock;
  pthread_cond_t filled;
  Item *ring;
  size_t first, count, capacity;
  bool bye;
  uint64_t total;
  atomic_bool connected, closed;
} Link;

static Link *links; /* by peer; those without ring are not used */

/* Sends that follow an event form a list: its first by kind of event and index, and the next. */
static int64_t *first_send[2], *next_send;

/* 0, or errno of what failed. */
static int wait_connected(Link *link) {
  struct pollfd entry = {.fd = link->socket, .events = POLLOUT};
  int ready;
  do ready = poll(&entry, 1, ms_until(link->deadline_ns));
  while (ready < 0 && errno == EINTR);
  if (ready <= 0) return ready == 0 ? ETIMEDOUT : errno;
  int error = 0;
  socklen_t length = sizeof error;
  return getsockopt(link->socket, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

/* While nobody listens on a port of this machine, a connection to it can get that very port as its
 * own and so connect to itself. */
static bool is_own_end(int file) {
  Address ends[2] = {{.length = sizeof ends[0].at}, {.length = sizeof ends[1].at}};
  char texts[2][ADDRESS_TEXT_BYTES];
  if (getsockname(file, &ends[0].at.any, &ends[0].length) != 0) return false;
  if (getpeername(file, &ends[1].at.any, &ends[1].length) != 0) return false;
  for (int i = 0; i < 2; i++) address_format(&ends[i], texts[i]);
  return strcmp(texts[0], texts[1]) == 0;
}

static int try_connect(Link *link) {
  link->socket = socket(link->address.at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (link->socket < 0 || socket_prepare(link->socket) != 0)
    fail(EXIT_RESOURCE, "cannot open a socket for peer %s: %s", link->peer, strerror(errno));
  int error = 0;
  if (connect(link->socket, &link->address.at.any, link->address.length) != 0)
    error = errno == EINPROGRESS || errno == EINTR ? wait_connected(link) : errno;
  if (error == 0 && is_own_end(link->socket)) error = ECONNREFUSED;
  if (error != 0) (void)close(link->socket);
  return error;
}

static void connect_peer(Link *link) {
  int error;
  while ((error = try_connect(link)) != 0) {
    if (ms_until(link->deadline_ns) == 0)
      fail(EXIT_PEER, "cannot connect to peer %s at %s in time: %s", link->peer,
           link->address_text, strerror(error));
    (void)poll(NULL, 0, RETRY_MS);
  }
}

static void check_answer(const Link *link, const Hello *hello) {
  Hello expected;
  char name[NODE_NAME_BYTES];
  hello_fill(&expected, link->peer, node_tables.node);
  if (memcmp(hello, &expected, sizeof expected) == 0) return;
  wire_name(hello->from, name);
  if (memcmp(hello->bundle_id, expected.bundle_id, sizeof expected.bundle_id) != 0)
    fail(EXIT_FRAME,
         "peer %s at %s runs another bundle: %02x%02x%02x%02x..., not %02x%02x%02x%02x...",
         link->peer, link->address_text, hello->bundle_id[0], hello->bundle_id[1],
         hello->bundle_id[2], hello->bundle_id[3], expected.bundle_id[0], expected.bundle_id[1],
         expected.bundle_id[2], expected.bundle_id[3]);
  fail(EXIT_FRAME, "the peer at %s is '%s', expected %s", link->address_text, name, link->peer);
}

static void greet(Link *link) {
  unsigned char bytes[WIRE_HEADER_BYTES + WIRE_HELLO_BYTES];
  char fault[160];
  hello_encode(link->peer, bytes);
  WireResult result = wire_write(link->socket, bytes, sizeof bytes, NULL, 0);
  if (result.end == WIRE_COMPLETE) {
    int left_ms = ms_until(link->deadline_ns);
    result = wire_read(link->socket, bytes, sizeof bytes, left_ms, left_ms);
  }
  if (result.end != WIRE_COMPLETE)
    fail(EXIT_PEER, "peer %s at %s did not answer the HELLO: %s", link->peer, link->address_text,
         wire_text(&result));
  Hello hello;
  if (hello_decode(bytes, &hello, fault, sizeof fault) != 0)
    fail(EXIT_FRAME, "answer of peer %s at %s: %s", link->peer, link->address_text, fault);
  check_answer(link, &hello);
}

/* Waits for the next tensor; false when BYE is due. */
static bool take_item(Link *link, Item *item) {
  (void)pthread_mutex_lock(&link->lock);
  while (link->count == 0 && !link->bye) (void)pthread_cond_wait(&link->filled, &link->lock);
  bool taken = link->count > 0;
  if (taken) {
    *item = link->ring[link->first];
    link->first = (link->first + 1) % link->capacity;
    link->count--;
  }
  (void)pthread_mutex_unlock(&link->lock);
  return taken;
}

static void send_tensor(Link *link, const Item *item) {
  uint64_t request = item->slot->request, start_ns = now_ns();
  uint32_t wire = item->send->wire;
  size_t length = (size_t)node_tables.tensors[item->send->tensor].bytes;
  const void *data = item->slot->tensors[item->send->tensor].data;
  unsigned char bytes[WIRE_HEADER_BYTES];
  FrameHeader header = wire_header(FRAME_TENSOR, request, wire, data, length);
  wire_encode(&header, bytes);
  WireResult result = wire_write(link->socket, bytes, sizeof bytes, data, length);
  if (result.end != WIRE_COMPLETE)
    fail(EXIT_PEER, "lost peer %s while sending tensor %" PRIu32 " of request %" PRIu64 ": %s",
         link->peer, wire, request, wire_text(&result));
  trace_event("send", request, wire, start_ns, now_ns());
  slots_sent(item->slot);
}

/* A peer that has all it wanted may be gone by now, which is no fault. */
static void say_bye(Link *link) {
  unsigned char bytes[WIRE_HEADER_BYTES];
  FrameHeader header = wire_header(FRAME_BYE, link->total, 0, NULL, 0);
  wire_encode(&header, bytes);
  (void)wire_write(link->socket, bytes, sizeof bytes, NULL, 0);
  (void)close(link->socket);
}

static void *run_link(void *argument) {
  Link *link = argument;
  connect_peer(link);
  greet(link);
  atomic_store(&link->connected, true);
  serve_wake();
  Item item;
  while (take_item(link, &item)) send_tensor(link, &item);
  say_bye(link);
  atomic_store(&link->closed, true);
  serve_wake();
  return NULL;
}

static size_t sends_to(uint32_t peer) {
  size_t count = 0;
  for (uint32_t i = 0; i < node_tables.send_count; i++) count += node_tables.sends[i].peer == peer;
  return count;
}

static void prepare_link(Link *link, const Peers *peers, uint64_t deadline_ns) {
  uint32_t peer = (uint32_t)(link - links);
  link->peer = node_tables.peers[peer];
  link->address_text = peers_find(peers, link->peer);
  if (link->address_text == NULL)
    fail(EXIT_ARGUMENTS, "the peers file has no address of %s, to which this node sends",
         link->peer);
  if (!address_parse(link->address_text, &link->address))
    fail(EXIT_ARGUMENTS, "peer %s: '%s' is no address like 127.0.0.1:7000 or [::1]:7000",
         link->peer, link->address_text);
  link->deadline_ns = deadline_ns;
  link->capacity = sends_to(peer) * node_tables.slots;
  link->ring = memory_array(link->capacity, sizeof *link->ring);
  (void)pthread_mutex_init(&link->lock, NULL);
  (void)pthread_cond_init(&link->filled, NULL);
}

/* Goes backwards, so that each list has the order of the table. */
static void chain_sends(void) {
  uint32_t counts[2] = {[AFTER_CALL] = node_tables.call_count,
                        [AFTER_RECEIVE] = node_tables.receive_count};
  next_send = memory_array(node_tables.send_count, sizeof *next_send);
  for (int after = 0; after < 2; after++) {
    first_send[after] = memory_array(counts[after], sizeof *first_send[after]);
    for (uint32_t i = 0; i < counts[after]; i++) first_send[after][i] = NO_SEND;
  }
  for (uint32_t i = node_tables.send_count; i-- > 0;) {
    const NodeSend *send = &node_tables.sends[i];
    next_send[i] = first_send[send->after][send->index];
    first_send[send->after][send->index] = i;
  }
}

void send_start(const Peers *peers, uint64_t deadline_ns) {
  chain_sends();
  links = memory_array(node_tables.peer_count, sizeof *links);
  for (uint32_t i = 0; i < node_tables.peer_count; i++)
    if (sends_to(i) > 0) prepare_link(&links[i], peers, deadline_ns);
  for (uint32_t i = 0; i < node_tables.peer_count; i++)
    if (links[i].ring != NULL) thread_start(run_link, &links[i], THREAD_LINK_BYTES);
}

static void enqueue(Link *link, const NodeSend *send, Slot *slot) {
  (void)pthread_mutex_lock(&link->lock);
  link->ring[(link->first + link->count++) % link->capacity] = (Item){.send = send, .slot = slot};
  (void)pthread_cond_signal(&link->filled);
  (void)pthread_mutex_unlock(&link->lock);
}

void send_after(enum NodeSendAfter after, uint32_t index, Slot *slot) {
  for (int64_t i = first_send[after][index]; i != NO_SEND; i = next_send[i]) {
    const NodeSend *send = &node_tables.sends[i];
    record_tensor(slot->request, send->wire, slot->tensors[send->tensor].data,
                  (size_t)node_tables.tensors[send->tensor].bytes);
    enqueue(&links[send->peer], send, slot);
  }
}

bool send_connected(void) {
  for (uint32_t i = 0; i < node_tables.peer_count; i++)
    if (links[i].ring != NULL && !atomic_load(&links[i].connected)) return false;
  return true;
}

void send_bye(uint64_t total) {
  for (uint32_t i = 0; i < node_tables.peer_count; i++) {
    Link *link = &links[i];
    if (link->ring == NULL) continue;
    (void)pthread_mutex_lock(&link->lock);
    link->bye = true;
    link->total = total;
    (void)pthread_cond_signal(&link->filled);
    (void)pthread_mutex_unlock(&link->lock);
  }
}

bool send_closed(void) {
  for (uint32_t i = 0; i < node_tables.peer_count; i++)
    if (links[i].ring != NULL && !atomic_load(&links[i].closed)) return false;
  return true;
}
