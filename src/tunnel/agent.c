#include "tunnel/agent_private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tls/secret.h"

static const char *const state_words[] = {
	[LINK_WAITING] = "waiting",
	[LINK_SPARE] = "spare",
	[LINK_CONNECTING] = "connecting",
	[LINK_JOINING] = "joining",
	[LINK_ONLINE] = "online",
};

const char *
agent_link_state_word(enum agent_link_state state)
{
	return state_words[state];
}

/* --- a worker's part --- */

static void *
worker_new(void *data, struct worker *w)
{
	struct agent *a = data;
	struct agent_worker *at = calloc(1, sizeof(*at));

	if (!at)
		return NULL;
	at->agent = a;
	at->worker = w;
	at->buffer = malloc(SESSION_BUFFER_BYTES);
	at->links = calloc(AGENT_MAX_LINKS, sizeof(*at->links));
	if (!at->buffer || !at->links) {
		free(at->links);
		free(at->buffer);
		free(at);
		return NULL;
	}
	session_host_init(&at->sessions, &w->loop, &w->timeouts, at->buffer,
	    SESSION_BUFFER_BYTES);
	tls_pump_host_init(&at->pumps, &w->loop, &w->timeouts, at->buffer,
	    SESSION_BUFFER_BYTES);
	at->outbound = (struct outbound_host){
		.loop = &w->loop,
		.timeouts = &w->timeouts,
		.resolver = edge_resolver(w->edge),
		.mailbox = &w->mailbox,
	};
	return at;
}

static void
end_all(struct agent_worker *at)
{
	if (at->ended)
		return;
	at->ended = at->draining = true;
	session_host_fini(&at->sessions);
	tls_pump_host_fini(&at->pumps);
	for (unsigned i = 0; i < at->link_count; i++)
		link_fini(&at->links[i]);
}

static void
worker_free(void *state)
{
	struct agent_worker *at = state;

	end_all(at);
	free(at->links);
	free(at->buffer);
	free(at);
}

/* The endpoints of the settings in force, for who asks. */
static bool
list_endpoints(struct agent *a, const struct snapshot *s)
{
	struct agent_endpoint_status *list =
	    calloc(s->endpoint_count + 1, sizeof(*list));

	if (!list)
		return false;
	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct endpoint *e = s->endpoints[i];
		struct text t;

		text_init(&t, list[i].name, sizeof(list[i].name));
		text_add(&t, e->name ? e->name : "");
		text_init(&t, list[i].url, sizeof(list[i].url));
		list[i].terminate_at = e->terminate_at;
	}
	pthread_mutex_lock(&a->lock);
	free(a->endpoints);
	a->endpoints = list;
	a->endpoint_count = s->endpoint_count;
	pthread_mutex_unlock(&a->lock);
	return true;
}

/* Each link is one worker's: how many workers there are is known only now. */
static void
start_links(struct agent_worker *at)
{
	const struct worker *w = at->worker;
	unsigned workers = edge_worker_count(w->edge);

	for (unsigned i = w->index; i < at->agent->link_count; i += workers) {
		struct link *l = &at->links[at->link_count++];

		link_init(l, at, i);
		link_start(l);
	}
	at->started = true;
}

static void
on_switch(void *state)
{
	struct agent_worker *at = state;
	const struct snapshot *s = at->worker->generation->snapshot;

	if (at->worker->index == 0 && !list_endpoints(at->agent, s))
		LOG_ERROR("no memory to show the endpoints");
	if (!at->started) {
		start_links(at);
		return;
	}
	for (unsigned i = 0; i < at->link_count; i++) {
		struct link *l = &at->links[i];

		if (l->current && l->current->joined)
			offers_sync(l->current, s);
	}
}

/* What is under way goes on; nothing new is taken. */
static void
on_drain(void *state, uint64_t ms)
{
	struct agent_worker *at = state;

	(void)ms;
	at->draining = true;
	for (unsigned i = 0; i < at->link_count; i++)
		if (at->links[i].current && at->links[i].current->joined)
			offers_withdraw(at->links[i].current);
}

static void
on_stop(void *state)
{
	end_all(state);
}

/* An agent has no listener. */
static void
on_caller(void *state, enum caller_kind kind, struct caller *caller)
{
	(void)state;
	(void)kind;
	(void)caller;
	ASSERT(!"an agent accepts nobody");
}

/* --- the process's part --- */

static bool
load(struct agent *a, struct text *error)
{
	const char *url = edge_proxy_url(&a->snapshot->agent), *why;

	a->has_proxy = url != NULL;
	if (url && proxy_url_parse(span_text(url), &a->proxy, &why) < 0) {
		text_addf(error, "%s: %s",
		    a->snapshot->agent.proxy_url ? "agent.proxy_url"
						 : "http_proxy",
		    why);
		return false;
	}
	a->refused_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (a->refused_fd < 0) {
		text_addf(error, "eventfd: %s", log_errno_text(errno));
		return false;
	}
	return edge_trust_load(
	    &a->trust, a->snapshot->agent.connect_cas, error);
}

struct agent *
agent_new(
    struct snapshot *s, const struct agent_hooks *hooks, struct text *error)
{
	struct agent *a = calloc(1, sizeof(*a));

	if (!a) {
		text_add(error, "no memory for the agent");
		return NULL;
	}
	a->refused_fd = -1;
	a->snapshot = snapshot_get(s);
	a->link_count = s->agent.connections;
	a->hooks = *hooks;
	pthread_mutex_init(&a->lock, NULL);
	for (unsigned i = 0; i < AGENT_MAX_LINKS; i++)
		a->links[i].latency_us = -1;
	a->host = (struct tunnel_host){
		.data = a,
		.worker_new = worker_new,
		.worker_free = worker_free,
		.on_switch = on_switch,
		.on_drain = on_drain,
		.on_stop = on_stop,
		.on_caller = on_caller,
	};
	if (load(a, error))
		return a;
	agent_free(a);
	return NULL;
}

void
agent_free(struct agent *a)
{
	if (!a)
		return;
	wipe(&a->proxy, sizeof(a->proxy));
	edge_trust_fini(&a->trust);
	snapshot_put(a->snapshot);
	free(a->endpoints);
	if (a->refused_fd >= 0)
		close(a->refused_fd);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

const struct tunnel_host *
agent_host(const struct agent *a)
{
	return &a->host;
}

int
agent_refused_fd(const struct agent *a)
{
	return a->refused_fd;
}

size_t
agent_links(struct agent *a, struct agent_link_status out[AGENT_MAX_LINKS])
{
	pthread_mutex_lock(&a->lock);
	memcpy(out, a->links, a->link_count * sizeof(*out));
	pthread_mutex_unlock(&a->lock);
	return a->link_count;
}

bool
agent_endpoint(struct agent *a, size_t index, struct agent_endpoint_status *out)
{
	bool found;

	pthread_mutex_lock(&a->lock);
	found = index < a->endpoint_count;
	if (found)
		*out = a->endpoints[index];
	pthread_mutex_unlock(&a->lock);
	return found;
}
