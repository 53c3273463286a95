#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "compute.h"
#include "fail.h"
#include "memory.h"
#include "pool.h"
#include "slots.h"
#include "tables.h"

enum { CODE_FLOAT = 2, CODE_BFLOAT = 4 };

/* Marsaglia's xorshift32: the same numbers in every run. */
static uint32_t random_bits(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

/* In [-1, 1): real data has no denormals and no overflow either, which would distort the times. */
static double random_real(uint32_t *state) {
  return (double)random_bits(state) / 2147483648.0 - 1.0;
}

/* A normal 16-bit float of magnitude in [0.5, 1) from random mantissa and sign: the exponent's
 * bits stand in `exponent`. */
static uint16_t random_half(uint32_t *state, uint16_t exponent, uint16_t mantissa_mask) {
  uint32_t bits = random_bits(state);
  return (uint16_t)((bits & 0x8000u) | exponent | (bits & mantissa_mask));
}

static void fill_tensor(const NodeTensor *tensor, void *data, uint32_t *state) {
  size_t count = tensor->dtype_bits == 0 ? 0 : (size_t)(tensor->bytes * 8 / tensor->dtype_bits);
  if (tensor->dtype_code == CODE_FLOAT && tensor->dtype_bits == 32) {
    for (size_t i = 0; i < count; i++) ((float *)data)[i] = (float)random_real(state);
  } else if (tensor->dtype_code == CODE_FLOAT && tensor->dtype_bits == 64) {
    for (size_t i = 0; i < count; i++) ((double *)data)[i] = random_real(state);
  } else if (tensor->dtype_code == CODE_FLOAT && tensor->dtype_bits == 16) {
    for (size_t i = 0; i < count; i++) ((uint16_t *)data)[i] = random_half(state, 0x3800, 0x3FF);
  } else if (tensor->dtype_code == CODE_BFLOAT && tensor->dtype_bits == 16) {
    for (size_t i = 0; i < count; i++) ((uint16_t *)data)[i] = random_half(state, 0x3F00, 0x7F);
  } else {
    memset(data, 0, (size_t)tensor->bytes);
  }
}

/* Outputs are filled as well: which arguments a call writes is not in the tables. */
static void fill_arguments(const NodeCall *call, Slot *slot, uint32_t *state) {
  for (uint32_t i = 0; i < call->arg_count; i++) {
    const NodeTensor *tensor = &node_tables.tensors[call->args[i]];
    if (tensor->storage != STORAGE_WEIGHTS)
      fill_tensor(tensor, slot->tensors[call->args[i]].data, state);
  }
}

static int compare(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
  return (a > b) - (a < b);
}

static void say_name(const char *name) {
  if (strpbrk(name, ",\"\n") == NULL) {
    say("%s", name);
    return;
  }
  say("\"");
  for (; *name != '\0'; name++) say(*name == '"' ? "\"\"" : "%c", *name);
  say("\"");
}

static void say_seconds(uint64_t time_ns) {
  say(",%" PRIu64 ".%09" PRIu64, time_ns / NS_PER_S, time_ns % NS_PER_S);
}

static uint64_t timed_call(uint32_t index, Slot *slot) {
  uint64_t start_ns = now_ns();
  compute_call(index, slot);
  return now_ns() - start_ns;
}

static void say_times(uint32_t index, uint64_t *times_ns, uint32_t runs) {
  qsort(times_ns, runs, sizeof *times_ns, compare);
  uint64_t median_ns = (times_ns[(runs - 1) / 2] + times_ns[runs / 2]) / 2;
  say("%" PRIu32 ",", index);
  say_name(node_tables.calls[index].layer);
  say_seconds(median_ns);
  say_seconds(times_ns[0]);
  say("\n");
}

/* In the order of a request: a call finds in the caches what it would find there in use. */
void bench(uint32_t runs, const unsigned char *weights) {
  uint32_t calls = node_tables.call_count, state = 2463534242u;
  uint64_t *times_ns = memory_array((size_t)calls * runs, sizeof *times_ns);
  slots_start(weights);
  Slot *slot = slots_any();
  for (uint32_t i = 0; i < calls; i++) fill_arguments(&node_tables.calls[i], slot, &state);
  for (uint32_t i = 0; i < calls; i++) compute_call(i, slot);
  pool_begin_stage();
  for (uint32_t run = 0; run < runs; run++)
    for (uint32_t i = 0; i < calls; i++) times_ns[(size_t)i * runs + run] = timed_call(i, slot);
  pool_end_stage();
  say("index,layer,median_s,min_s\n");
  for (uint32_t i = 0; i < calls; i++) say_times(i, times_ns + (size_t)i * runs, runs);
  free(times_ns);
}
