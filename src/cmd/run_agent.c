#include "cmd/run_agent.h"

#include <stdlib.h>

#include "cmd/agent_source.h"
#include "cmd/commands.h"
#include "cmd/sink.h"
#include "control/agent_web.h"
#include "tunnel/agent.h"

/* What an agent has beside its engine. */
struct agent_part {
	struct agent_source *source;
	struct agent *agent;
	struct agent_web *web; /* NULL: none */
};

static void
log_edges(const struct run *r)
{
	const struct agent_settings *a = &r->snapshot->agent;

	for (size_t i = 0; i < a->edge_count; i++)
		LOG_INFO("serving through",
		    LOG_TEXT("edge", a->edges[i].address.text));
}

static bool
same_edges(const struct agent_settings *a, const struct agent_settings *b)
{
	bool same = a->edge_count == b->edge_count;

	for (size_t i = 0; same && i < a->edge_count; i++)
		same = run_same_text(
		    a->edges[i].address.text, b->edges[i].address.text);
	return same;
}

static void
warn_of_restart(const struct snapshot *old, const struct snapshot *new)
{
	const struct agent_settings *a = &old->agent, *b = &new->agent;
	const struct {
		bool same;
		const char *key;
	} keys[] = {
		{ same_edges(a, b), "edges" },
		{ run_same_text(a->authtoken, b->authtoken), "authtoken" },
		{ a->connections == b->connections, "connections" },
		{ run_same_text(a->connect_cas, b->connect_cas),
		    "connect_cas" },
		{ a->connect_ms == b->connect_ms, "connect_timeout" },
		{ a->heartbeat_interval_ms == b->heartbeat_interval_ms,
		    "heartbeat_interval" },
		{ a->heartbeat_tolerance_ms == b->heartbeat_tolerance_ms,
		    "heartbeat_tolerance" },
		{ a->encrypts_data == b->encrypts_data, "data_encryption" },
		{ run_same_text(a->proxy_url, b->proxy_url), "proxy_url" },
		{ run_same_text(a->metadata, b->metadata), "metadata" },
		{ run_same_text(a->web_addr, b->web_addr), "web_addr" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
		run_warn_of_key(keys[i].same, "agent", keys[i].key);
}

static void
part_free(struct agent_part *p)
{
	agent_web_free(p->web);
	agent_free(p->agent);
	agent_source_free(p->source);
	free(p);
}

static struct agent_part *
part_new(struct snapshot *s, struct text *error)
{
	struct agent_part *p = calloc(1, sizeof(*p));
	struct agent_hooks hooks;

	if (p != NULL)
		p->source = agent_source_new();
	if (p == NULL || p->source == NULL ||
	    !agent_source_switch(p->source, s)) {
		text_add(error, "no memory for the agent");
		if (p != NULL)
			part_free(p);
		return NULL;
	}
	hooks = agent_source_hooks(p->source);
	p->agent = agent_new(s, &hooks, error);
	if (p->agent != NULL)
		return p;
	part_free(p);
	return NULL;
}

/* An agent is of use without it. */
static void
start_web(struct agent_part *p, const struct snapshot *s)
{
	struct agent_web_settings settings = { .address = s->agent.web };
	struct agent_web_source source = agent_source_web(p->source, p->agent);

	if (s->agent.web_addr == NULL)
		return;
	int err = agent_web_new(&settings, &source, &p->web);

	if (err < 0)
		LOG_WARN("no web address",
		    LOG_TEXT("web_addr", s->agent.web_addr), LOG_ERRNO(-err));
}

static bool
start_agent(struct run *r, struct journal_sink *sinks, struct text *error)
{
	struct agent_part *p = part_new(r->snapshot, error);

	if (p == NULL) {
		sinks_free(sinks);
		return false;
	}
	r->edge = edge_new(r->snapshot, sinks,
	    &(struct edge_surroundings){ .tunnel = agent_host(p->agent) },
	    error);
	if (r->edge == NULL) {
		part_free(p);
		return false;
	}
	r->part = p;
	r->refused_fd = agent_refused_fd(p->agent);
	start_web(p, r->snapshot);
	return true;
}

/* Before the engine goes nobody may ask any more; the engine itself needs the
 * agent to its end. */
static void
stop_agent(struct run *r)
{
	struct agent_part *p = r->part;

	agent_web_free(p->web);
	p->web = NULL;
}

static void
finish_agent(struct run *r)
{
	part_free(r->part);
	r->part = NULL;
}

static void
switch_agent(struct run *r)
{
	struct agent_part *p = r->part;

	if (!agent_source_switch(p->source, r->snapshot))
		LOG_ERROR("no memory to measure the new endpoints");
}

static void
refuse_agent(const struct run *r)
{
	const struct agent_part *p = r->part;
	struct agent_link_status links[AGENT_MAX_LINKS];
	size_t count = agent_links(p->agent, links);

	for (size_t i = 0; i < count; i++)
		if (links[i].error[0] != '\0')
			say_error("%s: %s", links[i].edge, links[i].error);
}

int
run_agent(const struct run_source *source)
{
	static const struct run_kind kind = {
		.section = "agent",
		.start = start_agent,
		.stop = stop_agent,
		.finish = finish_agent,
		.refuse = refuse_agent,
		.on_switch = switch_agent,
		.announce = log_edges,
		.warn_of_restart = warn_of_restart,
	};

	return run_process(source, &kind);
}
