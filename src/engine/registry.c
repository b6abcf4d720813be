#include "engine/registry.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct agent_pool {
	atomic_uint refs;
	char owner[REGISTRY_OWNER_SIZE];
	pthread_mutex_t lock; /* of all below */
	struct uplink **uplinks;
	size_t count, size;
	size_t next; /* whose turn it is */
};

struct registry {
	pthread_rwlock_t lock;
	struct routes *routes; /* to struct endpoint, a reference each */
	atomic_size_t count;   /* looked at without the lock */
};

/* --- pools --- */

static void
pool_put(struct agent_pool *p)
{
	if (atomic_fetch_sub(&p->refs, 1) > 1)
		return;
	ASSERT(p->count == 0);
	pthread_mutex_destroy(&p->lock);
	free(p->uplinks);
	free(p);
}

static struct agent_pool *
pool_new(const char *owner)
{
	struct agent_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	atomic_init(&p->refs, 1);
	pthread_mutex_init(&p->lock, NULL);
	memcpy(p->owner, owner, strnlen(owner, REGISTRY_OWNER_SIZE - 1));
	return p;
}

static enum bind_result
pool_grow(struct agent_pool *p)
{
	size_t size = p->size ? p->size * 2 : 2;
	struct uplink **uplinks;

	if (p->count == POOL_MAX_UPLINKS)
		return BIND_FULL;
	uplinks = realloc(p->uplinks, size * sizeof(*uplinks));
	if (!uplinks)
		return BIND_NO_MEMORY;
	p->uplinks = uplinks;
	p->size = size;
	return BIND_JOINED;
}

static enum bind_result
pool_add(struct agent_pool *p, struct uplink *u)
{
	enum bind_result result = BIND_JOINED;

	pthread_mutex_lock(&p->lock);
	if (p->count == p->size)
		result = pool_grow(p);
	if (result == BIND_JOINED)
		p->uplinks[p->count++] = uplink_get(u);
	pthread_mutex_unlock(&p->lock);
	return result;
}

/* How many are left; SIZE_MAX: it was not in there. */
static size_t
pool_remove(struct agent_pool *p, struct uplink *u)
{
	size_t left = SIZE_MAX;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->count; i++) {
		if (p->uplinks[i] != u)
			continue;
		p->uplinks[i] = p->uplinks[--p->count];
		left = p->count;
		break;
	}
	pthread_mutex_unlock(&p->lock);
	if (left != SIZE_MAX)
		uplink_put(u);
	return left;
}

static bool
is_among(struct uplink *u, struct uplink *const list[], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == u)
			return true;
	return false;
}

static bool
is_busier(const struct uplink *a, const struct uplink *b)
{
	return atomic_load(&a->active_count) > atomic_load(&b->active_count);
}

struct uplink *
agent_pool_pick(
    struct agent_pool *p, struct uplink *const tried[], size_t tried_count)
{
	struct uplink *best = NULL;
	unsigned candidates = 0;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->count && candidates < 2; i++) {
		struct uplink *u = p->uplinks[(p->next + i) % p->count];

		if (atomic_load(&u->gone) || is_among(u, tried, tried_count))
			continue;
		candidates++;
		if (!best || is_busier(best, u))
			best = u;
	}
	p->next++;
	if (best)
		uplink_get(best);
	pthread_mutex_unlock(&p->lock);
	return best;
}

size_t
agent_pool_size(struct agent_pool *p)
{
	size_t count;

	pthread_mutex_lock(&p->lock);
	count = p->count;
	pthread_mutex_unlock(&p->lock);
	return count;
}

/* --- the table --- */

struct registry *
registry_new(void)
{
	struct registry *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->routes = routes_new();
	if (!r->routes) {
		free(r);
		return NULL;
	}
	pthread_rwlock_init(&r->lock, NULL);
	return r;
}

void
registry_free(struct registry *r)
{
	ASSERT(registry_count(r) == 0);
	pthread_rwlock_destroy(&r->lock);
	routes_free(r->routes);
	free(r);
}

static bool
same_networks(const struct netset *a, const struct netset *b)
{
	return a == b || (a && b && netset_same(a, b));
}

static bool
same_certificate(const struct certificate *a, const struct certificate *b)
{
	return a == b || (a && b &&
			     strcmp(certificate_fingerprint(a),
				 certificate_fingerprint(b)) == 0);
}

