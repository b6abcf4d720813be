#include "cmd/agent_source.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

/* How an endpoint without a name is called, of which there may be one. */
#define UNNAMED "command_line"

struct measured {
	char *name;
	struct meter *meter;
	uint64_t bytes_in, bytes_out;
};

struct agent_source {
	pthread_mutex_t lock;	   /* of all below */
	struct snapshot *settings; /* counted */
	struct measured *list;	   /* by the endpoint's index in `settings` */
	size_t count;
	struct agent *agent;
};

static const char *
name_of(const struct endpoint *e)
{
	return e->name ? e->name : UNNAMED;
}

static void
list_free(struct measured *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].name);
		meter_put(list[i].meter);
	}
	free(list);
}

struct agent_source *
agent_source_new(void)
{
	struct agent_source *s = calloc(1, sizeof(*s));

	if (s)
		pthread_mutex_init(&s->lock, NULL);
	return s;
}

void
agent_source_free(struct agent_source *s)
{
	if (!s)
		return;
	list_free(s->list, s->count);
	snapshot_put(s->settings);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* The place is the same as a rule; after a reload a connection may end whose
 * endpoint stood elsewhere. The lock is held. */
static struct measured *
find(struct agent_source *s, const struct endpoint *e)
{
	const char *name = name_of(e);

	if (e->index < s->count && strcmp(s->list[e->index].name, name) == 0)
		return &s->list[e->index];
	for (size_t i = 0; i < s->count; i++)
		if (strcmp(s->list[i].name, name) == 0)
			return &s->list[i];
	return NULL;
}

static void
on_begin(void *data, const struct endpoint *e)
{
	struct agent_source *s = data;
	struct measured *m;

	pthread_mutex_lock(&s->lock);
	m = find(s, e);
	if (m)
		meter_begin(m->meter, clock_us());
	pthread_mutex_unlock(&s->lock);
}

static void
on_end(void *data, const struct endpoint *e, const struct agent_traffic *t)
{
	struct agent_source *s = data;
	struct measured *m;

	pthread_mutex_lock(&s->lock);
	m = find(s, e);
	if (m) {
		meter_end(m->meter, clock_us(), t->duration_us);
		m->bytes_in += t->bytes_in;
		m->bytes_out += t->bytes_out;
	}
	pthread_mutex_unlock(&s->lock);
}

struct agent_hooks
agent_source_hooks(struct agent_source *s)
{
	return (struct agent_hooks){
		.data = s,
		.on_begin = on_begin,
		.on_end = on_end,
	};
}

/* The lock is not held: only the main thread changes the list. */
static bool
fill_list(struct agent_source *s, const struct snapshot *settings,
    struct measured *list)
{
	for (size_t i = 0; i < settings->endpoint_count; i++) {
		const struct endpoint *e = settings->endpoints[i];
		const struct measured *old = find(s, e);

		list[i].name = strdup(name_of(e));
		list[i].meter =
		    old ? meter_get(old->meter) : meter_new(clock_us());
		if (!list[i].name || !list[i].meter)
			return false;
	}
	return true;
}

/* What ended meanwhile is in the old list: carried over under the lock. */
static void
swap(struct agent_source *s, struct measured *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < s->count; j++)
			if (list[i].meter == s->list[j].meter) {
				list[i].bytes_in = s->list[j].bytes_in;
				list[i].bytes_out = s->list[j].bytes_out;
			}
	s->list = list;
	s->count = count;
}

bool
agent_source_switch(struct agent_source *s, struct snapshot *settings)
{
	size_t count = settings->endpoint_count, old_count = s->count;
	struct measured *list = calloc(count + 1, sizeof(*list));
	struct measured *old = s->list;
	struct snapshot *before = s->settings;

	if (!list || !fill_list(s, settings, list)) {
		if (list)
			list_free(list, count);
		return false;
	}
	pthread_mutex_lock(&s->lock);
	swap(s, list, count);
	s->settings = snapshot_get(settings);
	pthread_mutex_unlock(&s->lock);
	list_free(old, old_count);
	snapshot_put(before);
	return true;
}

static void
show_sessions(struct agent *a, struct agent_view *v)
{
	struct agent_link_status links[AGENT_MAX_LINKS];
	size_t count = agent_links(a, links);

	for (size_t i = 0; i < count; i++) {
		const struct agent_link_status *l = &links[i];

		/* No further edge is no fault to be shown. */
		if (l->state == LINK_SPARE)
			continue;
		agent_view_session(
		    v, &(struct agent_session_view){
			   .edge = l->edge,
			   .region = l->region,
			   .state = agent_link_state_word(l->state),
			   .id = l->session_id,
			   .latency_us = l->latency_us,
			   .is_online = l->state == LINK_ONLINE,
		       });
	}
}

/* The lock is held. */
static void
show_endpoint(struct agent_source *s, size_t i, struct agent_view *v)
{
	const struct endpoint *e = s->settings->endpoints[i];
	const struct measured *m = &s->list[i];
	struct agent_endpoint_status status = { .url = "" };

	if (!agent_endpoint(s->agent, i, &status))
		return;
	agent_view_endpoint(v,
	    &(struct agent_endpoint_view){
		.name = m->name,
		.url = status.url,
		.upstream =
		    e->upstream_count > 0 ? e->upstreams[0].address.text : "",
		.terminate_at = terminate_at_name(e->terminate_at),
		.is_online = status.online,
		.is_pooling_enabled = e->pooling_enabled,
		.meter = m->meter,
		.bytes_in = m->bytes_in,
		.bytes_out = m->bytes_out,
	    });
}

static void
fill(void *data, struct agent_view *v)
{
	struct agent_source *s = data;

	show_sessions(s->agent, v);
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->count; i++)
		show_endpoint(s, i, v);
	pthread_mutex_unlock(&s->lock);
}

struct agent_web_source
agent_source_web(struct agent_source *s, struct agent *agent)
{
	s->agent = agent;
	return (struct agent_web_source){ .data = s, .fill = fill };
}
