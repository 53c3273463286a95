/* The weights file: a 64-byte header, then constants at 64-byte aligned offsets. */
#ifndef SPLITTER_WEIGHTS_H
#define SPLITTER_WEIGHTS_H

/* Maps the file and checks that it is this node's and undamaged; a fault ends the node. Returns
 * the start of the file, which tensors' offsets count from, or NULL when the node has none. */
const unsigned char *weights_map(const char *path);

#endif
