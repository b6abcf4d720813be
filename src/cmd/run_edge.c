#include "cmd/run_edge.h"

#include "cmd/advice.h"

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

static bool
start_edge(struct run *r, struct journal_sink *sinks, struct text *error)
{
	r->edge = edge_new(r->snapshot, sinks, NULL, error);
	if (r->edge == NULL)
		advice_listen(r->snapshot, r->source->from_flags, error);
	return r->edge != NULL;
}

int
run_edge(const struct run_source *source)
{
	static const struct run_kind kind = {
		.section = "edge",
		.start = start_edge,
		.announce = log_listeners,
		.warn_of_restart = warn_of_restart,
	};

	return run_process(source, &kind);
}
