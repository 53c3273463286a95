/* The command line. */
#ifndef SPLITTER_OPTIONS_H
#define SPLITTER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  const char *weights, *peers; /* NULL: beside the executable */
  const char *listen, *trace, *record;
  uint64_t timeout_ns;
  uint32_t threads;
  uint32_t bench_runs; /* 0: serve */
  bool describe;
} Options;

/* Reads the arguments; a fault ends the node. */
Options options_parse(int count, char **arguments);

#endif
