/* The event log of --trace and the tensor dumps of --record; see docs/node.md. */
#ifndef SPLITTER_TRACE_H
#define SPLITTER_TRACE_H

#include <stddef.h>
#include <stdint.h>

void trace_open(const char *path);

/* Notes one event; costs nothing when there is no trace. */
void trace_event(const char *event, uint64_t request, uint64_t index, uint64_t start_ns,
                 uint64_t end_ns);
void trace_flush(void);

void record_open(const char *directory);

/* Writes DIRECTORY/<wire>.bin when --record is given and this is request 0. */
void record_tensor(uint64_t request, uint32_t wire, const void *data, size_t length);

#endif
