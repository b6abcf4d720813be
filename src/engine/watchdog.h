/*
 * The watchdog: a thread that looks whether a worker has been inside a script
 * for too long, where the script's own limits should have ended it. After a
 * second it says so; after ten it ends the process, for a worker that never
 * comes back would hold its connections for ever and nobody would be told.
 */
#ifndef ENGINE_WATCHDOG_H
#define ENGINE_WATCHDOG_H

#include "base/compiler.h"

struct edge;
struct watchdog;

/* NULL without memory or thread. Looks at the edge's workers until freed. */
struct watchdog *watchdog_new(struct edge *edge);
void watchdog_free(struct watchdog *w);

#endif
