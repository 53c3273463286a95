#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "fail.h"
#include "tables.h"

enum { FEATURE_BYTES = 32 };

#if defined(__x86_64__)
#include <cpuid.h>

enum Register { EAX, EBX, ECX, EDX };

/* Bits of XCR0 that the operating system must have set for the wide registers. */
enum State { NO_STATE = 0, AVX_STATE = 0x06, AVX512_STATE = 0xE6 };

/* Where the "Intel 64 and IA-32 Architectures Software Developer's Manual" (CPUID) and AMD's
 * manual keep each feature; the names are LLVM's. */
static const struct {
  const char *name;
  uint32_t leaf, subleaf;
  enum Register in;
  uint32_t bit;
  enum State state;
} FEATURES[] = {
    {"x87", 1, 0, EDX, 0, NO_STATE},
    {"cx8", 1, 0, EDX, 8, NO_STATE},
    {"cmov", 1, 0, EDX, 15, NO_STATE},
    {"mmx", 1, 0, EDX, 23, NO_STATE},
    {"fxsr", 1, 0, EDX, 24, NO_STATE},
    {"sse", 1, 0, EDX, 25, NO_STATE},
    {"sse2", 1, 0, EDX, 26, NO_STATE},
    {"sse3", 1, 0, ECX, 0, NO_STATE},
    {"pclmul", 1, 0, ECX, 1, NO_STATE},
    {"ssse3", 1, 0, ECX, 9, NO_STATE},
    {"fma", 1, 0, ECX, 12, AVX_STATE},
    {"cx16", 1, 0, ECX, 13, NO_STATE},
    {"sse4.1", 1, 0, ECX, 19, NO_STATE},
    {"sse4.2", 1, 0, ECX, 20, NO_STATE},
    {"crc32", 1, 0, ECX, 20, NO_STATE},
    {"movbe", 1, 0, ECX, 22, NO_STATE},
    {"popcnt", 1, 0, ECX, 23, NO_STATE},
    {"aes", 1, 0, ECX, 25, NO_STATE},
    {"xsave", 1, 0, ECX, 26, NO_STATE},
    {"avx", 1, 0, ECX, 28, AVX_STATE},
    {"f16c", 1, 0, ECX, 29, AVX_STATE},
    {"rdrnd", 1, 0, ECX, 30, NO_STATE},
    {"fsgsbase", 7, 0, EBX, 0, NO_STATE},
    {"bmi", 7, 0, EBX, 3, NO_STATE},
    {"avx2", 7, 0, EBX, 5, AVX_STATE},
    {"bmi2", 7, 0, EBX, 8, NO_STATE},
    {"avx512f", 7, 0, EBX, 16, AVX512_STATE},
    {"avx512dq", 7, 0, EBX, 17, AVX512_STATE},
    {"rdseed", 7, 0, EBX, 18, NO_STATE},
    {"adx", 7, 0, EBX, 19, NO_STATE},
    {"avx512ifma", 7, 0, EBX, 21, AVX512_STATE},
    {"clflushopt", 7, 0, EBX, 23, NO_STATE},
    {"clwb", 7, 0, EBX, 24, NO_STATE},
    {"avx512cd", 7, 0, EBX, 28, AVX512_STATE},
    {"sha", 7, 0, EBX, 29, NO_STATE},
    {"avx512bw", 7, 0, EBX, 30, AVX512_STATE},
    {"avx512vl", 7, 0, EBX, 31, AVX512_STATE},
    {"avx512vbmi", 7, 0, ECX, 1, AVX512_STATE},
    {"avx512vbmi2", 7, 0, ECX, 6, AVX512_STATE},
    {"gfni", 7, 0, ECX, 8, NO_STATE},
    {"vaes", 7, 0, ECX, 9, AVX_STATE},
    {"vpclmulqdq", 7, 0, ECX, 10, AVX_STATE},
    {"avx512vnni", 7, 0, ECX, 11, AVX512_STATE},
    {"avx512bitalg", 7, 0, ECX, 12, AVX512_STATE},
    {"avx512vpopcntdq", 7, 0, ECX, 14, AVX512_STATE},
    {"avx512fp16", 7, 0, EDX, 23, AVX512_STATE},
    {"avxvnni", 7, 1, EAX, 4, AVX_STATE},
    {"avx512bf16", 7, 1, EAX, 5, AVX512_STATE},
    {"sahf", 0x80000001, 0, ECX, 0, NO_STATE},
    {"lzcnt", 0x80000001, 0, ECX, 5, NO_STATE},
    {"prfchw", 0x80000001, 0, ECX, 8, NO_STATE},
    {"64bit", 0x80000001, 0, EDX, 29, NO_STATE},
};

static bool system_saves(enum State state) {
  uint32_t registers[4] = {0};
  if (state == NO_STATE) return true;
  (void)__get_cpuid(1, &registers[EAX], &registers[EBX], &registers[ECX], &registers[EDX]);
  if ((registers[ECX] >> 27 & 1) == 0) return false; /* no OSXSAVE, so no XGETBV */
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & (uint32_t)state) == (uint32_t)state;
}

/* 1: has it, 0: lacks it, -1: no such feature. */
static int processor_has(const char *name) {
  for (size_t i = 0; i < sizeof FEATURES / sizeof *FEATURES; i++) {
    if (strcmp(FEATURES[i].name, name) != 0) continue;
    uint32_t registers[4] = {0};
    if (!__get_cpuid_count(FEATURES[i].leaf, FEATURES[i].subleaf, &registers[EAX],
                           &registers[EBX], &registers[ECX], &registers[EDX]))
      return 0;
    return (registers[FEATURES[i].in] >> FEATURES[i].bit & 1) != 0 &&
           system_saves(FEATURES[i].state);
  }
  return -1;
}

#else

static int processor_has(const char *name) {
  (void)name;
  return -1;
}

#endif

static void check_feature(const char *name) {
  int has = processor_has(name);
  if (has < 0)
    fail(EXIT_PROCESSOR, "the kernels need %s, which is no feature known for this processor", name);
  if (has == 0)
    fail(EXIT_PROCESSOR, "this processor lacks %s (the kernels need: %s)", name,
         node_tables.cpu_features);
}

void check_processor(void) {
  const char *at = node_tables.cpu_features;
  for (at += strspn(at, " "); *at != '\0'; at += strspn(at, " ")) {
    char name[FEATURE_BYTES] = {0};
    size_t length = strcspn(at, " ");
    memcpy(name, at, length < sizeof name ? length : sizeof name - 1);
    check_feature(name);
    at += length;
  }
}
