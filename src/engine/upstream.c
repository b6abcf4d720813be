#include "engine/upstream.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

#define UPSTREAMS_FIRST_BUCKETS 64

struct upstreams {
	pthread_mutex_t lock;
	struct upstream **buckets;
	size_t bucket_count; /* a power of two */
	size_t count;
};

struct upstreams *
upstreams_new(void)
{
	struct upstreams *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->bucket_count = UPSTREAMS_FIRST_BUCKETS;
	t->buckets = calloc(t->bucket_count, sizeof(*t->buckets));
	if (!t->buckets || pthread_mutex_init(&t->lock, NULL) != 0) {
		free(t->buckets);
		free(t);
		return NULL;
	}
	return t;
}

void
upstreams_free(struct upstreams *t)
{
	if (!t)
		return;
	ASSERT(t->count == 0);
	pthread_mutex_destroy(&t->lock);
	free(t->buckets);
	free(t);
}

static struct upstream **
bucket_of(const struct upstreams *t, uint64_t hash)
{
	return &t->buckets[hash & (t->bucket_count - 1)];
}

static void
link_in(struct upstreams *t, struct upstream *u)
{
	struct upstream **bucket = bucket_of(t, u->hash);

	u->next = *bucket;
	*bucket = u;
}

/* Without memory the chains get longer, which is slower but right. */
static void
grow(struct upstreams *t)
{
	struct upstream **old = t->buckets;
	size_t old_count = t->bucket_count;
	struct upstream **wider = calloc(old_count * 2, sizeof(*wider));

	if (!wider)
		return;
	t->buckets = wider;
	t->bucket_count = old_count * 2;
	for (size_t i = 0; i < old_count; i++)
		for (struct upstream *u = old[i], *next; u; u = next) {
			next = u->next;
			link_in(t, u);
		}
	free(old);
}

static struct upstream *
add(struct upstreams *t, const struct upstream_address *address, uint64_t hash)
{
	struct upstream *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	atomic_init(&u->refs, 1);
	u->table = t;
	u->hash = hash;
	u->address = *address;
	if (t->count >= t->bucket_count)
		grow(t);
	link_in(t, u);
	t->count++;
	return u;
}

static struct upstream *
look_up(const struct upstreams *t, struct span text, uint64_t hash)
{
	for (struct upstream *u = *bucket_of(t, hash); u; u = u->next)
		if (u->hash == hash &&
		    span_equal(span_text(u->address.text), text))
			return u;
	return NULL;
}

struct upstream *
upstream_find(struct upstreams *t, const struct upstream_address *address)
{
	struct span text = span_text(address->text);
	uint64_t hash = hash_bytes(text);
	struct upstream *u;

	pthread_mutex_lock(&t->lock);
	u = look_up(t, text, hash);
	if (u)
		upstream_get(u);
	else
		u = add(t, address, hash);
	pthread_mutex_unlock(&t->lock);
	return u;
}

struct upstream *
upstream_get(struct upstream *u)
{
	atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
	return u;
}

static void
unlink_from(struct upstreams *t, struct upstream *u)
{
	struct upstream **at = bucket_of(t, u->hash);

	while (*at != u)
		at = &(*at)->next;
	*at = u->next;
	t->count--;
}

/* True unless the caller's reference is the last one. */
static bool
put_not_last(struct upstream *u)
{
	unsigned refs = atomic_load_explicit(&u->refs, memory_order_relaxed);

	while (refs > 1)
		if (atomic_compare_exchange_weak_explicit(&u->refs, &refs,
			refs - 1, memory_order_release, memory_order_relaxed))
			return true;
	return false;
}

void
upstream_put(struct upstream *u)
{
	struct upstreams *t;
	bool last;

	if (!u || put_not_last(u))
		return;
	/* The last reference goes only under the lock, so that upstream_find
	 * never meets one that is being freed. */
	t = u->table;
	pthread_mutex_lock(&t->lock);
	last =
	    atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) == 1;
	if (last)
		unlink_from(t, u);
	pthread_mutex_unlock(&t->lock);
	if (last)
		free(u);
}

bool
upstream_is_up(const struct upstream *u, uint64_t now_ms)
{
	return !atomic_load_explicit(&u->down, memory_order_relaxed) &&
	       now_ms >= atomic_load_explicit(
			     &u->shunned_until_ms, memory_order_relaxed);
}

void
upstream_worked(struct upstream *u)
{
	/* Looked at before it is written: in good times every worker comes
	 * here for every connection, and the line should stay shared. */
	if (atomic_load_explicit(&u->failures, memory_order_relaxed) == 0)
		return;
	atomic_store_explicit(&u->failures, 0, memory_order_relaxed);
	atomic_store_explicit(&u->shunned_until_ms, 0, memory_order_relaxed);
}

/* The count stays when the time is over, so that one more failure shuns again:
 * a dead upstream costs one dial each UPSTREAM_SHUN_MS, not three. */
void
upstream_failed(struct upstream *u, uint64_t now_ms)
{
	unsigned before =
	    atomic_fetch_add_explicit(&u->failures, 1, memory_order_relaxed);

	if (before + 1 >= UPSTREAM_SHUN_FAILURES)
		atomic_store_explicit(&u->shunned_until_ms,
		    now_ms + UPSTREAM_SHUN_MS, memory_order_relaxed);
}
