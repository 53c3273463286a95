#include "receive.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "fail.h"
#include "memory.h"
#include "slots.h"
#include "thread.h"
#include "trace.h"
#include "wire.h"
#include "xxh64.h"

enum { FAULT_BYTES = 160, NO_SOCKET = -1 };

typedef struct {
  const char *peer;
  uint32_t index; /* in node_tables.peers */
  bool expected;
  int socket;
} Link;

static Link *links;            /* by peer */
static uint64_t *next_request; /* by receive; each is touched by one thread only */
static int stall_ms;

/* A connection that ends without BYE, at the start of a frame or within one. */
static _Noreturn void fail_read(const Link *link, const WireResult *result, const char *part,
                                size_t length) {
  if (result->done == 0 && result->end == WIRE_CLOSED)
    fail(EXIT_PEER, "lost peer %s: it closed the connection without BYE", link->peer);
  fail(EXIT_PEER, "lost peer %s after %zu of %zu bytes of a %s: %s", link->peer, result->done,
       length, part, wire_text(result));
}

static FrameHeader read_header(const Link *link) {
  unsigned char bytes[WIRE_HEADER_BYTES];
  char fault[FAULT_BYTES];
  WireResult result = wire_read(link->socket, bytes, sizeof bytes, -1, stall_ms);
  if (result.end != WIRE_COMPLETE) fail_read(link, &result, "header", sizeof bytes);
  FrameHeader header = wire_decode(bytes);
  if (wire_check(&header, fault, sizeof fault) != 0)
    fail(EXIT_FRAME, "from %s: %s", link->peer, fault);
  if (header.kind == FRAME_HELLO) fail(EXIT_FRAME, "from %s: a second HELLO", link->peer);
  return header;
}

/* The receive that a frame is for, once everything in its header is as expected. */
static uint32_t find_receive(const Link *link, const FrameHeader *header) {
  for (uint32_t i = 0; i < node_tables.receive_count; i++) {
    const NodeReceive *receive = &node_tables.receives[i];
    if (receive->peer != link->index || receive->wire != header->tensor) continue;
    uint64_t bytes = node_tables.tensors[receive->tensor].bytes;
    if (header->length != bytes)
      fail(EXIT_FRAME, "from %s: tensor %" PRIu32 " has %" PRIu64 " bytes, expected %" PRIu64,
           link->peer, header->tensor, header->length, bytes);
    if (header->request != next_request[i])
      fail(EXIT_FRAME, "from %s: tensor %" PRIu32 " is of request %" PRIu64 ", expected %" PRIu64,
           link->peer, header->tensor, header->request, next_request[i]);
    return i;
  }
  fail(EXIT_FRAME, "from %s: tensor %" PRIu32 " is none that it sends to this node", link->peer,
       header->tensor);
}

static void check_payload(const Link *link, const FrameHeader *header, const void *data) {
  uint64_t checksum = xxh64(data, (size_t)header->length);
  if (checksum != header->checksum)
    fail(EXIT_FRAME,
         "from %s: tensor %" PRIu32 " of request %" PRIu64 " has checksum %016" PRIx64
         ", but its payload gives %016" PRIx64,
         link->peer, header->tensor, header->request, header->checksum, checksum);
}

/* Returns false when no more requests are wanted: the rest of the connection is left unread. */
static bool read_tensor(const Link *link, const FrameHeader *header, uint64_t start_ns) {
  uint32_t receive = find_receive(link, header);
  Slot *slot = slots_admit(header->request);
  if (slot == NULL) return false;
  void *data = slot->tensors[node_tables.receives[receive].tensor].data;
  size_t length = (size_t)header->length;
  WireResult result = wire_read(link->socket, data, length, stall_ms, stall_ms);
  if (result.end != WIRE_COMPLETE) fail_read(link, &result, "tensor", length);
  check_payload(link, header, data);
  trace_event("receive", header->request, header->tensor, start_ns, now_ns());
  record_tensor(header->request, header->tensor, data, length);
  next_request[receive]++;
  slots_arrived(slot, receive);
  return true;
}

static void end_requests(const Link *link, uint64_t total) {
  for (uint32_t i = 0; i < node_tables.receive_count; i++) {
    const NodeReceive *receive = &node_tables.receives[i];
    if (receive->peer == link->index && next_request[i] != total)
      fail(EXIT_FRAME,
           "from %s: BYE after %" PRIu64 " requests, but tensor %" PRIu32 " came %" PRIu64 " times",
           link->peer, total, receive->wire, next_request[i]);
  }
  uint64_t admitted = slots_end_at(total);
  if (admitted > total)
    fail(EXIT_FRAME, "from %s: BYE after %" PRIu64 " requests, but other peers sent %" PRIu64,
         link->peer, total, admitted);
}

/* Nothing may follow BYE but the end of the connection, however it looks. */
static void read_end(const Link *link) {
  char byte;
  WireResult result = wire_read(link->socket, &byte, 1, -1, -1);
  if (result.end == WIRE_COMPLETE) fail(EXIT_FRAME, "from %s: more data after BYE", link->peer);
}

static void *run_link(void *argument) {
  const Link *link = argument;
  for (;;) {
    FrameHeader header = read_header(link);
    uint64_t start_ns = now_ns();
    if (header.kind == FRAME_BYE) {
      end_requests(link, header.request);
      read_end(link);
      return NULL;
    }
    if (!read_tensor(link, &header, start_ns)) return NULL;
  }
}

void receive_start(uint64_t stall_ns) {
  stall_ms = (int)(stall_ns / NS_PER_MS) + 1;
  next_request = memory_array(node_tables.receive_count, sizeof *next_request);
  links = memory_array(node_tables.peer_count, sizeof *links);
  for (uint32_t i = 0; i < node_tables.peer_count; i++)
    links[i] = (Link){.peer = node_tables.peers[i], .index = i, .socket = NO_SOCKET};
  for (uint32_t i = 0; i < node_tables.receive_count; i++)
    links[node_tables.receives[i].peer].expected = true;
}

bool receive_expects(uint32_t peer) {
  return links[peer].expected;
}

bool receive_has(uint32_t peer) {
  return links[peer].socket != NO_SOCKET;
}

void receive_attach(uint32_t peer, int socket) {
  links[peer].socket = socket;
  thread_start(run_link, &links[peer], THREAD_LINK_BYTES);
}

const char *receive_missing(void) {
  for (uint32_t i = 0; i < node_tables.peer_count; i++)
    if (links[i].expected && links[i].socket == NO_SOCKET) return links[i].peer;
  return NULL;
}
