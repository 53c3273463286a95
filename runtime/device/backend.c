#include "backend.h"

#include <pthread.h>
#include <stdio.h>

#include "workspace.h"

enum { ERROR_BYTES = 512 };

/* Each kernel object calls through pointer variables, which it defines itself, weak and null. The
 * linker keeps these strong definitions instead, so nothing has to be set at start. */
extern void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int);
extern int (*__TVMBackendFreeWorkspace)(int, int, void *);
extern int (*__TVMBackendParallelLaunch)(ParallelTask, void *, int);
extern int (*__TVMBackendParallelBarrier)(int, ParallelGroup *);
void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = TVMBackendAllocWorkspace;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = TVMBackendFreeWorkspace;
int (*__TVMBackendParallelLaunch)(ParallelTask, void *, int) = TVMBackendParallelLaunch;
int (*__TVMBackendParallelBarrier)(int, ParallelGroup *) = TVMBackendParallelBarrier;

static pthread_mutex_t error_lock = PTHREAD_MUTEX_INITIALIZER;
static char error_text[ERROR_BYTES];

/* Several workers may fail at once; the first message is kept. */
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {
  (void)pthread_mutex_lock(&error_lock);
  if (error_text[0] == '\0') {
    int used = snprintf(error_text, sizeof error_text, "%s: ", kind);
    for (int32_t i = 0; parts != NULL && i < count; i++) {
      if (parts[i] == NULL) continue;
      if (used < 0 || (size_t)used >= sizeof error_text) break;
      used += snprintf(error_text + used, sizeof error_text - (size_t)used, "%s", parts[i]);
    }
  }
  (void)pthread_mutex_unlock(&error_lock);
}

const char *backend_error(void) {
  (void)pthread_mutex_lock(&error_lock);
  if (error_text[0] == '\0') (void)snprintf(error_text, sizeof error_text, "it gave no reason");
  (void)pthread_mutex_unlock(&error_lock);
  return error_text;
}

void *TVMBackendAllocWorkspace(int device_type, int device_id, uint64_t bytes, int dtype_code,
                               int dtype_bits) {
  (void)device_type, (void)device_id, (void)dtype_code, (void)dtype_bits;
  return workspace_take(bytes);
}

int TVMBackendFreeWorkspace(int device_type, int device_id, void *workspace) {
  (void)device_type, (void)device_id;
  workspace_give(workspace);
  return 0;
}

int TVMBackendParallelLaunch(ParallelTask task, void *data, int task_count) {
  return pool_run(task, data, task_count);
}

int TVMBackendParallelBarrier(int task, ParallelGroup *group) {
  (void)task;
  return pool_barrier(group);
}
