/* Runs one of the linked kernels on tensors from standard input: the kernel's number, then for each
 * argument its size in bytes and its bytes (the last one's are the result's, which goes to standard
 * output). Every tensor has memory of exactly its size, so that a sanitizer sees each step outside. */
#include <stdio.h>
#include <stdlib.h>

#include "backend.h"
#include "kernel_abi.h"

extern const KernelFunction kernels[];

int TVMBackendParallelLaunch(ParallelTask task, void *data, int count) {
  (void)count;
  ParallelGroup group = {NULL, 3};
  for (int i = 0; i < 3; i++)
    if (task(i, &group, data) != 0) return -1;
  return 0;
}

void *TVMBackendAllocWorkspace(int type, int id, uint64_t bytes, int code, int bits) {
  (void)type, (void)id, (void)code, (void)bits;
  return malloc(bytes);
}

int TVMBackendFreeWorkspace(int type, int id, void *workspace) {
  (void)type, (void)id;
  free(workspace);
  return 0;
}

static void take(void *target, size_t bytes) {
  if (fread(target, 1, bytes, stdin) != bytes) exit(2);
}

int main(void) {
  uint64_t kernel, count;
  take(&kernel, sizeof kernel);
  take(&count, sizeof count);
  KernelTensor tensors[8] = {0};
  KernelArg args[8] = {0}, result = {0};
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < count; i++) {
    take(&bytes, sizeof bytes);
    tensors[i].data = malloc(bytes);
    take(tensors[i].data, bytes);
    args[i].value.v_ptr = &tensors[i];
  }
  if (kernels[kernel](NULL, args, (int32_t)count, &result) != 0) return 3;
  fwrite(tensors[count - 1].data, 1, bytes, stdout);
  for (uint64_t i = 0; i < count; i++) free(tensors[i].data);
}
