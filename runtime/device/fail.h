/* Messages on standard error, and the exit codes of docs/wire.md. */
#ifndef SPLITTER_FAIL_H
#define SPLITTER_FAIL_H

enum {
  EXIT_ARGUMENTS = 2,
  EXIT_WEIGHTS = 3,
  EXIT_PEER = 4,
  EXIT_FRAME = 5,
  EXIT_KERNEL = 6,
  EXIT_RESOURCE = 7,
  EXIT_PROCESSOR = 8,
};

/* Prints `node NAME: message` and ends the process at once, whatever other threads do. Of several
 * threads that fail together only the first is heard: the others' faults mostly follow from it. */
_Noreturn void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints `node NAME: message` and goes on. */
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes a whole text to standard output; a failing write ends the node. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
