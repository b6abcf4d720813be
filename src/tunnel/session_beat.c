#include "base/clock.h"
#include "base/hash.h"
#include "tunnel/session_private.h"

#define BEAT_BYTES 4

/*
 * An answer that is late while so much came in meanwhile waits behind it, in
 * the queues of a slow link; so many times that is an excuse.
 */
#define EXCUSE_BYTES (64 * 1024)
#define MAX_EXCUSES 3

/* Spare memory is given back when no more came in an interval. */
#define IDLE_BYTES 1024

/* --- the peer's --- */

static void
echo_readable(struct mux_stream *stream)
{
	if (mux_unread_bytes(stream) >= BEAT_BYTES || mux_at_end(stream))
		mux_want(stream);
}

static void
copy_beat(struct mux_stream *stream, struct mux_room *room)
{
	for (int i = 0; i < BEAT_BYTES; i++) {
		room->data[room->used++] = mux_peek(stream).data[0];
		mux_take(stream, 1, clock_ms());
	}
}

/* Straight from where it was received, so that nothing piles up: what is not
 * answered is not taken, and the peer's window ends. */
static void
echo_room(struct mux_stream *stream, struct mux_room *room)
{
	while (mux_unread_bytes(stream) >= BEAT_BYTES &&
	       room->size - room->used >= BEAT_BYTES)
		copy_beat(stream, room);
	room->more = mux_unread_bytes(stream) >= BEAT_BYTES;
	if (mux_at_end(stream))
		room->fin = room->leave = true;
}

static const struct mux_stream_calls echo_calls = {
	.on_readable = echo_readable,
	.on_room = echo_room,
};

void
session_echo(struct mux_stream *stream)
{
	mux_own(stream, &echo_calls, NULL);
	echo_readable(stream);
}

/* --- ours --- */

static uint64_t
earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When the link counts as dead without an answer. */
static uint64_t
overdue_ms(const struct session *s)
{
	const struct session_settings *settings = &s->settings;
	uint64_t allowed =
	    settings->heartbeat_interval_ms + settings->heartbeat_tolerance_ms;

	return s->answer_at_ms + (1 + s->beat_excuses) * allowed;
}

static void
plan(struct session *s)
{
	uint64_t next = overdue_ms(s);

	if (!s->beat_waits && !s->beat_due)
		next = earlier(s->beat_at_ms, next);
	timeouts_set(s->host->timeouts, &s->beat, next);
}

static void
beat_room(struct mux_stream *stream, struct mux_room *room)
{
	struct session *s = mux_stream_owner(stream);

	room->more = s->beat_due && room->size < BEAT_BYTES;
	if (!s->beat_due || room->more)
		return;
	random_bytes(s->beat_sent, BEAT_BYTES);
	memcpy(room->data, s->beat_sent, BEAT_BYTES);
	room->used = BEAT_BYTES;
	s->beat_due = false;
	s->beat_waits = true;
	s->beat_at_us = clock_us();
	s->beat_bytes_in = s->bytes_in;
}

static void
take_answer(struct session *s)
{
	s->beat_waits = false;
	s->beat_excuses = 0;
	s->latency_us = clock_us() - s->beat_at_us;
	if (s->round_trip_us == 0 || s->latency_us < s->round_trip_us)
		s->round_trip_us = s->latency_us;
	mux_set_round_trip(s->mux, (uint64_t)s->round_trip_us / 1000);
	s->answer_at_ms = clock_ms();
	s->beat_at_ms = s->answer_at_ms + s->settings.heartbeat_interval_ms;
	plan(s);
}

static void
beat_readable(struct mux_stream *stream)
{
	struct session *s = mux_stream_owner(stream);
	struct span got = mux_peek(stream);
	bool good;

	if (!session_is_open(s) || mux_unread_bytes(stream) < BEAT_BYTES)
		return;
	/* An answer is at the start of a chunk, or the peer has said more. */
	good = s->beat_waits && mux_unread_bytes(stream) == BEAT_BYTES &&
	       span_equal(got, span_of(s->beat_sent, BEAT_BYTES));
	mux_take(stream, mux_unread_bytes(stream), clock_ms());
	if (good)
		take_answer(s);
	else
		session_fail(
		    s, SESSION_END_PROTOCOL, "a wrong answer to a heartbeat");
}

/* A peer that resets the stream has until the tolerance ends to think better of
 * it. */
static void
beat_reset(struct mux_stream *stream, uint32_t error)
{
	struct session *s = mux_stream_owner(stream);

	(void)error;
	s->beat_stream = NULL;
	s->beat_due = s->beat_waits = false;
	if (session_is_open(s))
		plan(s);
}

static const struct mux_stream_calls beat_calls = {
	.on_readable = beat_readable,
	.on_room = beat_room,
	.on_reset = beat_reset,
};

static void
send_beat(struct session *s)
{
	if (!s->beat_stream)
		s->beat_stream =
		    mux_open(s->mux, SESSION_HEARTBEAT_TYPE, &beat_calls, s);
	s->beat_at_ms = clock_ms() + s->settings.heartbeat_interval_ms;
	if (!s->beat_stream)
		return;
	s->beat_due = true;
	mux_want(s->beat_stream);
}

static void
note_overdue(struct session *s)
{
	if (s->beat_waits && s->beat_excuses < MAX_EXCUSES &&
	    s->bytes_in - s->beat_bytes_in >= EXCUSE_BYTES) {
		s->beat_excuses++;
		s->beat_bytes_in = s->bytes_in;
	} else {
		session_fail(s, SESSION_END_HEARTBEAT, "");
	}
}

static void
on_beat(struct timeout *t)
{
	struct session *s = CONTAINER_OF(t, struct session, beat);
	uint64_t now = clock_ms();

	if (!session_is_open(s))
		return;
	if (now >= overdue_ms(s)) {
		note_overdue(s);
	} else if (now >= s->beat_at_ms) {
		if (s->bytes_in - s->beat_bytes_in < IDLE_BYTES)
			mux_trim(s->mux);
		send_beat(s);
	}
	if (session_is_open(s))
		plan(s);
}

/* Lunette's own peers are measured at once; an SDK is left alone until it has
 * said who it is. */
void
session_start_beat(struct session *s)
{
	timeout_init(&s->beat, on_beat);
	s->answer_at_ms = s->beat_at_ms = clock_ms();
	if (s->is_lunette)
		send_beat(s);
	else
		s->beat_at_ms += s->settings.heartbeat_interval_ms;
	plan(s);
}

void
session_stop_beat(struct session *s)
{
	if (s->opened)
		timeouts_clear(s->host->timeouts, &s->beat);
}

void
session_set_heartbeat(
    struct session *s, uint64_t interval_ms, uint64_t tolerance_ms)
{
	s->settings.heartbeat_interval_ms = interval_ms;
	s->settings.heartbeat_tolerance_ms = tolerance_ms;
	if (session_is_open(s))
		plan(s);
}
