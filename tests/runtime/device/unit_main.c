/* Runs one unit on standard input: `xxh64`, or `peers` which prints what it has parsed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "peers.h"
#include "xxh64.h"

enum { INPUT_BYTES = 1 << 20 };

/* Ends exactly where a buffer ends, so that the sanitizer sees every byte read too many. */
static int print_hash(const char *input, size_t length) {
  char *exact = malloc(length > 0 ? length : 1);
  if (exact == NULL) return 1;
  memcpy(exact, input, length);
  (void)printf("%" PRIu64 "\n", xxh64(exact, length));
  free(exact);
  return 0;
}

static int print_peers(char *text) {
  Peers peers;
  PeersFault fault = peers_parse(text, &peers);
  if (fault.text != NULL) {
    (void)printf("%u: %s\n", fault.line, fault.text);
    return 1;
  }
  if (peers.listen != NULL) (void)printf("listen\n%s\n", peers.listen);
  for (size_t i = 0; i < peers.count; i++)
    (void)printf("peer\n%s\n%s\n", peers.names[i], peers.addresses[i]);
  return 0;
}

/* One address a line: prints it as it is understood. */
static int print_addresses(char *text) {
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    Address address;
    char printed[ADDRESS_TEXT_BYTES] = "no address";
    if (address_parse(line, &address)) address_format(&address, printed);
    (void)printf("%s\n", printed);
  }
  return 0;
}

int main(int count, char **arguments) {
  static char input[INPUT_BYTES];
  size_t length = fread(input, 1, sizeof input - 1, stdin);
  const char *unit = count > 1 ? arguments[1] : "";
  if (strcmp(unit, "xxh64") == 0) return print_hash(input, length);
  if (strcmp(unit, "peers") == 0) return print_peers(input);
  if (strcmp(unit, "addresses") == 0) return print_addresses(input);
  return 2;
}
