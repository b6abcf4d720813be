#include <stdlib.h>

#include "base/clock.h"
#include "tunnel/session_private.h"
#include "wire/json_scan.h"

#define TYPE_BYTES 4
#define FIRST_BYTES 1024

enum state {
	COLLECTS, /* type, then JSON */
	ASKED,	  /* the owner knows, and owes the answer */
	ANSWERS,
};

/* A stream that the peer has opened, until it is known to be something else. */
struct asked {
	struct session *session;
	struct mux_stream *stream;
	struct timeout deadline;
	enum state state;
	uint32_t type;
	unsigned type_len;
	struct json_scan scan;
	uint8_t *data; /* the request, then the answer */
	size_t len, size, sent;
};

static const struct mux_stream_calls asked_calls;

/* The one whose stream has this id, if it still is one. */
static struct asked *
find(const struct session *s, uint32_t id)
{
	struct mux_stream *stream = id != 0 ? mux_find(s->mux, id) : NULL;

	return stream && mux_calls(stream) == &asked_calls
		   ? mux_stream_owner(stream)
		   : NULL;
}

static struct timeouts *
timeouts_of(const struct asked *a)
{
	return a->session->host->timeouts;
}

static void
drop_data(struct asked *a)
{
	if (a->state == COLLECTS)
		a->session->pending_bytes -= a->size;
	free(a->data);
	a->data = NULL;
	a->len = a->size = 0;
}

/* Its stream is somebody else's from now on, or gone. */
static void
forget(struct asked *a)
{
	timeouts_clear(timeouts_of(a), &a->deadline);
	drop_data(a);
	free(a);
}

static void
refuse(struct asked *a, uint32_t error)
{
	struct mux_stream *stream = a->stream;

	forget(a);
	mux_reset(stream, error);
}

static void
on_deadline(struct timeout *t)
{
	struct asked *a = CONTAINER_OF(t, struct asked, deadline);

	refuse(a, FRAME_ERROR_CANCEL);
}

/* --- other kinds of streams --- */

static void
become_heartbeat(struct asked *a)
{
	struct mux_stream *stream = a->stream;

	forget(a);
	session_echo(stream);
}

static void
become_raw(struct asked *a)
{
	struct session *s = a->session;
	struct mux_stream *stream = a->stream;
	uint32_t id = mux_stream_id(stream);

	if (!s->settings.is_agent || !s->settings.calls->on_stream) {
		refuse(a, FRAME_ERROR_STREAM_REFUSED);
		return;
	}
	forget(a);
	mux_own(stream, NULL, NULL);
	s->settings.calls->on_stream(s, stream);
	if (mux_find(s->mux, id) == stream && !mux_calls(stream))
		mux_reset(stream, FRAME_ERROR_STREAM_REFUSED);
}

/* --- collecting --- */

static size_t
allowance(const struct session *s)
{
	return s->settings.admitted ? SESSION_MAX_PENDING_BYTES
				    : SESSION_STRANGER_BYTES;
}

/* Room for one more byte at least; else why not. */
static uint32_t
make_room(struct asked *a)
{
	struct session *s = a->session;
	size_t size = a->size > 0 ? 2 * a->size : FIRST_BYTES;
	uint8_t *grown;

	if (a->len < a->size)
		return FRAME_ERROR_NONE;
	if (size > SESSION_MAX_JSON_BYTES ||
	    s->pending_bytes - a->size + size > allowance(s))
		return FRAME_ERROR_LIMIT;
	grown = realloc(a->data, size);
	if (!grown)
		return FRAME_ERROR_INTERNAL;
	s->pending_bytes += size - a->size;
	a->data = grown;
	a->size = size;
	return FRAME_ERROR_NONE;
}

/* The owner may answer, or end the session, in the call. */
static void
ask_owner(struct asked *a)
{
	struct session *s = a->session;
	uint8_t *data = a->data;
	size_t len = a->len;

	timeouts_clear(timeouts_of(a), &a->deadline);
	s->pending_bytes -= a->size;
	a->data = NULL;
	a->len = a->size = 0;
	a->state = ASKED;
	if (s->settings.calls->on_request)
		s->settings.calls->on_request(
		    s, a->type, mux_stream_id(a->stream), span_of(data, len));
	else
		refuse(a, FRAME_ERROR_STREAM_REFUSED);
	free(data);
}

/* How many of `bytes` it took; `*parse` says how far the value is. */
static size_t
collect(struct asked *a, struct span bytes, enum parse *parse)
{
	size_t room = a->size - a->len, used;

	if (bytes.len > room)
		bytes.len = room;
	*parse = json_scan(&a->scan, bytes, &used);
	memcpy(a->data + a->len, bytes.data, used);
	a->len += used;
	return used;
}

