/*
 * A session of an agent at the edge: from the accepted connection to its one
 * `agent_session_stop.v0`. What it binds is in edge_bind.h, who it is in
 * edge_auth.h. Its worker's thread, but for references.
 */
#ifndef TUNNEL_EDGE_SESSION_H
#define TUNNEL_EDGE_SESSION_H

#include "base/compiler.h"
#include "base/span.h"
#include "engine/reason.h"
#include "tunnel/ngrok_error.h"

struct caller;
struct edge_session;
struct tunnel_worker;

struct edge_session *edge_session_get(struct edge_session *es);
void edge_session_put(struct edge_session *es); /* NULL is harmless */

/* A connection that is an agent's; takes the caller's parts. */
void edge_session_accept(struct tunnel_worker *tw, struct caller *caller);

/* Lets go of all that it has bound, then ends: what was answered is still sent.
 * `why` goes into the log, the agent's GOAWAY and the last event. Harmless when
 * it has ended. */
void edge_session_end(struct edge_session *es, const char *why);

/* The same, and what relays through it ends as well, on connections of its own
 * too. */
void edge_session_cut(
    struct edge_session *es, enum reason reason, const char *why);

/* The agent does what no agent may: the session is cut. */
void edge_session_violates(struct edge_session *es, const char *why);

/* The text of an error for an answer; `subject` may be NULL. Lives in
 * `storage`, of NGROK_ERROR_SIZE. */
char *edge_error(char *storage, enum ngrok_error e, const char *subject);

/* Answers a request with JSON that a message's x_write has made, `written`
 * being its result; wipes it. Without memory the request is refused. */
void edge_session_answer(
    struct edge_session *es, uint32_t id, int written, struct span *json);

#endif
