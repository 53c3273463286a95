/* Outgoing connections: one thread each connects, says HELLO, and sends what is queued. */
#ifndef SPLITTER_SEND_H
#define SPLITTER_SEND_H

#include <stdbool.h>
#include <stdint.h>

#include "peers.h"
#include "slots.h"

/* Starts a thread for each peer that this node sends to. A peer without address ends the node. */
void send_start(const Peers *peers, uint64_t deadline_ns);

/* Queues what is sent after a call or a receive (by index) of the slot's request. */
void send_after(enum NodeSendAfter after, uint32_t index, Slot *slot);

/* Whether every peer has answered. */
bool send_connected(void);

/* Passes BYE on every connection, behind all that is queued. */
void send_bye(uint64_t total);

/* Whether every connection has passed its BYE. */
bool send_closed(void);

#endif
