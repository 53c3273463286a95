#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "files.h"

enum { BUFFER_BYTES = 16384, LINE_BYTES = 160 };

/* Zero until a trace is opened, so that the buffer takes no room in the executable. */
static struct {
  pthread_mutex_t lock;
  atomic_bool open;
  int file;
  size_t used;
  char buffer[BUFFER_BYTES];
} trace;

static const char *record_directory;

/* Returns 0, or -1 after it has switched the trace off: fail() comes through here again. */
static int flush_locked(void) {
  int status = files_write(trace.file, trace.buffer, trace.used);
  trace.used = 0;
  if (status != 0) trace.open = false;
  return status;
}

void trace_open(const char *path) {
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) fail(EXIT_ARGUMENTS, "--trace: cannot write %s: %s", path, strerror(errno));
  (void)pthread_mutex_init(&trace.lock, NULL);
  trace.file = file;
  trace.open = true;
  static const char head[] = "event,request,index,start_ns,end_ns\n";
  memcpy(trace.buffer, head, sizeof head - 1);
  trace.used = sizeof head - 1;
}

void trace_event(const char *event, uint64_t request, uint64_t index, uint64_t start_ns,
                 uint64_t end_ns) {
  if (!trace.open) return;
  int status = 0;
  (void)pthread_mutex_lock(&trace.lock);
  if (trace.used + LINE_BYTES > BUFFER_BYTES) status = flush_locked();
  int written = snprintf(trace.buffer + trace.used, LINE_BYTES,
                         "%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", event, request,
                         index, start_ns, end_ns);
  if (written > 0) trace.used += (size_t)written;
  (void)pthread_mutex_unlock(&trace.lock);
  if (status != 0) fail(EXIT_RESOURCE, "cannot write the trace: %s", strerror(errno));
}

void trace_flush(void) {
  if (!trace.open) return;
  (void)pthread_mutex_lock(&trace.lock);
  int status = flush_locked();
  (void)pthread_mutex_unlock(&trace.lock);
  if (status != 0) warn("the trace is incomplete: %s", strerror(errno));
}

void record_open(const char *directory) {
  if (access(directory, W_OK | X_OK) != 0)
    fail(EXIT_ARGUMENTS, "--record: cannot write to %s: %s", directory, strerror(errno));
  record_directory = directory;
}

void record_tensor(uint64_t request, uint32_t wire, const void *data, size_t length) {
  if (record_directory == NULL || request != 0) return;
  char path[4096];
  int used = snprintf(path, sizeof path, "%s/%" PRIu32 ".bin", record_directory, wire);
  if (used < 0 || (size_t)used >= sizeof path)
    fail(EXIT_ARGUMENTS, "--record: the path %s is too long", record_directory);
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0 || files_write(file, data, length) != 0 || close(file) != 0)
    fail(EXIT_RESOURCE, "--record: cannot write %s: %s", path, strerror(errno));
}
