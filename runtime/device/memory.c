#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail.h"
#include "files.h"

/* What most 64-bit processors can translate at once. */
enum { HUGE_PAGE_BYTES = 2 << 20 };

/* Kernels read planes side by side, each from pages of its own, which are more than a processor
 * keeps translations for. Only whole huge pages are asked for, so no memory is wasted; that the
 * system has none is no fault. */
static unsigned char *huge_pages(unsigned char *pages, size_t bytes) {
  size_t before = -(uintptr_t)pages % HUGE_PAGE_BYTES;
  (void)madvise(pages + before, bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES, MADV_HUGEPAGE);
  return pages + before;
}

unsigned char *memory_pages(uint64_t bytes, const char *what) {
  if (bytes == 0) return NULL;
  if (bytes > SIZE_MAX / 2)
    fail(EXIT_RESOURCE, "%s needs %" PRIu64 " bytes, more than this processor can address", what,
         bytes);
  size_t huge = bytes < HUGE_PAGE_BYTES ? 0 : HUGE_PAGE_BYTES;
  unsigned char *pages = mmap(NULL, (size_t)bytes + huge, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED)
    fail(EXIT_RESOURCE, "no memory for %s, %" PRIu64 " bytes: %s", what, bytes, strerror(errno));
  return huge == 0 ? pages : huge_pages(pages, (size_t)bytes);
}

void *memory_array(size_t count, size_t size) {
  void *array = calloc(count > 0 ? count : 1, size);
  if (array == NULL) fail(EXIT_RESOURCE, "no memory for %zu times %zu bytes", count, size);
  return array;
}

/* getrusage() would count what the launcher had before it became this program. */
uint64_t memory_peak_bytes(void) {
  char text[4096];
  int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t length = files_read(file, text, sizeof text - 1);
  (void)close(file);
  text[length > 0 ? length : 0] = '\0';
  const char *line = strstr(text, "VmHWM:");
  return line == NULL ? 0 : strtoull(line + strlen("VmHWM:"), NULL, 10) * 1024;
}
