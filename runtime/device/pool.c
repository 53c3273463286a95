#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sched.h>
#include <unistd.h>

#include "clock.h"
#include "fail.h"
#include "thread.h"

/* Waking a sleeper can take longer than a layer: whoever launches has then done all the work, and
 * the worker, late for every launch, sleeps again. So while a stage runs nobody sleeps unless there
 * is nothing to do for long. */
enum { SPIN_NS = 50000, SPIN_IN_STAGE_NS = 2000000, SPINS_PER_LOOK = 32, MAX_SHARES = 32 };

/* A launch is one number: which launch it is (upper half) and a bit for each share of its tasks that
 * nobody has taken yet (lower half). Whoever clears a bit owns the share, and the launch cannot end
 * before that share does, so the plain fields are stable for the owner. Each thread takes its own
 * share first: it then works on the same part of every layer, and finds most of its input in its
 * own cache. */
static struct {
  uint32_t threads;
  bool spins;
  atomic_bool in_stage;
  _Atomic uint32_t stages; /* begun so far */
  ParallelTask task;
  void *data;
  ParallelGroup group;
  _Atomic uint32_t arrived; /* at barriers, in this launch */
  _Atomic uint64_t launch;
  _Atomic int32_t unfinished;
  atomic_bool failed;
  pthread_mutex_t lock;
  pthread_cond_t wake, done;
  _Atomic uint32_t sleeping;
  atomic_bool waiting; /* the launching thread sleeps until unfinished is 0 */
} pool = {
    .threads = 1,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .wake = PTHREAD_COND_INITIALIZER,
    .done = PTHREAD_COND_INITIALIZER,
};

static _Thread_local bool in_task;

static void breathe(void) {
#if defined(__x86_64__)
  __asm__ volatile("pause");
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield");
#endif
}

static uint32_t launch_number(uint64_t launch) {
  return (uint32_t)(launch >> 32);
}

static bool take_share(uint32_t number, uint32_t own, uint32_t *share) {
  uint64_t launch = atomic_load(&pool.launch);
  for (;;) {
    uint32_t left = (uint32_t)launch;
    if (launch_number(launch) != number || left == 0) return false;
    *share = left >> own & 1 ? own : (uint32_t)__builtin_ctz(left);
    if (atomic_compare_exchange_weak(&pool.launch, &launch, launch & ~(UINT64_C(1) << *share)))
      return true;
  }
}

static void finish_share(void) {
  if (atomic_fetch_sub(&pool.unfinished, 1) != 1 || !atomic_load(&pool.waiting)) return;
  (void)pthread_mutex_lock(&pool.lock);
  (void)pthread_cond_signal(&pool.done);
  (void)pthread_mutex_unlock(&pool.lock);
}

static void work_on(uint32_t number, uint32_t own) {
  uint32_t share;
  in_task = true;
  while (take_share(number, own, &share)) {
    for (int32_t task = (int32_t)share; task < pool.group.num_task; task += MAX_SHARES)
      if (pool.task(task, &pool.group, pool.data) != 0) atomic_store(&pool.failed, true);
    finish_share();
  }
  in_task = false;
}

static bool may_spin(uint64_t start_ns) {
  if (!pool.spins) return false;
  return now_ns() - start_ns < (atomic_load(&pool.in_stage) ? SPIN_IN_STAGE_NS : SPIN_NS);
}

/* Spins until the condition holds or the time for spinning is over. */
#define SPIN_UNTIL(condition)                                             \
  for (uint64_t start_ns = now_ns(); !(condition) && may_spin(start_ns);) \
  for (int spin = 0; spin < SPINS_PER_LOOK && !(condition); spin++) breathe()

static bool launched_after(uint32_t number) {
  return launch_number(atomic_load(&pool.launch)) != number;
}

static void sleep_until_wanted(uint32_t number, uint32_t stages) {
  (void)pthread_mutex_lock(&pool.lock);
  atomic_fetch_add(&pool.sleeping, 1);
  while (!launched_after(number) && atomic_load(&pool.stages) == stages)
    (void)pthread_cond_wait(&pool.wake, &pool.lock);
  atomic_fetch_sub(&pool.sleeping, 1);
  (void)pthread_mutex_unlock(&pool.lock);
}

