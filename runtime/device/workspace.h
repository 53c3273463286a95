/* Memory that kernels ask for while they run: out of the arena's scratch of the running call, which
 * the plan has counted; what does not fit there is allocated, kept and used again. */
#ifndef SPLITTER_WORKSPACE_H
#define SPLITTER_WORKSPACE_H

#include <stdint.h>

/* The scratch of the call that is about to run; no workspace is in use at that moment. */
void workspace_use(unsigned char *scratch, uint64_t bytes);

/* Both may be called by several workers at once. Taken memory is aligned to a cache line. */
void *workspace_take(uint64_t bytes);
void workspace_give(void *workspace);

#endif
