/* What this machine can do at most: multiply-adds out of registers, and copying through memory.
 * Prints two numbers, both from THREADS threads at once: FLOP/s and bytes/s (read + written).
 * Built for the machine it runs on, with VECTOR_BYTES of a vector register and how many of them
 * hold accumulators. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LANES = VECTOR_BYTES / 4, STEPS = 4096, TRIALS = 15, COPIES = 5 };
static const size_t COPY_BYTES = (size_t)256 << 20;

#if defined(__x86_64__)
#define IN_REGISTER(value) "+v"(value)
#else
#define IN_REGISTER(value) "+w"(value)
#endif

typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));

static pthread_barrier_t together;
static unsigned threads;
static unsigned char *from, *to;
static volatile float sink;

static double now_s(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The accumulators do not depend on each other, so that both latency and issue are hidden. */
static void multiply_add(void) {
  Vector sums[ACCUMULATORS];
  Vector factor = {0}, term = {0};
  float seed = sink;
  for (int lane = 0; lane < LANES; lane++) factor[lane] = seed + 0.5f, term[lane] = seed + 1.0f;
  for (int i = 0; i < ACCUMULATORS; i++) sums[i] = term * (float)i;
  for (int step = 0; step < STEPS; step++) {
#pragma clang loop unroll(full)
    for (int i = 0; i < ACCUMULATORS; i++) {
      sums[i] = sums[i] * factor + term;
      __asm__ volatile("" : IN_REGISTER(sums[i]));
    }
  }
  Vector total = sums[0];
  for (int i = 1; i < ACCUMULATORS; i++) total += sums[i];
  sink = total[0];
}

/* The best trial of `run`, all threads together. */
static double fastest_s(void (*run)(unsigned), unsigned thread, int trials) {
  double best_s = 1e9;
  for (int trial = 0; trial < trials; trial++) {
    (void)pthread_barrier_wait(&together);
    double start_s = now_s();
    run(thread);
    (void)pthread_barrier_wait(&together);
    double took_s = now_s() - start_s;
    if (took_s < best_s) best_s = took_s;
  }
  return best_s;
}

static void multiply_adds(unsigned thread) {
  (void)thread;
  for (int i = 0; i < 256; i++) multiply_add();
}

static void copy(unsigned thread) {
  size_t share = COPY_BYTES / threads;
  memcpy(to + share * thread, from + share * thread, share);
}

static double fma_s, copy_s;

static void *worker(void *argument) {
  unsigned thread = (unsigned)(uintptr_t)argument;
  double best_fma_s = fastest_s(multiply_adds, thread, TRIALS);
  double best_copy_s = fastest_s(copy, thread, COPIES);
  if (thread == 0) fma_s = best_fma_s, copy_s = best_copy_s;
  return NULL;
}

int main(int count, char **arguments) {
  threads = count == 2 ? (unsigned)strtoul(arguments[1], NULL, 10) : 0;
  if (threads < 1 || threads > 1024) return fprintf(stderr, "usage: limits THREADS\n"), 2;
  from = malloc(COPY_BYTES);
  to = malloc(COPY_BYTES);
  if (from == NULL || to == NULL) return fprintf(stderr, "no memory\n"), 1;
  memset(from, 1, COPY_BYTES);
  memset(to, 2, COPY_BYTES);
  (void)pthread_barrier_init(&together, NULL, threads);
  pthread_t others[1024];
  for (unsigned i = 1; i < threads; i++)
    if (pthread_create(&others[i], NULL, worker, (void *)(uintptr_t)i) != 0)
      return fprintf(stderr, "no thread\n"), 1;
  worker(NULL);
  for (unsigned i = 1; i < threads; i++) (void)pthread_join(others[i], NULL);
  double operations = 2.0 * LANES * ACCUMULATORS * STEPS * 256 * threads;
  printf("%.6g %.6g\n", operations / fma_s, 2.0 * (double)COPY_BYTES / copy_s);
  return 0;
}
