/* Runs stages: the oldest request's next ready one first. */
#ifndef SPLITTER_COMPUTE_H
#define SPLITTER_COMPUTE_H

#include <stdint.h>

#include "slots.h"

/* Runs one call on a slot's tensors; a kernel's error ends the node. */
void compute_call(uint32_t call, Slot *slot);

/* Starts the thread that computes for as long as the node lives. */
void compute_start(void);

#endif
