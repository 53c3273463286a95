/* The life of a serving node: listen, find the peers, serve, drain. */
#ifndef SPLITTER_SERVE_H
#define SPLITTER_SERVE_H

#include "options.h"

/* Serves until BYE, a signal or a fault; never returns. */
_Noreturn void serve(const Options *options, const unsigned char *weights);

/* Makes the serving loop look again; any thread may call it. */
void serve_wake(void);

#endif
