#include "engine/pool.h"

#include <pthread.h>
#include <stdlib.h>

struct pool {
	struct list node;
	struct pools *table;
	unsigned refs;
	char *key; /* the settings as text: equal text, same pool */
	struct balancer *balancer;
	struct health_settings health;
};

struct pools {
	pthread_mutex_t lock; /* of the list and the counts of references */
	struct upstreams *upstreams;
	struct list all;
};

#define POOL_KEY_BYTES 16384

struct pools *
pools_new(struct upstreams *upstreams)
{
	struct pools *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	p->upstreams = upstreams;
	list_init(&p->all);
	return p;
}

void
pools_free(struct pools *p)
{
	if (!p)
		return;
	ASSERT(list_empty(&p->all));
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static bool
write_key(const struct policy_pool_settings *s, struct text *key)
{
	text_addf(key, "%s %llu %u %u", s->balance,
	    (unsigned long long)s->health_every_ms, s->fall, s->rise);
	for (size_t i = 0; i < s->count; i++) {
		text_addf(key, " %u ", s->weights ? s->weights[i] : 1);
		text_add_span(key, s->addresses[i]);
	}
	return !key->truncated;
}

static struct pool *
find(struct pools *p, const char *key)
{
	LIST_FOREACH (node, &p->all) {
		struct pool *pool = LIST_ENTRY(node, struct pool, node);

		if (!strcmp(pool->key, key))
			return pool;
	}
	return NULL;
}

static struct balancer *
make_balancer(
    struct pools *p, const struct policy_pool_settings *s, struct text *error)
{
	struct upstream_settings *list;
	struct balancer *b = NULL;
	enum balance method;
	const char *why = "no memory";

	if (balance_parse(span_text(s->balance), &method) < 0) {
		text_addf(error, "unknown balance method '%s'", s->balance);
		return NULL;
	}
	if (s->count == 0 || s->count > BALANCER_MAX_UPSTREAMS) {
		text_addf(error, "a pool takes 1 to %d upstreams",
		    BALANCER_MAX_UPSTREAMS);
		return NULL;
	}
	list = calloc(s->count, sizeof(*list));
	for (size_t i = 0; list && i < s->count; i++) {
		list[i].weight = s->weights ? s->weights[i] : 1;
		if (upstream_address_parse(
			s->addresses[i], &list[i].address, &why) < 0)
			goto out;
	}
	if (list)
		b = balancer_new(p->upstreams, method, list, s->count);
out:
	if (!b)
		text_add(error, why);
	free(list);
	return b;
}

static struct pool *
make(struct pools *p, const struct policy_pool_settings *s, const char *key,
    struct text *error)
{
	struct balancer *b = make_balancer(p, s, error);
	struct pool *pool = b ? calloc(1, sizeof(*pool)) : NULL;

	if (pool)
		pool->key = strdup(key);
	if (!pool || !pool->key) {
		if (b) {
			balancer_free(b);
			text_add(error, "no memory");
		}
		free(pool);
		return NULL;
	}
	pool->table = p;
	pool->balancer = b;
	pool->health.every_ms = s->health_every_ms;
	pool->health.fall = s->fall;
	pool->health.rise = s->rise;
	list_append(&p->all, &pool->node);
	return pool;
}

struct pool *
pool_open(struct pools *p, const struct policy_pool_settings *settings,
    struct text *error)
{
	char *storage = malloc(POOL_KEY_BYTES);
	struct pool *pool = NULL;
	struct text key;

	if (!storage) {
		text_add(error, "no memory");
		return NULL;
	}
	text_init(&key, storage, POOL_KEY_BYTES);
	pthread_mutex_lock(&p->lock);
	if (!write_key(settings, &key))
		text_add(error, "the pool's addresses are too long");
	else if (!(pool = find(p, key.data)))
		pool = make(p, settings, key.data, error);
	if (pool)
		pool->refs++;
	pthread_mutex_unlock(&p->lock);
	free(storage);
	return pool;
}

void
pool_close(struct pool *pool)
{
	struct pools *p = pool->table;

	pthread_mutex_lock(&p->lock);
	ASSERT(pool->refs > 0);
	if (--pool->refs == 0) {
		list_remove(&pool->node);
		balancer_free(pool->balancer);
		free(pool->key);
		free(pool);
	}
	pthread_mutex_unlock(&p->lock);
}

struct balancer *
pool_balancer(struct pool *pool)
{
	return pool->balancer;
}

size_t
pools_health_targets(
    struct pools *p, struct health_target *targets, size_t size)
{
	size_t count = 0;

	pthread_mutex_lock(&p->lock);
	LIST_FOREACH (node, &p->all) {
		struct pool *pool = LIST_ENTRY(node, struct pool, node);

		if (pool->health.every_ms == 0)
			continue;
		for (size_t i = 0; i < balancer_count(pool->balancer); i++) {
			if (count < size)
				targets[count] = (struct health_target){
					upstream_get(
					    balancer_at(pool->balancer, i)),
					pool->health,
				};
			count++;
		}
	}
	pthread_mutex_unlock(&p->lock);
	return count;
}
