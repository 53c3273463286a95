/* The other operators on numbers of 8 bits. Needs LAYER, THREADS, UNITS (pieces of work), and one
 * of the functions below as `work`. Tensors are [BATCH][HEIGHT][WIDTH][CHANNELS]. */
#include "q8.h"

#if KIND == 1 /* quantize: floats, channels first, to numbers, channels last; a unit is a row */

static void work(const KernelArg *args, void *more, size_t from, size_t to) {
  const float *x = q8_data(args, 0);
  uint8_t *out = q8_data(args, OUTPUT);
  (void)more;
  for (size_t row = from; row < to; row++) {
    size_t batch = row / HEIGHT, y = row % HEIGHT;
    for (size_t c = 0; c < CHANNELS; c++) {
      const float *restrict in = x + ((batch * CHANNELS + c) * HEIGHT + y) * WIDTH;
      uint8_t *restrict target = out + row * WIDTH * CHANNELS + c;
      for (size_t i = 0; i < WIDTH; i++)
        target[i * CHANNELS] = (uint8_t)q8_clamped(in[i] * SCALE, ZERO, 0, 255);
    }
  }
}

#elif KIND == 2 /* dequantize: the other way */

static void work(const KernelArg *args, void *more, size_t from, size_t to) {
  const uint8_t *x = q8_data(args, 0);
  float *out = q8_data(args, OUTPUT);
  (void)more;
  for (size_t row = from; row < to; row++) {
    size_t batch = row / HEIGHT, y = row % HEIGHT;
    for (size_t c = 0; c < CHANNELS; c++) {
      const uint8_t *restrict in = x + row * WIDTH * CHANNELS + c;
      float *restrict target = out + ((batch * CHANNELS + c) * HEIGHT + y) * WIDTH;
      for (size_t i = 0; i < WIDTH; i++)
        target[i] = (float)((int32_t)in[i * CHANNELS] - ZERO) * SCALE;
    }
  }
}

#elif KIND == 3 /* element by element: the tail alone; a unit is a row */

static void work(const KernelArg *args, void *more, size_t from, size_t to) {
  const uint8_t *extra[EXTRAS + 1] = {0};
  for (int i = 0; i < EXTRAS; i++) extra[i] = q8_data(args, extra_arguments[i]);
  uint8_t *restrict out = q8_data(args, OUTPUT);
  (void)more;
  for (size_t at = from * WIDTH * CHANNELS; at < to * WIDTH * CHANNELS; at++)
    out[at] = (uint8_t)tail(0, extra, at);
}

#elif KIND == 4 /* mean over positions; a unit is an image */

static void work(const KernelArg *args, void *more, size_t from, size_t to) {
  const uint8_t *x = q8_data(args, 0);
  uint8_t *out = q8_data(args, OUTPUT);
  (void)more;
  for (size_t batch = from; batch < to; batch++) {
    int32_t sums[CHANNELS];
    for (int c = 0; c < CHANNELS; c++) sums[c] = 0;
    const uint8_t *in = x + batch * HEIGHT * WIDTH * CHANNELS;
    for (size_t i = 0; i < HEIGHT * WIDTH; i++, in += CHANNELS)
      for (int c = 0; c < CHANNELS; c++) sums[c] += in[c];
    for (int c = 0; c < CHANNELS; c++) {
      float y = (float)(sums[c] - HEIGHT * WIDTH * X_ZERO) * SCALE;
      out[batch * CHANNELS + (size_t)c] = (uint8_t)q8_clamped(y, ZERO, 0, 255);
    }
  }
}

#elif KIND == 5 /* maximum of windows; a unit is a row of results */

static void work(const KernelArg *args, void *more, size_t from, size_t to) {
  const uint8_t *x = q8_data(args, 0);
  uint8_t *out = q8_data(args, OUTPUT);
  (void)more;
  for (size_t row = from; row < to; row++) {
    int batch = (int)(row / ROWS_OUT), top = (int)(row % ROWS_OUT) * STEP_DOWN - TOP;
    for (int column = 0; column < COLUMNS_OUT; column++) {
      uint8_t *restrict most = out + (row * COLUMNS_OUT + (size_t)column) * CHANNELS;
      memset(most, 0, CHANNELS);
      for (int down = 0; down < TAPS_DOWN; down++)
        for (int across = 0; across < TAPS_ACROSS; across++) {
          int y = top + down, i = column * STEP_ACROSS - LEFT + across;
          if (y < 0 || y >= HEIGHT || i < 0 || i >= WIDTH) continue;
          const uint8_t *in = x + (((size_t)batch * HEIGHT + (size_t)y) * WIDTH + (size_t)i) * CHANNELS;
          for (int c = 0; c < CHANNELS; c++) most[c] = in[c] > most[c] ? in[c] : most[c];
        }
    }
  }
}

#endif

int LAYER(void *self, const KernelArg *args, int32_t count, KernelArg *result) {
  (void)self, (void)count, (void)result;
  return q8_run(work, args, NULL, UNITS);
}
