/* A copy of the input with the zero point around it and channels filled up to DEPTH.
 * Needs: BATCH, HEIGHT, WIDTH, CHANNELS, DEPTH, TOP, LEFT, PADDED_HEIGHT, PADDED_WIDTH, X_ZERO. */
static void pad_rows(const KernelArg *args, void *more, size_t from, size_t to) {
  const uint8_t *x = q8_data(args, 0);
  for (size_t row = from; row < to; row++) {
    uint8_t *out = (uint8_t *)more + row * PADDED_WIDTH * DEPTH;
    size_t batch = row / PADDED_HEIGHT;
    int y = (int)(row % PADDED_HEIGHT);
    memset(out, X_ZERO, (size_t)PADDED_WIDTH * DEPTH);
    if (y < TOP || y >= TOP + HEIGHT) continue;
    const uint8_t *in = x + (batch * HEIGHT + (size_t)(y - TOP)) * WIDTH * CHANNELS;
    out += (size_t)LEFT * DEPTH;
    if (CHANNELS == DEPTH) {
      memcpy(out, in, (size_t)WIDTH * CHANNELS);
    } else {
      for (size_t i = 0; i < (size_t)WIDTH; i++)
        for (size_t c = 0; c < (size_t)CHANNELS; c++) out[i * DEPTH + c] = in[i * CHANNELS + c];
    }
  }
}

static uint8_t *padded_copy(const KernelArg *args) {
  uint64_t bytes = (uint64_t)BATCH * PADDED_HEIGHT * PADDED_WIDTH * DEPTH + 64;
  uint8_t *copy = TVMBackendAllocWorkspace(1, 0, bytes, 1, 8);
  (void)q8_run(pad_rows, args, copy, (size_t)BATCH * PADDED_HEIGHT);
  return copy;
}
