#include "weights.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"
#include "tables.h"
#include "xxh64.h"

enum { NAME_BYTES = 24 };

typedef struct {
  char magic[8];
  uint8_t bundle_id[NODE_BUNDLE_ID_BYTES];
  char node[NAME_BYTES];
} Header;

/* Of another node, or of another compilation: said before the size, which then differs as well. */
static void check_owner(const char *path, const Header *header) {
  if (memcmp(header->magic, "SPLTWGT1", sizeof header->magic) != 0)
    fail(EXIT_WEIGHTS, "%s is not a weights file: it does not start with SPLTWGT1", path);
  char own[NAME_BYTES] = {0};
  memcpy(own, node_tables.node, strnlen(node_tables.node, sizeof own));
  if (memcmp(header->node, own, sizeof own) != 0)
    fail(EXIT_WEIGHTS, "%s holds the weights of node %.*s, not %s", path, NAME_BYTES, header->node,
         node_tables.node);
  const uint8_t *theirs = header->bundle_id, *ours = node_tables.bundle_id;
  if (memcmp(theirs, ours, sizeof header->bundle_id) != 0)
    fail(EXIT_WEIGHTS, "%s belongs to bundle %02x%02x%02x%02x..., not %02x%02x%02x%02x...", path,
         theirs[0], theirs[1], theirs[2], theirs[3], ours[0], ours[1], ours[2], ours[3]);
}

static void check_contents(const char *path, const unsigned char *data, uint64_t size) {
  if (size != node_tables.weights_bytes)
    fail(EXIT_WEIGHTS, "%s has %" PRIu64 " bytes, expected %" PRIu64, path, size,
         node_tables.weights_bytes);
  uint64_t hash = xxh64(data, (size_t)size);
  if (hash != node_tables.weights_xxh64)
    fail(EXIT_WEIGHTS, "%s is damaged: its XXH64 is %016" PRIx64 ", expected %016" PRIx64, path,
         hash, node_tables.weights_xxh64);
}

const unsigned char *weights_map(const char *path) {
  _Static_assert(sizeof(Header) == 64, "the header of a weights file");
  if (node_tables.weights_bytes == 0) return NULL;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(EXIT_WEIGHTS, "cannot read the weights %s: %s", path, strerror(errno));
  struct stat status;
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode))
    fail(EXIT_WEIGHTS, "the weights %s are not a regular file", path);
  uint64_t size = (uint64_t)status.st_size;
  if (size < sizeof(Header))
    fail(EXIT_WEIGHTS, "%s has %" PRIu64 " bytes, expected %" PRIu64, path, size,
         node_tables.weights_bytes);
  if (size > SIZE_MAX) fail(EXIT_RESOURCE, "%s is too large for this processor", path);
  void *data = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, file, 0);
  if (data == MAP_FAILED)
    fail(EXIT_RESOURCE, "cannot map the weights %s: %s", path, strerror(errno));
  (void)close(file);
  check_owner(path, data);
  check_contents(path, data, size);
  return data;
}
