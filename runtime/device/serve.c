#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "compute.h"
#include "fail.h"
#include "files.h"
#include "listen.h"
#include "memory.h"
#include "peers.h"
#include "receive.h"
#include "send.h"
#include "slots.h"
#include "tables.h"
#include "trace.h"

static const uint64_t DRAIN_NS = (uint64_t)5 * NS_PER_S;
static const char DEFAULT_LISTEN[] = "127.0.0.1:0";

static int wake_pipe[2];
static volatile sig_atomic_t signalled;

void serve_wake(void) {
  ssize_t written = write(wake_pipe[1], "", 1);
  (void)written; /* a full pipe wakes as well */
}

static void note_signal(int number) {
  signalled = number;
}

/* Before it serves, a node has nothing to finish. */
static void leave(int number) {
  (void)number;
  _exit(0);
}

static void on_signals(void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler};
  (void)sigaction(SIGTERM, &action, NULL);
  (void)sigaction(SIGINT, &action, NULL);
}

/* All threads inherit this; only the serving loop lets the signals in, while it polls. */
static void block_signals(void) {
  sigset_t signals;
  (void)sigemptyset(&signals);
  (void)sigaddset(&signals, SIGTERM);
  (void)sigaddset(&signals, SIGINT);
  (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
  on_signals(note_signal);
}

static void open_wake_pipe(void) {
  if (pipe(wake_pipe) != 0 || fcntl(wake_pipe[0], F_SETFL, O_NONBLOCK) != 0 ||
      fcntl(wake_pipe[1], F_SETFL, O_NONBLOCK) != 0)
    fail(EXIT_RESOURCE, "cannot open a pipe: %s", strerror(errno));
}

static void read_peers(const char *path, Peers *peers) {
  static char text[PEERS_FILE_BYTES];
  files_read_text(path, text, sizeof text);
  PeersFault fault = peers_parse(text, peers);
  if (fault.text != NULL)
    fail(EXIT_ARGUMENTS, "%s, line %u: %s", strcmp(path, "-") == 0 ? "standard input" : path,
         fault.line, fault.text);
}

/* A peers file may say where to listen, so it is read first; standard input cannot, since whoever
 * writes to it waits to learn where this node listens. */
static void listen_and_read_peers(const Options *options, Peers *peers) {
  const char *path = options->peers != NULL ? options->peers : files_beside("peers.toml");
  const char *address = options->listen != NULL ? options->listen : DEFAULT_LISTEN;
  if (strcmp(path, "-") == 0) {
    listen_start(address, options->timeout_ns);
    read_peers(path, peers);
    return;
  }
  read_peers(path, peers);
  if (options->listen == NULL && peers->listen != NULL) address = peers->listen;
  listen_start(address, options->timeout_ns);
}

typedef struct {
  uint64_t connect_deadline_ns, drain_deadline_ns, ready_ns; /* 0: not yet */
  bool said_bye;
} Life;

static void check_ready(Life *life) {
  const char *missing = receive_missing();
  if (missing == NULL && send_connected()) {
    life->ready_ns = now_ns();
    say("ready\n");
  } else if (missing != NULL && now_ns() >= life->connect_deadline_ns) {
    fail(EXIT_PEER, "peer %s did not connect in time", missing);
  }
}

static void begin_drain(Life *life) {
  if (life->ready_ns == 0) _exit(0);
  life->drain_deadline_ns = now_ns() + DRAIN_NS;
  slots_end_now();
}

static void check_drain(const Life *life) {
  if (now_ns() < life->drain_deadline_ns) return;
  fail(EXIT_PEER, "stopped with %" PRIu64 " requests unfinished: they took longer than %d s",
       slots_in_flight(), (int)(DRAIN_NS / NS_PER_S));
}

static _Noreturn void finish(const Life *life) {
  trace_event("exit", 0, memory_peak_bytes(), life->ready_ns, now_ns());
  trace_flush();
  _exit(0);
}

/* One look at everything that can have changed. */
static void advance(Life *life) {
  uint64_t total;
  if (signalled != 0 && life->drain_deadline_ns == 0) begin_drain(life);
  if (life->ready_ns == 0) check_ready(life);
  if (life->drain_deadline_ns != 0) check_drain(life);
  if (life->ready_ns == 0 || !slots_finished(&total)) return;
  if (!life->said_bye) send_bye(total);
  life->said_bye = true;
  if (send_closed()) finish(life);
}

static uint64_t earlier(uint64_t one, uint64_t other) {
  return one < other ? one : other;
}

static uint64_t next_deadline_ns(const Life *life) {
  uint64_t next = listen_deadline_ns();
  if (life->ready_ns == 0) next = earlier(next, life->connect_deadline_ns);
  if (life->drain_deadline_ns != 0) next = earlier(next, life->drain_deadline_ns);
  return next;
}

static void wait_for_news(const Life *life) {
  struct pollfd entries[LISTEN_POLL_MAX + 1];
  nfds_t count = listen_poll(entries);
  entries[count] = (struct pollfd){.fd = wake_pipe[0], .events = POLLIN};
  uint64_t deadline_ns = next_deadline_ns(life);
  struct timespec wait = {0};
  int ms = deadline_ns == UINT64_MAX ? 0 : ms_until(deadline_ns);
  wait.tv_sec = ms / 1000;
  wait.tv_nsec = ms % 1000 * (long)NS_PER_MS;
  sigset_t none;
  (void)sigemptyset(&none);
  int ready = ppoll(entries, count + 1, deadline_ns == UINT64_MAX ? NULL : &wait, &none);
  if (ready < 0 && errno != EINTR) fail(EXIT_RESOURCE, "cannot poll: %s", strerror(errno));
  if (ready < 0) return;
  char bytes[64];
  while (entries[count].revents != 0 && read(wake_pipe[0], bytes, sizeof bytes) > 0) continue;
  listen_serve(entries, count);
}

void serve(const Options *options, const unsigned char *weights) {
  Peers peers;
  if (node_tables.receive_count == 0)
    fail(EXIT_ARGUMENTS, "this node receives nothing, so no request can reach it");
  (void)signal(SIGPIPE, SIG_IGN);
  on_signals(leave);
  open_wake_pipe();
  if (options->trace != NULL) trace_open(options->trace);
  if (options->record != NULL) record_open(options->record);
  slots_start(weights);
  listen_and_read_peers(options, &peers);
  block_signals();
  Life life = {.connect_deadline_ns = now_ns() + options->timeout_ns};
  receive_start(options->timeout_ns);
  send_start(&peers, life.connect_deadline_ns);
  compute_start();
  for (;;) {
    advance(&life);
    wait_for_news(&life);
  }
}
