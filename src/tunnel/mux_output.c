#include <errno.h>
#include <stdlib.h>

#include "tunnel/mux_private.h"

/* RSTs that wait to be sent. From half of the most on no more is read; one
 * piece of what was read already may still bring some. */
#define MAX_RSTS (64 * 1024)
#define MANY_RSTS 1024

/* A stream's turn: as much when others wait too, as little is not worth a
 * frame. */
#define TURN_BYTES (16 * 1024)
#define LEAST_ROOM_BYTES 1024

#define TYPE_BYTES 4

/* What is being filled. */
struct filling {
	uint8_t *data;
	size_t len, size;
};

static size_t
room_in(const struct filling *f)
{
	return f->size - f->len;
}

/* --- control frames --- */

/* Back to the few that there is always room for. */
void
mux_free_rsts(struct mux *m)
{
	if (m->rsts != m->few_rsts)
		free(m->rsts);
	m->rsts = m->few_rsts;
	m->rst_first = 0;
	m->rst_size = MUX_FEW_RSTS;
}

static bool
grow_rsts(struct mux *m)
{
	unsigned size = 2 * m->rst_size;
	struct mux_rst *grown;

	if (size > MAX_RSTS) {
		mux_fail(m, -ENOBUFS, "too many resets wait to be sent");
		return false;
	}
	grown = malloc(size * sizeof(*grown));
	if (!grown) {
		mux_fail(m, -ENOMEM, "no memory");
		return false;
	}
	for (unsigned i = 0; i < m->rst_count; i++)
		grown[i] = m->rsts[(m->rst_first + i) % m->rst_size];
	mux_free_rsts(m);
	m->rsts = grown;
	m->rst_size = size;
	return true;
}

void
mux_add_rst(struct mux *m, uint32_t id, uint32_t error)
{
	unsigned at;

	if (m->error || (m->rst_count == m->rst_size && !grow_rsts(m)))
		return;
	at = (m->rst_first + m->rst_count++) % m->rst_size;
	m->rsts[at] = (struct mux_rst){ id, error };
	mux_note_output(m);
}

bool
mux_has_room(const struct mux *m)
{
	return m->rst_count < MANY_RSTS;
}

static void
fill_go_away(struct mux *m, struct filling *f)
{
	if (!m->go_away_due)
		return;
	m->go_away_due = false;
	f->len += frame_write_goaway(f->data + f->len, m->last_peer_id,
	    m->go_away_error, span_text(m->go_away_text));
}

static bool
is_ours(const struct mux *m, uint32_t id)
{
	return (id & 1) == (m->settings.is_agent ? 1 : 0);
}

void
mux_finish_before_reset(struct mux *m)
{
	m->fins_before_rsts = true;
}

static void
fill_rsts(struct mux *m, struct filling *f)
{
	while (m->rst_count > 0 && room_in(f) >= FRAME_MAX_CONTROL_BYTES) {
		const struct mux_rst *r = &m->rsts[m->rst_first];

		if (m->fins_before_rsts && is_ours(m, r->id))
			f->len += frame_write_data(
			    f->data + f->len, r->id, 0, FRAME_FIN);
		f->len += frame_write_rst(f->data + f->len, r->id, r->error);
		m->rst_first = (m->rst_first + 1) % m->rst_size;
		m->rst_count--;
	}
	if (m->rst_count == 0)
		mux_free_rsts(m);
}

static void
fill_grants(struct mux *m, struct filling *f)
{
	while (
	    !list_empty(&m->grants) && room_in(f) >= FRAME_MAX_CONTROL_BYTES) {
		struct mux_stream *s = LIST_ENTRY(
		    list_shift(&m->grants), struct mux_stream, grant);

		f->len +=
		    frame_write_wndinc(f->data + f->len, s->id, s->credit);
		s->recv_window += s->credit;
		s->credit = 0;
	}
}

/* --- DATA --- */

void
mux_want(struct mux_stream *s)
{
	if (s->wants || s->dead || s->fin_sent || s->orphan)
		return;
	s->wants = true;
	if (s->send_window == 0)
		return;
	list_append(&s->mux->turns, &s->turn);
	mux_note_output(s->mux);
}

/* How much of the frame's payload is the stream's type, which goes first. */
static size_t
put_type(const struct mux_stream *s, uint8_t *to)
{
	if (s->id != 0)
		return 0;
	to[0] = (uint8_t)(s->type >> 24);
	to[1] = (uint8_t)(s->type >> 16);
	to[2] = (uint8_t)(s->type >> 8);
	to[3] = (uint8_t)s->type;
	return TYPE_BYTES;
}

static size_t
turn_size(const struct mux *m, const struct mux_stream *s, size_t room)
{
	size_t size = list_empty(&m->turns) ? MUX_MAX_DATA_BYTES : TURN_BYTES;

	if (size > room)
		size = room;
	return size < s->send_window ? size : s->send_window;
}

/* The stream gets its id with its first frame, so that ids rise as they are
 * sent. */
static unsigned
begin_stream(struct mux *m, struct mux_stream *s)
{
	if (s->id != 0)
		return 0;
	mux_insert(m, s, m->next_id);
	m->next_id += 2;
	return FRAME_SYN;
}

static void
finish_frame(struct mux_stream *s, struct filling *f, size_t len, bool fin)
{
	unsigned flags = begin_stream(s->mux, s) | (fin ? FRAME_FIN : 0);

	f->len += frame_write_data(f->data + f->len, s->id, len, flags);
	f->len += len;
	s->send_window -= (uint32_t)len;
	s->fin_sent = fin;
}

/* The owner may end the stream while he is asked: it is `current` no more. */
static void
take_turn(struct mux *m, struct mux_stream *s, struct filling *f)
{
	uint8_t *payload = f->data + f->len + FRAME_HEADER_BYTES;
	size_t type = put_type(s, payload);
	size_t size = turn_size(m, s, room_in(f) - FRAME_HEADER_BYTES);
	struct mux_room room = { .data = payload + type, .size = size - type };

	s->wants = false;
	m->current = s;
	if (s->calls && s->calls->on_room)
		s->calls->on_room(s, &room);
	if (m->current != s)
		return;
	m->current = NULL;
	ASSERT(room.used <= room.size);
	if (type + room.used == 0 && !room.fin) {
		s->wants = room.more;
		return;
	}
	finish_frame(s, f, type + room.used, room.fin);
	if (room.fin && room.leave)
		mux_release(s);
	else if (room.more)
		mux_want(s);
}

static void
fill_data(struct mux *m, struct filling *f)
{
	while (!list_empty(&m->turns) && room_in(f) >= LEAST_ROOM_BYTES)
		take_turn(m,
		    LIST_ENTRY(list_shift(&m->turns), struct mux_stream, turn),
		    f);
}

bool
mux_has_output(const struct mux *m)
{
	if (m->error)
		return m->go_away_due;
	return m->go_away_due || m->rst_count > 0 || m->peer_gone_news ||
	       !list_empty(&m->grants) || !list_empty(&m->turns) ||
	       !list_empty(&m->news);
}

size_t
mux_fill(struct mux *m, uint8_t *buffer, size_t size)
{
	struct filling f = { buffer, 0, size };

	ASSERT(!m->busy && size >= MUX_FILL_MIN_BYTES);
	m->busy = m->output_noted = true;
	mux_deliver(m);
	fill_go_away(m, &f);
	if (!m->error) {
		fill_rsts(m, &f);
		fill_grants(m, &f);
		fill_data(m, &f);
	}
	m->busy = false;
	m->output_noted = mux_has_output(m);
	return f.len;
}
