/* Memory is taken once, at start, and kept until the process ends. */
#ifndef SPLITTER_MEMORY_H
#define SPLITTER_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed pages for tensors, page-aligned; only touched ones count. Ends the node when there is no
 * room. Returns NULL for no bytes. */
unsigned char *memory_pages(uint64_t bytes, const char *what);

/* A zeroed array. Ends the node when there is no room. */
void *memory_array(size_t count, size_t size);

/* The most memory that this process has had resident at once; 0 when the system does not say. */
uint64_t memory_peak_bytes(void);

#endif
