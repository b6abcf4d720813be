#include "sys/names.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"

#define BUCKETS 4096 /* a power of two */

int
names_init(struct names *t)
{
	*t = (struct names){ .count = 0 };
	list_init(&t->recent);
	t->buckets = calloc(BUCKETS, sizeof(struct name *));
	return t->buckets ? 0 : -ENOMEM;
}

static void
free_name(struct name *n)
{
	free(n->addrs);
	free(n);
}

void
names_fini(struct names *t)
{
	for (size_t i = 0; t->buckets && i < BUCKETS; i++)
		for (struct name *n = t->buckets[i], *next; n; n = next) {
			next = n->next;
			free_name(n);
		}
	free(t->buckets);
}

static struct name **
bucket_of(const struct names *t, uint64_t hash)
{
	return &t->buckets[hash & (BUCKETS - 1)];
}

static void
forget(struct names *t, struct name *n)
{
	struct name **at = bucket_of(t, n->hash);

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	list_remove(&n->recent);
	t->count--;
	free_name(n);
}

static struct name *
add(struct names *t, struct resolver *r, const struct host *host, uint64_t hash)
{
	struct name *n;

	if (t->count >= RESOLVER_MAX_NAMES) {
		if (list_empty(&t->recent))
			return NULL;
		forget(t, LIST_ENTRY(t->recent.next, struct name, recent));
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->resolver = r;
	n->hash = hash;
	n->host = *host;
	list_init(&n->todo);
	list_init(&n->waited);
	list_init(&n->recent);
	list_append(&t->recent, &n->recent);
	n->waiting_last = &n->waiting;
	n->next = *bucket_of(t, hash);
	*bucket_of(t, hash) = n;
	t->count++;
	return n;
}

struct name *
names_find(struct names *t, struct resolver *r, const struct host *host)
{
	uint64_t hash = hash_bytes(host_span(host));

	for (struct name *n = *bucket_of(t, hash); n; n = n->next)
		if (n->hash == hash &&
		    span_equal(host_span(&n->host), host_span(host)))
			return n;
	return add(t, r, host, hash);
}

void
names_expire_all(struct names *t)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct name *n = t->buckets[i]; n; n = n->next)
			n->expires_ms = 0;
}

void
name_set_flying(struct names *t, struct name *n, bool flying)
{
	n->flying = flying;
	list_remove(&n->recent);
	if (!flying)
		list_append(&t->recent, &n->recent);
}

void
name_touch(struct names *t, struct name *n)
{
	if (!n->flying)
		name_set_flying(t, n, false);
}

void
name_set_failure(struct name *n, int error, uint64_t expires_ms)
{
	free(n->addrs);
	n->addrs = NULL;
	n->addr_count = 0;
	n->error = error;
	n->expires_ms = expires_ms;
}

void
name_set_addrs(
    struct name *n, const struct addr *addrs, size_t count, uint64_t expires_ms)
{
	ASSERT(count >= 1 && count <= RESOLVER_MAX_ADDRS);
	name_set_failure(n, -EIO, expires_ms);
	n->addrs = malloc(count * sizeof(*n->addrs));
	if (!n->addrs)
		return;
	memcpy(n->addrs, addrs, count * sizeof(*n->addrs));
	n->addr_count = count;
	n->error = 0;
}

void
name_answer(const struct name *n, struct resolver_answer *out)
{
	out->error = n->error;
	out->count = n->addr_count;
	if (n->addr_count > 0)
		memcpy(out->addrs, n->addrs, n->addr_count * sizeof(*n->addrs));
}
