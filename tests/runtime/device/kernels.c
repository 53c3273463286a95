/* Small kernels with the interface of compiled ones, all on float vectors. */
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "kernel_abi.h"
#include "pool.h"

/* As in compiled objects: pointers that the object defines itself, weak and null. */
__attribute__((weak)) void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int);
__attribute__((weak)) int (*__TVMBackendFreeWorkspace)(int, int, void *);
__attribute__((weak)) int (*__TVMBackendParallelLaunch)(ParallelTask, void *, int);
__attribute__((weak)) int (*__TVMBackendParallelBarrier)(int, ParallelGroup *);
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count);

#define KERNEL(name)                                                                    \
  int name(void *self, const KernelArg *args, int32_t count, KernelArg *result);       \
  int name(void *self __attribute__((unused)), const KernelArg *args __attribute__((unused)), \
           int32_t count __attribute__((unused)), KernelArg *result __attribute__((unused)))

static const KernelTensor *tensor(const KernelArg *args, int index) {
  return args[index].value.v_ptr;
}

static float *data(const KernelArg *args, int index) {
  return tensor(args, index)->data;
}

static int64_t size(const KernelArg *args) {
  const KernelTensor *first = tensor(args, 0);
  int64_t elements = 1;
  for (int i = 0; i < first->ndim; i++) elements *= first->shape[i];
  return elements;
}

/* out = left + right */
KERNEL(kernel_add) {
  for (int64_t i = 0; i < size(args); i++) data(args, 2)[i] = data(args, 0)[i] + data(args, 1)[i];
  return 0;
}

/* out = 2 * in */
KERNEL(kernel_double) {
  for (int64_t i = 0; i < size(args); i++) data(args, 1)[i] = 2 * data(args, 0)[i];
  return 0;
}

/* out = in + 1, later */
KERNEL(kernel_slow) {
  struct timespec pause = {.tv_nsec = 100000000};
  (void)nanosleep(&pause, NULL);
  for (int64_t i = 0; i < size(args); i++) data(args, 1)[i] = data(args, 0)[i] + 1;
  return 0;
}

/* Fails when the first element is negative, with a reason unless it is below -1. */
KERNEL(kernel_picky) {
  const char *parts[] = {"element is ", "negative"};
  float first = data(args, 0)[0];
  if (first < 0 && first >= -1) TVMFFIErrorSetRaisedFromCStrParts("ValueError", parts, 2);
  if (first < 0) return -1;
  memcpy(data(args, 1), data(args, 0), (size_t)size(args) * sizeof(float));
  return 0;
}

typedef struct {
  const float *in;
  float *out;
  int64_t size;
  int32_t fail_task;
} Job;

static int double_part(int task, ParallelGroup *group, void *opaque) {
  const Job *job = opaque;
  if (task == job->fail_task) return -1;
  int64_t step = (job->size + group->num_task - 1) / group->num_task;
  for (int64_t i = task * step; i < (task + 1) * step && i < job->size; i++)
    job->out[i] = 2 * job->in[i];
  return 0;
}

/* As kernel_double, by all threads, then again as many small tasks. */
KERNEL(kernel_parallel) {
  Job job = {.in = data(args, 0), .out = data(args, 1), .size = size(args), .fail_task = -1};
  int status = __TVMBackendParallelLaunch(double_part, &job, 0);
  for (int round = 0; round < 100 && status == 0; round++)
    status = __TVMBackendParallelLaunch(double_part, &job, 7);
  return status;
}

KERNEL(kernel_parallel_fails) {
  Job job = {.in = data(args, 0), .out = data(args, 1), .size = size(args), .fail_task = 1};
  return __TVMBackendParallelLaunch(double_part, &job, 2);
}

static int double_then_add(int task, ParallelGroup *group, void *opaque) {
  const Job *job = opaque;
  (void)double_part(task, group, opaque);
  if (__TVMBackendParallelBarrier(task, group) != 0) return -1;
  /* Reads what another task has written. */
  float other = job->out[job->size - 1];
  if (__TVMBackendParallelBarrier(task, group) != 0) return -1;
  int64_t step = (job->size + group->num_task - 1) / group->num_task;
  for (int64_t i = task * step; i < (task + 1) * step && i < job->size; i++) job->out[i] += other;
  return 0;
}

/* out = 2 * in + 2 * in[last] */
KERNEL(kernel_barrier) {
  Job job = {.in = data(args, 0), .out = data(args, 1), .size = size(args), .fail_task = -1};
  return __TVMBackendParallelLaunch(double_then_add, &job, 0);
}

KERNEL(kernel_barrier_of_many) {
  Job job = {.in = data(args, 0), .out = data(args, 1), .size = size(args), .fail_task = -1};
  return __TVMBackendParallelLaunch(double_then_add, &job, 50);
}

/* out = in + 1 through two workspaces that live at once. */
KERNEL(kernel_workspace) {
  uint64_t bytes = (uint64_t)size(args) * sizeof(float);
  float *first = __TVMBackendAllocWorkspace(KERNEL_DEVICE_CPU, 0, bytes, 2, 32);
  float *second = __TVMBackendAllocWorkspace(KERNEL_DEVICE_CPU, 0, 2 * bytes, 2, 32);
  if ((uintptr_t)first % 64 != 0 || (uintptr_t)second % 64 != 0) return -1;
  for (int64_t i = 0; i < size(args); i++) first[i] = data(args, 0)[i];
  for (int64_t i = 0; i < size(args); i++) second[2 * i] = first[i] + 1;
  for (int64_t i = 0; i < size(args); i++) data(args, 1)[i] = second[2 * i];
  (void)__TVMBackendFreeWorkspace(KERNEL_DEVICE_CPU, 0, second);
  return __TVMBackendFreeWorkspace(KERNEL_DEVICE_CPU, 0, first);
}

KERNEL(kernel_greedy) {
  return __TVMBackendAllocWorkspace(KERNEL_DEVICE_CPU, 0, UINT64_MAX / 2, 2, 32) == NULL ? -1 : 0;
}
