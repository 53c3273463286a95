/* Small files and paths. */
#ifndef SPLITTER_FILES_H
#define SPLITTER_FILES_H

#include <stddef.h>

/* Path of a file in the executable's folder; valid until the next call. */
const char *files_beside(const char *name);

/* Reads a whole text file ("-": standard input) and terminates it; a fault ends the node. */
void files_read_text(const char *path, char *text, size_t capacity);

#endif
