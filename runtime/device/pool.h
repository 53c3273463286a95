/* The threads that share a kernel's parallel loops. */
#ifndef SPLITTER_POOL_H
#define SPLITTER_POOL_H

#include <stdint.h>

/* TVM's TVMParallelGroupEnv and FTVMParallelLambda. */
typedef struct {
  void *sync_handle;
  int32_t num_task;
} ParallelGroup;
typedef int (*ParallelTask)(int task, ParallelGroup *group, void *data);

/* Starts `threads` - 1 workers; the thread that calls pool_run is the last one. */
void pool_start(uint32_t threads);

/* Between them the workers expect launches, one soon after the other. */
void pool_begin_stage(void);
void pool_end_stage(void);

/* Runs task(0) ... task(count - 1), as many as there are threads when count is 0. Returns 0 when
 * all returned 0, else -1. Only one thread may call it at a time. */
int pool_run(ParallelTask task, void *data, int count);

/* Waits until all tasks of the group have come here. */
int pool_barrier(ParallelGroup *group);

#endif
