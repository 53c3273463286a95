#include "wire.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "xxh64.h"

static void put(unsigned char *at, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) at[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get(const unsigned char *at, unsigned bytes) {
  uint64_t value = 0;
  for (unsigned i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
  return value;
}

void wire_encode(const FrameHeader *header, unsigned char bytes[WIRE_HEADER_BYTES]) {
  put(bytes, header->magic, 4);
  put(bytes + 4, header->version, 2);
  put(bytes + 6, header->kind, 2);
  put(bytes + 8, header->request, 8);
  put(bytes + 16, header->tensor, 4);
  put(bytes + 20, header->reserved, 4);
  put(bytes + 24, header->length, 8);
  put(bytes + 32, header->checksum, 8);
}

FrameHeader wire_decode(const unsigned char bytes[WIRE_HEADER_BYTES]) {
  return (FrameHeader){
      .magic = (uint32_t)get(bytes, 4),
      .version = (uint16_t)get(bytes + 4, 2),
      .kind = (uint16_t)get(bytes + 6, 2),
      .request = get(bytes + 8, 8),
      .tensor = (uint32_t)get(bytes + 16, 4),
      .reserved = (uint32_t)get(bytes + 20, 4),
      .length = get(bytes + 24, 8),
      .checksum = get(bytes + 32, 8),
  };
}

FrameHeader wire_header(enum FrameKind kind, uint64_t request, uint32_t tensor,
                        const void *payload, size_t length) {
  return (FrameHeader){
      .magic = WIRE_MAGIC,
      .version = WIRE_VERSION,
      .kind = (uint16_t)kind,
      .request = request,
      .tensor = tensor,
      .length = length,
      .checksum = xxh64(payload, length),
  };
}

static int check_empty(const FrameHeader *header, char *fault, size_t fault_bytes) {
  if (header->tensor != 0)
    return snprintf(fault, fault_bytes, "BYE names tensor %" PRIu32 ", expected 0", header->tensor);
  if (header->length != 0)
    return snprintf(fault, fault_bytes, "BYE has length %" PRIu64 ", expected 0", header->length);
  uint64_t expected = xxh64(NULL, 0);
  if (header->checksum != expected)
    return snprintf(fault, fault_bytes, "BYE has checksum %016" PRIx64 ", expected %016" PRIx64,
                    header->checksum, expected);
  return 0;
}

static int check_hello(const FrameHeader *header, char *fault, size_t fault_bytes) {
  if (header->request != 0 || header->tensor != 0)
    return snprintf(fault, fault_bytes,
                    "HELLO has request %" PRIu64 " and tensor %" PRIu32 ", expected 0 and 0",
                    header->request, header->tensor);
  if (header->length != WIRE_HELLO_BYTES)
    return snprintf(fault, fault_bytes, "HELLO has length %" PRIu64 ", expected %d",
                    header->length, WIRE_HELLO_BYTES);
  return 0;
}

int wire_check(const FrameHeader *header, char *fault, size_t fault_bytes) {
  if (header->magic != WIRE_MAGIC)
    return snprintf(fault, fault_bytes, "frame magic is %08" PRIx32 ", expected %08" PRIx32,
                    header->magic, (uint32_t)WIRE_MAGIC);
  if (header->version != WIRE_VERSION)
    return snprintf(fault, fault_bytes, "frame version is %u, expected %d",
                    (unsigned)header->version, WIRE_VERSION);
  if (header->reserved != 0)
    return snprintf(fault, fault_bytes, "reserved field is %" PRIu32 ", expected 0",
                    header->reserved);
  switch (header->kind) {
    case FRAME_HELLO: return check_hello(header, fault, fault_bytes);
    case FRAME_TENSOR: return 0;
    case FRAME_BYE: return check_empty(header, fault, fault_bytes);
    default:
      return snprintf(fault, fault_bytes, "frame kind is %u, expected 1 HELLO, 2 TENSOR or 3 BYE",
                      (unsigned)header->kind);
  }
}

void hello_fill(Hello *hello, const char *from, const char *to) {
  memset(hello, 0, sizeof *hello);
  memcpy(hello->bundle_id, node_tables.bundle_id, sizeof hello->bundle_id);
  memcpy(hello->from, from, strnlen(from, NODE_NAME_BYTES - 1));
  memcpy(hello->to, to, strnlen(to, NODE_NAME_BYTES - 1));
}

void hello_encode(const char *to, unsigned char bytes[WIRE_HEADER_BYTES + WIRE_HELLO_BYTES]) {
  _Static_assert(sizeof(Hello) == WIRE_HELLO_BYTES, "a Hello is its own payload");
  Hello hello;
  hello_fill(&hello, node_tables.node, to);
  FrameHeader header = wire_header(FRAME_HELLO, 0, 0, &hello, sizeof hello);
  wire_encode(&header, bytes);
  memcpy(bytes + WIRE_HEADER_BYTES, &hello, sizeof hello);
}

int hello_decode(const unsigned char bytes[WIRE_HEADER_BYTES + WIRE_HELLO_BYTES], Hello *hello,
                 char *fault, size_t fault_bytes) {
  FrameHeader header = wire_decode(bytes);
  int wrong = wire_check(&header, fault, fault_bytes);
  if (wrong != 0) return wrong;
  if (header.kind != FRAME_HELLO)
    return snprintf(fault, fault_bytes, "first frame has kind %u, expected 1 HELLO",
                    (unsigned)header.kind);
  uint64_t checksum = xxh64(bytes + WIRE_HEADER_BYTES, WIRE_HELLO_BYTES);
  if (header.checksum != checksum)
    return snprintf(fault, fault_bytes,
                    "HELLO has checksum %016" PRIx64 ", but its payload gives %016" PRIx64,
                    header.checksum, checksum);
  memcpy(hello, bytes + WIRE_HEADER_BYTES, sizeof *hello);
  return 0;
}

void wire_name(const char from[NODE_NAME_BYTES], char text[NODE_NAME_BYTES]) {
  size_t i = 0;
  for (; i < NODE_NAME_BYTES - 1 && from[i] != '\0'; i++) {
    unsigned char letter = (unsigned char)from[i];
    text[i] = letter < 0x20 || letter >= 0x7F ? '?' : from[i];
  }
  text[i] = '\0';
}

/* 1: ready, 0: too long, -1: errno. */
static int wait_for(int socket, short events, int timeout_ms) {
  struct pollfd entry = {.fd = socket, .events = events};
  for (;;) {
    int ready = poll(&entry, 1, timeout_ms);
    if (ready >= 0) return ready;
    if (errno != EINTR) return -1;
  }
}

static WireResult ended(enum WireEnd end, size_t done, int error) {
  return (WireResult){.end = end, .done = done, .error = error};
}

WireResult wire_read(int socket, void *data, size_t length, int first_ms, int stall_ms) {
  size_t done = 0;
  while (done < length) {
    ssize_t got = recv(socket, (char *)data + done, length - done, 0);
    if (got > 0) {
      done += (size_t)got;
    } else if (got == 0) {
      return ended(WIRE_CLOSED, done, 0);
    } else if (errno == EAGAIN) {
      int ready = wait_for(socket, POLLIN, done == 0 ? first_ms : stall_ms);
      if (ready == 0) return ended(WIRE_STALLED, done, 0);
      if (ready < 0) return ended(WIRE_FAILED, done, errno);
    } else if (errno != EINTR) {
      return ended(WIRE_FAILED, done, errno);
    }
  }
  return ended(WIRE_COMPLETE, done, 0);
}

WireResult wire_write(int socket, const void *header, size_t header_bytes, const void *payload,
                      size_t payload_bytes) {
  size_t done = 0;
  while (done < header_bytes + payload_bytes) {
    /* The interface of iovec has no const; sendmsg only reads. */
    size_t skip = done < header_bytes ? done : header_bytes, skip_payload = done - skip;
    struct iovec parts[2] = {
        {.iov_base = (char *)(uintptr_t)header + skip, .iov_len = header_bytes - skip},
        {.iov_base = (char *)(uintptr_t)payload + skip_payload,
         .iov_len = payload_bytes - skip_payload},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = payload_bytes > 0 ? 2 : 1};
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent >= 0) {
      done += (size_t)sent;
    } else if (errno == EAGAIN) {
      if (wait_for(socket, POLLOUT, -1) < 0) return ended(WIRE_FAILED, done, errno);
    } else if (errno != EINTR) {
      return ended(WIRE_FAILED, done, errno);
    }
  }
  return ended(WIRE_COMPLETE, done, 0);
}

const char *wire_text(const WireResult *result) {
  switch (result->end) {
    case WIRE_CLOSED: return "the peer closed the connection";
    case WIRE_STALLED: return "nothing came in time";
    case WIRE_FAILED: return strerror(result->error);
    default: return "complete";
  }
}