static void *worker(void *index) {
  uint32_t own = (uint32_t)(uintptr_t)index % MAX_SHARES;
  for (uint32_t number = 0;;) {
    uint32_t stages = atomic_load(&pool.stages);
    SPIN_UNTIL(launched_after(number));
    if (!launched_after(number)) sleep_until_wanted(number, stages);
    if (!launched_after(number)) continue;
    number = launch_number(atomic_load(&pool.launch));
    work_on(number, own);
  }
  return NULL;
}

void pool_start(uint32_t threads) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  pool.threads = threads;
  /* Spinning helps only while every thread has a processor of its own. */
  pool.spins = processors >= (long)threads;
  for (uint32_t i = 1; i < threads; i++)
    thread_start(worker, (void *)(uintptr_t)i, THREAD_KERNEL_BYTES);
}

static int run_alone(ParallelTask task, void *data, int32_t count) {
  ParallelGroup group = {.num_task = count};
  int status = 0;
  for (int32_t i = 0; i < count; i++)
    if (task(i, &group, data) != 0) status = -1;
  return status;
}

static void wait_unfinished(void) {
  SPIN_UNTIL(atomic_load(&pool.unfinished) == 0);
  if (atomic_load(&pool.unfinished) == 0) return;
  (void)pthread_mutex_lock(&pool.lock);
  atomic_store(&pool.waiting, true);
  while (atomic_load(&pool.unfinished) != 0) (void)pthread_cond_wait(&pool.done, &pool.lock);
  atomic_store(&pool.waiting, false);
  (void)pthread_mutex_unlock(&pool.lock);
}

static void wake_sleepers(void) {
  if (atomic_load(&pool.sleeping) == 0) return;
  (void)pthread_mutex_lock(&pool.lock);
  (void)pthread_cond_broadcast(&pool.wake);
  (void)pthread_mutex_unlock(&pool.lock);
}

void pool_begin_stage(void) {
  if (!pool.spins || pool.threads == 1) return;
  atomic_store(&pool.in_stage, true);
  atomic_fetch_add(&pool.stages, 1);
  wake_sleepers();
}

void pool_end_stage(void) {
  atomic_store(&pool.in_stage, false);
}

int pool_run(ParallelTask task, void *data, int count) {
  if (count <= 0) count = (int)pool.threads;
  if (pool.threads == 1 || count == 1 || in_task) return run_alone(task, data, count);
  pool.task = task;
  pool.data = data;
  pool.group = (ParallelGroup){.sync_handle = &pool.arrived, .num_task = count};
  atomic_store(&pool.arrived, 0);
  atomic_store(&pool.failed, false);
  int32_t shares = count < MAX_SHARES ? count : MAX_SHARES;
  atomic_store(&pool.unfinished, shares);
  uint32_t number = launch_number(atomic_load(&pool.launch)) + 1;
  atomic_store(&pool.launch, (uint64_t)number << 32 | UINT32_MAX >> (MAX_SHARES - shares));
  wake_sleepers();
  work_on(number, 0);
  wait_unfinished();
  return atomic_load(&pool.failed) ? -1 : 0;
}

int pool_barrier(ParallelGroup *group) {
  if (group->num_task == 1) return 0;
  uint32_t at_once = pool.threads < MAX_SHARES ? pool.threads : MAX_SHARES;
  if (group->sync_handle == NULL || (uint32_t)group->num_task > at_once)
    fail(EXIT_KERNEL, "a kernel waits for %d tasks, but at most %u run at once",
         (int)group->num_task, (unsigned)at_once);
  uint32_t count = (uint32_t)group->num_task;
  uint32_t target = (atomic_fetch_add(&pool.arrived, 1) / count + 1) * count;
  while (atomic_load(&pool.arrived) < target) (void)sched_yield();
  return 0;
}
