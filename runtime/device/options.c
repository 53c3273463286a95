#include "options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "fail.h"
#include "tables.h"

enum { THREADS_MAX = 1024, RUNS_MAX = 1000000, TIMEOUT_MAX_S = 86400 };

static const char USAGE[] =
    "usage: node [--weights FILE] [--peers FILE|-] [--listen HOST:PORT] [--timeout SECONDS]\n"
    "            [--trace FILE] [--record DIR] [--threads N]\n"
    "       node --bench RUNS [--weights FILE] [--threads N]\n"
    "       node --describe\n";

static uint32_t parse_count(const char *option, const char *text, uint32_t most) {
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || value < 1 || value > most)
    fail(EXIT_ARGUMENTS, "%s: expected a number from 1 to %u, got '%s'", option, (unsigned)most,
         text);
  return (uint32_t)value;
}

/* Both read digits and move *text behind them. */
static uint64_t read_whole(const char **text) {
  uint64_t value = 0;
  for (; **text >= '0' && **text <= '9' && value <= TIMEOUT_MAX_S; ++*text)
    value = value * 10 + (uint64_t)(**text - '0');
  return value;
}

static uint64_t read_fraction_ns(const char **text) {
  uint64_t value_ns = 0;
  for (uint64_t unit = NS_PER_S / 10; **text >= '0' && **text <= '9'; ++*text, unit /= 10)
    value_ns += unit * (uint64_t)(**text - '0');
  return value_ns;
}

static uint64_t parse_seconds(const char *option, const char *text) {
  const char *at = text;
  uint64_t value_ns = read_whole(&at) * NS_PER_S;
  if (*at == '.' && at > text) {
    at++;
    value_ns += read_fraction_ns(&at);
  }
  if (*at != '\0' || value_ns == 0 || value_ns > (uint64_t)TIMEOUT_MAX_S * NS_PER_S)
    fail(EXIT_ARGUMENTS, "%s: expected seconds like 0.5, more than 0 and up to %d, got '%s'",
         option, TIMEOUT_MAX_S, text);
  return value_ns;
}

static bool is(const char *option, const char *name) {
  return strcmp(option, name) == 0;
}

static bool parse_text(Options *options, const char *option, const char *value) {
  if (is(option, "--weights")) options->weights = value;
  else if (is(option, "--peers")) options->peers = value;
  else if (is(option, "--listen")) options->listen = value;
  else if (is(option, "--trace")) options->trace = value;
  else if (is(option, "--record")) options->record = value;
  else return false;
  return true;
}

static void parse_option(Options *options, const char *option, const char *value) {
  if (value == NULL) fail(EXIT_ARGUMENTS, "%s needs a value; --help shows how", option);
  if (parse_text(options, option, value)) return;
  if (is(option, "--threads")) options->threads = parse_count(option, value, THREADS_MAX);
  else if (is(option, "--bench")) options->bench_runs = parse_count(option, value, RUNS_MAX);
  else options->timeout_ns = parse_seconds(option, value);
}

static bool takes_value(const char *option) {
  static const char *const names[] = {"--weights", "--peers",   "--listen", "--trace",
                                      "--record",  "--threads", "--bench",  "--timeout"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (is(option, names[i])) return true;
  return false;
}

Options options_parse(int count, char **arguments) {
  Options options = {.timeout_ns = (uint64_t)30 * NS_PER_S, .threads = node_tables.threads};
  for (int i = 1; i < count; i++) {
    if (is(arguments[i], "--describe")) {
      options.describe = true;
    } else if (is(arguments[i], "--help")) {
      say("%s", USAGE);
      _exit(0);
    } else if (takes_value(arguments[i])) {
      parse_option(&options, arguments[i], arguments[i + 1]);
      i++;
    } else {
      fail(EXIT_ARGUMENTS, "unknown argument '%s'; --help shows all", arguments[i]);
    }
  }
  return options;
}