static bool
same_trust(struct trust *a, struct trust *b)
{
	return a == b || (a && b && trust_same(a, b));
}

/* Whichever of the two is asked, a client must meet the same rules. */
static bool
same_rules(const struct endpoint *a, const struct endpoint *b)
{
	return a->terminate_at == b->terminate_at &&
	       a->proxy_proto == b->proxy_proto &&
	       a->termination.auth == b->termination.auth &&
	       same_trust(a->termination.trust, b->termination.trust) &&
	       same_certificate(a->own_certificate, b->own_certificate) &&
	       same_networks(a->allow, b->allow) &&
	       same_networks(a->deny, b->deny);
}

static enum bind_result
join(struct endpoint *there, const struct endpoint *e, const char *owner,
    struct uplink *u)
{
	struct agent_pool *p = there->agents;

	if (!there->pooling_enabled || !e->pooling_enabled ||
	    strcmp(p->owner, owner) != 0)
		return BIND_TAKEN;
	if (!same_rules(there, e))
		return BIND_DIFFERS;
	return pool_add(p, u);
}

static enum bind_result
add_first(
    struct registry *r, struct endpoint *e, const char *owner, struct uplink *u)
{
	enum bind_result result;

	ASSERT(!e->agents);
	e->agents = pool_new(owner);
	if (!e->agents)
		return BIND_NO_MEMORY;
	e->release_agents = pool_put;
	result = pool_add(e->agents, u);
	if (result != BIND_JOINED)
		return result;
	if (routes_add(r->routes, &e->domain, e) < 0) {
		(void)pool_remove(e->agents, u);
		return BIND_NO_MEMORY;
	}
	endpoint_get(e);
	atomic_fetch_add(&r->count, 1);
	return BIND_FIRST;
}

enum bind_result
registry_bind(struct registry *r, struct endpoint *e, const char *owner,
    struct uplink *u, struct endpoint **bound)
{
	enum bind_result result;
	struct endpoint *there;

	pthread_rwlock_wrlock(&r->lock);
	there = routes_get(r->routes, &e->domain);
	result = there ? join(there, e, owner, u) : add_first(r, e, owner, u);
	if (result == BIND_FIRST || result == BIND_JOINED)
		*bound = endpoint_get(there ? there : e);
	pthread_rwlock_unlock(&r->lock);
	return result;
}

bool
registry_unbind(struct registry *r, struct endpoint *e, struct uplink *u)
{
	bool last;

	pthread_rwlock_wrlock(&r->lock);
	last = pool_remove(e->agents, u) == 0;
	if (last) {
		void *gone = routes_remove(r->routes, &e->domain);

		ASSERT(gone == e);
		atomic_fetch_sub(&r->count, 1);
	}
	pthread_rwlock_unlock(&r->lock);
	if (last)
		endpoint_put(e);
	return last;
}

struct endpoint *
registry_find(struct registry *r, struct span name)
{
	struct endpoint *e;

	if (registry_count(r) == 0 || name.len == 0)
		return NULL;
	pthread_rwlock_rdlock(&r->lock);
	e = routes_find(r->routes, name);
	if (e)
		endpoint_get(e);
	pthread_rwlock_unlock(&r->lock);
	return e;
}

struct endpoint *
registry_get(struct registry *r, const struct host *pattern)
{
	struct endpoint *e;

	if (registry_count(r) == 0)
		return NULL;
	pthread_rwlock_rdlock(&r->lock);
	e = routes_get(r->routes, pattern);
	if (e)
		endpoint_get(e);
	pthread_rwlock_unlock(&r->lock);
	return e;
}

bool
endpoint_goes_before(const struct endpoint *bound,
    const struct endpoint *configured, const struct endpoint *fallback,
    struct span name)
{
	const struct host *domain;

	if (!configured)
		return true;
	domain = &configured->domain;
	if (span_equal(host_span(domain), name))
		return false;
	/* The default may be here for want of anything better. */
	if (configured == fallback || domain->len == 0)
		return true;
	return !host_is_wildcard(&bound->domain) ||
	       bound->domain.len > domain->len;
}

size_t
registry_count(const struct registry *r)
{
	return atomic_load_explicit(&r->count, memory_order_relaxed);
}
