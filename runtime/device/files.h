/* Small files and paths. */
#ifndef SPLITTER_FILES_H
#define SPLITTER_FILES_H

#include <stddef.h>
#include <sys/types.h>

/* Path of a file in the executable's folder; valid until the next call. */
const char *files_beside(const char *name);

/* Reads a whole text file ("-": standard input) and terminates it; a fault ends the node. */
void files_read_text(const char *path, char *text, size_t capacity);

/* Reads to the end or until `capacity` bytes are there; returns their number, or -1 with errno. */
ssize_t files_read(int file, void *data, size_t capacity);

/* Writes everything; returns 0, or -1 and sets errno. */
int files_write(int file, const void *data, size_t length);

#endif
