#include "policy/rates.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

#define SHARD_COUNT 16
#define SHARD_BUCKETS (RATES_MAX_KEYS / SHARD_COUNT)
#define NONE UINT16_MAX

/*
 * A key is known by its hash alone: it is SipHash under a secret of this
 * process, so two keys that share a bucket are one chance in four thousand
 * million for a full table, and nobody outside can look for them.
 */
struct bucket {
	uint64_t hash;
	int64_t filled_us;
	double tokens;
	uint16_t next;	       /* of its chain */
	uint16_t newer, older; /* by last use */
};

struct shard {
	pthread_mutex_t lock;
	uint16_t used_count;
	uint16_t newest, oldest;
	uint16_t chains[SHARD_BUCKETS];
	struct bucket buckets[SHARD_BUCKETS];
};

struct rates {
	struct shard shards[SHARD_COUNT];
};

static uint16_t *
chain_of(struct shard *s, uint64_t hash)
{
	return &s->chains[hash % SHARD_BUCKETS];
}

static void
unlink_from_chain(struct shard *s, uint16_t at)
{
	uint16_t *place = chain_of(s, s->buckets[at].hash);

	while (*place != at)
		place = &s->buckets[*place].next;
	*place = s->buckets[at].next;
}

static void
unlink_from_ages(struct shard *s, uint16_t at)
{
	struct bucket *b = &s->buckets[at];

	if (b->newer == NONE)
		s->newest = b->older;
	else
		s->buckets[b->newer].older = b->older;
	if (b->older == NONE)
		s->oldest = b->newer;
	else
		s->buckets[b->older].newer = b->newer;
}

static void
make_newest(struct shard *s, uint16_t at)
{
	struct bucket *b = &s->buckets[at];

	b->newer = NONE;
	b->older = s->newest;
	if (s->newest == NONE)
		s->oldest = at;
	else
		s->buckets[s->newest].newer = at;
	s->newest = at;
}

static uint16_t
find(struct shard *s, uint64_t hash)
{
	uint16_t at = *chain_of(s, hash);

	while (at != NONE && s->buckets[at].hash != hash)
		at = s->buckets[at].next;
	return at;
}

/* An unused bucket, or the one that was asked for longest ago. */
static uint16_t
free_bucket(struct shard *s)
{
	uint16_t at = s->oldest;

	if (s->used_count < SHARD_BUCKETS)
		return s->used_count++;
	unlink_from_chain(s, at);
	unlink_from_ages(s, at);
	return at;
}

static uint16_t
add(struct shard *s, uint64_t hash, double burst, int64_t now_us)
{
	uint16_t at = free_bucket(s);
	uint16_t *chain = chain_of(s, hash);

	s->buckets[at] = (struct bucket){ .hash = hash,
		.filled_us = now_us,
		.tokens = burst,
		.next = *chain };
	*chain = at;
	make_newest(s, at);
	return at;
}

static uint16_t
find_or_add(struct shard *s, uint64_t hash, double burst, int64_t now_us)
{
	uint16_t at = find(s, hash);

	if (at == NONE)
		return add(s, hash, burst, now_us);
	unlink_from_ages(s, at);
	make_newest(s, at);
	return at;
}

static bool
fill(struct bucket *b, double per_second, double burst, int64_t now_us)
{
	/* Two workers may have read the clock in the other order. */
	if (now_us > b->filled_us) {
		b->tokens += per_second * (double)(now_us - b->filled_us) / 1e6;
		b->filled_us = now_us;
	}
	if (b->tokens > burst)
		b->tokens = burst;
	return b->tokens >= 1;
}

static bool
ask(struct rates *r, struct span key, double per_second, double burst,
    int64_t now_us, double taken)
{
	uint64_t hash = hash_bytes(key);
	struct shard *s = &r->shards[(hash >> 32) % SHARD_COUNT];
	struct bucket *b;
	bool has;

	pthread_mutex_lock(&s->lock);
	b = &s->buckets[find_or_add(s, hash, burst, now_us)];
	has = fill(b, per_second, burst, now_us);
	if (has)
		b->tokens -= taken;
	pthread_mutex_unlock(&s->lock);
	return has;
}

bool
rates_take(struct rates *r, struct span key, double per_second, double burst,
    int64_t now_us)
{
	return ask(r, key, per_second, burst, now_us, 1);
}

bool
rates_has(struct rates *r, struct span key, double per_second, double burst,
    int64_t now_us)
{
	return ask(r, key, per_second, burst, now_us, 0);
}

struct rates *
rates_new(void)
{
	struct rates *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	for (size_t i = 0; i < SHARD_COUNT; i++) {
		struct shard *s = &r->shards[i];

		pthread_mutex_init(&s->lock, NULL);
		s->newest = s->oldest = NONE;
		memset(s->chains, 0xff, sizeof(s->chains));
	}
	return r;
}

void
rates_free(struct rates *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < SHARD_COUNT; i++)
		pthread_mutex_destroy(&r->shards[i].lock);
	free(r);
}