/* The next bytes of the request; false: it is whole or refused. */
static bool
take_json(struct asked *a, struct span bytes)
{
	uint32_t error = make_room(a);
	enum parse parse;
	size_t used;

	if (error) {
		refuse(a, error);
		return false;
	}
	used = collect(a, bytes, &parse);
	mux_take(a->stream, used, clock_ms());
	if (parse == PARSE_BAD)
		refuse(a, FRAME_ERROR_PROTOCOL);
	else if (parse == PARSE_OK)
		ask_owner(a);
	return parse == PARSE_MORE;
}

/* False: it has become something else. */
static bool
take_type(struct asked *a, struct span bytes)
{
	size_t n = TYPE_BYTES - a->type_len;

	if (n > bytes.len)
		n = bytes.len;
	for (size_t i = 0; i < n; i++)
		a->type = a->type << 8 | bytes.data[i];
	a->type_len += (unsigned)n;
	mux_take(a->stream, n, clock_ms());
	if (a->type_len < TYPE_BYTES)
		return true;
	if (a->type == SESSION_HEARTBEAT_TYPE)
		become_heartbeat(a);
	else if (a->type == SESSION_PROXY_TYPE)
		become_raw(a);
	else
		return true;
	return false;
}

/* Each piece may end in the stream becoming something else. */
static bool
take_pieces(struct asked *a)
{
	struct mux_stream *stream = a->stream;
	struct span bytes;

	while ((bytes = mux_peek(stream)).len > 0)
		if (!(a->type_len < TYPE_BYTES ? take_type(a, bytes)
					       : take_json(a, bytes)))
			return false;
	return true;
}

/* What comes behind a request is nobody's. */
static void
drop_rest(struct session *s, uint32_t id)
{
	struct asked *a = find(s, id);

	if (a && a->state != COLLECTS)
		mux_take(a->stream, mux_unread_bytes(a->stream), clock_ms());
}

static void
on_readable(struct mux_stream *stream)
{
	struct asked *a = mux_stream_owner(stream);
	struct session *s = a->session;
	uint32_t id = mux_stream_id(stream);

	if (a->state == COLLECTS && session_is_open(s) && take_pieces(a) &&
	    mux_at_end(stream))
		refuse(a, FRAME_ERROR_PROTOCOL);
	drop_rest(s, id);
}

/* --- answering --- */

static void
on_room(struct mux_stream *stream, struct mux_room *room)
{
	struct asked *a = mux_stream_owner(stream);
	size_t n = a->len - a->sent;

	if (n > room->size)
		n = room->size;
	if (n > 0)
		memcpy(room->data, a->data + a->sent, n);
	a->sent += n;
	room->used = n;
	room->more = a->sent < a->len;
	if (room->more)
		return;
	room->fin = room->leave = true;
	mux_own(stream, NULL, NULL);
	forget(a);
}

static void
on_reset(struct mux_stream *stream, uint32_t error)
{
	(void)error;
	forget(mux_stream_owner(stream));
}

static const struct mux_stream_calls asked_calls = {
	.on_readable = on_readable,
	.on_room = on_room,
	.on_reset = on_reset,
};

void
session_on_stream(struct mux *m, struct mux_stream *stream)
{
	struct session *s = mux_owner(m);
	struct asked *a = session_is_open(s) ? calloc(1, sizeof(*a)) : NULL;

	if (!a)
		return; /* it is refused */
	a->session = s;
	a->stream = stream;
	timeout_init(&a->deadline, on_deadline);
	session_set_timeout(s, &a->deadline, s->settings.request_ms);
	mux_own(stream, &asked_calls, a);
}

/* The request that is owed an answer, or NULL. */
static struct asked *
find_asked(struct session *s, uint32_t id)
{
	struct asked *a = session_is_open(s) ? find(s, id) : NULL;

	return a && a->state == ASKED ? a : NULL;
}

void
session_answer(struct session *s, uint32_t id, struct span json)
{
	struct asked *a = find_asked(s, id);

	if (!a)
		return;
	a->data = malloc(json.len + 1);
	if (!a->data) {
		refuse(a, FRAME_ERROR_INTERNAL);
		return;
	}
	if (json.len > 0)
		memcpy(a->data, json.data, json.len);
	a->len = json.len;
	a->state = ANSWERS;
	session_set_timeout(s, &a->deadline, s->settings.response_ms);
	mux_want(a->stream);
}

void
session_refuse(struct session *s, uint32_t id, uint32_t error)
{
	struct asked *a = find_asked(s, id);

	if (a)
		refuse(a, error);
}
