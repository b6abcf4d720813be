#include "engine/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "engine/throttle.h"
#include "engine/worker.h"
#include "sys/socket.h"

/* One turn's share of one direction. */
struct share {
	size_t bytes;
	unsigned reads;
};

static bool
used_up(const struct share *s)
{
	return s->reads >= RELAY_TURN_READS || s->bytes >= RELAY_TURN_BYTES;
}

static enum direction
direction_to(const struct conn *c, const struct leg *to)
{
	return to == &c->upstream ? DIRECTION_IN : DIRECTION_OUT;
}

/* How much to read for `to` in one go; 0: the throttle says wait. */
static size_t
read_size(struct conn *c, const struct leg *to)
{
	size_t size =
	    to->congested ? RELAY_CONGESTED_BYTES : WORKER_BUFFER_BYTES;
	size_t allowed;

	if (!c->throttle)
		return size;
	allowed = throttle_allowance(c->throttle, direction_to(c, to));
	return allowed < size ? allowed : size;
}

/* A TLS stream gives out whole records: the throttle may run up a debt. */
static size_t
buffer_size(const struct leg *from, size_t wanted)
{
	return from->secured && wanted > 0 && wanted < TLS_READ_MIN_BYTES
		   ? TLS_READ_MIN_BYTES
		   : wanted;
}

/* Records are never spliced. */
static void
note_streak(struct leg *to, size_t bytes)
{
	if (to->secured)
		return;
	if (bytes < RELAY_LARGE_READ)
		to->streak_bytes = 0;
	else if (to->streak_bytes < RELAY_SPLICE_AFTER)
		to->streak_bytes += (uint32_t)bytes;
}

static void
note_moved(struct conn *c, struct leg *to, size_t bytes)
{
	if (c->throttle)
		throttle_spend(c->throttle, direction_to(c, to), bytes);
	note_streak(to, bytes);
	if (to == &c->client)
		conn_note_time(c, TIMING_FIRST_BYTE);
}

/*
 * Writes what was read; what the leg does not take now is kept for it. When the
 * other side's FIN is announced our own follows in this turn or the next: as
 * one segment, and for the peer as one wake, they cost half.
 */
static void
pass_on(
    struct conn *c, const struct leg *from, struct leg *to, struct span bytes)
{
	size_t count = 0;

	leg_expect_more(to, from->ending && !c->throttle);
	if (leg_write(to, bytes, &count) != IO_AGAIN)
		return; /* an error is in to->reset */
	/* A stream with a hole is worse than one that ends. */
	if (!leg_keep(to, span_of(bytes.data + count, bytes.len - count)))
		conn_close(c, REASON_NO_MEMORY, CLOSE_RESET, NULL);
}

static enum io
copy(struct conn *c, struct leg *from, struct leg *to, struct share *share)
{
	uint8_t *buffer = c->worker->buffer;
	size_t size = buffer_size(from, read_size(c, to));
	size_t count;
	enum io io;

	if (size == 0)
		return IO_AGAIN;
	io = leg_read(from, buffer, size, &count);
	share->reads++;
	if (io != IO_OK)
		return io;
	share->bytes += count;
	note_moved(c, to, count);
	pass_on(c, from, to, span_of(buffer, count));
	return IO_OK;
}

/* Fills the pipe from the socket. */
static enum io
fill_pipe(struct leg *from, struct pipe *pipe)
{
	ssize_t n = splice(from->watch.fd, NULL, pipe->write_fd, NULL,
	    PIPE_BYTES, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n > 0) {
		pipe->bytes += (size_t)n;
		return IO_OK;
	}
	if (n == 0 || errno == EAGAIN || errno == EINTR)
		return IO_AGAIN;
	/* The kernel tells a reset once: a read after this would say that the
	 * stream had ended well. */
	from->reset = from->failed = true;
	return IO_ERROR;
}

static enum io
move(struct conn *c, struct leg *from, struct leg *to, struct share *share)
{
	struct pipes *pipes = &c->worker->pipes;
	struct pipe *pipe = pipes_borrow(pipes);
	enum io io;

	if (!pipe)
		return copy(c, from, to, share);
	io = fill_pipe(from, pipe);
	if (io != IO_OK) {
		pipes_return(pipes, pipe);
		/* Urgent data stops a splice, with EAGAIN or, once the peer
		 * has sent its FIN, with what looks like the end: the read
		 * knows. */
		return io == IO_AGAIN ? copy(c, from, to, share) : io;
	}
	share->reads++;
	share->bytes += pipe->bytes;
	note_moved(c, to, pipe->bytes);
	to->pipe = pipe;
	(void)leg_flush(to, pipes);
	return IO_OK;
}

static bool
should_splice(
    const struct conn *c, const struct leg *from, const struct leg *to)
{
	return to->streak_bytes >= RELAY_SPLICE_AFTER && !c->throttle &&
	       !from->secured && !to->secured;
}

/*
 * Everything was read and taken: our close_notify and FIN follow. Where both
 * directions are at their end closing sends the FIN, and one call does for two.
 * What came to us without its end must not get one from us.
 */
