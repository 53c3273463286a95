/* The binary interface of the kernels that TVM compiles: packed arguments that point at DLPack
 * tensors. Layouts follow the public TVM FFI and DLPack interfaces; a test compares the sizes and
 * offsets with the installed headers. */
#ifndef SPLITTER_KERNEL_ABI_H
#define SPLITTER_KERNEL_ABI_H

#include <stdint.h>

enum { KERNEL_DEVICE_CPU = 1 };
enum { KERNEL_TYPE_NONE = 0, KERNEL_TYPE_TENSOR_POINTER = 7 };

typedef struct {
  void *data;
  struct {
    int32_t device_type, device_id;
  } device;
  int32_t ndim;
  struct {
    uint8_t code, bits;
    uint16_t lanes;
  } dtype;
  int64_t *shape;
  int64_t *strides;
  uint64_t byte_offset;
} KernelTensor;

typedef struct {
  int32_t type_index;
  uint32_t padding;
  union {
    int64_t v_int64;
    double v_float64;
    void *v_ptr;
  } value;
} KernelArg;

/* Returns 0, or -1 after the kernel has called TVMFFIErrorSetRaisedFromCStrParts. */
typedef int (*KernelFunction)(void *self, const KernelArg *args, int32_t count, KernelArg *result);

#endif
