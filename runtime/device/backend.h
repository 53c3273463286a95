/* The C symbols that compiled kernels need. Their names are TVM's. */
#ifndef SPLITTER_BACKEND_H
#define SPLITTER_BACKEND_H

#include <stdint.h>

#include "pool.h"

void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count);
void *TVMBackendAllocWorkspace(int device_type, int device_id, uint64_t bytes, int dtype_code,
                               int dtype_bits);
int TVMBackendFreeWorkspace(int device_type, int device_id, void *workspace);
int TVMBackendParallelLaunch(ParallelTask task, void *data, int task_count);
int TVMBackendParallelBarrier(int task, ParallelGroup *group);

/* What the kernel that failed first has said, or "it gave no reason". */
const char *backend_error(void);

#endif
