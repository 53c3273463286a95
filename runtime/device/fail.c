#include "fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tables.h"
#include "trace.h"

enum { MESSAGE_BYTES = 1024 };

static int write_all(int file, const char *text, size_t length) {
  while (length > 0) {
    ssize_t written = write(file, text, length);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return -1;
    text += written;
    length -= (size_t)written;
  }
  return 0;
}

/* One write per line, so that lines of several nodes on one terminal do not mix. */
static void print_line(const char *format, va_list values) {
  char line[MESSAGE_BYTES];
  int used = snprintf(line, sizeof line, "node %s: ", node_tables.node);
  if (used < 0 || used >= MESSAGE_BYTES) used = 0;
  size_t start = (size_t)used;
  (void)vsnprintf(line + start, sizeof line - start - 1, format, values);
  size_t length = strlen(line);
  line[length] = '\n';
  (void)write_all(STDERR_FILENO, line, length + 1);
}

void fail(int code, const char *format, ...) {
  static atomic_flag failing = ATOMIC_FLAG_INIT;
  while (atomic_flag_test_and_set(&failing)) pause();
  va_list values;
  va_start(values, format);
  print_line(format, values);
  va_end(values);
  trace_flush();
  _exit(code);
}

void warn(const char *format, ...) {
  va_list values;
  va_start(values, format);
  print_line(format, values);
  va_end(values);
}

void say(const char *format, ...) {
  char text[MESSAGE_BYTES];
  va_list values;
  va_start(values, format);
  (void)vsnprintf(text, sizeof text, format, values);
  va_end(values);
  if (write_all(STDOUT_FILENO, text, strlen(text)) != 0)
    fail(EXIT_RESOURCE, "cannot write to standard output: %s", strerror(errno));
}
