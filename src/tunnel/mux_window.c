#include <stdlib.h>

#include "tunnel/mux_private.h"

#define CHUNK_BYTES (16 * 1024)
#define CHUNK_ROOM (CHUNK_BYTES - sizeof(struct mux_chunk))
#define MAX_SPARE 64

/* Until a round trip was measured. */
#define GUESSED_ROUND_TRIP_MS 50

/* Clocks count whole milliseconds, and a turn of the loop takes its time. */
#define ROUND_TRIP_SLACK_MS 2

static struct mux_chunk *
take_chunk(struct mux *m)
{
	struct mux_chunk *c = m->spare;

	if (c) {
		m->spare = c->next;
		m->spare_count--;
	} else {
		c = malloc(CHUNK_BYTES);
	}
	if (c) {
		c->next = NULL;
		c->start = c->end = 0;
	}
	return c;
}

static void
give_chunk(struct mux *m, struct mux_chunk *c)
{
	if (m->spare_count == MAX_SPARE) {
		free(c);
		return;
	}
	c->next = m->spare;
	m->spare = c;
	m->spare_count++;
}

void
mux_free_spare(struct mux *m)
{
	while (m->spare) {
		struct mux_chunk *c = m->spare;

		m->spare = c->next;
		free(c);
	}
	m->spare_count = 0;
}

void
mux_trim(struct mux *m)
{
	mux_free_spare(m);
}

/* Room at the end of what waits; 0 without memory. */
static size_t
room_at_end(struct mux_stream *s)
{
	struct mux_chunk *c = s->last;

	if (c && c->end < CHUNK_ROOM)
		return CHUNK_ROOM - c->end;
	c = take_chunk(s->mux);
	if (!c)
		return 0;
	if (s->last)
		s->last->next = c;
	else
		s->first = c;
	s->last = c;
	return CHUNK_ROOM;
}

bool
mux_append(struct mux_stream *s, struct span bytes)
{
	while (bytes.len > 0) {
		size_t n = room_at_end(s);

		if (n == 0)
			return false;
		if (n > bytes.len)
			n = bytes.len;
		memcpy(s->last->data + s->last->end, bytes.data, n);
		s->last->end += (uint32_t)n;
		s->unread_bytes += n;
		s->mux->unread_bytes += n;
		bytes.data += n;
		bytes.len -= n;
	}
	return true;
}

static void
drop_first_chunk(struct mux_stream *s)
{
	struct mux_chunk *c = s->first;

	s->first = c->next;
	if (!s->first)
		s->last = NULL;
	give_chunk(s->mux, c);
}

void
mux_drop_unread(struct mux_stream *s)
{
	s->mux->unread_bytes -= s->unread_bytes;
	s->unread_bytes = 0;
	while (s->first)
		drop_first_chunk(s);
}

void
mux_enforce_limit(struct mux *m)
{
	struct mux_stream *most = NULL;

	if (m->unread_bytes <= m->settings.max_unread_bytes)
		return;
	LIST_FOREACH (node, &m->all) {
		struct mux_stream *s = LIST_ENTRY(node, struct mux_stream, all);

		if (!most || s->unread_bytes > most->unread_bytes)
			most = s;
	}
	m->limit_reset_count++;
	mux_kill(most, FRAME_ERROR_LIMIT);
}

/* --- reading --- */

size_t
mux_unread_bytes(const struct mux_stream *s)
{
	return s->unread_bytes;
}

size_t
mux_peek_many(const struct mux_stream *s, struct span *pieces, size_t max)
{
	const struct mux_chunk *c = s->first;
	size_t count = 0;

	for (; c && count < max; c = c->next)
		pieces[count++] =
		    span_of(c->data + c->start, c->end - c->start);
	return count;
}

struct span
mux_peek(const struct mux_stream *s)
{
	struct span piece = { NULL, 0 };

	(void)mux_peek_many(s, &piece, 1);
	return piece;
}

/*
 * A sender that uses up a whole window within about a round trip waits for our
 * WNDINC half of the time: twice as large it may go on. What windows have
 * grown by may be half of the session's memory; the other half is for those
 * that have not.
 */
static void
enlarge(struct mux_stream *s)
{
	struct mux *m = s->mux;
	uint32_t more = s->window_bytes;

	if (more > MUX_MAX_WINDOW_BYTES - s->window_bytes)
		more = MUX_MAX_WINDOW_BYTES - s->window_bytes;
	if (more == 0 ||
	    m->enlarged_bytes + more > m->settings.max_unread_bytes / 2)
		return;
	m->enlarged_bytes += more;
	s->window_bytes += more;
	s->credit += more;
}

static void
measure(struct mux_stream *s, size_t count, uint64_t now_ms)
{
	uint64_t trip = s->mux->round_trip_ms == UINT64_MAX
			    ? GUESSED_ROUND_TRIP_MS
			    : s->mux->round_trip_ms;

	if (s->measured_bytes == 0)
		s->measured_since_ms = now_ms;
	s->measured_bytes += (uint32_t)count;
	if (s->measured_bytes < s->window_bytes)
		return;
	if (now_ms - s->measured_since_ms <= 2 * trip + ROUND_TRIP_SLACK_MS)
		enlarge(s);
	s->measured_bytes = 0;
}

/* Half a window at a time: that is often enough for a sender not to stop, and
 * one small frame for many bytes. */
static void
grant(struct mux_stream *s, size_t count, uint64_t now_ms)
{
	if (s->dead || s->fin_received)
		return;
	s->credit += (uint32_t)count;
	measure(s, count, now_ms);
	if (s->credit < s->window_bytes / 2)
		return;
	list_remove(&s->grant);
	list_append(&s->mux->grants, &s->grant);
	mux_note_output(s->mux);
}

void
mux_take(struct mux_stream *s, size_t count, uint64_t now_ms)
{
	size_t left = count;

	ASSERT(count <= s->unread_bytes);
	s->unread_bytes -= count;
	s->mux->unread_bytes -= count;
	while (left > 0) {
		struct mux_chunk *c = s->first;
		size_t n = c->end - c->start;

		if (n > left)
			n = left;
		c->start += (uint32_t)n;
		left -= n;
		if (c->start == c->end)
			drop_first_chunk(s);
	}
	if (count > 0)
		grant(s, count, now_ms);
	if (s->dead && s->unread_bytes == 0 && !s->ending) {
		mux_uncount(s);
		mux_add_news(s);
	}
}
