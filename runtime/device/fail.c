#include "fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "tables.h"
#include "trace.h"

enum { MESSAGE_BYTES = 1024 };

/* One write per line, so that lines of several nodes on one terminal do not mix. */
static void print_line(const char *format, va_list values) {
  char line[MESSAGE_BYTES];
  int used = snprintf(line, sizeof line, "node %s: ", node_tables.node);
  if (used < 0 || used >= MESSAGE_BYTES) used = 0;
  size_t start = (size_t)used;
  (void)vsnprintf(line + start, sizeof line - start - 1, format, values);
  size_t length = strlen(line);
  line[length] = '\n';
  (void)files_write(STDERR_FILENO, line, length + 1);
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
  if (files_write(STDOUT_FILENO, text, strlen(text)) != 0)
    fail(EXIT_RESOURCE, "cannot write to standard output: %s", strerror(errno));
}
