/* Time in nanoseconds, from CLOCK_MONOTONIC. */
#ifndef SPLITTER_CLOCK_H
#define SPLITTER_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_S 1000000000u
#define NS_PER_MS 1000000u

static inline uint64_t now_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Milliseconds for poll() until a moment, rounded up; 0 when it has passed. */
static inline int ms_until(uint64_t moment_ns) {
  uint64_t now = now_ns();
  if (moment_ns <= now) return 0;
  uint64_t left = (moment_ns - now + NS_PER_MS - 1) / NS_PER_MS;
  return left > INT_MAX ? INT_MAX : (int)left;
}

#endif
