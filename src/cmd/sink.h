/*
 * Event sinks of the command line: a file, opened again when it was rotated, or
 * standard output. Called on the journal's thread, but for making them.
 */
#ifndef CMD_SINK_H
#define CMD_SINK_H

#include "config/snapshot.h"
#include "engine/journal.h"

/*
 * Opens all event targets of a snapshot. 0 with the chain (NULL when there are
 * none), or -errno with one line in `error` and nothing left open. The sinks
 * keep no pointer into the snapshot.
 */
int sinks_open(const struct snapshot *s, struct journal_sink **out,
    struct text *error) MUST_CHECK;
void sinks_free(struct journal_sink *sinks);

/* One sink; `file` NULL: standard output. */
int sink_open(const struct event_settings *settings,
    struct journal_sink **out) MUST_CHECK;

#endif
