#include "xxh64.h"

#include <string.h>

static const uint64_t PRIME1 = 0x9E3779B185EBCA87u, PRIME2 = 0xC2B2AE3D27D4EB4Fu,
                      PRIME3 = 0x165667B19E3779F9u, PRIME4 = 0x85EBCA77C2B2AE63u,
                      PRIME5 = 0x27D4EB2F165667C5u;

static uint64_t rotate(uint64_t value, unsigned bits) {
  return value << bits | value >> (64 - bits);
}

/* Every processor this is built for is little-endian; memcpy allows any alignment. */
static uint64_t load64(const unsigned char *at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static uint32_t load32(const unsigned char *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static uint64_t mix(uint64_t lane, uint64_t input) {
  return rotate(lane + input * PRIME2, 31) * PRIME1;
}

static uint64_t merge(uint64_t hash, uint64_t lane) {
  return (hash ^ mix(0, lane)) * PRIME1 + PRIME4;
}

/* Eats all whole blocks of 32 bytes and moves *at behind them. */
static uint64_t hash_blocks(const unsigned char **at, const unsigned char *end) {
  uint64_t lane[4] = {PRIME1 + PRIME2, PRIME2, 0, 0 - PRIME1};
  for (; end - *at >= 32; *at += 32)
    for (size_t i = 0; i < 4; i++) lane[i] = mix(lane[i], load64(*at + 8 * i));
  uint64_t hash =
      rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
  for (size_t i = 0; i < 4; i++) hash = merge(hash, lane[i]);
  return hash;
}

static uint64_t hash_tail(uint64_t hash, const unsigned char *at, const unsigned char *end) {
  for (; end - at >= 8; at += 8) hash = rotate(hash ^ mix(0, load64(at)), 27) * PRIME1 + PRIME4;
  if (end - at >= 4) {
    hash = rotate(hash ^ load32(at) * PRIME1, 23) * PRIME2 + PRIME3;
    at += 4;
  }
  for (; at < end; at++) hash = rotate(hash ^ *at * PRIME5, 11) * PRIME1;
  return hash;
}

uint64_t xxh64(const void *data, size_t length) {
  static const unsigned char nothing;
  const unsigned char *at = length > 0 ? data : &nothing, *end = at + length;
  uint64_t hash = (length >= 32 ? hash_blocks(&at, end) : PRIME5) + length;
  hash = hash_tail(hash, at, end);
  hash = (hash ^ hash >> 33) * PRIME2;
  hash = (hash ^ hash >> 29) * PRIME3;
  return hash ^ hash >> 32;
}
