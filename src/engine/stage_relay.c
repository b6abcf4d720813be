/*
 * Bytes both ways until both sides are done. A half-close is passed on and the
 * other direction goes on; a reset is passed on as a reset, after what had been
 * read before it.
 */
#include "engine/stage.h"

#include "engine/relay.h"
#include "engine/worker.h"

static uint64_t
moved(const struct conn *c)
{
	return c->client.taken_bytes + c->upstream.taken_bytes;
}

static enum step
end_by_reset(struct conn *c, enum reason reason)
{
	conn_close(c, reason, CLOSE_PASS_RESET, NULL);
	return STEP_CLOSE;
}

static enum step
end(struct conn *c)
{
	/* Closing while the client still sends would reset it, and it might
	 * lose the end of the answer. */
	conn_close(c,
	    c->upstream_first ? REASON_UPSTREAM_CLOSED : REASON_CLIENT_CLOSED,
	    c->client.abandoned ? CLOSE_LINGER : CLOSE_PLAIN, NULL);
	return STEP_CLOSE;
}

enum step
stage_relay(struct conn *c)
{
	uint64_t before = moved(c);
	enum flow in, out;

	in = relay_step(c, &c->client, &c->upstream);
	out = relay_step(c, &c->upstream, &c->client);
	if (c->upstream.eof && !c->client.eof)
		c->upstream_first = true;
	if (moved(c) != before)
		conn_set_deadline(c, c->idle_ms);
	if (c->reason != REASON_NONE)
		return STEP_CLOSE;
	if (c->client.failed)
		return end_by_reset(c, REASON_CLIENT_RESET);
	if (c->upstream.failed)
		return end_by_reset(c, REASON_UPSTREAM_RESET);
	if (in == FLOW_DONE && out == FLOW_DONE)
		return end(c);
	if (in == FLOW_MORE || out == FLOW_MORE)
		conn_wake(c);
	return STEP_WAIT;
}
