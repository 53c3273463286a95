#include "listen.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "fail.h"
#include "receive.h"
#include "tables.h"
#include "wire.h"

enum {
  BACKLOG = 64,
  PAUSE_MS = 20,
  FRAME_BYTES = WIRE_HEADER_BYTES + WIRE_HELLO_BYTES,
  NO_PEER = -1,
};

typedef struct {
  bool open;
  int socket;
  Address address;
  uint64_t deadline_ns;
  size_t got;
  unsigned char frame[FRAME_BYTES];
} Pending;

static int listener;
static uint64_t hello_time_ns;
static Pending pending[LISTEN_PENDING_MAX];

void listen_start(const char *text, uint64_t hello_ns) {
  Address address;
  char printed[ADDRESS_TEXT_BYTES];
  int on = 1;
  hello_time_ns = hello_ns;
  if (!address_parse(text, &address))
    fail(EXIT_ARGUMENTS, "cannot listen at '%s': no address like 127.0.0.1:7000 or [::1]:7000",
         text);
  listener = socket(address.at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener < 0) fail(EXIT_RESOURCE, "cannot open a socket: %s", strerror(errno));
  (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, &address.at.any, address.length) != 0 || listen(listener, BACKLOG) != 0 ||
      getsockname(listener, &address.at.any, &address.length) != 0)
    fail(EXIT_RESOURCE, "cannot listen at %s: %s", text, strerror(errno));
  address_format(&address, printed);
  say("listening %s\n", printed);
}

static void drop(Pending *stranger) {
  (void)close(stranger->socket);
  stranger->open = false;
}

static void refuse(Pending *stranger, const char *reason) {
  char address[ADDRESS_TEXT_BYTES];
  address_format(&stranger->address, address);
  warn("refused a connection from %s: %s", address, reason);
  drop(stranger);
}

/* An empty place, or that of whoever has kept silent longest: a crowd cannot keep peers out. */
static Pending *make_room(void) {
  Pending *oldest = &pending[0];
  for (size_t i = 0; i < LISTEN_PENDING_MAX; i++) {
    if (!pending[i].open) return &pending[i];
    if (pending[i].deadline_ns < oldest->deadline_ns) oldest = &pending[i];
  }
  refuse(oldest, "others came before it said HELLO");
  return oldest;
}

static void accept_stranger(void) {
  Address address = {.length = sizeof address.at};
  int file = accept(listener, &address.at.any, &address.length);
  if (file < 0) {
    /* It has gone again; or there is no descriptor left, which must not turn into a busy loop. */
    if (errno == EMFILE || errno == ENFILE) (void)poll(NULL, 0, PAUSE_MS);
    return;
  }
  if (socket_prepare(file) != 0) {
    (void)close(file);
    return;
  }
  *make_room() = (Pending){
      .open = true, .socket = file, .address = address, .deadline_ns = now_ns() + hello_time_ns};
}

static int find_peer(const char name[NODE_NAME_BYTES]) {
  for (uint32_t i = 0; i < node_tables.peer_count; i++)
    if (receive_expects(i) && strncmp(node_tables.peers[i], name, NODE_NAME_BYTES) == 0)
      return (int)i;
  return NO_PEER;
}

static bool same_bundle(const Hello *hello) {
  return memcmp(hello->bundle_id, node_tables.bundle_id, NODE_BUNDLE_ID_BYTES) == 0;
}

