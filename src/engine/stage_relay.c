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

/* TLS that was broken on the way is no reset of the peer's. */
static enum step
end_by_failure(struct conn *c, const struct leg *leg, enum reason reset,
    enum reason broken)
{
	const struct tls_failure *f = leg->tls ? tls_failure(leg->tls) : NULL;

	if (!f || f->fault == TLS_FAULT_NONE || f->fault == TLS_FAULT_RESET)
		return end_by_reset(c, reset);
	if (leg == &c->client)
		conn_note_alert(c, f);
	conn_close(c, broken, CLOSE_PASS_RESET, f->detail);
	return STEP_CLOSE;
}

/* It complains that the other side's end was no clean one. */
static enum step
end_by_truncation(struct conn *c, enum reason reason)
{
	conn_close(c, reason, CLOSE_PASS_RESET, "tls_truncated");
	return STEP_CLOSE;
}

static enum step
end_by_client(struct conn *c)
{
	return c->upstream.truncated
		   ? end_by_truncation(c, REASON_UPSTREAM_CLOSED)
		   : end_by_failure(
			 c, &c->client, REASON_CLIENT_RESET, REASON_TLS_FAILED);
}

static enum step
end_by_upstream(struct conn *c)
{
	return c->client.truncated && c->upstream.tls
		   ? end_by_truncation(c, REASON_CLIENT_CLOSED)
		   : end_by_failure(c, &c->upstream, REASON_UPSTREAM_RESET,
			 REASON_UPSTREAM_TLS_FAILED);
}

static enum step
end(struct conn *c)
{
	bool truncated = c->client.truncated || c->upstream.truncated;

	/* Closing while the client still sends would reset it, and it might
	 * lose the end of the answer. */
	conn_close(c,
	    c->upstream_first ? REASON_UPSTREAM_CLOSED : REASON_CLIENT_CLOSED,
	    c->client.abandoned ? CLOSE_LINGER : CLOSE_PLAIN,
	    truncated ? "tls_truncated" : NULL);
	return STEP_CLOSE;
}

/*
 * A peer that has reset is met by reading, but nothing is read while the other
 * side does not take what there is: so long nobody would notice, and the
 * connection would be held for an end that has gone.
 */
static void
note_hidden_reset(struct leg *from, const struct leg *to)
{
	if (from->broken && leg_has_pending(to) && !to->writable)
		from->reset = from->failed = true;
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
	note_hidden_reset(&c->client, &c->upstream);
	note_hidden_reset(&c->upstream, &c->client);
	if (c->client.failed)
		return end_by_client(c);
	if (c->upstream.failed)
		return end_by_upstream(c);
	if (in == FLOW_DONE && out == FLOW_DONE)
		return end(c);
	if (in == FLOW_MORE || out == FLOW_MORE)
		conn_wake(c);
	return STEP_WAIT;
}
