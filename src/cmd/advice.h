/*
 * What the engine cannot know when listening failed: who holds the port, and
 * which flag would choose another.
 */
#ifndef CMD_ADVICE_H
#define CMD_ADVICE_H

#include "config/snapshot.h"

/* Adds "; ..." to the engine's message for the first listener that cannot be
 * had, nothing if all can. `flag`: the user wrote --listen, not a file. Tries
 * to bind each for a moment. */
void advice_listen(const struct snapshot *s, bool flag, struct text *out);

/* The process that listens where `a` would, as "name (pid 123)"; false when it
 * cannot be seen from here. */
bool advice_port_holder(const struct addr *a, struct text *out);

#endif
