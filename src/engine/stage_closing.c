/*
 * The end of a connection, in the way that conn_close was told: the parting
 * words delivered, a reset passed on, or at once. Bounded by the linger time.
 */
#include "engine/stage.h"

#include "engine/relay.h"
#include "engine/worker.h"
#include "sys/socket.h"

#define LINGER_MS 2000
/* How often to look whether the peer has acknowledged everything. */
#define UNSENT_POLL_MS 16

static enum step
finish(struct conn *c)
{
	conn_finish(c);
	return STEP_GONE;
}

/* Reads and forgets what the client has sent: unread bytes would turn our FIN
 * into a reset, and the alert would be lost with it. */
static enum io
discard(struct conn *c)
{
	enum io io = IO_OK;

	for (int i = 0; i < RELAY_TURN_READS && io == IO_OK; i++)
		io = leg_discard(
		    &c->client, c->worker->buffer, WORKER_BUFFER_BYTES);
	return io;
}

static void
part(struct conn *c)
{
	uint8_t record[ALERT_RECORD_BYTES];

	c->parted = true;
	socket_set_lowat(c->client.watch.fd, 1);
	if (c->alert != 0 && !c->alert_sent) {
		alert_record(c->alert, record);
		(void)leg_say(&c->client, span_of(record, sizeof(record)));
	}
	leg_shut(&c->client);
	conn_set_deadline(c, LINGER_MS);
}

static enum step
linger(struct conn *c)
{
	enum io io;

	leg_drop_pending(&c->upstream, &c->worker->pipes);
	leg_close(&c->upstream);
	if (!leg_is_open(&c->client))
		return finish(c);
	if (c->parted && !timeout_is_set(&c->timeout))
		return finish(c);
	io = discard(c);
	if (!c->parted)
		part(c);
	else /* a close_notify that the socket did not take at once */
		(void)leg_flush(&c->client, &c->worker->pipes);
	if (io == IO_EOF || io == IO_ERROR)
		return finish(c);
	if (io == IO_OK)
		conn_wake(c);
	return STEP_WAIT;
}

static enum step
reset(struct conn *c)
{
	struct pipes *pipes = &c->worker->pipes;

	leg_drop_pending(&c->client, pipes);
	leg_drop_pending(&c->upstream, pipes);
	leg_abort(&c->client);
	leg_abort(&c->upstream);
	return finish(c);
}

/* The leg that still stands gets what was read for it, and then the reset. */
static enum step
pass_reset(struct conn *c)
{
	struct leg *left = c->client.failed ? &c->upstream : &c->client;
	struct worker *w = c->worker;
	bool flushed;

	if (!c->parted) {
		c->parted = true;
		c->linger_until_ms = w->now_ms + LINGER_MS;
	}
	if (left->failed || !leg_is_open(left))
		return reset(c);
	flushed = leg_flush(left, &w->pipes) == IO_OK &&
		  socket_unsent_bytes(left->watch.fd) == 0;
	if (flushed || left->reset || w->now_ms >= c->linger_until_ms)
		return reset(c);
	conn_set_deadline(c, UNSENT_POLL_MS);
	return STEP_WAIT;
}

static enum step
tarpit(struct conn *c)
{
	if (timeout_is_set(&c->timeout) && !c->client.hung_up)
		return STEP_WAIT;
	return finish(c);
}

enum step
stage_closing(struct conn *c)
{
	switch ((enum closing_way)c->way) {
	case CLOSE_LINGER:
		return linger(c);
	case CLOSE_RESET:
		return reset(c);
	case CLOSE_PASS_RESET:
		return pass_reset(c);
	case CLOSE_TARPIT:
		return tarpit(c);
	case CLOSE_PLAIN:
		break;
	}
	return finish(c);
}
