/*
 * What the engine asks of the tunnel, which is above it: cmd/ gives the table
 * to edge_new. At an edge the tunnel takes over the connections of agents; at
 * an agent it brings connections (passage_inject).
 *
 * Each worker has a state of the tunnel, made and freed by the main thread and
 * used by the worker's alone. Its memory, descriptors and deadlines are the
 * tunnel's own affair.
 */
#ifndef ENGINE_TUNNEL_HOST_H
#define ENGINE_TUNNEL_HOST_H

#include "engine/generation.h"

struct worker;

/* A connection that is an agent's. */
struct caller {
	int fd; /* owned; nothing was read of it */
	struct addr peer, local;
	struct host name; /* of the hello; empty: none */
	int64_t start_us, start_wall_us;
	struct generation *generation; /* counted */
};

enum caller_kind {
	CALLER_AGENT,	 /* says hello, and wants a session */
	CALLER_DATA_RAW, /* a data connection: begins with a preface */
	CALLER_DATA_TLS, /* ... inside TLS */
};

struct tunnel_host {
	void *data; /* for worker_new */
	/* Of one worker, before its thread starts. NULL: no memory. */
	void *(*worker_new)(void *data, struct worker *w);
	/* After the thread has ended. */
	void (*worker_free)(void *state);
	/* A new generation is in force; w->generation. Worker's thread, as all
	 * that follows. */
	void (*on_switch)(void *state);
	/* Nothing new is taken; connections may end within this time. */
	void (*on_drain)(void *state, uint64_t ms);
	/* Ends everything at once; outside of the loop's batch, so that it may
	 * free what it watches. */
	void (*on_stop)(void *state);
	/* Takes the caller's parts. Its place under the limit of connections
	 * is given back by edge_release. */
	void (*on_caller)(
	    void *state, enum caller_kind kind, struct caller *caller);
};

#endif
