#include "backend.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "fail.h"

enum { ERROR_BYTES = 512, WORKSPACE_ALIGNMENT = 64 };

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

/* Stands in front of each workspace, on a line of its own so that the workspace is aligned. */
typedef union Block {
  struct {
    union Block *next;
    uint64_t bytes;
  } info;
  char line[WORKSPACE_ALIGNMENT];
} Block;

static pthread_mutex_t block_lock = PTHREAD_MUTEX_INITIALIZER;
static Block *free_blocks;

/* Takes the smallest kept block that fits. */
static Block *take_block(uint64_t bytes) {
  Block **best = NULL;
  (void)pthread_mutex_lock(&block_lock);
  for (Block **at = &free_blocks; *at != NULL; at = &(*at)->info.next)
    if ((*at)->info.bytes >= bytes && (best == NULL || (*at)->info.bytes < (*best)->info.bytes))
      best = at;
  Block *block = best == NULL ? NULL : *best;
  if (block != NULL) *best = block->info.next;
  (void)pthread_mutex_unlock(&block_lock);
  return block;
}

static Block *new_block(uint64_t bytes) {
  void *memory = NULL;
  if (bytes > SIZE_MAX / 2 ||
      posix_memalign(&memory, WORKSPACE_ALIGNMENT, sizeof(Block) + (size_t)bytes) != 0)
    fail(EXIT_RESOURCE, "no memory for a kernel's workspace of %" PRIu64 " bytes", bytes);
  Block *block = memory;
  block->info.bytes = bytes;
  return block;
}

void *TVMBackendAllocWorkspace(int device_type, int device_id, uint64_t bytes, int dtype_code,
                               int dtype_bits) {
  (void)device_type, (void)device_id, (void)dtype_code, (void)dtype_bits;
  Block *block = take_block(bytes);
  return (block != NULL ? block : new_block(bytes)) + 1;
}

int TVMBackendFreeWorkspace(int device_type, int device_id, void *workspace) {
  (void)device_type, (void)device_id;
  if (workspace == NULL) return 0;
  Block *block = (Block *)workspace - 1;
  (void)pthread_mutex_lock(&block_lock);
  block->info.next = free_blocks;
  free_blocks = block;
  (void)pthread_mutex_unlock(&block_lock);
  return 0;
}

int TVMBackendParallelLaunch(ParallelTask task, void *data, int task_count) {
  return pool_run(task, data, task_count);
}

int TVMBackendParallelBarrier(int task, ParallelGroup *group) {
  (void)task;
  return pool_barrier(group);
}
