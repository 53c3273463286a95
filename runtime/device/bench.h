/* Times every call alone. */
#ifndef SPLITTER_BENCH_H
#define SPLITTER_BENCH_H

#include <stdint.h>

/* Prints one CSV line per call: index,layer,median_s,min_s. */
void bench(uint32_t runs, const unsigned char *weights);

#endif
