/*
 * The edge's end of the tunnel: agents' sessions, what they bind, and the ways
 * to them. It hangs under the engine as a `struct tunnel_host`.
 *
 * What all workers share is here, under locks: the credentials, who is
 * connected under which client id, and the keys by which data connections find
 * their session. Everything else belongs to the worker on which a session's
 * connection has arrived.
 *
 * Life: edge_tunnel_new, edge_new with its host, edge_reload any number of
 * times between edge_tunnel_prepare and edge_tunnel_commit, edge_free,
 * edge_tunnel_free. Main thread.
 */
#ifndef TUNNEL_EDGE_HOST_H
#define TUNNEL_EDGE_HOST_H

#include "config/snapshot.h"
#include "engine/tunnel_host.h"

struct edge_tunnel;

/*
 * Reads the credentials, and opens the key for names in the state folder, if
 * the snapshot takes agents. NULL with one clear line in `error`.
 */
struct edge_tunnel *edge_tunnel_new(
    const struct snapshot *s, struct text *error);
void edge_tunnel_free(struct edge_tunnel *t); /* NULL is harmless */

const struct tunnel_host *edge_tunnel_host(const struct edge_tunnel *t);

/*
 * A reload: reads what the next snapshot names, beside what is in force. 0, or
 * -1 with `error` filled and nothing changed. Then edge_tunnel_commit, once the
 * engine runs by the snapshot, or edge_tunnel_discard. Commit ends the sessions
 * whose credential is no longer there, and what relays through them.
 */
int edge_tunnel_prepare(struct edge_tunnel *t, const struct snapshot *s,
    struct text *error) MUST_CHECK;
void edge_tunnel_commit(struct edge_tunnel *t);
void edge_tunnel_discard(struct edge_tunnel *t);

/* One line a counter; any thread. */
#define EDGE_TUNNEL_COUNTER_TABLE(X)                                      \
	X(sessions_total)   /* connections of agents, refused ones too */ \
	X(sessions_refused) /* of them: not let in */                     \
	X(auth_failures)    /* of them: for a wrong token */              \
	X(binds_refused)                                                  \
	X(streams)	    /* connections that went by a stream */       \
	X(data_connections) /* ... by a data connection */                \
	X(preface_malformed)                                              \
	X(preface_unknown_session)                                        \
	X(preface_bad_mac)                                                \
	X(preface_not_asked)                                              \
	X(no_certificate) /* for the name by which agents connect */

struct edge_tunnel_counters {
#define X(name) uint64_t name;
	EDGE_TUNNEL_COUNTER_TABLE(X)
#undef X
	uint64_t sessions_open; /* let in, now */
};

void edge_tunnel_counters(
    const struct edge_tunnel *t, struct edge_tunnel_counters *out);

/*
 * Tells an agent to stop, or to start again, with `message` for its log; false:
 * no session has this id. A stop ends the session after its answer, and all
 * that relays through it. Any thread.
 */
bool edge_session_stop(
    struct edge_tunnel *t, const char *session_id, const char *message);
bool edge_session_restart(struct edge_tunnel *t, const char *session_id);

#endif
