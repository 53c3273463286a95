/* Convolutions of one group and linear layers: sums of products of uint8 and int8.
 *
 * A tile of SPACE positions and BLOCKS x 16 output channels keeps its int32 sums in registers.
 * Weights: [blocks of channels][taps][DEPTH / GROUP][BLOCKS][16][GROUP]. The last tile of a row
 * overlaps the one before it, so all tiles are whole.
 *
 * Needs, besides those of q8_padded.h: LAYER, THREADS, COPY, ROWS_OUT, COLUMNS_OUT, FILTERS,
 * TAPS_DOWN, TAPS_ACROSS, STEP_DOWN, STEP_ACROSS, GAP_DOWN, GAP_ACROSS, SPACE, BLOCKS, GROUP,
 * CHANNELS_INSIDE, OUT_FLOAT, OUT_ZERO, LOW, HIGH, and a function tail(q, extra, at). */
#include "q8.h"

#if COPY
#include "q8_padded.h"
#endif

enum {
  WIDE = BLOCKS * 16,
  CHANNEL_TILES = (FILTERS + WIDE - 1) / WIDE,
  ROW_TILES = (COLUMNS_OUT + SPACE - 1) / SPACE,
  IMAGE_ROWS = BATCH * ROWS_OUT,
  TILE_BYTES = TAPS_DOWN * TAPS_ACROSS * DEPTH * WIDE,
};

#if GROUP == 4 && defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include <immintrin.h>

static inline void tile(const uint8_t *x, const int8_t *w, int32_t sums[SPACE][WIDE]) {
  __m512i sum[SPACE][BLOCKS];
  Q8_UNROLL for (int m = 0; m < SPACE; m++)
    Q8_UNROLL for (int b = 0; b < BLOCKS; b++) sum[m][b] = _mm512_setzero_si512();
  for (int down = 0; down < TAPS_DOWN; down++)
    for (int across = 0; across < TAPS_ACROSS; across++) {
      const uint8_t *at = x + ((size_t)down * GAP_DOWN * PADDED_WIDTH + across * GAP_ACROSS) * DEPTH;
      for (int c = 0; c < DEPTH; c += 4, w += BLOCKS * 64) {
        __m512i weights[BLOCKS];
        Q8_UNROLL for (int b = 0; b < BLOCKS; b++) weights[b] = _mm512_loadu_si512(w + b * 64);
        Q8_UNROLL for (int m = 0; m < SPACE; m++) {
          int32_t four;
          memcpy(&four, at + m * STEP_ACROSS * DEPTH + c, sizeof four);
          __m512i inputs = _mm512_set1_epi32(four);
          Q8_UNROLL for (int b = 0; b < BLOCKS; b++)
            sum[m][b] = _mm512_dpbusd_epi32(sum[m][b], inputs, weights[b]);
        }
      }
    }
  Q8_UNROLL for (int m = 0; m < SPACE; m++)
    Q8_UNROLL for (int b = 0; b < BLOCKS; b++) _mm512_storeu_si512(&sums[m][b * 16], sum[m][b]);
}

#elif GROUP == 4 && defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

/* Products are of int8 only: inputs less 128, which adds 128 times the sum of the weights. */
static inline void tile(const uint8_t *x, const int8_t *w, int32_t sums[SPACE][WIDE]) {
  int32x4_t sum[SPACE][4 * BLOCKS], ones[4 * BLOCKS];
  int8x16_t one = vdupq_n_s8(1);
  Q8_UNROLL for (int v = 0; v < 4 * BLOCKS; v++) ones[v] = vdupq_n_s32(0);
  Q8_UNROLL for (int m = 0; m < SPACE; m++)
    Q8_UNROLL for (int v = 0; v < 4 * BLOCKS; v++) sum[m][v] = vdupq_n_s32(0);
  for (int down = 0; down < TAPS_DOWN; down++)
    for (int across = 0; across < TAPS_ACROSS; across++) {
      const uint8_t *at = x + ((size_t)down * GAP_DOWN * PADDED_WIDTH + across * GAP_ACROSS) * DEPTH;
      for (int c = 0; c < DEPTH; c += 4, w += BLOCKS * 64) {
        int8x16_t weights[4 * BLOCKS];
        Q8_UNROLL for (int v = 0; v < 4 * BLOCKS; v++) {
          weights[v] = vld1q_s8(w + v * 16);
          ones[v] = vdotq_s32(ones[v], weights[v], one);
        }
        Q8_UNROLL for (int m = 0; m < SPACE; m++) {
          uint32_t four;
          memcpy(&four, at + m * STEP_ACROSS * DEPTH + c, sizeof four);
          int8x16_t inputs = vreinterpretq_s8_u32(vdupq_n_u32(four ^ 0x80808080u));
          Q8_UNROLL for (int v = 0; v < 4 * BLOCKS; v++)
            sum[m][v] = vdotq_s32(sum[m][v], weights[v], inputs);
        }
      }
    }
  Q8_UNROLL for (int m = 0; m < SPACE; m++)
    Q8_UNROLL for (int v = 0; v < 4 * BLOCKS; v++)
      vst1q_s32(&sums[m][v * 4], vaddq_s32(sum[m][v], vshlq_n_s32(ones[v], 7)));
}

