#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tunnel/session_private.h"

#define FIRST_BYTES 1024

/* A request of ours. */
struct ask {
	struct session *session;
	struct mux_stream *stream;
	struct timeout deadline;
	session_on_reply *on_reply;
	void *owner;
	uint8_t *request, *response;
	size_t request_len, sent;
	size_t response_len, response_size;
};

/* Its stream is left or gone already. */
static void
reply(struct ask *a, enum session_reply reply)
{
	struct span json = span_of(
	    a->response, reply == SESSION_REPLY_OK ? a->response_len : 0);

	timeouts_clear(a->session->host->timeouts, &a->deadline);
	a->on_reply(a->session, a->owner, reply, json);
	free(a->request);
	free(a->response);
	free(a);
}

static void
give_up(struct ask *a, enum session_reply with)
{
	mux_reset(a->stream, FRAME_ERROR_CANCEL);
	reply(a, with);
}

static void
on_deadline(struct timeout *t)
{
	give_up(CONTAINER_OF(t, struct ask, deadline), SESSION_REPLY_TIMEOUT);
}

static void
on_room(struct mux_stream *stream, struct mux_room *room)
{
	struct ask *a = mux_stream_owner(stream);
	size_t n = a->request_len - a->sent;

	if (n > room->size)
		n = room->size;
	if (n > 0)
		memcpy(room->data, a->request + a->sent, n);
	a->sent += n;
	room->used = n;
	room->more = a->sent < a->request_len;
	room->fin = !room->more;
}

static bool
make_room(struct ask *a)
{
	size_t size = a->response_size > 0 ? 2 * a->response_size : FIRST_BYTES;
	uint8_t *grown;

	if (a->response_len < a->response_size)
		return true;
	grown = realloc(a->response, size);
	if (!grown)
		return false;
	a->response = grown;
	a->response_size = size;
	return true;
}

/* False: it was given up. */
static bool
collect(struct ask *a, struct span bytes)
{
	if (a->response_len == SESSION_MAX_JSON_BYTES) {
		give_up(a, SESSION_REPLY_RESET);
		return false;
	}
	if (!make_room(a)) {
		give_up(a, SESSION_REPLY_NO_MEMORY);
		return false;
	}
	if (bytes.len > a->response_size - a->response_len)
		bytes.len = a->response_size - a->response_len;
	memcpy(a->response + a->response_len, bytes.data, bytes.len);
	a->response_len += bytes.len;
	mux_take(a->stream, bytes.len, clock_ms());
	return true;
}

static void
on_readable(struct mux_stream *stream)
{
	struct ask *a = mux_stream_owner(stream);
	struct span bytes;

	while ((bytes = mux_peek(stream)).len > 0)
		if (!collect(a, bytes))
			return;
	if (!mux_at_end(stream))
		return;
	mux_release(stream);
	reply(a, SESSION_REPLY_OK);
}

static void
on_reset(struct mux_stream *stream, uint32_t error)
{
	struct ask *a = mux_stream_owner(stream);

	(void)error;
	reply(a, session_is_open(a->session) ? SESSION_REPLY_RESET
					     : SESSION_REPLY_ENDED);
}

static const struct mux_stream_calls ask_calls = {
	.on_readable = on_readable,
	.on_room = on_room,
	.on_reset = on_reset,
};

static struct ask *
ask_new(struct session *s, struct span json)
{
	struct ask *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->request = malloc(json.len + 1);
	if (!a->request) {
		free(a);
		return NULL;
	}
	if (json.len > 0)
		memcpy(a->request, json.data, json.len);
	a->request_len = json.len;
	a->session = s;
	timeout_init(&a->deadline, on_deadline);
	return a;
}

int
session_request(struct session *s, uint32_t type, struct span json,
    session_on_reply *on_reply, void *owner)
{
	struct ask *a;

	if (!session_is_open(s))
		return -ENOTCONN;
	if (!mux_may_open(s->mux))
		return -EAGAIN;
	a = ask_new(s, json);
	if (!a)
		return -ENOMEM;
	a->stream = mux_open(s->mux, type, &ask_calls, a);
	if (!a->stream) {
		free(a->request);
		free(a);
		return -ENOMEM;
	}
	a->on_reply = on_reply;
	a->owner = owner;
	session_set_timeout(s, &a->deadline, s->settings.response_ms);
	mux_want(a->stream);
	return 0;
}
