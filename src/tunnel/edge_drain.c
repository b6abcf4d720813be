#include "tunnel/edge_drain.h"

#include "base/clock.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"

/* How often it is looked whether an SDK's session has become idle. */
#define TICK_MS 100

static void
ignore_reply(
    struct session *s, void *owner, enum session_reply reply, struct span json)
{
	(void)s;
	(void)owner;
	(void)reply;
	(void)json;
}

static void
tell_moving(struct edge_session *es, uint64_t ms)
{
	struct moving moving = { .drain_ns = (int64_t)ms * 1000000 };
	struct span json;

	if (moving_write(&moving, &json) < 0)
		return;
	/* An agent that does not hear it finds out at the end. */
	(void)!session_request(
	    es->session, MESSAGE_MOVING, json, ignore_reply, NULL);
	message_wipe(&json);
}

static void
on_tick(struct timeout *t)
{
	struct tunnel_worker *tw =
	    CONTAINER_OF(t, struct tunnel_worker, drain_tick);
	bool any = false;

	LIST_FOREACH_SAFE (node, &tw->sessions) {
		struct edge_session *es =
		    LIST_ENTRY(node, struct edge_session, node);

		if (es->phase != EDGE_ADMITTED ||
		    session_is_lunette(es->session))
			continue;
		if (es->stream_count > 0)
			any = true;
		else
			edge_session_end(es, "the edge is about to stop");
	}
	if (any)
		timeouts_set(&tw->worker->timeouts, t, clock_ms() + TICK_MS);
}

void
edge_drain_init(struct tunnel_worker *tw)
{
	timeout_init(&tw->drain_tick, on_tick);
}

void
edge_on_drain(void *state, uint64_t ms)
{
	struct tunnel_worker *tw = state;

	if (tw->draining)
		return;
	tw->draining = true;
	LIST_FOREACH (node, &tw->sessions) {
		struct edge_session *es =
		    LIST_ENTRY(node, struct edge_session, node);

		if (es->phase == EDGE_ADMITTED &&
		    session_is_lunette(es->session))
			tell_moving(es, ms);
	}
	timeouts_set(&tw->worker->timeouts, &tw->drain_tick, clock_ms());
}
