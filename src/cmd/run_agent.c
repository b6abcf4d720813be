#include "cmd/run_agent.h"

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

static bool
start_agent(struct run *r, struct journal_sink *sinks, struct text *error)
{
	r->edge = edge_new(r->snapshot, sinks, error);
	return r->edge != NULL;
}

int
run_agent(const struct run_source *source)
{
	static const struct run_kind kind = {
		.section = "agent",
		.start = start_agent,
		.announce = log_edges,
		.warn_of_restart = warn_of_restart,
	};

	return run_process(source, &kind);
}
