#include "net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

static bool parse_port(const char *text, in_port_t *port) {
  unsigned value = 0;
  size_t digits = strlen(text);
  if (digits == 0 || digits > 5) return false;
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9') return false;
    value = value * 10 + (unsigned)(*text - '0');
  }
  if (value > 65535) return false;
  *port = htons((uint16_t)value);
  return true;
}

static bool parse_v6(const char *host, const char *port, Address *address) {
  struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->at.space;
  in6->sin6_family = AF_INET6;
  address->length = sizeof *in6;
  return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 && parse_port(port, &in6->sin6_port);
}

static bool parse_v4(const char *host, const char *port, Address *address) {
  struct sockaddr_in *in4 = (struct sockaddr_in *)&address->at.space;
  in4->sin_family = AF_INET;
  address->length = sizeof *in4;
  const char *number = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
  return inet_pton(AF_INET, number, &in4->sin_addr) == 1 && parse_port(port, &in4->sin_port);
}

bool address_parse(const char *text, Address *address) {
  char host[ADDRESS_TEXT_BYTES];
  memset(address, 0, sizeof *address);
  const char *colon = strrchr(text, ':');
  if (colon == NULL || (size_t)(colon - text) >= sizeof host) return false;
  size_t length = (size_t)(colon - text);
  memcpy(host, text, length);
  host[length] = '\0';
  if (length < 2 || host[0] != '[') return parse_v4(host, colon + 1, address);
  if (host[length - 1] != ']') return false;
  host[length - 1] = '\0';
  return parse_v6(host + 1, colon + 1, address);
}

void address_format(const Address *address, char text[ADDRESS_TEXT_BYTES]) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (address->at.any.sa_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->at.space;
    (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    (void)snprintf(text, ADDRESS_TEXT_BYTES, "[%s]:%u", host, (unsigned)ntohs(in6->sin6_port));
    return;
  }
  const struct sockaddr_in *in4 = (const struct sockaddr_in *)&address->at.space;
  (void)inet_ntop(AF_INET, &in4->sin_addr, host, sizeof host);
  (void)snprintf(text, ADDRESS_TEXT_BYTES, "%s:%u", host, (unsigned)ntohs(in4->sin_port));
}

static void set(int file, int level, int option, int value) {
  /* Without one of these the node still works, only later or slower. */
  (void)setsockopt(file, level, option, &value, sizeof value);
}

int socket_prepare(int file) {
  set(file, IPPROTO_TCP, TCP_NODELAY, 1);
  set(file, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(file, IPPROTO_TCP, TCP_KEEPIDLE, 15);
  set(file, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(file, IPPROTO_TCP, TCP_KEEPCNT, 3);
  return fcntl(file, F_SETFL, O_NONBLOCK);
}
