#include "engine/caller.h"

#include "engine/edge_private.h"
#include "tls/data_stream.h"
#include "tls/session_context.h"

#define PREFACE_FIRST_BYTE 0xC5

static bool
takes_agents(const struct conn *c)
{
	return c->worker->tunnel && c->listener &&
	       c->listener->snapshot->agents.enabled &&
	       c->listener->settings->serves != SERVES_CLIENTS;
}

bool
caller_has_preface(const struct conn *c, struct span wire)
{
	return takes_agents(c) && wire.len > 0 &&
	       wire.data[0] == PREFACE_FIRST_BYTE;
}

static bool
is_reserved(const struct agents_settings *a, const struct hello *hello)
{
	struct span name = host_span(&hello->server_name);

	if (!hello->has_server_name)
		return false;
	for (size_t i = 0; i < a->server_name_count; i++)
		if (span_equal(name, host_span(&a->server_names[i])))
			return true;
	return false;
}

static bool
offers(const struct hello *hello, const char *protocol)
{
	struct span rest = hello->alpn, name;

	while (hello_next_alpn(&rest, &name))
		if (span_is(name, protocol))
			return true;
	return false;
}

static bool
offers_only(const struct hello *hello, const char *protocol)
{
	struct span rest = hello->alpn, name;

	return hello_next_alpn(&rest, &name) && span_is(name, protocol) &&
	       rest.len == 0;
}

/* The default endpoint is none that is known by its name. */
static bool
is_known(const struct conn *c, const struct hello *hello)
{
	const struct snapshot *s = c->listener->snapshot;
	struct span name = host_span(&hello->server_name);
	struct endpoint *bound;

	if (!hello->has_server_name)
		return false;
	if (routes_find(s->routes, name))
		return true;
	bound = registry_find(c->worker->edge->registry, name);
	endpoint_put(bound);
	return bound != NULL;
}

static enum caller_verdict
judge_agent(const struct hello *hello, enum caller_kind *kind, uint8_t *alert)
{
	*kind = CALLER_AGENT;
	if (!hello->has_alpn || offers(hello, SESSION_ALPN))
		return CALLER_TAKEN;
	*kind = CALLER_DATA_TLS;
	if (offers_only(hello, DATA_ALPN))
		return CALLER_TAKEN;
	*alert = ALERT_NO_APPLICATION_PROTOCOL;
	return CALLER_REFUSED;
}

enum caller_verdict
caller_judge(const struct conn *c, const struct hello *hello,
    enum caller_kind *kind, uint8_t *alert)
{
	bool only_agents;

	if (!takes_agents(c))
		return CALLER_NONE;
	only_agents = c->listener->settings->serves == SERVES_AGENTS;
	if (only_agents || is_reserved(&c->listener->snapshot->agents, hello))
		return judge_agent(hello, kind, alert);
	if (is_known(c, hello) ||
	    !(offers(hello, SESSION_ALPN) || offers_only(hello, DATA_ALPN)))
		return CALLER_NONE;
	return judge_agent(hello, kind, alert);
}

void
caller_hand_over(struct conn *c, enum caller_kind kind, const struct host *name)
{
	struct worker *w = c->worker;
	struct caller caller = {
		.peer = c->facts.client,
		.local = c->facts.server,
		.start_us = c->start_us,
		.start_wall_us = c->facts.start_wall_us,
		.generation = generation_get(w->generation),
	};

	if (name)
		caller.name = *name;
	caller.fd = conn_give_away(c);
	w->edge->tunnel->on_caller(w->tunnel, kind, &caller);
}