#else

static inline void tile(const uint8_t *x, const int8_t *w, int32_t sums[SPACE][WIDE]) {
  memset(sums, 0, sizeof(int32_t) * SPACE * WIDE);
  for (int down = 0; down < TAPS_DOWN; down++)
    for (int across = 0; across < TAPS_ACROSS; across++) {
      const uint8_t *at = x + ((size_t)down * GAP_DOWN * PADDED_WIDTH + across * GAP_ACROSS) * DEPTH;
      for (int c = 0; c < DEPTH; c += GROUP, w += WIDE * GROUP)
        for (int m = 0; m < SPACE; m++)
          for (int g = 0; g < GROUP; g++) {
            int16_t input = at[m * STEP_ACROSS * DEPTH + c + g];
            for (int n = 0; n < WIDE; n++) sums[m][n] += input * w[n * GROUP + g];
          }
    }
}

#endif

/* One position's channels from `first` on, `count` of them. */
static inline void finish(const int32_t *restrict sums, const int32_t *restrict bias,
                          const float *restrict factor, const uint8_t *const *extra,
                          void *out, size_t at, int count) {
#if OUT_FLOAT
  float *restrict target = (float *)out + at;
  for (int n = 0; n < count; n++) target[n] = (float)(sums[n] + bias[n]) * factor[n];
  (void)extra;
#else
  uint8_t *restrict target = (uint8_t *)out + at;
  for (int n = 0; n < count; n++) {
    float y = (float)(sums[n] + bias[n]) * factor[n];
    target[n] = (uint8_t)tail(q8_clamped(y, OUT_ZERO, LOW, HIGH), extra, at + (size_t)n);
  }
#endif
}

static void work(const KernelArg *args, void *more, size_t from, size_t to) {
  const uint8_t *x = COPY ? more : q8_data(args, 0);
  const int8_t *weights = q8_data(args, WEIGHT);
  const int32_t *bias = q8_data(args, BIAS);
  const float *factor = q8_data(args, FACTOR);
  const uint8_t *extra[EXTRAS + 1] = {0};
  for (int i = 0; i < EXTRAS; i++) extra[i] = q8_data(args, extra_arguments[i]);
  void *out = q8_data(args, OUTPUT);
  for (size_t unit = from; unit < to; unit++) {
    size_t channels = CHANNELS_INSIDE ? unit % CHANNEL_TILES : unit / (IMAGE_ROWS * ROW_TILES);
    size_t place = CHANNELS_INSIDE ? unit / CHANNEL_TILES : unit % (IMAGE_ROWS * ROW_TILES);
    size_t row = place / ROW_TILES, column = place % ROW_TILES * SPACE;
    if (column + SPACE > COLUMNS_OUT) column = COLUMNS_OUT - SPACE;
    size_t top = row / ROWS_OUT * PADDED_HEIGHT + row % ROWS_OUT * STEP_DOWN;
    const uint8_t *origin = x + (top * PADDED_WIDTH + column * STEP_ACROSS) * DEPTH;
    int32_t sums[SPACE][WIDE] __attribute__((aligned(64)));
    tile(origin, weights + channels * TILE_BYTES, sums);
    size_t first = channels * WIDE, at = (row * COLUMNS_OUT + column) * FILTERS + first;
    const int32_t *own_bias = bias + first;
    const float *own_factor = factor + first;
    if (first + WIDE <= FILTERS)
      for (int m = 0; m < SPACE; m++, at += FILTERS)
        finish(sums[m], own_bias, own_factor, extra, out, at, WIDE);
    else
      for (int m = 0; m < SPACE; m++, at += FILTERS)
        finish(sums[m], own_bias, own_factor, extra, out, at, (int)(FILTERS - first));
  }
}

int LAYER(void *self, const KernelArg *args, int32_t count, KernelArg *result) {
  (void)self, (void)count, (void)result;
  void *copy = NULL;
#if COPY
  copy = padded_copy(args);
#endif
  int status = q8_run(work, args, copy, (size_t)CHANNEL_TILES * IMAGE_ROWS * ROW_TILES);
  if (copy != NULL) (void)TVMBackendFreeWorkspace(1, 0, copy);
  return status;
}
