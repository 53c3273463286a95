/* Incoming connections: one thread each reads frames into request slots. */
#ifndef SPLITTER_RECEIVE_H
#define SPLITTER_RECEIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void receive_start(uint64_t stall_ns);

/* Whether a peer of node_tables.peers sends to this node at all. */
bool receive_expects(uint32_t peer);

/* Whether a peer has connected. */
bool receive_has(uint32_t peer);

/* Starts to read from a peer that has said HELLO. */
void receive_attach(uint32_t peer, int socket);

/* Name of an expected peer that has not connected, or NULL. */
const char *receive_missing(void);

#endif
