/*
 * A view: what the agent's web address shows at one moment.
 *
 * Whoever owns sessions and endpoints is a source. For each request it is asked
 * to put all of them into a view, under its own lock; the view copies what it
 * is given, and all else (percentiles, documents) happens after that lock is
 * free again. Foreign text is made valid UTF-8 on the way in and cut at
 * AGENT_VIEW_TEXT_MAX bytes; what may not stand in JSON, HTML or a label is the
 * business of those who write them.
 *
 * A view belongs to one thread.
 */
#ifndef CONTROL_AGENT_VIEW_H
#define CONTROL_AGENT_VIEW_H

#include "base/compiler.h"
#include "base/span.h"
#include "control/meter.h"

#define AGENT_VIEW_TEXT_MAX 1024
/* Sessions, and endpoints, of one view; the others are left out and counted. */
#define AGENT_VIEW_MAX 10000

/* What the source tells of a session. All text is lent for the call; NULL
 * counts as "". */
struct agent_session_view {
	const char *edge;   /* its address, as configured */
	const char *region; /* that the edge named, "" if none */
	/* A word such as "connecting"; that of a session which serves is
	 * "online", and only then is is_online set. */
	const char *state;
	const char *id;	    /* that the edge gave, "" if none */
	int64_t latency_us; /* of the last heartbeat; below 0: unknown */
	bool is_online;
};

/* The same of an endpoint. */
struct agent_endpoint_view {
	const char *name;     /* one of its own, never empty: the API's key */
	const char *url;      /* "tls://..."; "" while it is not bound */
	const char *upstream; /* as configured */
	const char *terminate_at; /* "edge", "agent" or "upstream" */
	bool is_online;		  /* bound in at least one session now */
	bool is_pooling_enabled;
	struct meter *meter;	      /* lent, the view counts it; NULL: none */
	uint64_t bytes_in, bytes_out; /* from clients, to clients */
};

struct agent_view;

/* Called by the source. No memory is remembered in the view. */
void agent_view_session(
    struct agent_view *v, const struct agent_session_view *s);
void agent_view_endpoint(
    struct agent_view *v, const struct agent_endpoint_view *e);

struct agent_web_source {
	void *data; /* the source's own; outlives the web address */
	/*
	 * Calls agent_view_session for each session, the first one first, and
	 * agent_view_endpoint for each endpoint in the file's order. Called on
	 * the web address's thread, one call at a time. May lock and unlock;
	 * must not hold a lock on return. Those two functions do nothing but
	 * allocate and copy, so it is fine to call them under a lock that a
	 * worker may wait for.
	 */
	void (*fill)(void *data, struct agent_view *v);
};

/* Here begins what the documents read. */
struct view_session {
	char *edge, *region, *state, *id;
	int64_t latency_us;
	bool is_online;
};

struct view_endpoint {
	char *name, *url, *upstream, *terminate_at;
	bool is_online, is_pooling_enabled;
	uint64_t bytes_in, bytes_out;
	struct meter *meter;
	struct meter_figures figures; /* zeros without a meter */
};

struct agent_view {
	struct view_session *sessions;
	struct view_endpoint *endpoints;
	size_t session_count, session_room;
	size_t endpoint_count, endpoint_room;
	size_t sessions_left_out, endpoints_left_out;
	bool no_memory;
};

/* Asks the source, then reads the meters. 0, or -ENOMEM with nothing to free.
 */
int agent_view_take(struct agent_view *v, const struct agent_web_source *source,
    int64_t now_us) MUST_CHECK;
void agent_view_fini(struct agent_view *v);

/* The first of that name, NULL if there is none. */
const struct view_endpoint *agent_view_find(
    const struct agent_view *v, struct span name);

/* "online" if a session is, else the first session's word, else "connecting".
 */
const char *agent_view_status(const struct agent_view *v);

/* Who can read the bytes of connections of an endpoint: a part of "edge",
 * "agent" and "upstream". An unknown termination point counts as the edge. */
enum reader { READER_EDGE = 1, READER_AGENT = 2, READER_UPSTREAM = 4 };
unsigned agent_view_readers(const struct view_endpoint *e);

#endif
