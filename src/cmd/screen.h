/*
 * The status screen of `lunette tls` on a terminal: what is served, who can
 * read the bytes, what happens. Plain ANSI sequences on standard output, in the
 * terminal's other screen, so that the shell's comes back as it was. Main
 * thread.
 */
#ifndef CMD_SCREEN_H
#define CMD_SCREEN_H

#include "engine/edge.h"

#define SCREEN_INTERVAL_MS 500

/* Standard output is a terminal that understands the sequences. */
bool screen_possible(void);

struct screen;

struct screen *screen_open(void); /* NULL without memory */
void screen_close(struct screen *s);

/* Draws once. False when the terminal has gone. */
bool screen_draw(struct screen *s, struct edge *e, const struct snapshot *now,
    bool draining) MUST_CHECK;

/* What is drawn, as lines; apart from the terminal, for tests. */
struct screen_view {
	const struct snapshot *snapshot;
	const struct edge_status *status;
	const struct addr *listeners;
	size_t listener_count;
	uint64_t in_per_second, out_per_second;
	double connections_per_second;
	bool draining;
	unsigned columns, rows;
};

/* At most `rows` lines of at most `columns` characters, each ended by "\n". */
void screen_format(const struct screen_view *v, struct text *out);

#endif
