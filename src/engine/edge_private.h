/*
 * What the parts of one edge share. Inside engine/ only.
 */
#ifndef ENGINE_EDGE_PRIVATE_H
#define ENGINE_EDGE_PRIVATE_H

#include "base/tally.h"
#include "engine/acceptor.h"
#include "engine/edge.h"
#include "engine/journal.h"
#include "engine/policy_host.h"
#include "engine/pool.h"
#include "engine/registry.h"
#include "engine/tunnel_host.h"
#include "engine/renewal.h"
#include "engine/vault.h"
#include "engine/watchdog.h"
#include "engine/worker.h"
#include "sys/geo.h"
#include "sys/resolver.h"

struct edge {
	struct worker *workers;
	unsigned worker_count;
	struct acceptor *acceptor;
	struct resolver *resolver;
	struct journal *journal;
	struct upstreams *upstreams;
	struct pools *pools;
	struct registry *registry;
	const struct tunnel_host *tunnel; /* lent; NULL: none */
	struct inherit *inherited;	  /* until it is built; NULL: none */
	struct policy_shared *shared;
	struct tally *clients; /* connections by client address */
	struct tally *active;  /* connections by policy key */
	struct vault vault;
	struct pipe_budget pipe_budget;
	struct listener **listeners; /* current, counted; main thread */
	size_t listener_count;
	atomic_bool wants_events;    /* there is a sink: fill in all fields */
	_Atomic uint64_t open_count; /* accepted and not finished */
	_Atomic uint64_t open_limit;
	_Atomic uint64_t lost_count; /* accepted, and never a connection */
	atomic_uint undrained;	     /* workers with connections left */
	int drained_fd;
	uint64_t drain_ms;
	bool draining;
	struct watchdog *watchdog;
	struct renewal *renewal;
	atomic_bool keep_recent; /* somebody looks at edge_status */
	pthread_mutex_t recent_lock;
	struct edge_recent recent[EDGE_RECENT_COUNT];
	uint64_t recent_total;
};

/* A worker has no connection left while draining. Any worker's thread. */
void edge_note_drained(struct edge *e);

/* Takes a place under the limit of connections for one that was not accepted
 * here. False: none is left. Any thread. */
bool edge_take_place(struct edge *e) MUST_CHECK;

#endif
