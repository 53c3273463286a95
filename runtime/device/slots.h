/* Requests in flight. Request r lives in slot r mod S, from its first frame until its last tensor
 * has been sent; only then request r + S may come in. Requests complete in order, since the frames
 * of each tensor come in order, the compute thread prefers old requests, and each peer's queue
 * keeps its order. */
#ifndef SPLITTER_SLOTS_H
#define SPLITTER_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "tables.h"

typedef struct {
  uint64_t request;    /* that lives here, or is the next to */
  uint32_t left;       /* receives, stages and sends that it still has to do */
  uint32_t next_stage;
  bool *arrived;       /* by receive */
  KernelTensor *tensors;
  KernelArg *args;     /* of all calls, in order */
} Slot;

void slots_start(const unsigned char *weights);

/* Where the arguments of a call begin in Slot.args. */
uint32_t slots_first_arg(uint32_t call);

/* Start of the arena; NULL when it is empty. */
unsigned char *slots_arena(void);

/* Some slot, for calls outside of any request. */
Slot *slots_any(void);

/* Waits until the request's slot is its own, and admits the request. Returns NULL when no request
 * as new as this is admitted any more. */
Slot *slots_admit(uint64_t request);

/* A receive, stage or send of the slot's request is done. Arrived tensors that this node relays
 * are queued for sending. */
void slots_arrived(Slot *slot, uint32_t receive);
void slots_computed(Slot *slot);
void slots_sent(Slot *slot);

/* Waits for a stage that can run, of the oldest request that has one. */
Slot *slots_next_stage(uint32_t *stage);

/* Only the requests below `total` will ever come. Returns how many are admitted already; nothing
 * changes when that is more. */
uint64_t slots_end_at(uint64_t total);

/* Admits no further request. */
void slots_end_now(void);

/* Whether all requests that will ever be wanted are done; `total` gets their number. */
bool slots_finished(uint64_t *total);

/* How many admitted requests are not done. */
uint64_t slots_in_flight(void);

#endif
