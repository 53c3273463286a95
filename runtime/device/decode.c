#include "decode.h"

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "memory.h"
#include "tables.h"

enum { TERNARY_GROUP = 5, MOST_TAPS = 6, KERNEL = 3 };

/* --- one code of a lane: bits little-endian over a group's bytes, or a ternary digit */

static uint32_t greatest_divisor_of_8(uint32_t bits) {
  uint32_t divisor = 8;
  while (bits % divisor != 0) divisor /= 2;
  return divisor;
}

uint32_t decode_group(uint32_t bits) {
  return bits == 0 ? TERNARY_GROUP : 8 / greatest_divisor_of_8(bits);
}

uint32_t decode_planes(uint32_t bits) {
  return bits == 0 ? 1 : bits / greatest_divisor_of_8(bits);
}

static uint32_t bit_code(const unsigned char *lane, uint64_t lanes, uint32_t bits, uint32_t row) {
  uint32_t from = row * bits, shift = from % 8;
  const unsigned char *byte = lane + from / 8 * lanes;
  uint32_t code = (uint32_t)(*byte >> shift);
  if (shift + bits > 8) code |= (uint32_t)byte[lanes] << (8 - shift);
  return code & ((1u << bits) - 1);
}

static uint32_t ternary_digit(const unsigned char *lane, uint32_t row) {
  static const uint32_t powers[TERNARY_GROUP] = {1, 3, 9, 27, 81};
  return *lane / powers[row] % 3;
}

/* --- a constant */

typedef struct {
  const NodeDecode *what;
  const unsigned char *codes;
  const float *values, *scale; /* scale is NULL when there is none */
} Source;

static float value_at(const Source *source, const unsigned char *group, uint64_t outer,
                      uint64_t row, uint64_t lane) {
  const NodeDecode *what = source->what;
  uint32_t place = (uint32_t)(row % decode_group(what->bits));
  uint32_t code = what->bits == 0 ? ternary_digit(group + lane, place)
                                  : bit_code(group + lane, what->lanes, what->bits, place);
  if (source->scale == NULL) return source->values[code];
  uint64_t factor = (outer * what->rows + row) / what->scale_run % what->scale_count;
  return source->values[code] * source->scale[factor * what->lanes + lane];
}

static void decode_in_order(const Source *source, float *target) {
  const NodeDecode *what = source->what;
  uint32_t rows = decode_group(what->bits), planes = decode_planes(what->bits);
  uint64_t groups = (what->rows + rows - 1) / rows;
  for (uint64_t o = 0; o < what->outer; o++)
    for (uint64_t r = 0; r < what->rows; r++) {
      const unsigned char *group =
          source->codes + (o * groups + r / rows) * planes * what->lanes;
      for (uint64_t l = 0; l < what->lanes; l++) *target++ = value_at(source, group, o, r, l);
    }
}

/* --- 3x3 kernels that Winograd's algorithm wants transformed: T K T', taps first, channels last */

static void transform(const double *matrix, uint32_t taps, const float *kernel,
                      double out[MOST_TAPS][MOST_TAPS]) {
  double half[MOST_TAPS][KERNEL] = {{0}};
  for (uint32_t i = 0; i < taps; i++)
    for (uint32_t s = 0; s < KERNEL; s++)
      for (uint32_t r = 0; r < KERNEL; r++)
        half[i][s] += matrix[i * KERNEL + r] * (double)kernel[r * KERNEL + s];
  for (uint32_t i = 0; i < taps; i++)
    for (uint32_t j = 0; j < taps; j++) {
      out[i][j] = 0;
      for (uint32_t s = 0; s < KERNEL; s++) out[i][j] += half[i][s] * matrix[j * KERNEL + s];
    }
}

static void decode_transformed(const Source *source, float *target) {
  const NodeDecode *what = source->what;
  uint32_t taps = what->taps, group_rows = decode_group(what->bits);
  uint64_t inner = what->inner, channels = what->rows / (inner * KERNEL * KERNEL);
  uint64_t blocks = (channels + what->block - 1) / what->block;
  for (uint64_t f = 0; f < channels; f++)
    for (uint64_t c = 0; c < inner; c++) {
      float kernel[KERNEL * KERNEL];
      double out[MOST_TAPS][MOST_TAPS];
      for (uint32_t k = 0; k < KERNEL * KERNEL; k++) {
        uint64_t row = (f * inner + c) * KERNEL * KERNEL + k;
        const unsigned char *group =
            source->codes + row / group_rows * decode_planes(what->bits);
        kernel[k] = value_at(source, group, 0, row, 0);
      }
      transform(what->matrix, taps, kernel, out);
      for (uint32_t i = 0; i < taps; i++)
        for (uint32_t j = 0; j < taps; j++) {
          uint64_t at = (((uint64_t)i * taps + j) * blocks + f / what->block) * inner + c;
          target[at * what->block + f % what->block] = (float)out[i][j];
        }
    }
}

unsigned char *decode_weights(const unsigned char *weights) {
  unsigned char *decoded = memory_pages(node_tables.decoded_bytes, "decoded weights");
  for (uint32_t i = 0; i < node_tables.decode_count; i++) {
    const NodeDecode *what = &node_tables.decodes[i];
    Source source = {.what = what, .codes = weights + what->codes};
    source.values = (const float *)(const void *)(weights + what->values);
    if (what->scale_count > 0)
      source.scale = (const float *)(const void *)(weights + what->scale);
    float *target = (float *)(void *)(decoded + what->target);
    if (what->matrix != NULL) decode_transformed(&source, target);
    else decode_in_order(&source, target);
  }
  if (node_tables.decode_count > 0) /* pages that are read again come back from the file */
    (void)madvise((void *)(uintptr_t)weights, (size_t)node_tables.weights_bytes, MADV_DONTNEED);
  return decoded;
}
