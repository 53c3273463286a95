/* Addresses and sockets. */
#ifndef SPLITTER_NET_H
#define SPLITTER_NET_H

#include <stdbool.h>
#include <sys/socket.h>

typedef struct {
  union {
    struct sockaddr any;
    struct sockaddr_storage space;
  } at;
  socklen_t length;
} Address;

enum { ADDRESS_TEXT_BYTES = 64 };

/* Reads "127.0.0.1:7000", "[::1]:7000" or "localhost:7000"; no name service is asked. */
bool address_parse(const char *text, Address *address);
void address_format(const Address *address, char text[ADDRESS_TEXT_BYTES]);

/* Makes a socket never block, send small frames at once, and notice a peer that vanished.
 * Returns 0, or -1 and sets errno. */
int socket_prepare(int file);

#endif
