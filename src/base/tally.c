#include "base/tally.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "base/hash.h"

#define SHARD_COUNT 64
#define BUCKETS_MIN 16

struct tally_key {
	struct tally_key *next;
	uint64_t hash;
	uint32_t count;
	size_t len;
	uint8_t bytes[];
};

struct shard {
	pthread_mutex_t lock;
	struct tally_key **buckets; /* NULL until first used */
	size_t bucket_count;	    /* a power of two */
	size_t key_count;
};

struct tally {
	struct shard shards[SHARD_COUNT];
};

struct tally *
tally_new(void)
{
	struct tally *t = calloc(1, sizeof(*t));

	for (size_t i = 0; t && i < SHARD_COUNT; i++)
		pthread_mutex_init(&t->shards[i].lock, NULL);
	return t;
}

void
tally_free(struct tally *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < SHARD_COUNT; i++) {
		ASSERT(t->shards[i].key_count == 0);
		free(t->shards[i].buckets);
		pthread_mutex_destroy(&t->shards[i].lock);
	}
	free(t);
}

/* The low bits choose the shard, so buckets go by higher ones. */
static struct shard *
shard_of(struct tally *t, uint64_t hash)
{
	return &t->shards[hash % SHARD_COUNT];
}

static struct tally_key **
bucket_of(const struct shard *s, uint64_t hash)
{
	return &s->buckets[(hash >> 16) & (s->bucket_count - 1)];
}

static struct tally_key *
find_key(const struct shard *s, uint64_t hash, struct span key)
{
	struct tally_key *k;

	if (!s->buckets)
		return NULL;
	for (k = *bucket_of(s, hash); k; k = k->next)
		if (k->hash == hash &&
		    span_equal(span_of(k->bytes, k->len), key))
			return k;
	return NULL;
}

/* False without memory; the table stays as it was then. */
static bool
resize(struct shard *s, size_t bucket_count)
{
	struct shard wider = *s;

	wider.bucket_count = bucket_count;
	wider.buckets = calloc(bucket_count, sizeof(struct tally_key *));
	if (!wider.buckets)
		return false;
	for (size_t i = 0; s->buckets && i < s->bucket_count; i++) {
		struct tally_key *k = s->buckets[i];

		while (k) {
			struct tally_key *next = k->next;
			struct tally_key **bucket = bucket_of(&wider, k->hash);

			k->next = *bucket;
			*bucket = k;
			k = next;
		}
	}
	free(s->buckets);
	s->buckets = wider.buckets;
	s->bucket_count = bucket_count;
	return true;
}

static struct tally_key *
add_key(struct shard *s, uint64_t hash, struct span key)
{
	struct tally_key *k, **bucket;

	if (!s->buckets && !resize(s, BUCKETS_MIN))
		return NULL;
	/* Without memory for a wider table the chains just get longer. */
	if (s->key_count >= s->bucket_count)
		(void)resize(s, s->bucket_count * 2);
	k = malloc(sizeof(*k) + key.len);
	if (!k)
		return NULL;
	*k = (struct tally_key){ .hash = hash, .len = key.len };
	if (key.len > 0)
		memcpy(k->bytes, key.data, key.len);
	bucket = bucket_of(s, hash);
	k->next = *bucket;
	*bucket = k;
	s->key_count++;
	return k;
}

static void
remove_key(struct shard *s, struct tally_key *k)
{
	struct tally_key **link = bucket_of(s, k->hash);

	while (*link != k)
		link = &(*link)->next;
	*link = k->next;
	s->key_count--;
	free(k);
	if (s->bucket_count > BUCKETS_MIN && s->key_count < s->bucket_count / 8)
		(void)resize(s, s->bucket_count / 4);
}

struct tally_key *
tally_hold(struct tally *t, struct span key, uint32_t *count)
{
	uint64_t hash = hash_bytes(key);
	struct shard *s = shard_of(t, hash);
	struct tally_key *k;

	pthread_mutex_lock(&s->lock);
	k = find_key(s, hash, key);
	if (!k)
		k = add_key(s, hash, key);
	if (k) {
		k->count++;
		ASSERT(k->count > 0);
		if (count)
			*count = k->count;
	}
	pthread_mutex_unlock(&s->lock);
	return k;
}

void
tally_release(struct tally *t, struct tally_key *key)
{
	struct shard *s = shard_of(t, key->hash);

	pthread_mutex_lock(&s->lock);
	ASSERT(key->count > 0);
	if (--key->count == 0)
		remove_key(s, key);
	pthread_mutex_unlock(&s->lock);
}

uint32_t
tally_count(struct tally *t, struct span key)
{
	uint64_t hash = hash_bytes(key);
	struct shard *s = shard_of(t, hash);
	struct tally_key *k;
	uint32_t count;

	pthread_mutex_lock(&s->lock);
	k = find_key(s, hash, key);
	count = k ? k->count : 0;
	pthread_mutex_unlock(&s->lock);
	return count;
}
