#include "thread.h"

#include <pthread.h>
#include <string.h>

#include "fail.h"

void thread_start(void *(*body)(void *), void *argument, size_t stack_bytes) {
  pthread_attr_t attributes;
  pthread_t thread;
  int error = pthread_attr_init(&attributes);
  if (error == 0) error = pthread_attr_setstacksize(&attributes, stack_bytes);
  if (error == 0) error = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (error == 0) error = pthread_create(&thread, &attributes, body, argument);
  if (error != 0) fail(EXIT_RESOURCE, "cannot start a thread: %s", strerror(error));
  (void)pthread_attr_destroy(&attributes);
}
