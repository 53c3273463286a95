/* Depthwise convolutions: each channel with its own taps, lanes run over channels.
 *
 * With VNNI, four taps at a time: their bytes are interleaved, so that one instruction adds four
 * products. Weights: [blocks of 64 channels][groups of 4 taps][4][64], in the order in which
 * unpacking leaves the channels. Else: [taps][channels].
 *
 * Needs what q8_convolution.h needs, but for SPACE, BLOCKS and the like; and DOT. */
#include "q8.h"
#include "q8_padded.h"

enum { TAPS = TAPS_DOWN * TAPS_ACROSS, TAP_GROUPS = (TAPS + 3) / 4, BLOCK = 64 };

static const int offsets[TAP_GROUPS * 4] = {TAP_OFFSETS};

#if DOT && defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include <immintrin.h>

static inline void sum_up(const uint8_t *x, const int8_t *w, int channels, int32_t *sums) {
  __mmask64 mask = channels >= BLOCK ? ~0ull : (1ull << channels) - 1;
  __m512i sum[4];
  Q8_UNROLL for (int j = 0; j < 4; j++) sum[j] = _mm512_setzero_si512();
  Q8_UNROLL for (int g = 0; g < TAP_GROUPS; g++, w += 4 * BLOCK) {
    __m512i row[4], half[4], four[4];
    Q8_UNROLL for (int t = 0; t < 4; t++)
      row[t] = _mm512_maskz_loadu_epi8(mask, x + offsets[g * 4 + t]);
    half[0] = _mm512_unpacklo_epi8(row[0], row[1]);
    half[1] = _mm512_unpackhi_epi8(row[0], row[1]);
    half[2] = _mm512_unpacklo_epi8(row[2], row[3]);
    half[3] = _mm512_unpackhi_epi8(row[2], row[3]);
    four[0] = _mm512_unpacklo_epi16(half[0], half[2]);
    four[1] = _mm512_unpackhi_epi16(half[0], half[2]);
    four[2] = _mm512_unpacklo_epi16(half[1], half[3]);
    four[3] = _mm512_unpackhi_epi16(half[1], half[3]);
    Q8_UNROLL for (int j = 0; j < 4; j++)
      sum[j] = _mm512_dpbusd_epi32(sum[j], four[j], _mm512_loadu_si512(w + j * BLOCK));
  }
  /* Quarter q of vector j holds channels 16 q + 4 j and up: transpose quarters. */
  __m512i low = _mm512_shuffle_i32x4(sum[0], sum[1], 0x44);
  __m512i high = _mm512_shuffle_i32x4(sum[0], sum[1], 0xEE);
  __m512i low2 = _mm512_shuffle_i32x4(sum[2], sum[3], 0x44);
  __m512i high2 = _mm512_shuffle_i32x4(sum[2], sum[3], 0xEE);
  _mm512_storeu_si512(sums, _mm512_shuffle_i32x4(low, low2, 0x88));
  _mm512_storeu_si512(sums + 16, _mm512_shuffle_i32x4(low, low2, 0xDD));
  _mm512_storeu_si512(sums + 32, _mm512_shuffle_i32x4(high, high2, 0x88));
  _mm512_storeu_si512(sums + 48, _mm512_shuffle_i32x4(high, high2, 0xDD));
}

#define WEIGHTS_AT(block) ((size_t)(block) * TAP_GROUPS * 4 * BLOCK)

#elif !DOT

static inline void sum_up(const uint8_t *x, const int8_t *w, int channels, int32_t *sums) {
  for (int c = 0; c < BLOCK; c++) sums[c] = 0;
  if (channels > BLOCK) channels = BLOCK;
  for (int t = 0; t < TAPS; t++, w += CHANNELS)
    for (int c = 0; c < channels; c++) sums[c] += (int16_t)x[offsets[t] + c] * (int16_t)w[c];
}

#define WEIGHTS_AT(block) ((size_t)(block) * BLOCK)

#else
#error "the weights are in an order that only VNNI reads"
#endif

static void work(const KernelArg *args, void *more, size_t from, size_t to) {
  const uint8_t *x = more;
  const int8_t *weights = q8_data(args, WEIGHT);
  const int32_t *bias = q8_data(args, BIAS);
  const float *factor = q8_data(args, FACTOR);
  const uint8_t *extra[EXTRAS + 1] = {0};
  for (int i = 0; i < EXTRAS; i++) extra[i] = q8_data(args, extra_arguments[i]);
  uint8_t *out = q8_data(args, OUTPUT);
  for (size_t row = from; row < to; row++)
    for (int first = 0; first < CHANNELS; first += BLOCK) {
      int channels = CHANNELS - first < BLOCK ? CHANNELS - first : BLOCK;
      const int8_t *own = weights + WEIGHTS_AT(first / BLOCK);
      size_t top = row / ROWS_OUT * PADDED_HEIGHT + row % ROWS_OUT * STEP_DOWN;
      for (size_t column = 0; column < COLUMNS_OUT; column++) {
        int32_t sums[BLOCK] __attribute__((aligned(64)));
        sum_up(x + (top * PADDED_WIDTH + column * STEP_ACROSS) * DEPTH + first, own, channels,
               sums);
        size_t at = (row * COLUMNS_OUT + column) * CHANNELS + (size_t)first;
        for (int n = 0; n < channels; n++) {
          float y = (float)(sums[n] + bias[first + n]) * factor[first + n];
          out[at + (size_t)n] =
              (uint8_t)tail(q8_clamped(y, OUT_ZERO, LOW, HIGH), extra, at + (size_t)n);
        }
      }
    }
}

int LAYER(void *self, const KernelArg *args, int32_t count, KernelArg *result) {
  (void)self, (void)count, (void)result;
  uint8_t *copy = padded_copy(args);
  int status = q8_run(work, args, copy, (size_t)BATCH * ROWS_OUT);
  (void)TVMBackendFreeWorkspace(1, 0, copy);
  return status;
}
