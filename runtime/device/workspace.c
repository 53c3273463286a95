#include "workspace.h"

#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#include "fail.h"

enum { ALIGNMENT = 64, MOST_PIECES = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* --- pieces of the call's scratch, by increasing offset */

typedef struct {
  uint64_t offset, bytes;
} Piece;

static unsigned char *scratch;
static uint64_t scratch_bytes;
static Piece pieces[MOST_PIECES];
static uint32_t piece_count;

void workspace_use(unsigned char *memory, uint64_t bytes) {
  scratch = memory;
  scratch_bytes = bytes;
  piece_count = 0;
}

/* First fit; NULL when no gap is wide enough. */
static void *take_piece(uint64_t bytes) {
  if (piece_count == MOST_PIECES || bytes > scratch_bytes) return NULL;
  uint64_t wide = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, at = 0;
  uint32_t place = 0;
  while (place < piece_count && pieces[place].offset - at < wide) {
    at = pieces[place].offset + pieces[place].bytes;
    place++;
  }
  if (place == piece_count && (at > scratch_bytes || scratch_bytes - at < wide)) return NULL;
  for (uint32_t i = piece_count; i > place; i--) pieces[i] = pieces[i - 1];
  pieces[place] = (Piece){at, wide};
  piece_count++;
  return scratch + at;
}

static void give_piece(uint64_t offset) {
  uint32_t place = 0;
  while (place < piece_count && pieces[place].offset != offset) place++;
  if (place == piece_count) return;
  piece_count--;
  for (uint32_t i = place; i < piece_count; i++) pieces[i] = pieces[i + 1];
}

/* --- blocks of their own */

/* Stands in front of each block, on a line of its own so that the block is aligned. */
typedef union Block {
  struct {
    union Block *next;
    uint64_t bytes;
  } info;
  char line[ALIGNMENT];
} Block;

static Block *free_blocks;

/* The smallest kept block that fits. */
static Block *take_block(uint64_t bytes) {
  Block **best = NULL;
  for (Block **at = &free_blocks; *at != NULL; at = &(*at)->info.next)
    if ((*at)->info.bytes >= bytes && (best == NULL || (*at)->info.bytes < (*best)->info.bytes))
      best = at;
  Block *block = best == NULL ? NULL : *best;
  if (block != NULL) *best = block->info.next;
  return block;
}

static Block *new_block(uint64_t bytes) {
  void *memory = NULL;
  if (bytes > SIZE_MAX / 2 ||
      posix_memalign(&memory, ALIGNMENT, sizeof(Block) + (size_t)bytes) != 0)
    fail(EXIT_RESOURCE, "no memory for a kernel's workspace of %" PRIu64 " bytes", bytes);
  Block *block = memory;
  block->info.bytes = bytes;
  return block;
}

/* --- either */

void *workspace_take(uint64_t bytes) {
  (void)pthread_mutex_lock(&lock);
  void *workspace = take_piece(bytes);
  Block *block = workspace == NULL ? take_block(bytes) : NULL;
  (void)pthread_mutex_unlock(&lock);
  if (workspace != NULL) return workspace;
  return (block != NULL ? block : new_block(bytes)) + 1;
}

static int is_piece(const void *workspace) {
  uintptr_t at = (uintptr_t)workspace, start = (uintptr_t)scratch;
  return scratch != NULL && at >= start && at - start < scratch_bytes;
}

void workspace_give(void *workspace) {
  if (workspace == NULL) return;
  (void)pthread_mutex_lock(&lock);
  if (is_piece(workspace)) {
    give_piece((uint64_t)((uintptr_t)workspace - (uintptr_t)scratch));
  } else {
    Block *block = (Block *)workspace - 1;
    block->info.next = free_blocks;
    free_blocks = block;
  }
  (void)pthread_mutex_unlock(&lock);
}
