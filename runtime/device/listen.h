/* The listening socket, and connections that have not said who they are. */
#ifndef SPLITTER_LISTEN_H
#define SPLITTER_LISTEN_H

#include <poll.h>
#include <stdint.h>

#include "net.h"

enum { LISTEN_PENDING_MAX = 16, LISTEN_POLL_MAX = 1 + LISTEN_PENDING_MAX };

/* Starts to listen and prints the address. */
void listen_start(const char *address, uint64_t hello_ns);

/* Fills in what to poll for; returns how many entries. */
nfds_t listen_poll(struct pollfd entries[LISTEN_POLL_MAX]);

/* Acts on what poll() has found: accepts, reads HELLOs, hands peers over to receive_attach. */
void listen_serve(const struct pollfd *entries, nfds_t count);

/* When the next stranger has used up its time; UINT64_MAX when there is none. */
uint64_t listen_deadline_ns(void);

#endif
