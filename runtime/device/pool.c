#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sched.h>
#include <unistd.h>

#include "clock.h"
#include "fail.h"
#include "thread.h"

enum { SPIN_NS = 50000, SPINS_PER_LOOK = 32 };

/* A launch is one number: which launch it is (upper half) and how many of its tasks nobody has
 * taken yet (lower half). Whoever lowers it owns a task, and the launch cannot end before that
 * task does, so the plain fields are stable for the owner. */
static struct {
  uint32_t threads;
  uint64_t spin_ns;
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

static bool take_task(uint32_t number, int32_t *task) {
  uint64_t launch = atomic_load(&pool.launch);
  for (;;) {
    uint32_t left = (uint32_t)launch;
    if (launch_number(launch) != number || left == 0) return false;
    if (!atomic_compare_exchange_weak(&pool.launch, &launch, launch - 1)) continue;
    *task = pool.group.num_task - (int32_t)left;
    return true;
  }
}

static void finish_task(void) {
  if (atomic_fetch_sub(&pool.unfinished, 1) != 1 || !atomic_load(&pool.waiting)) return;
  (void)pthread_mutex_lock(&pool.lock);
  (void)pthread_cond_signal(&pool.done);
  (void)pthread_mutex_unlock(&pool.lock);
}

static void work_on(uint32_t number) {
  int32_t task;
  in_task = true;
  while (take_task(number, &task)) {
    if (pool.task(task, &pool.group, pool.data) != 0) atomic_store(&pool.failed, true);
    finish_task();
  }
  in_task = false;
}

/* Spins until the condition holds or the time for spinning is over. */
#define SPIN_UNTIL(condition)                                                          \
  for (uint64_t end_ns = now_ns() + pool.spin_ns; !(condition) && now_ns() < end_ns;) \
  for (int spin = 0; spin < SPINS_PER_LOOK && !(condition); spin++) breathe()

static bool launched_after(uint32_t number) {
  return launch_number(atomic_load(&pool.launch)) != number;
}

static void *worker(void *unused) {
  (void)unused;
  for (uint32_t number = 0;;) {
    SPIN_UNTIL(launched_after(number));
    if (!launched_after(number)) {
      (void)pthread_mutex_lock(&pool.lock);
      atomic_fetch_add(&pool.sleeping, 1);
      while (!launched_after(number)) (void)pthread_cond_wait(&pool.wake, &pool.lock);
      atomic_fetch_sub(&pool.sleeping, 1);
      (void)pthread_mutex_unlock(&pool.lock);
    }
    number = launch_number(atomic_load(&pool.launch));
    work_on(number);
  }
  return NULL;
}

void pool_start(uint32_t threads) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  pool.threads = threads;
  /* Spinning helps only while every thread has a processor of its own. */
  pool.spin_ns = processors >= (long)threads ? SPIN_NS : 0;
  for (uint32_t i = 1; i < threads; i++) thread_start(worker, NULL, THREAD_KERNEL_BYTES);
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

int pool_run(ParallelTask task, void *data, int count) {
  if (count <= 0) count = (int)pool.threads;
  if (pool.threads == 1 || count == 1 || in_task) return run_alone(task, data, count);
  pool.task = task;
  pool.data = data;
  pool.group = (ParallelGroup){.sync_handle = &pool.arrived, .num_task = count};
  atomic_store(&pool.arrived, 0);
  atomic_store(&pool.failed, false);
  atomic_store(&pool.unfinished, count);
  uint32_t number = launch_number(atomic_load(&pool.launch)) + 1;
  atomic_store(&pool.launch, (uint64_t)number << 32 | (uint32_t)count);
  wake_sleepers();
  work_on(number);
  wait_unfinished();
  return atomic_load(&pool.failed) ? -1 : 0;
}

int pool_barrier(ParallelGroup *group) {
  if (group->num_task == 1) return 0;
  if (group->sync_handle == NULL || (uint32_t)group->num_task > pool.threads)
    fail(EXIT_KERNEL, "a kernel waits for %d tasks at once, but there are %u threads",
         (int)group->num_task, (unsigned)pool.threads);
  uint32_t count = (uint32_t)group->num_task;
  uint32_t target = (atomic_fetch_add(&pool.arrived, 1) / count + 1) * count;
  while (atomic_load(&pool.arrived) < target) (void)sched_yield();
  return 0;
}