/* A stranger must not stop the node, but a peer that cannot be right must. */
static void refuse_hello(Pending *stranger, const Hello *hello, int peer) {
  char from[NODE_NAME_BYTES], to[NODE_NAME_BYTES], reason[320];
  const uint8_t *theirs = hello->bundle_id, *ours = node_tables.bundle_id;
  wire_name(hello->from, from);
  wire_name(hello->to, to);
  (void)snprintf(reason, sizeof reason,
                 "it is '%s' of bundle %02x%02x%02x%02x... and looks for '%s'; this is '%s' of "
                 "bundle %02x%02x%02x%02x...",
                 from, theirs[0], theirs[1], theirs[2], theirs[3], to, node_tables.node, ours[0],
                 ours[1], ours[2], ours[3]);
  if (peer != NO_PEER && !same_bundle(hello) && !receive_has((uint32_t)peer))
    fail(EXIT_FRAME, "peer %s runs another bundle: %s", from, reason);
  refuse(stranger, reason);
}

static void welcome(Pending *stranger, const Hello *hello) {
  int peer = find_peer(hello->from);
  Hello expected;
  hello_fill(&expected, peer == NO_PEER ? "" : node_tables.peers[peer], node_tables.node);
  if (peer == NO_PEER || memcmp(hello, &expected, sizeof expected) != 0) {
    refuse_hello(stranger, hello, peer);
    return;
  }
  if (receive_has((uint32_t)peer)) {
    refuse(stranger, "this peer has a connection already");
    return;
  }
  unsigned char answer[FRAME_BYTES];
  hello_encode(node_tables.peers[peer], answer);
  WireResult result = wire_write(stranger->socket, answer, sizeof answer, NULL, 0);
  if (result.end != WIRE_COMPLETE) {
    refuse(stranger, wire_text(&result));
    return;
  }
  stranger->open = false;
  receive_attach((uint32_t)peer, stranger->socket);
}

/* Judges what has come so far, so that garbage is not waited for to become long enough. */
static void judge(Pending *stranger) {
  char fault[160];
  Hello hello;
  if (stranger->got < WIRE_HEADER_BYTES) return;
  FrameHeader header = wire_decode(stranger->frame);
  if (wire_check(&header, fault, sizeof fault) != 0) {
    refuse(stranger, fault);
    return;
  }
  if (header.kind != FRAME_HELLO) {
    refuse(stranger, "its first frame is no HELLO");
    return;
  }
  if (stranger->got < FRAME_BYTES) return;
  if (hello_decode(stranger->frame, &hello, fault, sizeof fault) != 0) refuse(stranger, fault);
  else welcome(stranger, &hello);
}

static void read_stranger(Pending *stranger) {
  ssize_t got = recv(stranger->socket, stranger->frame + stranger->got,
                     FRAME_BYTES - stranger->got, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    refuse(stranger, "it closed the connection before its HELLO was complete");
    return;
  }
  stranger->got += (size_t)got;
  judge(stranger);
}

nfds_t listen_poll(struct pollfd entries[LISTEN_POLL_MAX]) {
  nfds_t count = 0;
  entries[count++] = (struct pollfd){.fd = listener, .events = POLLIN};
  for (size_t i = 0; i < LISTEN_PENDING_MAX; i++)
    if (pending[i].open)
      entries[count++] = (struct pollfd){.fd = pending[i].socket, .events = POLLIN};
  return count;
}

static void serve_stranger(Pending *stranger, const struct pollfd *entries, nfds_t count) {
  for (nfds_t i = 1; i < count && stranger->open; i++)
    if (entries[i].fd == stranger->socket && entries[i].revents != 0) {
      read_stranger(stranger);
      return;
    }
  if (stranger->open && now_ns() >= stranger->deadline_ns)
    refuse(stranger, "it did not say HELLO in time");
}

void listen_serve(const struct pollfd *entries, nfds_t count) {
  for (size_t i = 0; i < LISTEN_PENDING_MAX; i++) serve_stranger(&pending[i], entries, count);
  if (entries[0].revents != 0) accept_stranger();
}

uint64_t listen_deadline_ns(void) {
  uint64_t next = UINT64_MAX;
  for (size_t i = 0; i < LISTEN_PENDING_MAX; i++)
    if (pending[i].open && pending[i].deadline_ns < next) next = pending[i].deadline_ns;
  return next;
}
