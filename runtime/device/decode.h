/* Compressed constants become floats once, at start. */
#ifndef SPLITTER_DECODE_H
#define SPLITTER_DECODE_H

#include <stdint.h>

/* Rows that one lane packs together, and the bytes that they take. */
uint32_t decode_group(uint32_t bits);
uint32_t decode_planes(uint32_t bits);

/* Decodes what node_tables.decodes lists; returns the memory that holds the floats, or NULL when
 * there are none. What was read of the weights file is given back to the system. */
unsigned char *decode_weights(const unsigned char *weights);

#endif
