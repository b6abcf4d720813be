/* Inside of the agent: what the files agent_*.c show each other. */
#ifndef TUNNEL_AGENT_PRIVATE_H
#define TUNNEL_AGENT_PRIVATE_H

#include <pthread.h>

#include "engine/edge.h"
#include "engine/worker.h"
#include "tls/data_keys.h"
#include "tunnel/agent.h"
#include "tunnel/introduction.h"
#include "tunnel/outbound.h"
#include "tunnel/session.h"
#include "tunnel/tls_pump.h"

struct link;

/* Who this link was to its edge: presented again, it replaces the session that
 * it had, and gets the same random names. */
struct identity {
	char client_id[128];
	char cookie[256];
	int lock_fd; /* of its file; -1: it is not kept */
	char *path;
};

struct agent {
	struct tunnel_host host;
	struct agent_hooks hooks;
	struct snapshot *snapshot; /* counted; the first one */
	struct proxy_url proxy;	   /* wiped */
	bool has_proxy;
	struct edge_trust trust;
	unsigned link_count;
	atomic_uint next_worker; /* for what comes in */
	int refused_fd;
	atomic_bool was_online;
	pthread_mutex_t lock; /* of all below */
	struct agent_link_status links[AGENT_MAX_LINKS];
	struct addr taken[AGENT_MAX_LINKS]; /* the edges that links are at */
	struct agent_endpoint_status *endpoints;
	size_t endpoint_count;
};

/* The agent's part of one worker. */
struct agent_worker {
	struct agent *agent;
	struct worker *worker;
	struct session_host sessions;
	struct outbound_host outbound;
	struct tls_pump_host pumps;
	uint8_t *buffer;
	struct link *links; /* those of this worker */
	unsigned link_count;
	bool started, draining, ended;
};

enum bind_state { BIND_NEW, BIND_ASKED, BIND_DONE, BIND_REFUSED };

/* One endpoint, as it stands with one session. */
struct offer {
	struct endpoint *endpoint; /* counted */
	struct agent_session *session;
	enum bind_state state;
	char id[DATA_ENDPOINT_MAX_BYTES + 1]; /* the edge's, from BIND_DONE */
	char *digest;	 /* of what was asked, to see whether it has changed */
	unsigned serial; /* its number in the session */
	char *url;
	char *token; /* for the next session */
	unsigned refusals;
	uint64_t again_ms; /* when to ask again */
};

struct agent_session {
	struct link *link;
	struct session *session;
	bool joined; /* the edge has let it in */
	bool moving; /* its edge has said that it goes away */
	struct addr remote;
	struct outbound_target target; /* for data connections: the same */
	struct host server_name;
	struct data_keys keys; /* zeros: there are none */
	bool has_keys;
	char id[64];
	struct offer *offers;
	size_t offer_count;
	unsigned serials;
	struct list dials, parked; /* of agent_data.c */
	unsigned dial_count, parked_count;
	struct list asked; /* counters that wait for their turn */
};

struct link {
	struct agent_worker *at;
	unsigned index;
	enum agent_link_state state;
	struct timeout timeout;
	struct outbound *outbound;
	unsigned attempts; /* since it was online */
	unsigned edge;	   /* index of the edge that is tried */
	struct agent_session *current, *old;
	struct identity identity;
	struct kept_token *tokens; /* of former sessions */
	size_t token_count;
};

static inline const struct snapshot *
link_settings(const struct link *l)
{
	return l->at->worker->generation->snapshot;
}

static inline const struct edge_address *
link_edge(const struct link *l)
{
	const struct agent_settings *a = &l->at->agent->snapshot->agent;

	return &a->edges[l->edge % a->edge_count];
}

/* --- agent_link.c --- */

void link_init(struct link *l, struct agent_worker *at, unsigned index);
void link_fini(struct link *l);
void link_start(struct link *l);
/* The edge goes away: a new session first, then this one ends. */
void link_move(struct link *l);
/* Comes back in a second at the latest, for what is to be asked again. */
void link_plan(struct link *l);
/* The token that the edge gave for what has this digest; NULL: none. */
const char *link_token(const struct link *l, const char *digest);
void link_keep_token(struct link *l, char *digest, char *token);
void link_note(struct link *l, enum agent_link_state state, const char *error);
/* What the edge has called the session, and itself. */
void link_note_session(struct link *l, const char *id, const char *region);

/* --- agent_join.c --- */

/* The handshake is done: says who this is. */
void join_begin(struct session *session);

/* --- agent_commands.c --- */

/* A request of the edge's. */
void command_take(
    struct session *session, uint32_t type, uint32_t id, struct span json);

/* --- agent_identity.c --- */

/* The one that is kept for this edge and link, or a fresh one. */
void identity_open(struct identity *i, const struct snapshot *s,
    const char *edge, unsigned index);
/* What the edge has given; kept if it can be. */
void identity_set(
    struct identity *i, const char *client_id, const char *cookie);
void identity_close(struct identity *i);

/* --- agent_bind.c --- */

/* Makes the session's offers those of a snapshot: binds what is new, unbinds
 * what has gone, leaves what is the same. */
void offers_sync(struct agent_session *s, const struct snapshot *snapshot);
void offers_forget(struct agent_session *s);
/* The edge has taken it offline; it is asked again, but not soon. */
void offers_stopped(struct offer *o, const char *why);
/* Unbinds all, before the end: new clients go elsewhere. */
void offers_withdraw(struct agent_session *s);
/* The one that the edge calls so; NULL: none. */
struct offer *offers_find(struct agent_session *s, struct span id);
/* Asks again for what was refused, if it is time; in how many milliseconds to
 * come again, 0: no need. */
uint64_t offers_retry(struct agent_session *s, uint64_t now_ms);

/* --- agent_accept.c --- */

struct passage;

/* A stream of type 3. */
void accept_stream(struct session *s, struct mux_stream *stream);

/*
 * Judges what the edge says of a connection and makes its passage, with
 * `refusal` set if it is not to be. `mode` is NULL for a stream. NULL without
 * memory.
 */
struct passage *accept_passage(struct agent_session *s,
    const struct data_open *open, const enum data_mode *mode);

/* Its ANSWER is to be sealed by these; they are copied. */
void accept_bind_answer(struct passage *p, const struct data_keys *keys,
    const struct data_binding *binding);

/* Hands it to a worker's engine; takes all. */
void accept_inject(
    struct agent *a, struct worker *from, int fd, struct passage *p);

/* --- agent_data.c --- */

/* DataConnections: dials as many. False: it is not to be (too many, no keys);
 * the session is to end. */
bool data_dial(struct agent_session *s, uint64_t first, uint64_t count,
    enum data_mode mode);
/* Closes all that has not become a connection. */
void data_forget(struct agent_session *s);

#endif
