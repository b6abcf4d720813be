/*
 * The events of sessions and of what they bind. The session's thread.
 */
#ifndef TUNNEL_EDGE_EVENTS_H
#define TUNNEL_EDGE_EVENTS_H

#include "engine/journal.h"
#include "tunnel/session.h"

#define EVENT_SESSION_START "agent_session_start.v0"
#define EVENT_SESSION_STOP "agent_session_stop.v0"
#define EVENT_ENDPOINT_ONLINE "endpoint_online.v0"
#define EVENT_ENDPOINT_OFFLINE "endpoint_offline.v0"

struct edge_session;
struct edge_bind;
struct edge_labelled;
struct endpoint;

void edge_event_session_start(struct edge_session *es);
/* `end` and `detail` as session_calls.on_end gives them. */
void edge_event_session_stop(
    struct edge_session *es, enum session_end end, const char *detail);
void edge_event_endpoint(
    struct edge_session *es, const struct endpoint *e, bool online);
void edge_event_labelled(
    struct edge_session *es, const struct edge_labelled *l, bool online);

#endif
