/* Runs one unit on standard input: `xxh64`, `peers` which prints what it has parsed, `addresses`, or
 * `workspace` which takes and gives memory as told. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "net.h"
#include "peers.h"
#include "workspace.h"
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

/* The units fail without the tables that the node's own message needs. */
void fail(int code, const char *format, ...) {
  (void)fprintf(stderr, "%s\n", format);
  exit(code);
}

enum { SCRATCH_BYTES = 1024, MOST_TAKEN = 256 };

/* Lines of `take NUMBER BYTES` or `give NUMBER`; prints each taken piece's offset in the scratch, or
 * -1 for memory elsewhere. All of a piece is written, for the sanitizer's eyes. */
static int print_workspaces(char *text) {
  static _Alignas(64) unsigned char scratch[SCRATCH_BYTES];
  static void *taken[MOST_TAKEN];
  workspace_use(scratch, SCRATCH_BYTES);
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    unsigned number = 0, bytes = 0;
    if (sscanf(line, "take %u %u", &number, &bytes) == 2 && number < MOST_TAKEN) {
      unsigned char *piece = taken[number] = workspace_take(bytes);
      memset(piece, (int)number, bytes);
      int inside = piece >= scratch && piece < scratch + SCRATCH_BYTES;
      (void)printf("%td\n", inside ? piece - scratch : (ptrdiff_t)-1);
    } else if (sscanf(line, "give %u", &number) == 1 && number < MOST_TAKEN) {
      workspace_give(taken[number]);
    }
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
  if (strcmp(unit, "workspace") == 0) return print_workspaces(input);
  return 2;
}