static enum flow
end_direction(struct conn *c, struct leg *from, struct leg *to)
{
	bool last = to->eof && !to->abandoned && from->shut && !to->secured;

	from->eof = true;
	if (last)
		to->shut = true;
	else if (from->truncated)
		leg_cut(to);
	else
		leg_shut(to);
	return leg_flush(to, &c->worker->pipes) == IO_AGAIN ? FLOW_WAIT
							    : FLOW_DONE;
}

/*
 * A leg that can take nothing more: what was meant for it is dropped, and what
 * the other side still sends is of no use; what it has sent itself is still
 * read and delivered.
 */
static enum flow
give_up_on(struct conn *c, struct leg *from, struct leg *to)
{
	leg_drop_pending(to, &c->worker->pipes);
	from->eof = from->abandoned = true;
	to->shut = true;
	return FLOW_DONE;
}

enum flow
relay_step(struct conn *c, struct leg *from, struct leg *to)
{
	struct share share = { 0, 0 };
	enum io io;

	if (to->shut)
		return leg_flush(to, &c->worker->pipes) == IO_AGAIN ? FLOW_WAIT
								    : FLOW_DONE;
	while (c->reason == REASON_NONE) {
		if (leg_flush(to, &c->worker->pipes) == IO_ERROR || to->reset)
			return give_up_on(c, from, to);
		if (leg_has_pending(to))
			return FLOW_WAIT;
		if (from->eof)
			return end_direction(c, from, to);
		if (!from->readable)
			return FLOW_WAIT;
		if (used_up(&share))
			return FLOW_MORE;
		io = should_splice(c, from, to) ? move(c, from, to, &share)
						: copy(c, from, to, &share);
		if (io == IO_EOF)
			from->eof = true;
		/* Empty, throttled, or from->failed is set. */
		else if (io != IO_OK)
			return FLOW_WAIT;
	}
	return FLOW_WAIT;
}

bool
relay_has_pending(const struct conn *c)
{
	return leg_has_pending(&c->client) || leg_has_pending(&c->upstream) ||
	       (leg_is_open(&c->client) &&
		   socket_unsent_bytes(c->client.watch.fd) > 0) ||
	       (leg_is_open(&c->upstream) &&
		   socket_unsent_bytes(c->upstream.watch.fd) > 0);
}

/* The SNI and the listener's name outlive the setup and the listener. */
static bool
keep_names(struct conn *c)
{
	size_t sni = c->facts.sni.len;
	size_t listener = strlen(c->facts.listener) + 1;
	char *names = malloc(sni + listener);

	if (!names)
		return false;
	if (sni > 0)
		memcpy(names, c->facts.sni.data, sni);
	memcpy(names + sni, c->facts.listener, listener);
	c->names = names;
	return true;
}

static void
point_to_kept_names(struct conn *c, size_t sni)
{
	c->facts.sni = span_of(c->names, sni);
	c->facts.listener = c->names + sni;
}

/* What the scripts said, the endpoint's first, or the settings; -1: nothing. */
static int64_t
chosen(int64_t edge, int64_t endpoint, int64_t otherwise)
{
	return endpoint >= 0 ? endpoint : edge >= 0 ? edge : otherwise;
}

static int
apply_limits(struct conn *c)
{
	const struct setup *s = c->setup;
	const struct decision *edge = &s->decisions[SCRIPT_EDGE];
	const struct decision *own = &s->decisions[SCRIPT_ENDPOINT];
	const struct snapshot *settings = s->generation->snapshot;
	int64_t rate, idle;

	idle = chosen(edge->idle_ms, own->idle_ms,
	    (int64_t)(c->endpoint ? c->endpoint->idle_ms
				  : settings->timeouts.idle_ms));
	rate = chosen(edge->bytes_per_second, own->bytes_per_second,
	    (int64_t)(c->endpoint ? c->endpoint->bytes_per_second : 0));
	c->idle_ms = (uint64_t)idle;
	if (rate == 0)
		return 0;
	c->throttle = throttle_new(c, (uint64_t)rate);
	return c->throttle ? 0 : -ENOMEM;
}

int
relay_begin(struct conn *c)
{
	size_t sni = c->facts.sni.len;

	if (!keep_names(c) || apply_limits(c) < 0)
		return -ENOMEM;
	if (c->worker->hello_owner == c)
		c->worker->hello_owner = NULL;
	if (c->client.tls)
		tls_trim(c->client.tls);
	if (c->upstream.tls)
		tls_trim(c->upstream.tls);
	if (c->idle_ms > RELAY_KEEPALIVE_IDLE_MS && !c->uplink)
		socket_keep_alive(c->upstream.watch.fd);
	c->relayed = true;
	conn_drop_setup(c);
	point_to_kept_names(c, sni);
	if (c->listener)
		listener_put(c->listener);
	c->listener = NULL;
	conn_set_deadline(c, c->idle_ms);
	return 0;
}
