/* Times every call. */
#ifndef SPLITTER_BENCH_H
#define SPLITTER_BENCH_H

#include <stdint.h>

/* Runs all calls `runs` times in order and prints one CSV line per call: index,layer,median_s,min_s. */
void bench(uint32_t runs, const unsigned char *weights);

#endif
