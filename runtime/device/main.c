/* The node program: runs one device's part of a net. See docs/node.md. */
#include <inttypes.h>
#include <stddef.h>

#include "bench.h"
#include "check.h"
#include "fail.h"
#include "files.h"
#include "options.h"
#include "pool.h"
#include "serve.h"
#include "tables.h"
#include "weights.h"

static void describe(uint32_t threads) {
  say("node=%s\nbundle_id=", node_tables.node);
  for (size_t i = 0; i < NODE_BUNDLE_ID_BYTES; i++) say("%02x", node_tables.bundle_id[i]);
  say("\nweights_bytes=%" PRIu64 "\ndecoded_bytes=%" PRIu64 "\n", node_tables.weights_bytes,
      node_tables.decoded_bytes);
  say("slot_bytes=%" PRIu64 "\narena_bytes=%" PRIu64 "\n", node_tables.slot_bytes,
      node_tables.arena_bytes);
  say("slots=%" PRIu32 "\nthreads=%" PRIu32 "\ncalls=%" PRIu32 "\nstages=%" PRIu32 "\n",
      node_tables.slots, threads, node_tables.call_count, node_tables.stage_count);
}

int main(int count, char **arguments) {
  Options options = options_parse(count, arguments);
  check_tables();
  if (options.describe) {
    describe(options.threads);
    return 0;
  }
  check_processor();
  const unsigned char *weights =
      weights_map(options.weights != NULL ? options.weights : files_beside("weights.bin"));
  pool_start(options.threads);
  if (options.bench_runs > 0) {
    bench(options.bench_runs, weights);
    return 0;
  }
  serve(&options, weights);
}
