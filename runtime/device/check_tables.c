#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "decode.h"
#include "fail.h"
#include "tables.h"

/* A fault here is the compiler's; to go on would mean to write outside of the memory. */
static void require(bool holds, const char *what, uint32_t index) {
  if (!holds) fail(EXIT_ARGUMENTS, "built-in tables are damaged: %s %" PRIu32, what, index);
}

static uint64_t storage_bytes(uint8_t storage) {
  switch (storage) {
    case STORAGE_WEIGHTS: return node_tables.weights_bytes;
    case STORAGE_SLOT: return node_tables.slot_bytes;
    case STORAGE_ARENA: return node_tables.arena_bytes;
    case STORAGE_DECODED: return node_tables.decoded_bytes;
    default: return 0;
  }
}

static bool tensor_size_holds(const NodeTensor *tensor) {
  uint64_t bits = tensor->dtype_bits;
  for (uint8_t i = 0; i < tensor->ndim; i++) {
    if (tensor->shape[i] < 0) return false;
    uint64_t extent = (uint64_t)tensor->shape[i];
    if (extent > 0 && bits > UINT64_MAX / 2 / extent) return false;
    bits *= extent;
  }
  return tensor->bytes == (bits + 7) / 8;
}

static void check_tensor(uint32_t index) {
  const NodeTensor *tensor = &node_tables.tensors[index];
  uint64_t limit = storage_bytes(tensor->storage);
  require(tensor->storage <= STORAGE_DECODED, "storage of tensor", index);
  require(tensor->offset % 64 == 0, "alignment of tensor", index);
  require(tensor->bytes <= limit && tensor->offset <= limit - tensor->bytes, "place of tensor",
          index);
  require(tensor->ndim == 0 || tensor->shape != NULL, "shape of tensor", index);
  require(tensor_size_holds(tensor), "size of tensor", index);
}

/* Whether `count` elements of `size` bytes at `offset` lie within `limit` bytes. */
static bool fits(uint64_t offset, uint64_t count, uint64_t size, uint64_t limit) {
  return offset % 64 == 0 && offset <= limit && count <= (limit - offset) / size;
}

/* Their product, or a number that fits nowhere. */
static uint64_t product(uint64_t a, uint64_t b) {
  return b > 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

static void check_transform(const NodeDecode *decode, uint32_t index) {
  uint64_t kernel = product(decode->inner, 9);
  require((decode->taps == 4 || decode->taps == 6) && decode->block > 0 && kernel > 0 &&
              decode->rows % kernel == 0 && decode->outer == 1 && decode->lanes == 1,
          "transform of decode", index);
  uint64_t blocks = (decode->rows / kernel + decode->block - 1) / decode->block;
  uint64_t count = product(product(blocks, decode->block),
                           product(decode->inner, (uint64_t)decode->taps * decode->taps));
  require(fits(decode->target, count, sizeof(float), node_tables.decoded_bytes),
          "target of decode", index);
}

static void check_decode(uint32_t index) {
  const NodeDecode *decode = &node_tables.decodes[index];
  require(decode->bits <= 8, "bits of decode", index);
  uint32_t group = decode_group(decode->bits), planes = decode_planes(decode->bits);
  uint64_t groups = decode->rows / group + (decode->rows % group > 0);
  uint64_t limit = node_tables.weights_bytes, values = decode->bits == 0 ? 3 : 1u << decode->bits;
  uint64_t codes = product(product(decode->outer, groups), product(decode->lanes, planes));
  require(fits(decode->codes, codes, 1, limit), "codes of decode", index);
  require(fits(decode->values, values, sizeof(float), limit), "values of decode", index);
  uint64_t factors = product(decode->scale_count, decode->lanes);
  require(decode->scale_count == 0 || (decode->scale_run > 0 &&
              fits(decode->scale, factors, sizeof(float), limit)), "scale of decode", index);
  uint64_t count = product(product(decode->outer, decode->rows), decode->lanes);
  if (decode->matrix != NULL) check_transform(decode, index);
  else require(fits(decode->target, count, sizeof(float), node_tables.decoded_bytes),
               "target of decode", index);
}

static void check_call(uint32_t index) {
  const NodeCall *call = &node_tables.calls[index];
  require(call->kernel != NULL && call->layer != NULL, "kernel of call", index);
  require(call->scratch_offset % 64 == 0 && call->scratch_bytes <= node_tables.arena_bytes &&
              call->scratch_offset <= node_tables.arena_bytes - call->scratch_bytes,
          "scratch of call", index);
  for (uint32_t i = 0; i < call->arg_count; i++)
    require(call->args[i] < node_tables.tensor_count, "argument of call", index);
}

static void check_stage(uint32_t index) {
  const NodeStage *stage = &node_tables.stages[index];
  require(stage->first_call <= node_tables.call_count &&
              stage->call_count <= node_tables.call_count - stage->first_call,
          "calls of stage", index);
  for (uint32_t i = 0; i < stage->need_count; i++)
    require(stage->needs[i] < node_tables.receive_count, "needs of stage", index);
}

static bool is_slot_tensor(uint32_t tensor) {
  return tensor < node_tables.tensor_count && node_tables.tensors[tensor].storage == STORAGE_SLOT;
}

static void check_receive(uint32_t index) {
  const NodeReceive *receive = &node_tables.receives[index];
  require(is_slot_tensor(receive->tensor), "tensor of receive", index);
  require(receive->peer < node_tables.peer_count, "peer of receive", index);
}

static void check_send(uint32_t index) {
  const NodeSend *send = &node_tables.sends[index];
  uint32_t events = send->after == AFTER_CALL ? node_tables.call_count : node_tables.receive_count;
  require(is_slot_tensor(send->tensor), "tensor of send", index);
  require(send->peer < node_tables.peer_count, "peer of send", index);
  require(send->after <= AFTER_RECEIVE && send->index < events, "event of send", index);
}

void check_tables(void) {
  if (node_tables.version != NODE_TABLES_VERSION)
    fail(EXIT_ARGUMENTS, "built-in tables have version %" PRIu32 ", expected %d",
         node_tables.version, NODE_TABLES_VERSION);
  require(strlen(node_tables.node) < NODE_NAME_BYTES, "length of the node's name", 0);
  require(node_tables.slots > 0, "number of slots", 0);
  require(node_tables.threads > 0, "number of threads", 0);
  for (uint32_t i = 0; i < node_tables.peer_count; i++)
    require(strlen(node_tables.peers[i]) < NODE_NAME_BYTES, "name of peer", i);
  for (uint32_t i = 0; i < node_tables.tensor_count; i++) check_tensor(i);
  for (uint32_t i = 0; i < node_tables.decode_count; i++) check_decode(i);
  for (uint32_t i = 0; i < node_tables.call_count; i++) check_call(i);
  for (uint32_t i = 0; i < node_tables.stage_count; i++) check_stage(i);
  for (uint32_t i = 0; i < node_tables.receive_count; i++) check_receive(i);
  for (uint32_t i = 0; i < node_tables.send_count; i++) check_send(i);
}
