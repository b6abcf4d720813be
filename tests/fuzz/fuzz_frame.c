/*
 * The multiplexer's frames: what is read, that what is written is read back,
 * and a multiplexer that is fed with them, whole and in pieces.
 *
 * Sources: base wire tunnel/mux.c tunnel/mux_input.c
 * Sources: tunnel/mux_output.c tunnel/mux_window.c
 * Options: -max_len=8192
 */
#include "fuzz.h"
#include "tunnel/mux.h"
#include "wire/frame.h"

static enum parse
parse_prefix(struct span wire, size_t len, struct frame *f, size_t *needed)
{
	uint8_t *copy = exact_copy(span_of(wire.data, len));
	const char *why = NULL;
	enum parse parse = frame_parse(span_of(copy, len), f, needed, &why);

	ASSERT(parse != PARSE_BAD || why);
	free(copy);
	return parse;
}

/* Until it is whole each prefix wants more, and never too much. */
static void
check_prefixes(struct span wire, enum parse whole, const struct frame *f)
{
	size_t end = wire.len < FRAME_MAX_CONTROL_BYTES
			 ? wire.len
			 : FRAME_MAX_CONTROL_BYTES;
	enum parse before = PARSE_MORE;

	for (size_t len = 0; len < end; len = next_prefix(len, end)) {
		struct frame unused;
		size_t needed = 0;
		enum parse parse = parse_prefix(wire, len, &unused, &needed);

		ASSERT(before == PARSE_MORE || parse == before);
		ASSERT(parse != PARSE_MORE || needed > len);
		ASSERT(
		    parse != PARSE_MORE || needed <= FRAME_MAX_CONTROL_BYTES);
		ASSERT(whole != PARSE_OK ||
		       parse == (len < f->bytes ? PARSE_MORE : PARSE_OK));
		before = parse;
	}
}

/* Unknown flags and those of frames that have none are not kept. */
static void
check_rewritten(struct span wire, const struct frame *f)
{
	static uint8_t out[FRAME_MAX_CONTROL_BYTES];
	size_t len = 0;

	ASSERT(f->bytes <= wire.len && is_inside(f->text, wire));
	ASSERT(f->stream <= FRAME_MAX_STREAM && f->length <= FRAME_MAX_LENGTH);
	if (f->type == FRAME_DATA)
		len = frame_write_data(out, f->stream, f->length, f->flags);
	else if (f->type == FRAME_RST)
		len = frame_write_rst(out, f->stream, f->error);
	else if (f->type == FRAME_WNDINC)
		len = frame_write_wndinc(out, f->stream, f->increment);
	else
		len =
		    frame_write_goaway(out, f->last_stream, f->error, f->text);
	ASSERT(len == f->bytes);
	out[3] = (uint8_t)((out[3] & 0xf0) | (wire.data[3] & 0x0f));
	ASSERT(memcmp(out, wire.data, len) == 0);
}

/* --- the multiplexer --- */

struct ends {
	unsigned open, ended;
	uint64_t taken;
	bool lazy; /* some take nothing, some reset */
};

static void
on_readable(struct mux_stream *s)
{
	struct ends *e = mux_stream_owner(s);
	struct span bytes;

	if (e->lazy && mux_stream_id(s) % 8 == 5)
		return;
	if (e->lazy && mux_stream_id(s) % 8 == 3) {
		e->ended++;
		mux_reset(s, FRAME_ERROR_CANCEL);
		return;
	}
	while ((bytes = mux_peek(s)).len > 0) {
		e->taken += bytes.len;
		mux_take(s, bytes.len, 1);
	}
	mux_want(s);
}

static void
on_room(struct mux_stream *s, struct mux_room *room)
{
	memset(room->data, 0, room->size);
	room->used = room->size / 2;
	room->fin = mux_at_end(s);
}

static void
on_reset(struct mux_stream *s, uint32_t error)
{
	struct ends *e = mux_stream_owner(s);

	(void)error;
	e->ended++;
}

static const struct mux_stream_calls calls = {
	.on_readable = on_readable,
	.on_room = on_room,
	.on_reset = on_reset,
};

static void
on_open(struct mux *m, struct mux_stream *s)
{
	struct ends *e = mux_owner(m);

	e->open++;
	mux_own(s, &calls, e);
}

/* What it sends is frames, and no more than was granted: the windows are the
 * peer's to check. */
static void
check_output(struct mux *m)
{
	static uint8_t buffer[MUX_FILL_MIN_BYTES];
	struct span out = span_of(buffer, mux_fill(m, buffer, sizeof(buffer)));

	while (out.len > 0) {
		struct frame f;
		size_t needed;
		const char *why;

		ASSERT(frame_parse(out, &f, &needed, &why) == PARSE_OK);
		if (f.type == FRAME_DATA)
			f.bytes += f.length;
		ASSERT(f.bytes <= out.len);
		out.data += f.bytes;
		out.len -= f.bytes;
	}
}

static void
drive(struct span wire, bool lazy, size_t piece, struct ends *e)
{
	struct mux_settings settings = {
		.max_streams = 20,
		.max_unread_bytes = 3000,
		.on_open = on_open,
		.owner = e,
	};
	struct mux *m = mux_new(&settings);
	struct mux_counters c;
	int error = 0;

	ASSERT(m);
	*e = (struct ends){ .lazy = lazy };
	e->open++;
	ASSERT(mux_open(m, 3, &calls, e));
	while (wire.len > 0) {
		size_t n = piece < wire.len ? piece : wire.len;
		uint8_t *copy = exact_copy(span_of(wire.data, n));
		int result = mux_feed(m, span_of(copy, n));

		free(copy);
		ASSERT(!error || error == result);
		error = result;
		c = mux_counters(m);
		ASSERT(c.open_count <= 20 && c.unread_bytes <= 3000);
		ASSERT((error != 0) == (mux_fault(m) != NULL));
		check_output(m);
		wire.data += n;
		wire.len -= n;
	}
	mux_free(m);
	ASSERT(e->open == e->ended);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span wire = span_of(data, size);
	struct frame f;
	size_t needed = 0;
	struct ends e;
	const char *why = NULL;
	enum parse parse = frame_parse(wire, &f, &needed, &why);

	ASSERT(parse != PARSE_MORE || needed > size);
	check_prefixes(wire, parse, &f);
	if (parse == PARSE_OK)
		check_rewritten(wire, &f);
	drive(wire, false, size, &e);
	drive(wire, true, size, &e);
	drive(wire, size % 2, 1 + size % 13, &e);
	return 0;
}
