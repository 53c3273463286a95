#include "compute.h"

#include <inttypes.h>
#include <stddef.h>

#include "backend.h"
#include "clock.h"
#include "fail.h"
#include "pool.h"
#include "send.h"
#include "thread.h"
#include "trace.h"
#include "workspace.h"

void compute_call(uint32_t index, Slot *slot) {
  const NodeCall *call = &node_tables.calls[index];
  KernelArg result = {.type_index = KERNEL_TYPE_NONE};
  unsigned char *scratch = call->scratch_bytes ? slots_arena() + call->scratch_offset : NULL;
  workspace_use(scratch, call->scratch_bytes);
  int status = call->kernel(NULL, slot->args + slots_first_arg(index), (int32_t)call->arg_count,
                            &result);
  if (status != 0)
    fail(EXIT_KERNEL, "layer %s (call %" PRIu32 ") failed: %s", call->layer, index,
         backend_error());
}

static void run_stage(Slot *slot, uint32_t index) {
  const NodeStage *stage = &node_tables.stages[index];
  uint64_t request = slot->request, start_ns = now_ns(), end_ns = start_ns;
  pool_begin_stage();
  for (uint32_t i = 0; i < stage->call_count; i++) {
    compute_call(stage->first_call + i, slot);
    end_ns = now_ns(); /* waking the sender below may cost this thread its processor */
    send_after(AFTER_CALL, stage->first_call + i, slot);
  }
  pool_end_stage();
  trace_event("stage", request, index, start_ns, end_ns);
  slots_computed(slot);
}

static void *compute(void *unused) {
  (void)unused;
  for (;;) {
    uint32_t stage;
    Slot *slot = slots_next_stage(&stage);
    run_stage(slot, stage);
  }
  return NULL;
}

void compute_start(void) {
  thread_start(compute, NULL, THREAD_KERNEL_BYTES);
}
