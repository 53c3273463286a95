/* 32-bit ARM: arithmetic helpers under the names that TVM's code generator calls. The linker's own
 * library has them only under the names of the ARM ABI, to which the compiler turns these bodies. */
#if defined(__arm__)

#include <stdint.h>

#define HELPER(type, name, parameters, value)     \
  __attribute__((weak)) type name parameters;     \
  __attribute__((weak)) type name parameters {    \
    return value;                                 \
  }

HELPER(int32_t, __divsi3, (int32_t left, int32_t right), left / right)
HELPER(uint32_t, __udivsi3, (uint32_t left, uint32_t right), left / right)
HELPER(int64_t, __muldi3, (int64_t left, int64_t right), left * right)
HELPER(int64_t, __ashldi3, (int64_t value, int bits), (int64_t)((uint64_t)value << bits))
HELPER(int64_t, __ashrdi3, (int64_t value, int bits), value >> bits)
HELPER(uint64_t, __lshrdi3, (uint64_t value, int bits), value >> bits)
HELPER(float, __floatdisf, (int64_t value), (float)value)
HELPER(double, __floatdidf, (int64_t value), (double)value)
HELPER(float, __floatundisf, (uint64_t value), (float)value)
HELPER(double, __floatundidf, (uint64_t value), (double)value)
HELPER(int64_t, __fixsfdi, (float value), (int64_t)value)
HELPER(int64_t, __fixdfdi, (double value), (int64_t)value)
HELPER(uint64_t, __fixunssfdi, (float value), (uint64_t)value)
HELPER(uint64_t, __fixunsdfdi, (double value), (uint64_t)value)

#else

typedef int nothing_to_add; /* a translation unit must not be empty */

#endif
