#include "peers.h"

#include <stdbool.h>
#include <string.h>

/* Each parser takes the place of the next letter, moves it on, and returns the fault or NULL. */
typedef const char *Fault;

static void skip_blanks(char **at) {
  *at += strspn(*at, " \t");
}

/* The end of a line: blanks, perhaps a comment, then nothing more. */
static Fault end_of_line(char **at) {
  skip_blanks(at);
  if (**at == '\0') return NULL;
  if (**at != '#') return "expected the end of the line";
  for (; **at != '\0'; ++*at)
    if (((unsigned char)**at < 0x20 && **at != '\t') || **at == 0x7F)
      return "control character in a comment";
  return NULL;
}

/* Writes the letter that an escape stands for, if the subset has it. */
static bool unescape(char letter, char *to) {
  switch (letter) {
    case '"':
    case '\\': *to = letter; return true;
    case 't': *to = '\t'; return true;
    default: return false;
  }
}

static Fault parse_string(char **at, const char **value) {
  char quote = **at, *from = *at + 1, *to = from;
  *value = from;
  for (; *from != quote; from++) {
    if (((unsigned char)*from < 0x20 && *from != '\t') || *from == 0x7F)
      return *from == '\0' ? "the string has no closing quote" : "control character in a string";
    if (*from == '\\' && quote == '"') {
      if (!unescape(*++from, to++)) return "expected \\\\, \\\" or \\t after the backslash";
    } else {
      *to++ = *from;
    }
  }
  *to = '\0';
  *at = from + 1;
  return NULL;
}

static Fault parse_quoted(char **at, const char **value) {
  if (**at != '"' && **at != '\'') return "expected a string in quotes";
  return parse_string(at, value);
}

static size_t bare_length(const char *at) {
  return strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
}

static Fault parse_equals(char **at) {
  skip_blanks(at);
  if (**at != '=') return "expected '=' after the key (a key with other letters needs quotes)";
  ++*at;
  skip_blanks(at);
  return NULL;
}

/* KEY = "STRING"; the key is terminated only after the '=' behind it has been seen. */
static Fault parse_pair(char *at, const char **key, const char **value) {
  char *end = NULL;
  if (*at == '"' || *at == '\'') {
    Fault fault = parse_string(&at, key);
    if (fault != NULL) return fault;
  } else {
    *key = at;
    at += bare_length(at);
    if (at == *key) return "expected a key or [peers]";
    end = at;
  }
  Fault fault = parse_equals(&at);
  if (fault == NULL) fault = parse_quoted(&at, value);
  if (fault == NULL) fault = end_of_line(&at);
  if (end != NULL) *end = '\0';
  return fault;
}

static Fault parse_table(char *at) {
  at++;
  skip_blanks(&at);
  size_t length = bare_length(at);
  if (length != 5 || memcmp(at, "peers", 5) != 0) return "the only table is [peers]";
  at += length;
  skip_blanks(&at);
  if (*at != ']') return "expected ']' after the table's name";
  at++;
  return end_of_line(&at);
}

static Fault add_peer(Peers *peers, const char *name, const char *address) {
  if (peers_find(peers, name) != NULL) return "this peer has an address already";
  if (peers->count == PEERS_MAX) return "more than 256 peers";
  peers->names[peers->count] = name;
  peers->addresses[peers->count++] = address;
  return NULL;
}

static Fault set_listen(Peers *peers, const char *key, const char *value) {
  if (strcmp(key, "listen") != 0) return "the only key before [peers] is 'listen'";
  if (peers->listen != NULL) return "'listen' is given twice";
  peers->listen = value;
  return NULL;
}

static Fault parse_line(char *line, Peers *peers, bool *in_table) {
  skip_blanks(&line);
  if (*line == '\0' || *line == '#') return end_of_line(&line);
  if (*line == '[') {
    if (*in_table) return "[peers] is given twice";
    *in_table = true;
    return parse_table(line);
  }
  const char *key, *value;
  Fault fault = parse_pair(line, &key, &value);
  if (fault != NULL) return fault;
  return *in_table ? add_peer(peers, key, value) : set_listen(peers, key, value);
}

/* Terminates the line that starts here, "\r\n" included, and returns the next one or NULL. */
static char *cut_line(char *line) {
  char *end = strchr(line, '\n');
  if (end == NULL) return NULL;
  *end = '\0';
  if (end > line && end[-1] == '\r') end[-1] = '\0';
  return end + 1;
}

PeersFault peers_parse(char *text, Peers *peers) {
  memset(peers, 0, sizeof *peers);
  bool in_table = false;
  unsigned number = 1;
  for (char *line = text, *next; line != NULL; line = next, number++) {
    next = cut_line(line);
    Fault fault = parse_line(line, peers, &in_table);
    if (fault != NULL) return (PeersFault){.text = fault, .line = number};
  }
  return (PeersFault){.text = NULL};
}

const char *peers_find(const Peers *peers, const char *name) {
  for (size_t i = 0; i < peers->count; i++)
    if (strcmp(peers->names[i], name) == 0) return peers->addresses[i];
  return NULL;
}
