/* Frames of docs/wire.md, and whole reads and writes on non-blocking sockets. */
#ifndef SPLITTER_WIRE_H
#define SPLITTER_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "tables.h"

enum {
  WIRE_VERSION = 1,
  WIRE_HEADER_BYTES = 40,
  WIRE_HELLO_BYTES = NODE_BUNDLE_ID_BYTES + 2 * NODE_NAME_BYTES,
};
#define WIRE_MAGIC 0x544C5053u /* "SPLT", read as a little-endian number */

enum FrameKind { FRAME_HELLO = 1, FRAME_TENSOR = 2, FRAME_BYE = 3 };

typedef struct {
  uint32_t magic;
  uint16_t version, kind;
  uint64_t request;
  uint32_t tensor, reserved;
  uint64_t length, checksum;
} FrameHeader;

typedef struct {
  uint8_t bundle_id[NODE_BUNDLE_ID_BYTES];
  char from[NODE_NAME_BYTES], to[NODE_NAME_BYTES];
} Hello;

void wire_encode(const FrameHeader *header, unsigned char bytes[WIRE_HEADER_BYTES]);
FrameHeader wire_decode(const unsigned char bytes[WIRE_HEADER_BYTES]);

/* A header for `length` bytes at `payload`, checksum included. */
FrameHeader wire_header(enum FrameKind kind, uint64_t request, uint32_t tensor,
                        const void *payload, size_t length);

/* Says what is wrong with a header whatever its kind, or returns 0. `fault` gets the text. */
int wire_check(const FrameHeader *header, char *fault, size_t fault_bytes);

void hello_fill(Hello *hello, const char *from, const char *to);

/* Encodes header and payload of a HELLO from this node to a peer. */
void hello_encode(const char *to, unsigned char bytes[WIRE_HEADER_BYTES + WIRE_HELLO_BYTES]);

/* Checks a complete HELLO frame in itself; returns 0 and fills `hello`, or writes the fault. */
int hello_decode(const unsigned char bytes[WIRE_HEADER_BYTES + WIRE_HELLO_BYTES], Hello *hello,
                 char *fault, size_t fault_bytes);

/* A name from the network as printable text, at most NODE_NAME_BYTES with its terminator. */
void wire_name(const char from[NODE_NAME_BYTES], char text[NODE_NAME_BYTES]);

enum WireEnd {
  WIRE_COMPLETE,
  WIRE_CLOSED,  /* the peer closed the connection */
  WIRE_STALLED, /* nothing came for too long */
  WIRE_FAILED,  /* errno says why */
};

typedef struct {
  enum WireEnd end;
  size_t done; /* bytes moved */
  int error;   /* errno of WIRE_FAILED */
} WireResult;

/* Reads exactly `length` bytes. Before the first byte it waits `first_ms`, later `stall_ms` from
 * byte to byte; -1 waits for ever. */
WireResult wire_read(int socket, void *data, size_t length, int first_ms, int stall_ms);

/* Writes a header and its payload whole; waits as long as the peer holds back. */
WireResult wire_write(int socket, const void *header, size_t header_bytes, const void *payload,
                      size_t payload_bytes);

/* What a result means, as the end of a message: "closed the connection", ... */
const char *wire_text(const WireResult *result);

#endif
