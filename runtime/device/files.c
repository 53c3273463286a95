#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"

const char *files_beside(const char *name) {
  static char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  path[length > 0 ? length : 0] = '\0';
  char *slash = strrchr(path, '/');
  char *end = slash == NULL ? path : slash + 1;
  size_t room = sizeof path - (size_t)(end - path);
  if (strlen(name) >= room) fail(EXIT_ARGUMENTS, "the path of the executable is too long");
  memcpy(end, name, strlen(name) + 1);
  return path;
}

ssize_t files_read(int file, void *data, size_t capacity) {
  size_t done = 0;
  while (done < capacity) {
    ssize_t got = read(file, (char *)data + done, capacity - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += (size_t)got;
  }
  return (ssize_t)done;
}

void files_read_text(const char *path, char *text, size_t capacity) {
  int file = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(EXIT_ARGUMENTS, "cannot read %s: %s", path, strerror(errno));
  ssize_t length = files_read(file, text, capacity);
  if (length < 0) fail(EXIT_ARGUMENTS, "cannot read %s: %s", path, strerror(errno));
  if ((size_t)length == capacity)
    fail(EXIT_ARGUMENTS, "%s is longer than %zu bytes", path, capacity - 1);
  if (memchr(text, '\0', (size_t)length) != NULL)
    fail(EXIT_ARGUMENTS, "%s is no text: it has a zero byte", path);
  text[length] = '\0';
  if (file != STDIN_FILENO) (void)close(file);
}

int files_write(int file, const void *data, size_t length) {
  const char *at = data;
  while (length > 0) {
    ssize_t written = write(file, at, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return -1;
    at += written;
    length -= (size_t)written;
  }
  return 0;
}
