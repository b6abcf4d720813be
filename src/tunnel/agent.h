/*
 * The agent: it dials out to edges, keeps sessions with them, binds its
 * endpoints there and serves what comes through.
 *
 * It is a tunnel_host: edge_new gets it, and its workers carry its links. A
 * link keeps one session with one edge, for ever: it connects, binds, and
 * when the session ends, it begins again, after a while that grows and is
 * never the same for two agents.
 *
 * Life: agent_new, edge_new with agent_host, edge_free, agent_free. Main
 * thread, but for what is said to be any thread's.
 */
#ifndef TUNNEL_AGENT_H
#define TUNNEL_AGENT_H

#include "config/snapshot.h"
#include "engine/tunnel_host.h"

struct agent;

/* Links begin 0.5 s after the first failure, twice as long after each further
 * one, up to this; the time is chosen at random up to that. */
#define AGENT_BACKOFF_FIRST_MS 500
#define AGENT_BACKOFF_MAX_MS 30000

/* What somebody may want to hear of connections that come through: on any
 * thread, and never for long. */
struct agent_traffic {
	int64_t duration_us;
	uint64_t bytes_in, bytes_out; /* from the client, to the client */
};

struct agent_hooks {
	void *data;
	void (*on_begin)(void *data, const struct endpoint *e); /* or NULL */
	void (*on_end)(void *data, const struct endpoint *e,
	    const struct agent_traffic *t); /* or NULL */
};

/* Reads what the settings name: CAs, the identity of former sessions. Takes a
 * reference on the snapshot. NULL with one line in `error`. */
struct agent *agent_new(
    struct snapshot *s, const struct agent_hooks *hooks, struct text *error);
void agent_free(struct agent *a); /* NULL is harmless; after edge_free */
const struct tunnel_host *agent_host(const struct agent *a);

/* Readable once, at the latest, an edge has refused this agent for good before
 * it was ever online: `error` of agent_status says why. */
int agent_refused_fd(const struct agent *a);

enum agent_link_state {
	LINK_WAITING,	 /* until the next attempt */
	LINK_SPARE,	 /* there is no further edge for it */
	LINK_CONNECTING, /* a socket, then TLS */
	LINK_JOINING,	 /* proving who it is */
	LINK_ONLINE,
};

const char *agent_link_state_word(enum agent_link_state state);

#define AGENT_TEXT_SIZE 256

struct agent_link_status {
	enum agent_link_state state;
	char edge[AGENT_TEXT_SIZE];  /* as it is called in the settings */
	char region[64];	     /* the edge's word */
	char session_id[64];	     /* the edge's, "" while there is none */
	char error[AGENT_TEXT_SIZE]; /* of the last attempt; "": none */
	int64_t latency_us;	     /* -1: not measured yet */
};

struct agent_endpoint_status {
	char name[AGENT_TEXT_SIZE];
	char url[AGENT_TEXT_SIZE + 8]; /* "" while nobody has bound it */
	char error[AGENT_TEXT_SIZE];   /* of the last bind; "": none */
	enum terminate_at terminate_at;
	bool online;
};

#define AGENT_MAX_LINKS 10

/* What is so now; any thread. */
size_t agent_links(
    struct agent *a, struct agent_link_status out[AGENT_MAX_LINKS]);
/* The endpoint of this index in the settings in force; false behind the last
 * one. */
bool agent_endpoint(
    struct agent *a, size_t index, struct agent_endpoint_status *out);

#endif
