/*
 * What the files of the edge's end share. Inside of them only.
 *
 * A session belongs to its worker's thread, but for what is said to be under
 * the tunnel's lock. It is counted: mails and uplinks hold it, and may let it
 * go on any thread; by then it has nothing left but memory.
 */
#ifndef TUNNEL_EDGE_PRIVATE_H
#define TUNNEL_EDGE_PRIVATE_H

#include <pthread.h>

#include "engine/edge.h"
#include "engine/registry.h"
#include "engine/worker.h"
#include "policy/rates.h"
#include "tunnel/edge_clients.h"
#include "tunnel/edge_doors.h"
#include "tunnel/edge_host.h"
#include "tunnel/message.h"
#include "tunnel/names.h"
#include "tunnel/session.h"
#include "tunnel/tokens.h"

/* Where this edge is, for agents that ask. */
#define EDGE_REGION "self"
/* How long an agent may take to say who it is, once it has shaken hands. */
#define EDGE_AUTH_MS 10000

struct edge_tunnel {
	struct tunnel_host host;
	/* Made when agents are first taken; then they stay. */
	_Atomic(struct names *) names;
	_Atomic(struct rates *) failures;
	struct edge_clients clients;
	struct edge_doors doors;
	struct tunnel_worker **workers; /* set before they run */
	unsigned worker_count;
	struct token_set *next_tokens; /* main thread */
	bool prepared;
	pthread_mutex_t lock;	   /* of what follows */
	struct token_set *tokens;  /* in force; NULL: no agents */
	struct list sessions;	   /* edge_session.known; also what is over */
	atomic_uint session_count; /* let in, or about to be, and not over */
	struct {
#define X(name) _Atomic uint64_t name;
		EDGE_TUNNEL_COUNTER_TABLE(X)
#undef X
	} counters;
};

struct tunnel_worker {
	struct edge_tunnel *tunnel;
	struct worker *worker;
	struct session_host host;
	struct list sessions; /* edge_session.node: on_end did not come yet */
	struct list knocks;   /* edge_knock.c */
	/* What a later event of the same batch may still point at. */
	struct list dead;
	struct timeout burial;
	struct timeout drain_tick;
	struct mail recheck;
	atomic_bool recheck_posted;
	bool draining, stopped;
};

/* Memory that is freed when the loop's turn is over. */
struct tunnel_corpse {
	struct list node;
	void *memory;
};

void tunnel_worker_bury(struct tunnel_worker *tw, struct tunnel_corpse *c);

enum edge_phase {
	EDGE_STRANGER, /* shakes hands, or has not said who it is */
	EDGE_CLAIMING, /* is known; the session before it must let go */
	EDGE_ADMITTED,
	EDGE_CLOSING, /* has let go of everything; the end will come */
	EDGE_ENDED,
};

/* What an agent says of itself, for events. */
struct edge_agent_facts {
	char *os, *arch, *version, *metadata, *user_agent, *client_type;
	bool can_stop, can_restart;
	bool encrypts_data; /* it wants no data connection in clear */
};

struct edge_session {
	atomic_uint refs;
	struct edge_tunnel *tunnel;
	struct tunnel_worker *tw; /* its thread only */
	struct list node;
	struct session *session; /* NULL: over */
	enum edge_phase phase;
	char id[UPLINK_ID_SIZE]; /* "ts_..." */
	struct addr peer, local;
	int64_t start_us, start_wall_us;
	struct timeout timeout; /* to say who it is; then to end after a stop */
	uint32_t auth_request;	/* is not answered yet */
	const char *protocol;	/* its version; a literal */
	struct edge_agent_facts facts;
	bool counted;	      /* in the tunnel's session_count */
	struct list binds;    /* edge_bind.node */
	struct list labelled; /* edge_labelled.node */
	unsigned bind_count;  /* both */
	uint32_t random_count;
	unsigned stream_count;	/* that carry a client's connection */
	struct edge_data *data; /* NULL: none were ever called for */
	struct edge_door *door; /* NULL: no data connections may come */
	char error[256];	/* for the last event; "": nothing was wrong */
	/* It waits until the session before it has let go; and who waits until
	 * this one has, owned. */
	bool awaits;
	struct edge_relief *relief;

	/* Under the tunnel's lock where it is written: */
	struct list known;
	struct credential *credential; /* counted; NULL: a stranger */

	/* Of edge_clients. */
	char client_id[CLIENT_ID_SIZE];
	char owner[CREDENTIAL_ID_SIZE]; /* the credential's id */
	struct list client_node;

	/* See struct uplink. */
	atomic_uint cut_for; /* enum reason */
	atomic_bool in_doubt;
};

static inline const struct snapshot *
edge_session_settings(const struct edge_session *es)
{
	return es->tw->worker->generation->snapshot;
}

static inline void
edge_count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

#define EDGE_COUNT(t, name) edge_count(&(t)->counters.name)

#endif
