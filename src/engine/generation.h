/*
 * A generation: one snapshot with what the engine makes of it. Counted; any
 * thread. Connections hold it until they relay.
 */
#ifndef ENGINE_GENERATION_H
#define ENGINE_GENERATION_H

#include "config/snapshot.h"
#include "engine/balance.h"
#include "engine/health.h"
#include "tls/authority.h"

struct generation {
	atomic_uint refs;
	struct snapshot *snapshot;   /* counted */
	struct authority *authority; /* counted; NULL: no local CA */
	struct trust *system_trust;  /* counted; NULL: it cannot be read */
	struct balancer **balancers; /* by endpoint.index; NULL: no upstream */
	size_t balancer_count;
};

/* NULL without memory. */
struct generation *generation_new(
    struct snapshot *s, struct upstreams *upstreams);
struct generation *generation_get(struct generation *g);
void generation_put(struct generation *g);

struct balancer *generation_balancer(
    const struct generation *g, const struct endpoint *e);

#endif
