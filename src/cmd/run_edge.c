#include "cmd/run_edge.h"

#include "cmd/advice.h"
#include "cmd/sink.h"
#include "tunnel/edge_host.h"

static void
log_listeners(const struct run *r)
{
	size_t count = edge_listener_count(r->edge);

	for (size_t i = 0; i < count; i++) {
		char text[ADDR_TEXT_SIZE];
		struct addr a;

		edge_listener_addr(r->edge, i, &a);
		addr_format(&a, text);
		LOG_INFO("listening", LOG_TEXT("address", text),
		    LOG_TEXT("listener", i < r->snapshot->listen_count
					     ? r->snapshot->listens[i].address
					     : text));
	}
}

static void
warn_of_restart(const struct snapshot *old, const struct snapshot *new)
{
	run_warn_of_key(run_same_text(old->user, new->user), "edge", "user");
}

/* Also if it takes no agents now: a reload may say that it does. */
static bool
start_edge(struct run *r, struct journal_sink *sinks, struct text *error)
{
	struct edge_tunnel *tunnel = edge_tunnel_new(r->snapshot, error);

	if (tunnel == NULL) {
		sinks_free(sinks);
		return false;
	}
	r->edge = edge_new(r->snapshot, sinks,
	    &(struct edge_surroundings){
		.tunnel = edge_tunnel_host(tunnel),
		.inherited = &r->inherited,
	    },
	    error);
	if (r->edge == NULL) {
		edge_tunnel_free(tunnel);
		advice_listen(r->snapshot, r->source->from_flags, error);
		return false;
	}
	r->part = tunnel;
	return true;
}

static bool
prepare_edge(struct run *r, struct snapshot *next, struct text *error)
{
	return edge_tunnel_prepare(r->part, next, error) == 0;
}

static void
discard_edge(struct run *r)
{
	edge_tunnel_discard(r->part);
}

static void
switch_edge(struct run *r)
{
	edge_tunnel_commit(r->part);
}

static void
finish_edge(struct run *r)
{
	edge_tunnel_free(r->part);
	r->part = NULL;
}

int
run_edge(const struct run_source *source)
{
	static const struct run_kind kind = {
		.section = "edge",
		.has_listeners = true,
		.start = start_edge,
		.finish = finish_edge,
		.prepare = prepare_edge,
		.discard = discard_edge,
		.on_switch = switch_edge,
		.announce = log_listeners,
		.warn_of_restart = warn_of_restart,
	};

	return run_process(source, &kind);
}
