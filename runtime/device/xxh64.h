/* XXH64, the 64-bit hash of the public xxHash specification, seed 0. */
#ifndef SPLITTER_XXH64_H
#define SPLITTER_XXH64_H

#include <stddef.h>
#include <stdint.h>

uint64_t xxh64(const void *data, size_t length);

#endif
