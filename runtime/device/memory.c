#include "memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fail.h"

unsigned char *memory_pages(uint64_t bytes, const char *what) {
  if (bytes == 0) return NULL;
  if (bytes > SIZE_MAX / 2)
    fail(EXIT_RESOURCE, "%s needs %" PRIu64 " bytes, more than this processor can address", what,
         bytes);
  void *pages = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED)
    fail(EXIT_RESOURCE, "no memory for %s, %" PRIu64 " bytes: %s", what, bytes, strerror(errno));
  return pages;
}

void *memory_array(size_t count, size_t size) {
  void *array = calloc(count > 0 ? count : 1, size);
  if (array == NULL) fail(EXIT_RESOURCE, "no memory for %zu times %zu bytes", count, size);
  return array;
}
