#include "mux_bench.h"

#include <stdio.h>

#include "base/hash.h"
#include "unit.h"

uint64_t bench_now_ms = 1000;

static uint8_t wire[256 * 1024];

/* Two streams that are mixed up, or a hole, give another byte. */
static uint8_t
pattern(size_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 17 + (at >> 16));
}

static void
check_bytes(struct end *e, struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (e->stream && e->type_len < 4) {
			e->type = e->type << 8 | s.data[i];
			e->type_len++;
			continue;
		}
		if (!e->side->any_bytes && s.data[i] != pattern(e->received))
			ck_abort_msg("byte %zu is wrong", e->received);
		e->received++;
	}
}

void
end_take(struct end *e, size_t max)
{
	while (e->stream && max > 0 && mux_unread_bytes(e->stream) > 0) {
		struct span s = mux_peek(e->stream);

		QUICK_ASSERT(s.len > 0);
		if (s.len > max)
			s.len = max;
		check_bytes(e, s);
		max -= s.len;
		mux_take(e->stream, s.len, bench_now_ms);
	}
	if (e->stream && mux_at_end(e->stream))
		e->at_end = true;
}

static void
on_readable(struct mux_stream *s)
{
	struct end *e = mux_stream_owner(s);

	QUICK_ASSERT(e->stream == s);
	if (!e->stalled)
		end_take(e, SIZE_MAX);
	if (!e->echoes)
		return;
	e->to_send = e->received;
	e->send_fin = e->at_end;
	mux_want(s);
}

static void
on_room(struct mux_stream *s, struct mux_room *room)
{
	struct end *e = mux_stream_owner(s);
	size_t n = e->to_send - e->sent;

	QUICK_ASSERT(room->size > 0);
	if (n > room->size)
		n = room->size;
	for (size_t i = 0; i < n; i++)
		room->data[i] = pattern(e->sent + i);
	e->sent += n;
	e->turns++;
	room->used = n;
	room->more = e->sent < e->to_send;
	room->fin = e->send_fin && e->sent == e->to_send;
}

static void
on_reset(struct mux_stream *s, uint32_t error)
{
	struct end *e = mux_stream_owner(s);

	QUICK_ASSERT(e->stream == s);
	QUICK_ASSERT(!e->was_reset);
	e->was_reset = true;
	e->error = error;
	e->stream = NULL;
}

static const struct mux_stream_calls calls = {
	.on_readable = on_readable,
	.on_room = on_room,
	.on_reset = on_reset,
};

static void
drop_all(struct mux_stream *s)
{
	mux_take(s, mux_unread_bytes(s), bench_now_ms);
}

static const struct mux_stream_calls no_calls = { .on_readable = drop_all };

static struct end *
end_new(struct side *side)
{
	struct end *e = &side->room[side->end_count++];

	QUICK_ASSERT(side->end_count < BENCH_ENDS);
	*e = (struct end){ 0 };
	e->side = side;
	list_append(&side->ends, &e->node);
	return e;
}

static void
on_open(struct mux *m, struct mux_stream *s)
{
	struct side *side = mux_owner(m);
	struct end *e;

	side->opened_count++;
	if (side->nameless)
		mux_own(s, &no_calls, NULL);
	if (side->refuse || side->nameless)
		return;
	e = end_new(side);
	e->stream = s;
	e->stalled = side->stall;
	e->echoes = side->echo;
	side->last = e;
	mux_own(s, &calls, e);
}

static void
on_go_away(struct mux *m, uint32_t error, struct span text)
{
	struct side *side = mux_owner(m);

	side->gone_count++;
	side->gone_error = error;
	snprintf(
	    side->gone_text, sizeof(side->gone_text), "%.*s", SPAN_ARG(text));
}

static void
on_output(struct mux *m)
{
	struct side *side = mux_owner(m);

	side->output_count++;
}

struct mux_settings
side_settings(struct side *s, bool is_agent)
{
	return (struct mux_settings){
		.is_agent = is_agent,
		.on_open = on_open,
		.on_go_away = on_go_away,
		.on_output = on_output,
		.owner = s,
	};
}

void
side_init(struct side *s, bool is_agent)
{
	struct mux_settings settings = side_settings(s, is_agent);

	*s = (struct side){ .mux = mux_new(&settings) };
	list_init(&s->ends);
	QUICK_ASSERT(s->mux);
}

void
side_fini(struct side *s)
{
	mux_free(s->mux);
}

struct end *
side_open(struct side *s, uint32_t type, size_t to_send, bool fin)
{
	struct end *e = end_new(s);

	e->to_send = to_send;
	e->send_fin = fin;
	e->type_len = 4;
	e->stream = mux_open(s->mux, type, &calls, e);
	if (e->stream)
		mux_want(e->stream);
	return e;
}

void
end_reset(struct end *e, uint32_t error)
{
	mux_reset(e->stream, error);
	e->stream = NULL;
}

void
end_release(struct end *e)
{
	mux_release(e->stream);
	e->stream = NULL;
}

void
pair_init(struct pair *p)
{
	p->max_piece = 0;
	side_init(&p->agent, true);
	side_init(&p->edge, false);
}

void
pair_fini(struct pair *p)
{
	side_fini(&p->agent);
	side_fini(&p->edge);
}

/* In pieces of random sizes. */
static void
feed(struct pair *p, struct side *to, struct span s)
{
	while (s.len > 0) {
		size_t n = s.len;

		if (p->max_piece > 0)
			n = 1 + random_quick() % p->max_piece;
		if (n > s.len)
			n = s.len;
		if (mux_feed(to->mux, span_of(s.data, n)) != 0)
			QUICK_ASSERT(to->may_fail);
		s.data += n;
		s.len -= n;
	}
}

struct span
side_output(struct side *s)
{
	size_t len = mux_fill(s->mux, wire, sizeof(wire));

	return span_of(wire, len);
}

size_t
pair_move(struct pair *p, struct side *from, struct side *to)
{
	size_t size = sizeof(wire), len;

	if (p->max_piece > 0)
		size = MUX_FILL_MIN_BYTES +
		       random_quick() % (sizeof(wire) - MUX_FILL_MIN_BYTES);
	len = mux_fill(from->mux, wire, size);
	QUICK_ASSERT(len <= size);
	feed(p, to, span_of(wire, len));
	return len;
}

void
pair_settle(struct pair *p)
{
	while (pair_move(p, &p->agent, &p->edge) +
		   pair_move(p, &p->edge, &p->agent) >
	       0)
		;
}
