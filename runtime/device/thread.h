/* Threads that live as long as the process. */
#ifndef SPLITTER_THREAD_H
#define SPLITTER_THREAD_H

#include <stddef.h>

enum {
  THREAD_LINK_BYTES = 128 * 1024, /* stack of a thread that moves frames */
  THREAD_KERNEL_BYTES = 1024 * 1024, /* stack of a thread that runs kernels */
};

void thread_start(void *(*body)(void *), void *argument, size_t stack_bytes);

#endif
