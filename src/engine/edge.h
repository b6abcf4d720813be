/*
 * The edge: acceptor, workers, resolver and journal of one process, and the
 * operations that main may ask of it. Everything it owns hangs off it; two
 * edges in one process do not know of each other. Main thread only.
 *
 * Life: edge_new (binds, compiles, starts), edge_reload any number of times,
 * edge_drain, edge_free.
 */
#ifndef ENGINE_EDGE_H
#define ENGINE_EDGE_H

#include "config/snapshot.h"
#include "engine/journal.h"
#include "engine/tunnel_host.h"
#include "sys/inherit.h"

struct edge;

/* What it meets; NULL: there is none. */
struct edge_surroundings {
	const struct tunnel_host *tunnel; /* outlives the edge */
	struct inherit
	    *inherited; /* listeners are picked of it; for edge_new */
};

/*
 * Takes the sinks whatever happens; takes a reference on the snapshot. NULL
 * with one clear line in `error`.
 */
struct edge *edge_new(struct snapshot *s, struct journal_sink *sinks,
    const struct edge_surroundings *around, struct text *error);

/* Builds everything new beside what runs and switches only if all of it works.
 * 0, or -1 with `error` filled and nothing changed. Takes the sinks. */
int edge_reload(struct edge *e, struct snapshot *s, struct journal_sink *sinks,
    struct text *error) MUST_CHECK;

/* Opens event files again. */
void edge_reopen(struct edge *e);

/* Closes the listeners and lets connections finish; after the drain time they
 * are closed with `drain`. edge_drained_fd becomes readable when none is left.
 */
void edge_drain(struct edge *e);
int edge_drained_fd(const struct edge *e);

/* Ends whatever is left at once (each with its event) and frees all. */
void edge_free(struct edge *e);

/* The addresses that are listened on, in the snapshot's order. */
size_t edge_listener_count(const struct edge *e);
void edge_listener_addr(const struct edge *e, size_t i, struct addr *out);
/* To be passed on; -1 once the edge drains. Lent. */
int edge_listener_fd(const struct edge *e, size_t i);

/* For the tunnel; they live as long as the edge. Any thread. */
struct registry;
struct resolver;
struct journal *edge_journal(struct edge *e);
struct registry *edge_registry(struct edge *e);
struct resolver *edge_resolver(struct edge *e);
unsigned edge_worker_count(const struct edge *e);
struct worker *edge_worker(struct edge *e, unsigned i);
/* Ends the connections of all uplinks that are cut by now, and those of what is
 * in doubt that give no sign of life (engine/sweep.h), each on its own worker,
 * soon. Any thread; cannot fail. */
void edge_sweep(struct edge *e);
/* There is somebody who reads events. */
bool edge_wants_events(const struct edge *e);
/* A connection is over, or a caller's: its place is free. */
void edge_release(struct edge *e);

#define EDGE_RECENT_COUNT 10

struct edge_recent {
	int64_t wall_us;
	struct addr client;
	char name[64]; /* escaped SNI, cut */
	char reason[32];
	uint64_t bytes_in, bytes_out;
	int64_t duration_us;
};

struct edge_status {
	uint64_t connections_open, connections_total, connections_limit;
	uint64_t bytes_in, bytes_out;
	uint64_t events_written, events_dropped;
	size_t recent_count; /* newest first */
	struct edge_recent recent[EDGE_RECENT_COUNT];
};

void edge_status(struct edge *e, struct edge_status *out);

#endif
