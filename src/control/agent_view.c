#include "control/agent_view.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/utf8.h"

#define FIRST_ROOM 8

/* Makes room for one more of `size` bytes; NULL without memory. */
static void *
one_more(void *list, size_t count, size_t *room, size_t size)
{
	size_t wanted = *room ? *room * 2 : FIRST_ROOM;
	void *larger;

	if (count < *room)
		return list;
	larger = realloc(list, wanted * size);
	if (larger)
		*room = wanted;
	return larger;
}

/* NULL without memory. */
static char *
copy_text(const char *from)
{
	struct span s = span_text(from);
	struct text t;
	char *storage;
	size_t size;

	if (s.len > AGENT_VIEW_TEXT_MAX)
		s.len = AGENT_VIEW_TEXT_MAX;
	size = s.len * strlen(UTF8_REPLACEMENT) + 1;
	storage = malloc(size);
	if (!storage)
		return NULL;
	text_init(&t, storage, size);
	text_add_utf8(&t, s);
	return storage;
}

static void
free_session(struct view_session *s)
{
	free(s->edge);
	free(s->region);
	free(s->state);
	free(s->id);
}

static void
free_endpoint(struct view_endpoint *e)
{
	free(e->name);
	free(e->url);
	free(e->upstream);
	free(e->terminate_at);
	meter_put(e->meter);
}

/* Whether one more may come in; counts the one that may not. */
static bool
has_place(const struct agent_view *v, size_t count, size_t *left_out)
{
	if (v->no_memory)
		return false;
	if (count < AGENT_VIEW_MAX)
		return true;
	++*left_out;
	return false;
}

static bool
copy_session(struct view_session *to, const struct agent_session_view *from)
{
	*to = (struct view_session){
		.edge = copy_text(from->edge),
		.region = copy_text(from->region),
		.state = copy_text(from->state),
		.id = copy_text(from->id),
		.latency_us = from->latency_us,
		.is_online = from->is_online,
	};
	if (to->edge && to->region && to->state && to->id)
		return true;
	free_session(to);
	return false;
}

static bool
copy_endpoint(struct view_endpoint *to, const struct agent_endpoint_view *from)
{
	*to = (struct view_endpoint){
		.name = copy_text(from->name),
		.url = copy_text(from->url),
		.upstream = copy_text(from->upstream),
		.terminate_at = copy_text(from->terminate_at),
		.is_online = from->is_online,
		.is_pooling_enabled = from->is_pooling_enabled,
		.bytes_in = from->bytes_in,
		.bytes_out = from->bytes_out,
		.meter = from->meter ? meter_get(from->meter) : NULL,
	};
	if (to->name && to->url && to->upstream && to->terminate_at)
		return true;
	free_endpoint(to);
	return false;
}

void
agent_view_session(struct agent_view *v, const struct agent_session_view *s)
{
	struct view_session *list;

	if (!has_place(v, v->session_count, &v->sessions_left_out))
		return;
	list = one_more(
	    v->sessions, v->session_count, &v->session_room, sizeof(*list));
	if (list)
		v->sessions = list;
	if (list && copy_session(&list[v->session_count], s))
		v->session_count++;
	else
		v->no_memory = true;
}

void
agent_view_endpoint(struct agent_view *v, const struct agent_endpoint_view *e)
{
	struct view_endpoint *list;

	if (!has_place(v, v->endpoint_count, &v->endpoints_left_out))
		return;
	list = one_more(
	    v->endpoints, v->endpoint_count, &v->endpoint_room, sizeof(*list));
	if (list)
		v->endpoints = list;
	if (list && copy_endpoint(&list[v->endpoint_count], e))
		v->endpoint_count++;
	else
		v->no_memory = true;
}

int
agent_view_take(
    struct agent_view *v, const struct agent_web_source *source, int64_t now_us)
{
	memset(v, 0, sizeof(*v));
	source->fill(source->data, v);
	if (v->no_memory) {
		agent_view_fini(v);
		return -ENOMEM;
	}
	if (v->sessions_left_out + v->endpoints_left_out > 0)
		LOG_LIMITED(LOG_LEVEL_WARN,
		    "the web address does not show all that there is",
		    LOG_INT("sessions_left_out", v->sessions_left_out),
		    LOG_INT("endpoints_left_out", v->endpoints_left_out));
	for (size_t i = 0; i < v->endpoint_count; i++) {
		struct view_endpoint *e = &v->endpoints[i];

		if (e->meter)
			meter_read(e->meter, now_us, &e->figures);
	}
	return 0;
}

void
agent_view_fini(struct agent_view *v)
{
	for (size_t i = 0; i < v->session_count; i++)
		free_session(&v->sessions[i]);
	for (size_t i = 0; i < v->endpoint_count; i++)
		free_endpoint(&v->endpoints[i]);
	free(v->sessions);
	free(v->endpoints);
	memset(v, 0, sizeof(*v));
}

const struct view_endpoint *
agent_view_find(const struct agent_view *v, struct span name)
{
	for (size_t i = 0; i < v->endpoint_count; i++)
		if (span_is(name, v->endpoints[i].name))
			return &v->endpoints[i];
	return NULL;
}

const char *
agent_view_status(const struct agent_view *v)
{
	for (size_t i = 0; i < v->session_count; i++)
		if (v->sessions[i].is_online)
			return "online";
	return v->session_count > 0 ? v->sessions[0].state : "connecting";
}

unsigned
agent_view_readers(const struct view_endpoint *e)
{
	struct span at = span_text(e->terminate_at);

	if (span_is(at, "upstream"))
		return READER_UPSTREAM;
	if (span_is(at, "agent"))
		return READER_AGENT | READER_UPSTREAM;
	return READER_EDGE | READER_AGENT | READER_UPSTREAM;
}
