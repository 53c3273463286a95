/* The subset of TOML that peers.toml uses; see docs/node.md. */
#ifndef SPLITTER_PEERS_H
#define SPLITTER_PEERS_H

#include <stddef.h>

enum { PEERS_MAX = 256, PEERS_FILE_BYTES = 65536 };

typedef struct {
  const char *listen; /* NULL when the file does not say */
  size_t count;
  const char *names[PEERS_MAX], *addresses[PEERS_MAX];
} Peers;

typedef struct {
  const char *text; /* NULL when there is no fault */
  unsigned line;
} PeersFault;

/* Parses a terminated text in place: the strings of `peers` point into it. */
PeersFault peers_parse(char *text, Peers *peers);

/* The address of a peer, or NULL. */
const char *peers_find(const Peers *peers, const char *name);

#endif
