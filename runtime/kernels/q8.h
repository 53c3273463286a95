/* What all integer kernels share. A layer's source defines its macros, then includes one kernel.
 *
 * Tensors are of uint8, channels last; a value is factor * (number - zero). Arithmetic is that of
 * splitter/quantized_ops.py, bit by bit: int32 sums, one float32 product, rounding to nearest even.
 * Compile with -ffp-contract=off. */
#ifndef SPLITTER_Q8_H
#define SPLITTER_Q8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backend.h"    // defines: TVMBackendParallelLaunch and workspaces
#include "kernel_abi.h" // defines: KernelArg, KernelTensor

#define Q8_UNROLL _Pragma("clang loop unroll(full)")

static inline void *q8_data(const KernelArg *args, int index) {
  const KernelTensor *tensor = args[index].value.v_ptr;
  return (unsigned char *)tensor->data + tensor->byte_offset;
}

/* `y` must be within +-2^22: then adding 1.5 * 2^23 leaves its nearest whole number, ties to even,
 * in the low bits. Vectorises everywhere. */
static inline int32_t q8_nearest(float y) {
  float shifted = y + 12582912.0f;
  int32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  return bits - 0x4B400000;
}

static inline int32_t q8_clamped(float y, int32_t zero, int32_t low, int32_t high) {
  float least = (float)(low - zero), most = (float)(high - zero);
  y = y < least ? least : y;
  y = y > most ? most : y;
  return q8_nearest(y) + zero;
}

static inline int32_t q8_sum(int32_t a, float a_factor, int32_t a_zero, int32_t b, float b_factor,
                             int32_t b_zero, int32_t zero, int32_t low, int32_t high) {
  float y = (float)(a - a_zero) * a_factor + (float)(b - b_zero) * b_factor;
  return q8_clamped(y, zero, low, high);
}

/* Work in units 0 ... count - 1, a run of them for each thread. */
typedef void (*Q8Work)(const KernelArg *args, void *more, size_t from, size_t to);

typedef struct {
  Q8Work work;
  const KernelArg *args;
  void *more;
  size_t count;
} Q8Job;

static inline int q8_task(int index, ParallelGroup *group, void *data) {
  const Q8Job *job = data;
  size_t tasks = (size_t)group->num_task, at = (size_t)index;
  job->work(job->args, job->more, job->count * at / tasks, job->count * (at + 1) / tasks);
  return 0;
}

static inline int q8_run(Q8Work work, const KernelArg *args, void *more, size_t count) {
  if (THREADS == 1 || count < 2) {
    work(args, more, 0, count);
    return 0;
  }
  Q8Job job = {work, args, more, count};
  return TVMBackendParallelLaunch(q8_task, &job, 0);
}

#endif
