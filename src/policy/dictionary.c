#include "policy/dictionary.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"

#define SHARD_COUNT 16
#define FIRST_BUCKETS 16
/* What the heap and the tables add to an entry; counted so that many tiny
 * entries meet the limit too. */
#define ENTRY_OVERHEAD 48
/* Dead entries taken away by one call, so that no call is a long one. */
#define EVICT_AT_ONCE 64
#define NOT_IN_HEAP SIZE_MAX

struct entry {
	struct entry *next; /* of its bucket */
	uint64_t hash;
	uint64_t ends_ms; /* 0: without end */
	size_t heap_index;
	struct value value;
	size_t key_len;
	uint8_t bytes[]; /* the key, then the string */
};

/* `heap` orders the entries that end by when they do (a binary heap), so that
 * the dead ones are found without looking at the living. */
struct shard {
	pthread_mutex_t lock;
	struct entry **buckets;
	size_t bucket_count, entry_count;
	struct entry **heap;
	size_t heap_count, heap_size;
};

struct dictionary {
	size_t max_bytes;
	_Atomic size_t used_bytes;
	struct shard shards[SHARD_COUNT];
};

static size_t
entry_cost(const struct entry *e)
{
	return sizeof(*e) + e->key_len + e->value.string.len + ENTRY_OVERHEAD;
}

static struct span
entry_key(const struct entry *e)
{
	return span_of(e->bytes, e->key_len);
}

static bool
entry_dead(const struct entry *e, uint64_t now_ms)
{
	return e->ends_ms != 0 && e->ends_ms <= now_ms;
}

static void
heap_put(struct shard *s, size_t at, struct entry *e)
{
	s->heap[at] = e;
	e->heap_index = at;
}

