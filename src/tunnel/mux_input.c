#include <errno.h>
#include <stdlib.h>

#include "tunnel/mux_private.h"

/* So often a peer may send more than it was granted, or after its FIN. */
#define MAX_ABUSE 16

/* Each costs a look at all streams. */
#define MAX_GO_AWAYS 16

#define MAX_GONE_TEXT_BYTES 256

static void
fail_protocol(struct mux *m, const char *fault)
{
	mux_fail(m, -EPROTO, fault);
}

/* --- ids --- */

static bool
is_own_id(const struct mux *m, uint32_t id)
{
	return (id & 1) == (m->settings.is_agent ? 1u : 0u);
}

/* One of the peer's that lies behind its last one and was not used. */
static bool
is_skipped(const struct mux *m, uint32_t id)
{
	uint32_t behind = (m->last_peer_id - id) / 2;

	return behind < MUX_DISORDER && !(m->peer_ids >> behind & 1);
}

/* A stream of this id was opened at some time, or is passed over. */
static bool
was_used(const struct mux *m, uint32_t id)
{
	return is_own_id(m, id) ? id < m->next_id : id <= m->last_peer_id;
}

/*
 * Ids rise; but ngrok's agents in Go and Rust take one when a stream is opened
 * and send SYN with its first bytes, so that of two streams that are opened at
 * once the later one may come first. Hence the ids just behind the last one are
 * kept, as bits.
 */
static bool
note_syn(struct mux *m, uint32_t id)
{
	uint32_t steps;

	if (id <= m->last_peer_id) {
		if (!is_skipped(m, id))
			return false;
		m->peer_ids |= (uint64_t)1 << (m->last_peer_id - id) / 2;
		return true;
	}
	steps = (id - m->last_peer_id) / 2;
	m->peer_ids = steps < MUX_DISORDER ? m->peer_ids << steps | 1 : 1;
	m->last_peer_id = id;
	return true;
}

/* --- DATA --- */

/* Its payload comes next, if there is any. */
static void
expect_payload(struct mux *m, struct mux_stream *s, const struct frame *f)
{
	m->payload_left = f->length;
	m->payload_stream = s;
	m->payload_fin = f->flags & FRAME_FIN;
}

static void
abuse(struct mux_stream *s, uint32_t error)
{
	struct mux *m = s->mux;

	mux_kill(s, error);
	if (++m->abuse_count > MAX_ABUSE)
		fail_protocol(m, "streams break their limits again and again");
}

static void
take_data(struct mux *m, struct mux_stream *s, const struct frame *f)
{
	expect_payload(m, NULL, f);
	if (s->dead)
		return;
	if (s->fin_received && f->length == 0)
		return;
	if (s->fin_received) {
		abuse(s, FRAME_ERROR_STREAM_CLOSED);
	} else if (f->length > s->recv_window) {
		abuse(s, FRAME_ERROR_FLOW_CONTROL);
	} else {
		s->recv_window -= f->length;
		m->payload_stream = s;
	}
}

static void
refuse(struct mux *m, const struct frame *f)
{
	m->refused_count++;
	mux_add_rst(m, f->stream, FRAME_ERROR_STREAM_REFUSED);
}

static void
take_syn(struct mux *m, const struct frame *f)
{
	struct mux_stream *s = NULL;

	expect_payload(m, NULL, f);
	if (is_own_id(m, f->stream)) {
		fail_protocol(m, "a SYN with an id of ours");
		return;
	}
	if (!note_syn(m, f->stream)) {
		fail_protocol(m, "a SYN with an id that was used");
		return;
	}
	m->peer_count++;
	if (!m->gone && m->open_count < m->settings.max_streams)
		s = mux_stream_new(m);
	if (!s) {
		refuse(m, f);
		return;
	}
	s->is_peers = true;
	mux_insert(m, s, f->stream);
	mux_add_news(s);
	take_data(m, s, f);
}

/* An SDK that opens a stream and drops it before it wrote sends a FIN alone. */
static bool
is_empty_end(const struct frame *f)
{
	return f->length == 0 && (f->flags & FRAME_FIN);
}

static void
handle_data(struct mux *m, const struct frame *f)
{
	struct mux_stream *s = mux_find(m, f->stream);

	if (f->flags & FRAME_SYN)
		take_syn(m, f);
	else if (s)
		take_data(m, s, f);
	else if (is_empty_end(f) ||
		 (was_used(m, f->stream) &&
		     (is_own_id(m, f->stream) || !is_skipped(m, f->stream))))
		expect_payload(m, NULL, f);
	else
		fail_protocol(m, "DATA for a stream that was not opened");
}

static void
finish_payload(struct mux *m)
{
	struct mux_stream *s = m->payload_stream;

	m->payload_stream = NULL;
	if (!s)
		return;
	if (m->payload_fin)
		s->fin_received = true;
	if (s->orphan) {
		if (s->fin_received)
			mux_stream_free(s);
		return;
	}
	s->fresh = true;
	mux_add_news(s);
}

/* As much of the payload as there is; how much that was. */
static size_t
take_payload(struct mux *m, struct span bytes)
{
	struct mux_stream *s = m->payload_stream;

	if (bytes.len > m->payload_left)
		bytes.len = m->payload_left;
	m->payload_left -= (uint32_t)bytes.len;
	if (s && !s->orphan && bytes.len > 0) {
		s->fresh = true;
		mux_add_news(s);
		if (!mux_append(s, bytes))
			mux_kill(s, FRAME_ERROR_INTERNAL);
		mux_enforce_limit(m);
	}
	if (m->payload_left == 0)
		finish_payload(m);
	return bytes.len;
}

