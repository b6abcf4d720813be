#include "engine/generation.h"

#include <stdlib.h>

static void
free_balancers(struct generation *g)
{
	for (size_t i = 0; i < g->balancer_count; i++)
		if (g->balancers[i])
			balancer_free(g->balancers[i]);
	free(g->balancers);
}

static bool
make_balancers(struct generation *g, struct upstreams *upstreams)
{
	const struct snapshot *s = g->snapshot;

	g->balancers = calloc(s->endpoint_count + 1, sizeof(*g->balancers));
	if (!g->balancers)
		return false;
	g->balancer_count = s->endpoint_count;
	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct endpoint *e = s->endpoints[i];

		if (e->upstream_count == 0)
			continue;
		g->balancers[i] = balancer_new(
		    upstreams, e->balance, e->upstreams, e->upstream_count);
		if (!g->balancers[i])
			return false;
	}
	return true;
}

struct generation *
generation_new(struct snapshot *s, struct upstreams *upstreams)
{
	struct generation *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	atomic_init(&g->refs, 1);
	g->snapshot = snapshot_get(s);
	if (!make_balancers(g, upstreams)) {
		generation_put(g);
		return NULL;
	}
	return g;
}

struct generation *
generation_get(struct generation *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

void
generation_put(struct generation *g)
{
	if (atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) > 1)
		return;
	free_balancers(g);
	authority_put(g->authority);
	trust_put(g->system_trust);
	snapshot_put(g->snapshot);
	free(g);
}

struct balancer *
generation_balancer(const struct generation *g, const struct endpoint *e)
{
	if (e->agents)
		return NULL;
	ASSERT(e->index < g->balancer_count);
	return g->balancers[e->index];
}
