/* Tables of one node, written by the compiler: data for the node program. */
#include <stddef.h>

#include "tables.h"


static const NodeTensor tensors[] = {
    {"x", STORAGE_SLOT, 2, 32, 2, (const int64_t[]){1, 4}, 0u, 16u},
};

static const NodeReceive receives[] = {
    {0, 0, 0},
};

static const NodeSend sends[] = {
    {0, 0, 1, AFTER_RECEIVE, 0},
};

static const char *const peers[] = {
    "host",
    "server",
};

const NodeTables node_tables = {
    .version = NODE_TABLES_VERSION,
    .node = "camera",
    .bundle_id = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31},
    .weights_bytes = 64u,
    .weights_xxh64 = 12345u,
    .decoded_bytes = 0u,
    .slot_bytes = 64u,
    .arena_bytes = 0u,
    .slots = 3,
    .threads = 2,
    .tensors = tensors,
    .calls = NULL,
    .stages = NULL,
    .receives = receives,
    .sends = sends,
    .decodes = NULL,
    .peers = peers,
    .tensor_count = 1,
    .call_count = 0,
    .stage_count = 0,
    .receive_count = 1,
    .send_count = 1,
    .decode_count = 0,
    .peer_count = 2,
    .cpu_features = "avx2 fma bmi2",
};
