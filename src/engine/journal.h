/*
 * The journal: events on their way out. Workers append lines to a bounded ring
 * (8 MiB) and never wait; one thread writes them to the sinks. What does not
 * fit is counted as dropped, never lost silently.
 */
#ifndef ENGINE_JOURNAL_H
#define ENGINE_JOURNAL_H

#include "base/compiler.h"
#include "base/span.h"

/* Where events go; cmd/ gives these. Called on the journal's thread only. */
struct journal_sink {
	struct journal_sink *next;
	/* Wants events of this type? */
	bool (*wants)(struct journal_sink *s, const char *type);
	/* One or more whole lines, newlines included: what it wants of the
	 * last ten milliseconds. 0 or -errno; what was lost is counted. */
	int (*write)(struct journal_sink *s, struct span line);
	/* Opens a rotated file again. */
	int (*reopen)(struct journal_sink *s);
	void (*free)(struct journal_sink *s);
};

struct journal;

/* Every event is written (taken to the sinks, even if none wants it) or
 * dropped; `failed` are events that a sink wanted and could not write. */
struct journal_counts {
	uint64_t written, dropped, failed;
};

/* Takes the sinks (a chain, may be NULL). NULL without memory or thread; then
 * the sinks stay the caller's. */
struct journal *journal_new(struct journal_sink *sinks);

/* Writes what is inside, then ends the thread and frees the sinks. */
void journal_free(struct journal *j);

/* One event: `type` for the sinks' filters (a literal), `line` its JSON without
 * newline. Any thread; never blocks on a sink. */
void journal_write(struct journal *j, const char *type, struct span line);

/* Replaces the sinks (reload); the old ones get what was written before. */
void journal_set_sinks(struct journal *j, struct journal_sink *sinks);
void journal_reopen(struct journal *j);
void journal_counts(struct journal *j, struct journal_counts *out);

#endif
