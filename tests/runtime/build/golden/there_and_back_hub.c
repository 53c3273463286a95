/* Tables of one node, written by the compiler: data for the node program. */
#include <stddef.h>

#include "tables.h"

int k_linear_1(void *, const KernelArg *, int32_t, KernelArg *);

static const NodeTensor tensors[] = {
    {"x", STORAGE_SLOT, 2, 32, 2, (const int64_t[]){1, 4}, 0u, 16u},
    {"right.weight@64", STORAGE_WEIGHTS, 2, 32, 2, (const int64_t[]){4, 4}, 64u, 64u},
    {"left.bias@128", STORAGE_WEIGHTS, 2, 32, 1, (const int64_t[]){4}, 128u, 16u},
    {"right", STORAGE_SLOT, 2, 32, 1, (const int64_t[]){4}, 64u, 16u},
    {"right", STORAGE_SLOT, 2, 32, 2, (const int64_t[]){1, 4}, 64u, 16u},
};

static const NodeCall calls[] = {
    {k_linear_1, "right", (const uint32_t[]){0, 1, 2, 3}, 4, 0u, 0u},
};

static const NodeStage stages[] = {
    {0, 1, (const uint32_t[]){0}, 1},
};

static const NodeReceive receives[] = {
    {0, 0, 0},
};

static const NodeSend sends[] = {
    {4, 1, 0, AFTER_CALL, 0},
};

static const char *const peers[] = {
    "camera",
};

const NodeTables node_tables = {
    .version = NODE_TABLES_VERSION,
    .node = "hub",
    .bundle_id = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31},
    .weights_bytes = 192u,
    .weights_xxh64 = 12345u,
    .decoded_bytes = 0u,
    .slot_bytes = 128u,
    .arena_bytes = 0u,
    .slots = 3,
    .threads = 2,
    .tensors = tensors,
    .calls = calls,
    .stages = stages,
    .receives = receives,
    .sends = sends,
    .decodes = NULL,
    .peers = peers,
    .tensor_count = 5,
    .call_count = 1,
    .stage_count = 1,
    .receive_count = 1,
    .send_count = 1,
    .decode_count = 0,
    .peer_count = 1,
    .cpu_features = "avx2 fma bmi2",
};
