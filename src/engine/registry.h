/*
 * The registry: the endpoints that agents have bound. One table for all
 * workers, under a lock that readers share; what is configured stands in the
 * snapshot instead, and goes before it (see endpoint_for_name).
 *
 * A bound endpoint has a pool: the uplinks that serve it, at least one. Several
 * agents share an endpoint if all of them want to pool, belong to one owner and
 * agree on the rules.
 *
 * Any thread. An endpoint that was found is counted; it outlives its pool's
 * last uplink for the connections that have it.
 */
#ifndef ENGINE_REGISTRY_H
#define ENGINE_REGISTRY_H

#include "config/snapshot.h"
#include "engine/uplink.h"

struct registry;

struct registry *registry_new(void);	/* NULL without memory */
void registry_free(struct registry *r); /* nothing may be bound any more */

enum bind_result {
	BIND_FIRST,   /* the endpoint is online now */
	BIND_JOINED,  /* it was, and this uplink serves it too */
	BIND_TAKEN,   /* somebody else has the name, and one of them does not
			 pool */
	BIND_DIFFERS, /* they would pool, but the rules are not the same */
	BIND_FULL,    /* the pool holds no more */
	BIND_NO_MEMORY,
};

#define REGISTRY_OWNER_SIZE 65
#define POOL_MAX_UPLINKS 256

/*
 * Binds: takes a reference on the uplink and, for BIND_FIRST, one on `e`. Who
 * joins gets the endpoint that there is through `*bound` (a reference, may be
 * another one than `e`). `owner` says whose it is: a credential's id.
 */
enum bind_result registry_bind(struct registry *r, struct endpoint *e,
    const char *owner, struct uplink *u, struct endpoint **bound) MUST_CHECK;

/* Takes the uplink out of the endpoint's pool. True: it was the last one, and
 * the endpoint is offline now. */
bool registry_unbind(struct registry *r, struct endpoint *e, struct uplink *u);

/* The endpoint that a name leads to, exact before wildcards; with a reference.
 * NULL: none. */
struct endpoint *registry_find(struct registry *r, struct span name);
/* The endpoint of this very pattern; with a reference. */
struct endpoint *registry_get(struct registry *r, const struct host *pattern);

/* Whether for this name a bound endpoint goes before the configured one that
 * the name leads to (may be NULL, or the default). */
bool endpoint_goes_before(const struct endpoint *bound,
    const struct endpoint *configured, const struct endpoint *fallback,
    struct span name);

size_t registry_count(const struct registry *r);

/*
 * The next uplink of a pool, with a reference: the least busy of two that are
 * taken in turn, none of `tried`. NULL: none is left.
 */
struct uplink *agent_pool_pick(
    struct agent_pool *p, struct uplink *const tried[], size_t tried_count);
size_t agent_pool_size(struct agent_pool *p);

#endif
