#include "slots.h"

#include <pthread.h>
#include <string.h>

#include "decode.h"
#include "memory.h"
#include "send.h"
#include "serve.h"

static struct {
  pthread_mutex_t lock;
  pthread_cond_t released, work;
  Slot *slots;
  uint32_t *first_arg; /* by call, and the number of all arguments behind the last */
  uint64_t admitted, completed, total;
  unsigned char *arena;
} state = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .released = PTHREAD_COND_INITIALIZER,
    .work = PTHREAD_COND_INITIALIZER,
    .total = UINT64_MAX,
};

static void lock(void) {
  (void)pthread_mutex_lock(&state.lock);
}

static void unlock(void) {
  (void)pthread_mutex_unlock(&state.lock);
}

static KernelTensor kernel_tensor(const NodeTensor *tensor, unsigned char *base) {
  return (KernelTensor){
      .data = tensor->bytes > 0 ? base + tensor->offset : base,
      .device = {.device_type = KERNEL_DEVICE_CPU},
      .ndim = tensor->ndim,
      .dtype = {.code = tensor->dtype_code, .bits = tensor->dtype_bits, .lanes = 1},
      .shape = (int64_t *)(uintptr_t)tensor->shape, /* DLPack has no const; kernels only read */
  };
}

static void fill_args(Slot *slot) {
  for (uint32_t i = 0; i < node_tables.call_count; i++) {
    const NodeCall *call = &node_tables.calls[i];
    for (uint32_t j = 0; j < call->arg_count; j++) {
      KernelArg *arg = &slot->args[state.first_arg[i] + j];
      arg->type_index = KERNEL_TYPE_TENSOR_POINTER;
      arg->value.v_ptr = &slot->tensors[call->args[j]];
    }
  }
}

static void start_request(Slot *slot, uint64_t request) {
  slot->request = request;
  slot->left = node_tables.receive_count + node_tables.stage_count + node_tables.send_count;
  slot->next_stage = 0;
  memset(slot->arrived, 0, node_tables.receive_count * sizeof *slot->arrived);
}

/* Indexed by enum NodeStorage. */
static void start_slot(Slot *slot, unsigned char *const bases[4]) {
  slot->arrived = memory_array(node_tables.receive_count, sizeof *slot->arrived);
  slot->tensors = memory_array(node_tables.tensor_count, sizeof *slot->tensors);
  slot->args = memory_array(state.first_arg[node_tables.call_count], sizeof *slot->args);
  for (uint32_t i = 0; i < node_tables.tensor_count; i++)
    slot->tensors[i] =
        kernel_tensor(&node_tables.tensors[i], bases[node_tables.tensors[i].storage]);
  fill_args(slot);
}

void slots_start(const unsigned char *weights) {
  state.slots = memory_array(node_tables.slots, sizeof *state.slots);
  state.first_arg = memory_array((size_t)node_tables.call_count + 1, sizeof *state.first_arg);
  for (uint32_t i = 0; i < node_tables.call_count; i++)
    state.first_arg[i + 1] = state.first_arg[i] + node_tables.calls[i].arg_count;
  unsigned char *bases[4] = {
      [STORAGE_WEIGHTS] = (unsigned char *)(uintptr_t)weights, /* mapped read-only */
      [STORAGE_ARENA] = memory_pages(node_tables.arena_bytes, "the arena"),
      [STORAGE_DECODED] = decode_weights(weights),
  };
  state.arena = bases[STORAGE_ARENA];
  for (uint32_t i = 0; i < node_tables.slots; i++) {
    bases[STORAGE_SLOT] = memory_pages(node_tables.slot_bytes, "a request slot");
    start_slot(&state.slots[i], bases);
    start_request(&state.slots[i], i);
  }
}

uint32_t slots_first_arg(uint32_t call) {
  return state.first_arg[call];
}

unsigned char *slots_arena(void) {
  return state.arena;
}

Slot *slots_any(void) {
  return &state.slots[0];
}

static Slot *slot_of(uint64_t request) {
  return &state.slots[request % node_tables.slots];
}

Slot *slots_admit(uint64_t request) {
  Slot *slot = slot_of(request);
  lock();
  while (slot->request != request && request < state.total)
    (void)pthread_cond_wait(&state.released, &state.lock);
  bool wanted = request < state.total;
  if (wanted && request >= state.admitted) state.admitted = request + 1;
  unlock();
  return wanted ? slot : NULL;
}

/* Called locked when one thing of a request is done; the last one frees the slot. */
static void count_down(Slot *slot) {
  if (--slot->left > 0) return;
  start_request(slot, slot->request + node_tables.slots);
  state.completed++;
  (void)pthread_cond_broadcast(&state.released);
  if (state.completed == state.total) serve_wake();
}

void slots_arrived(Slot *slot, uint32_t receive) {
  send_after(AFTER_RECEIVE, receive, slot);
  lock();
  slot->arrived[receive] = true;
  count_down(slot);
  (void)pthread_cond_signal(&state.work);
  unlock();
}

void slots_computed(Slot *slot) {
  lock();
  slot->next_stage++;
  count_down(slot);
  unlock();
}

void slots_sent(Slot *slot) {
  lock();
  count_down(slot);
  unlock();
}

static bool can_run(const Slot *slot) {
  if (slot->next_stage == node_tables.stage_count) return false;
  const NodeStage *stage = &node_tables.stages[slot->next_stage];
  for (uint32_t i = 0; i < stage->need_count; i++)
    if (!slot->arrived[stage->needs[i]]) return false;
  return true;
}

static Slot *find_ready(void) {
  for (uint64_t request = state.completed; request < state.admitted; request++) {
    Slot *slot = slot_of(request);
    if (slot->request == request && can_run(slot)) return slot;
  }
  return NULL;
}

Slot *slots_next_stage(uint32_t *stage) {
  Slot *slot;
  lock();
  while ((slot = find_ready()) == NULL) (void)pthread_cond_wait(&state.work, &state.lock);
  *stage = slot->next_stage;
  unlock();
  return slot;
}

/* Called locked. */
static void lower_total(uint64_t total) {
  if (total >= state.total) return;
  state.total = total;
  (void)pthread_cond_broadcast(&state.released);
  serve_wake();
}

uint64_t slots_end_at(uint64_t total) {
  lock();
  uint64_t admitted = state.admitted;
  if (admitted <= total) lower_total(total);
  unlock();
  return admitted;
}

void slots_end_now(void) {
  lock();
  lower_total(state.admitted);
  unlock();
}

bool slots_finished(uint64_t *total) {
  lock();
  bool finished = state.completed == state.total;
  *total = state.total;
  unlock();
  return finished;
}

uint64_t slots_in_flight(void) {
  lock();
  uint64_t count = state.admitted - state.completed;
  unlock();
  return count;
}