/* --- the others --- */

static void
handle_wndinc(struct mux *m, struct mux_stream *s, uint32_t increment)
{
	if (s->dead || s->fin_sent)
		return;
	if (increment > FRAME_MAX_WINDOW - s->send_window) {
		mux_kill(s, FRAME_ERROR_FLOW_CONTROL);
		return;
	}
	if (increment > 0 && s->wants && list_empty(&s->turn)) {
		list_append(&m->turns, &s->turn);
		mux_note_output(m);
	}
	s->send_window += increment;
}

static void
handle_for_stream(struct mux *m, const struct frame *f)
{
	struct mux_stream *s = mux_find(m, f->stream);

	if (!s && !was_used(m, f->stream)) {
		fail_protocol(m, "a frame for a stream that was not opened");
		return;
	}
	if (!s)
		return;
	if (f->type == FRAME_WNDINC)
		handle_wndinc(m, s, f->increment);
	else if (!s->dead)
		mux_mark_dead(s, f->error);
}

static void
keep_gone_text(struct mux *m, struct span text)
{
	free(m->peer_gone_text);
	m->peer_gone_len =
	    text.len < MAX_GONE_TEXT_BYTES ? text.len : MAX_GONE_TEXT_BYTES;
	m->peer_gone_text = malloc(m->peer_gone_len + 1);
	if (m->peer_gone_text && m->peer_gone_len > 0)
		memcpy(m->peer_gone_text, text.data, m->peer_gone_len);
}

/* What the peer has not looked at it never will. */
static void
handle_go_away(struct mux *m, const struct frame *f)
{
	if (++m->go_away_count > MAX_GO_AWAYS) {
		fail_protocol(m, "too many GOAWAYs");
		return;
	}
	m->peer_gone = m->peer_gone_news = true;
	m->peer_gone_error = f->error;
	keep_gone_text(m, f->text);
	LIST_FOREACH_SAFE (node, &m->all) {
		struct mux_stream *s = LIST_ENTRY(node, struct mux_stream, all);

		if (!s->is_peers && !s->dead &&
		    (s->id == 0 || s->id > f->last_stream))
			mux_mark_dead(s, FRAME_ERROR_STREAM_REFUSED);
	}
}

static void
handle(struct mux *m, const struct frame *f)
{
	if (f->type == FRAME_DATA) {
		handle_data(m, f);
		if (m->payload_left == 0)
			finish_payload(m);
	} else if (f->type == FRAME_GOAWAY) {
		handle_go_away(m, f);
	} else {
		handle_for_stream(m, f);
	}
}

/* --- frames out of bytes --- */

static void
drop_partial(struct mux *m)
{
	if (m->partial != m->small_frame)
		free(m->partial);
	m->partial = m->small_frame;
	m->partial_len = 0;
}

/* Room for `needed` bytes in the part that waits; only a GOAWAY is so large. */
static bool
make_room(struct mux *m, size_t needed)
{
	uint8_t *larger;

	if (needed <= MUX_SMALL_FRAME_BYTES || m->partial != m->small_frame)
		return true;
	larger = malloc(FRAME_MAX_CONTROL_BYTES);
	if (!larger) {
		mux_fail(m, -ENOMEM, "no memory");
		return false;
	}
	memcpy(larger, m->partial, m->partial_len);
	m->partial = larger;
	return true;
}

/* Adds to the part until it has `needed` bytes; how many it took. */
static size_t
fill_partial(struct mux *m, struct span bytes, size_t needed)
{
	size_t n = needed - m->partial_len;

	if (n > bytes.len)
		n = bytes.len;
	if (!make_room(m, needed))
		return 0;
	memcpy(m->partial + m->partial_len, bytes.data, n);
	m->partial_len += n;
	return n;
}

/* The next frame, out of the part that waits or out of `bytes` alone; how many
 * of them it took. */
static size_t
take_frame(struct mux *m, struct span bytes)
{
	size_t taken = 0;

	while (!m->error) {
		bool has_part = m->partial_len > 0;
		struct span rest =
		    span_of(bytes.data + taken, bytes.len - taken);
		struct span wire =
		    has_part ? span_of(m->partial, m->partial_len) : rest;
		size_t needed = 0;
		struct frame f;
		const char *why;
		enum parse parse = frame_parse(wire, &f, &needed, &why);

		if (parse == PARSE_OK) {
			handle(m, &f);
			if (!has_part)
				return taken + f.bytes;
			drop_partial(m);
			return taken;
		}
		if (parse == PARSE_BAD)
			fail_protocol(m, why);
		else if (rest.len == 0)
			return taken;
		else
			taken += fill_partial(m, rest, needed);
	}
	return taken;
}

int
mux_feed(struct mux *m, struct span bytes)
{
	ASSERT(!m->busy);
	m->busy = true;
	while (bytes.len > 0 && !m->error) {
		size_t n = m->payload_left > 0 ? take_payload(m, bytes)
					       : take_frame(m, bytes);

		bytes.data += n;
		bytes.len -= n;
	}
	mux_deliver(m);
	m->busy = false;
	return m->error;
}
