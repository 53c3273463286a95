/* The shape of the const tables that the compiler emits for one node (node_tables.c).
 *
 * The compiler emits data and no logic: tensors with their place in memory, kernel calls in order,
 * the stages they form, and what is received from and sent to whom. The node program walks them.
 */
#ifndef SPLITTER_TABLES_H
#define SPLITTER_TABLES_H

#include <stdint.h>

#include "kernel_abi.h"  // defines: KernelArg, KernelTensor, KernelFunction

#define NODE_TABLES_VERSION 2
#define NODE_NAME_BYTES 64    /* longest device name on the wire, terminator included */
#define NODE_BUNDLE_ID_BYTES 32

enum NodeStorage {
  STORAGE_WEIGHTS = 0, /* read-only, in the mapped weights file, shared by all requests */
  STORAGE_SLOT = 1,    /* one copy per request in flight: received, sent, or kept between stages */
  STORAGE_ARENA = 2,   /* one copy: lives within one stage, which runs for one request at a time */
  STORAGE_DECODED = 3, /* compressed constants, made floats at start, shared by all requests */
};

typedef struct {
  const char *name;
  uint8_t storage;    /* enum NodeStorage */
  uint8_t dtype_code; /* DLPack: 0 int, 1 uint, 2 float, 6 bool */
  uint8_t dtype_bits;
  uint8_t ndim;
  const int64_t *shape; /* ndim extents; NULL when ndim is 0 */
  uint64_t offset;      /* bytes from the start of its storage, a multiple of 64 */
  uint64_t bytes;
} NodeTensor;

/* A compressed constant in the weights file, seen as [outer, rows, lanes]: element (o, r, l) is
 * values[code], times factor l + lanes * ((o * rows + r) / scale_run % scale_count) if there are
 * factors. `lanes` codes lie side by side; see runtime/build/encoding.py for how rows are packed. */
typedef struct {
  uint64_t codes, values, scale; /* bytes from the start of the weights file, multiples of 64 */
  uint64_t target;               /* bytes from the start of the decoded constants, as well */
  uint32_t bits;                 /* of a code, up to 8; 0: ternary digits, five to a byte */
  uint64_t outer, rows, lanes;
  uint64_t scale_run, scale_count; /* scale_count 0: no factors */
  /* For 3x3 kernels that are wanted transformed, [taps, taps, blocks, inner, block]; then outer
   * and lanes are 1. matrix is [taps][3], or NULL. */
  const double *matrix;
  uint32_t taps;
  uint64_t inner, block;
} NodeDecode;

typedef struct {
  KernelFunction kernel;
  const char *layer;    /* name of the layer this call belongs to */
  const uint32_t *args; /* indices into tensors, in the kernel's argument order */
  uint32_t arg_count;
  uint64_t scratch_offset; /* bytes from the start of the arena, a multiple of 64 */
  uint64_t scratch_bytes;  /* for workspaces that the kernel asks for while it runs */
} NodeCall;

/* A run of calls that, once its needs have arrived, runs to its end without waiting.
 * Stages of one request run in table order; stages of different requests may interleave. */
typedef struct {
  uint32_t first_call, call_count;
  const uint32_t *needs; /* indices into receives */
  uint32_t need_count;
} NodeStage;

typedef struct {
  uint32_t tensor; /* index into tensors; its storage is STORAGE_SLOT */
  uint32_t wire;   /* number of the tensor on the wire, the same on every node */
  uint32_t peer;   /* index into peers: who sends it */
} NodeReceive;

enum NodeSendAfter {
  AFTER_CALL = 0,    /* after calls[index] */
  AFTER_RECEIVE = 1, /* as soon as receives[index] is complete: this node relays */
};

typedef struct {
  uint32_t tensor; /* index into tensors; its storage is STORAGE_SLOT */
  uint32_t wire;
  uint32_t peer;  /* index into peers: who gets it */
  uint32_t after; /* enum NodeSendAfter */
  uint32_t index;
} NodeSend;

typedef struct {
  uint32_t version; /* NODE_TABLES_VERSION */
  const char *node; /* this device's name */
  uint8_t bundle_id[NODE_BUNDLE_ID_BYTES];

  uint64_t weights_bytes;  /* size of the whole weights file, header included */
  uint64_t weights_xxh64;  /* XXH64, seed 0, of the whole weights file */
  uint64_t decoded_bytes;  /* of the constants that are decoded at start */
  uint64_t slot_bytes;     /* of one request slot */
  uint64_t arena_bytes;
  uint32_t slots;          /* requests in flight; the same on every node of a bundle */
  uint32_t threads;        /* compute threads, the calling one included */

  const NodeTensor *tensors;
  const NodeCall *calls;
  const NodeStage *stages;
  const NodeReceive *receives;
  const NodeSend *sends;
  const NodeDecode *decodes;
  const char *const *peers; /* device names, or "host" for the program that feeds and collects */
  uint32_t tensor_count, call_count, stage_count, receive_count, send_count;
  uint32_t decode_count, peer_count;
  const char *cpu_features; /* space-separated x86 features the kernels need ("avx2 fma"), or "" */
} NodeTables;

extern const NodeTables node_tables;

#endif