static void
heap_up(struct shard *s, size_t at)
{
	struct entry *e = s->heap[at];

	while (at > 0 && s->heap[(at - 1) / 2]->ends_ms > e->ends_ms) {
		heap_put(s, at, s->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_put(s, at, e);
}

static void
heap_down(struct shard *s, size_t at)
{
	struct entry *e = s->heap[at];
	size_t child;

	while ((child = 2 * at + 1) < s->heap_count) {
		if (child + 1 < s->heap_count &&
		    s->heap[child + 1]->ends_ms < s->heap[child]->ends_ms)
			child++;
		if (s->heap[child]->ends_ms >= e->ends_ms)
			break;
		heap_put(s, at, s->heap[child]);
		at = child;
	}
	heap_put(s, at, e);
}

/* Makes room for one more, so that heap_add cannot fail. */
static int
heap_reserve(struct shard *s)
{
	size_t size = s->heap_size ? s->heap_size * 2 : FIRST_BUCKETS;
	struct entry **heap;

	if (s->heap_count < s->heap_size)
		return 0;
	heap = realloc(s->heap, size * sizeof(struct entry *));
	if (heap == NULL)
		return -ENOMEM;
	s->heap = heap;
	s->heap_size = size;
	return 0;
}

static void
heap_add(struct shard *s, struct entry *e)
{
	heap_put(s, s->heap_count++, e);
	heap_up(s, e->heap_index);
}

static void
heap_remove(struct shard *s, struct entry *e)
{
	size_t at = e->heap_index;
	struct entry *last;

	if (at == NOT_IN_HEAP)
		return;
	e->heap_index = NOT_IN_HEAP;
	last = s->heap[--s->heap_count];
	if (last == e)
		return;
	heap_put(s, at, last);
	heap_up(s, at);
	heap_down(s, last->heap_index);
}

static struct entry **
shard_place(struct shard *s, struct span key, uint64_t hash)
{
	struct entry **place = &s->buckets[hash & (s->bucket_count - 1)];

	while (*place != NULL &&
	       ((*place)->hash != hash || !span_equal(entry_key(*place), key)))
		place = &(*place)->next;
	return place;
}

/* A table that cannot grow goes on with longer chains. */
static void
shard_grow(struct shard *s)
{
	size_t count = s->bucket_count * 2;
	struct entry **buckets = calloc(count, sizeof(struct entry *));

	if (buckets == NULL)
		return;
	for (size_t i = 0; i < s->bucket_count; i++) {
		struct entry *e = s->buckets[i], *next;

		for (; e != NULL; e = next) {
			next = e->next;
			e->next = buckets[e->hash & (count - 1)];
			buckets[e->hash & (count - 1)] = e;
		}
	}
	free(s->buckets);
	s->buckets = buckets;
	s->bucket_count = count;
}

static void
shard_drop(struct dictionary *d, struct shard *s, struct entry **place)
{
	struct entry *e = *place;

	*place = e->next;
	heap_remove(s, e);
	s->entry_count--;
	atomic_fetch_sub(&d->used_bytes, entry_cost(e));
	free(e);
}

static void
shard_evict(struct dictionary *d, struct shard *s, uint64_t now_ms)
{
	for (int i = 0; i < EVICT_AT_ONCE && s->heap_count > 0; i++) {
		struct entry *e = s->heap[0];

		if (!entry_dead(e, now_ms))
			return;
		shard_drop(d, s, shard_place(s, entry_key(e), e->hash));
	}
}

/* The entry for a key, if it is alive. The shard is locked. */
static struct entry *
shard_find(struct shard *s, struct span key, uint64_t hash, uint64_t now_ms)
{
	struct entry *e = *shard_place(s, key, hash);

	return e != NULL && !entry_dead(e, now_ms) ? e : NULL;
}

static struct shard *
shard_lock(struct dictionary *d, uint64_t hash)
{
	/* The low bits choose the bucket. */
	struct shard *s = &d->shards[(hash >> 32) % SHARD_COUNT];

	pthread_mutex_lock(&s->lock);
	return s;
}

static void
shard_unlock(struct shard *s)
{
	pthread_mutex_unlock(&s->lock);
}

static bool
dictionary_reserve(struct dictionary *d, size_t bytes)
{
	size_t used = atomic_load(&d->used_bytes);

	do {
		if (bytes > d->max_bytes || used > d->max_bytes - bytes)
			return false;
	} while (
	    !atomic_compare_exchange_weak(&d->used_bytes, &used, used + bytes));
	return true;
}

static void
dictionary_evict(struct dictionary *d, uint64_t now_ms)
{
	for (size_t i = 0; i < SHARD_COUNT; i++) {
		pthread_mutex_lock(&d->shards[i].lock);
		shard_evict(d, &d->shards[i], now_ms);
		shard_unlock(&d->shards[i]);
	}
}

static struct entry *
entry_new(struct span key, uint64_t hash, const struct value *value)
{
	struct entry *e = malloc(sizeof(*e) + key.len + value->string.len);

	if (e == NULL)
		return NULL;
	*e = (struct entry){ .hash = hash,
		.heap_index = NOT_IN_HEAP,
		.value = *value,
		.key_len = key.len };
	if (key.len > 0)
		memcpy(e->bytes, key.data, key.len);
	if (value->string.len > 0)
		memcpy(
		    e->bytes + key.len, value->string.data, value->string.len);
	e->value.string.data = e->bytes + key.len;
	return e;
}

/* Takes `e`, whose cost is reserved, in place of what is under its key. */
static void
shard_insert(struct dictionary *d, struct shard *s, struct entry *e)
{
	struct entry **place = shard_place(s, entry_key(e), e->hash);

	if (*place != NULL)
		shard_drop(d, s, place);
	e->next = *place;
	*place = e;
	if (e->ends_ms != 0)
		heap_add(s, e);
	if (++s->entry_count > s->bucket_count)
		shard_grow(s);
}

static int
shard_set(struct dictionary *d, struct shard *s, struct entry *e)
{
	if (e->ends_ms != 0 && heap_reserve(s) < 0)
		return -ENOMEM;
	if (!dictionary_reserve(d, entry_cost(e)))
		return -ENOSPC;
	shard_insert(d, s, e);
	return 0;
}

static int
shard_lock_and_set(struct dictionary *d, struct entry *e, uint64_t now_ms)
{
	struct shard *s = shard_lock(d, e->hash);
	int error;

	shard_evict(d, s, now_ms);
	error = shard_set(d, s, e);
	shard_unlock(s);
	return error;
}

int
dictionary_set(struct dictionary *d, struct span key, const struct value *value,
    uint64_t ttl_ms, uint64_t now_ms)
{
	struct value kept = *value;
	struct entry *e;
	int error;

	if (kept.kind != VALUE_STRING)
		kept.string = span_of(NULL, 0);
	if (key.len > DICTIONARY_MAX_KEY ||
	    kept.string.len > DICTIONARY_MAX_VALUE)
		return -E2BIG;
	if (kept.kind == VALUE_NONE) {
		dictionary_delete(d, key, now_ms);
		return 0;
	}
	e = entry_new(key, hash_bytes(key), &kept);
	if (e == NULL)
		return -ENOMEM;
	if (ttl_ms != 0)
		e->ends_ms = now_ms + ttl_ms;
	error = shard_lock_and_set(d, e, now_ms);
	if (error == -ENOSPC) {
		dictionary_evict(d, now_ms);
		error = shard_lock_and_set(d, e, now_ms);
	}
	if (error < 0)
		free(e);
	return error;
}

static int
entry_add(struct entry *e, double by, double *out)
{
	if (e->value.kind != VALUE_NUMBER)
		return -EINVAL;
	*out = e->value.number += by;
	return 0;
}

/* Adds to what is there, or takes `fresh`, whose number is the first one. */
static int
add_once(struct dictionary *d, struct entry *fresh, uint64_t now_ms,
    double *out, bool *taken)
{
	struct shard *s = shard_lock(d, fresh->hash);
	struct entry *old =
	    shard_find(s, entry_key(fresh), fresh->hash, now_ms);
	int error;

	if (old != NULL) {
		error = entry_add(old, fresh->value.number, out);
	} else {
		shard_evict(d, s, now_ms);
		error = shard_set(d, s, fresh);
		*taken = error == 0;
		*out = fresh->value.number;
	}
	shard_unlock(s);
	return error;
}

int
dictionary_add(struct dictionary *d, struct span key, double by,
    uint64_t ttl_ms, uint64_t now_ms, double *out)
{
	const struct value first = { .kind = VALUE_NUMBER, .number = by };
	struct entry *fresh;
	bool taken = false;
	int error;

	if (key.len > DICTIONARY_MAX_KEY)
		return -E2BIG;
	fresh = entry_new(key, hash_bytes(key), &first);
	if (fresh == NULL)
		return -ENOMEM;
	if (ttl_ms != 0)
		fresh->ends_ms = now_ms + ttl_ms;
	error = add_once(d, fresh, now_ms, out, &taken);
	if (error == -ENOSPC) {
		dictionary_evict(d, now_ms);
		error = add_once(d, fresh, now_ms, out, &taken);
	}
	if (!taken)
		free(fresh);
	return error;
}

static int
copy_value(const struct entry *e, struct value *out, char *buffer, size_t size)
{
	*out = e->value;
	if (out->string.len > size) {
		out->string.data = NULL;
		return -ENOBUFS;
	}
	if (out->string.len > 0)
		memcpy(buffer, e->value.string.data, out->string.len);
	out->string.data = (uint8_t *)buffer;
	return 0;
}

int
dictionary_get(struct dictionary *d, struct span key, uint64_t now_ms,
    struct value *out, char *buffer, size_t size)
{
	uint64_t hash = hash_bytes(key);
	struct shard *s = shard_lock(d, hash);
	const struct entry *e = shard_find(s, key, hash, now_ms);
	int error = 0;

	*out = (struct value){ .kind = VALUE_NONE };
	if (e != NULL)
		error = copy_value(e, out, buffer, size);
	shard_unlock(s);
	return error;
}

bool
dictionary_delete(struct dictionary *d, struct span key, uint64_t now_ms)
{
	uint64_t hash = hash_bytes(key);
	struct shard *s = shard_lock(d, hash);
	struct entry **place = shard_place(s, key, hash);
	bool alive = *place != NULL && !entry_dead(*place, now_ms);

	if (*place != NULL)
		shard_drop(d, s, place);
	shard_unlock(s);
	return alive;
}

size_t
dictionary_bytes(const struct dictionary *d)
{
	return atomic_load(&d->used_bytes);
}

static int
shard_init(struct shard *s)
{
	s->buckets = calloc(FIRST_BUCKETS, sizeof(struct entry *));
	if (s->buckets == NULL)
		return -ENOMEM;
	s->bucket_count = FIRST_BUCKETS;
	pthread_mutex_init(&s->lock, NULL);
	return 0;
}

static void
shard_fini(struct shard *s)
{
	if (s->buckets == NULL)
		return;
	for (size_t i = 0; i < s->bucket_count; i++) {
		struct entry *e = s->buckets[i], *next;

		for (; e != NULL; e = next) {
			next = e->next;
			free(e);
		}
	}
	free(s->buckets);
	free(s->heap);
	pthread_mutex_destroy(&s->lock);
}

struct dictionary *
dictionary_new(size_t max_bytes)
{
	struct dictionary *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->max_bytes = max_bytes;
	for (size_t i = 0; i < SHARD_COUNT; i++) {
		if (shard_init(&d->shards[i]) < 0) {
			dictionary_free(d);
			return NULL;
		}
	}
	return d;
}

void
dictionary_free(struct dictionary *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < SHARD_COUNT; i++)
		shard_fini(&d->shards[i]);
	free(d);
}
