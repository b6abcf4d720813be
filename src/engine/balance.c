#include "engine/balance.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/text.h"

#define RING_POINTS_A_UNIT 160
/* Many heavy upstreams get fewer points each: 8 MiB of ring at most. */
#define RING_POINTS_MAX (1024 * 1024)
#define WEIGHT_MAX 256

#define BALANCE_TABLE(X)                                  \
	X(BALANCE_ROUND_ROBIN, "round_robin")             \
	X(BALANCE_LEAST_CONNECTIONS, "least_connections") \
	X(BALANCE_RANDOM_TWO, "random_two")               \
	X(BALANCE_HASH, "hash")

struct member {
	struct upstream *upstream;
	unsigned weight;
	int64_t credit; /* of smooth round robin; under the lock */
};

struct ring_point {
	uint32_t at;
	uint16_t member;
};

struct balancer {
	enum balance method;
	pthread_mutex_t lock;
	struct ring_point *ring;
	size_t ring_count;
	size_t count;
	struct member members[];
};

/* Which members may be chosen, as indexes in ascending order. */
struct candidates {
	size_t count;
	uint16_t index[BALANCER_MAX_UPSTREAMS];
};

static int
compare_points(const void *a, const void *b)
{
	const struct ring_point *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return (int)x->member - (int)y->member;
}

/* Where a member stands depends on its address only: not on its place in the
 * list, the other members, or the process. */
static uint32_t
point_of(const struct upstream *u, unsigned number)
{
	char storage[UPSTREAM_ADDRESS_SIZE + 16];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	text_add(&t, u->address.text);
	text_addf(&t, "#%u", number);
	return (uint32_t)(hash_stable(text_span(&t)) >> 32);
}

static int
build_ring(struct balancer *b)
{
	size_t units = 0, per_unit;

	for (size_t i = 0; i < b->count; i++)
		units += b->members[i].weight;
	ASSERT(units > 0);
	per_unit = RING_POINTS_MAX / units;
	if (per_unit > RING_POINTS_A_UNIT)
		per_unit = RING_POINTS_A_UNIT;
	b->ring = malloc(units * per_unit * sizeof(*b->ring));
	if (!b->ring)
		return -ENOMEM;
	for (size_t i = 0; i < b->count; i++) {
		const struct member *m = &b->members[i];

		for (unsigned n = 0; n < m->weight * per_unit; n++)
			b->ring[b->ring_count++] =
			    (struct ring_point){ point_of(m->upstream, n),
				    (uint16_t)i };
	}
	qsort(b->ring, b->ring_count, sizeof(*b->ring), compare_points);
	return 0;
}

static unsigned
weight_in_range(unsigned weight)
{
	if (weight < 1)
		return 1;
	return weight > WEIGHT_MAX ? WEIGHT_MAX : weight;
}

static int
add_members(struct balancer *b, struct upstreams *table,
    const struct upstream_settings *upstreams, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct upstream *u =
		    upstream_find(table, &upstreams[i].address);

		if (!u)
			return -ENOMEM;
		b->members[b->count++] = (struct member){
			.upstream = u,
			.weight = weight_in_range(upstreams[i].weight),
		};
	}
	return 0;
}

struct balancer *
balancer_new(struct upstreams *table, enum balance method,
    const struct upstream_settings *upstreams, size_t count)
{
	struct balancer *b;

	ASSERT(count >= 1 && count <= BALANCER_MAX_UPSTREAMS);
	b = calloc(1, sizeof(*b) + count * sizeof(b->members[0]));
	if (!b)
		return NULL;
	if (pthread_mutex_init(&b->lock, NULL) != 0) {
		free(b);
		return NULL;
	}
	b->method = method;
	if (add_members(b, table, upstreams, count) < 0)
		goto fail;
	if (method == BALANCE_HASH && build_ring(b) < 0)
		goto fail;
	return b;
fail:
	balancer_free(b);
	return NULL;
}

void
balancer_free(struct balancer *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->count; i++)
		upstream_put(b->members[i].upstream);
	pthread_mutex_destroy(&b->lock);
	free(b->ring);
	free(b);
}

size_t
balancer_count(const struct balancer *b)
{
	return b->count;
}

struct upstream *
balancer_at(const struct balancer *b, size_t index)
{
	ASSERT(index < b->count);
	return b->members[index].upstream;
}

static bool
was_tried(const struct balancer_tried *tried, size_t index)
{
	return tried->bits[index / 64] >> (index % 64) & 1;
}

static void
mark_tried(struct balancer_tried *tried, size_t index)
{
	tried->bits[index / 64] |= UINT64_C(1) << (index % 64);
}

/* All that are up, or if none is, all: each without what was tried. */
static void
gather(const struct balancer *b, const struct balancer_tried *tried,
    uint64_t now_ms, struct candidates *c)
{
	uint16_t down[BALANCER_MAX_UPSTREAMS];
	size_t down_count = 0;

	c->count = 0;
	for (size_t i = 0; i < b->count; i++) {
		if (was_tried(tried, i))
			continue;
		if (upstream_is_up(b->members[i].upstream, now_ms))
			c->index[c->count++] = (uint16_t)i;
		else
			down[down_count++] = (uint16_t)i;
	}
	if (c->count > 0 || down_count == 0)
		return;
	memcpy(c->index, down, down_count * sizeof(down[0]));
	c->count = down_count;
}

/*
 * Smooth weighted round robin: everybody earns its weight, the richest is
 * chosen and pays what all earned. Weights 5, 1, 1 give a a b a c a a, not
 * five in a row.
 */
static size_t
pick_in_turn(struct balancer *b, const struct candidates *c)
{
	int64_t earned = 0;
	size_t best = c->index[0];

	if (c->count == 1)
		return best;
	pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < c->count; i++) {
		struct member *m = &b->members[c->index[i]];

		m->credit += m->weight;
		earned += m->weight;
		if (m->credit > b->members[best].credit)
			best = c->index[i];
	}
	b->members[best].credit -= earned;
	pthread_mutex_unlock(&b->lock);
	return best;
}

/* Below, at, or above zero as `a` is less busy for its weight than `b`. */
static int
compare_load(uint64_t a_active, const struct member *a, uint64_t b_active,
    const struct member *b)
{
	uint64_t left = a_active * b->weight, right = b_active * a->weight;

	return left < right ? -1 : left > right;
}

static uint64_t
active_of(const struct member *m)
{
	return atomic_load_explicit(
	    &m->upstream->active_count, memory_order_relaxed);
}

/* Leaves only the least busy; in turn among equals, so that an idle group is
 * used evenly. */
static size_t
pick_least(struct balancer *b, struct candidates *c)
{
	const struct member *best = NULL;
	uint64_t best_active = 0;
	size_t kept = 0;

	for (size_t i = 0; i < c->count; i++) {
		const struct member *m = &b->members[c->index[i]];
		uint64_t active = active_of(m);
		int order =
		    best ? compare_load(active, m, best_active, best) : -1;

		if (order > 0)
			continue;
		if (order < 0) {
			best = m;
			best_active = active;
			kept = 0;
		}
		c->index[kept++] = c->index[i];
	}
	c->count = kept;
	return pick_in_turn(b, c);
}

/* Draws by weight and takes what was drawn out of the candidates. */
static size_t
draw(const struct balancer *b, struct candidates *c)
{
	uint64_t units = 0, at;
	size_t i = 0, drawn;

	for (size_t k = 0; k < c->count; k++)
		units += b->members[c->index[k]].weight;
	ASSERT(units > 0);
	at = random_quick() % units;
	while (at >= b->members[c->index[i]].weight)
		at -= b->members[c->index[i++]].weight;
	drawn = c->index[i];
	c->index[i] = c->index[--c->count];
	return drawn;
}

static size_t
pick_of_two(const struct balancer *b, struct candidates *c)
{
	size_t first = draw(b, c), second;
	const struct member *x, *y;

	if (c->count == 0)
		return first;
	second = draw(b, c);
	x = &b->members[first];
	y = &b->members[second];
	return compare_load(active_of(y), y, active_of(x), x) < 0 ? second
								  : first;
}

static size_t
ring_search(const struct balancer *b, uint32_t at)
{
	size_t low = 0, high = b->ring_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (b->ring[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The first candidate at or after the key's place on the ring. */
static size_t
pick_by_key(
    const struct balancer *b, const struct candidates *c, struct span key)
{
	struct balancer_tried allowed = { { 0 } };
	size_t at = ring_search(b, (uint32_t)(hash_stable(key) >> 32));

	for (size_t i = 0; i < c->count; i++)
		mark_tried(&allowed, c->index[i]);
	for (size_t step = 0; step < b->ring_count; step++) {
		size_t member = b->ring[(at + step) % b->ring_count].member;

		if (was_tried(&allowed, member))
			return member;
	}
	return c->index[0];
}

static size_t
choose(struct balancer *b, struct candidates *c, struct span key)
{
	switch (b->method) {
	case BALANCE_LEAST_CONNECTIONS:
		return pick_least(b, c);
	case BALANCE_RANDOM_TWO:
		return pick_of_two(b, c);
	case BALANCE_HASH:
		/* Without a key all would land on one upstream. */
		if (key.len > 0)
			return pick_by_key(b, c, key);
		return pick_in_turn(b, c);
	case BALANCE_ROUND_ROBIN:
	default:
		return pick_in_turn(b, c);
	}
}

struct upstream *
balancer_pick(struct balancer *b, struct span key, struct balancer_tried *tried,
    uint64_t now_ms)
{
	struct candidates c;
	size_t index;

	gather(b, tried, now_ms, &c);
	if (c.count == 0)
		return NULL;
	index = choose(b, &c, key);
	mark_tried(tried, index);
	return upstream_get(b->members[index].upstream);
}

static const char *const words[] = {
#define BALANCE_WORD(id, word) [id] = (word),
	BALANCE_TABLE(BALANCE_WORD)
#undef BALANCE_WORD
};

int
balance_parse(struct span word, enum balance *out)
{
	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		if (span_is(word, words[i])) {
			*out = (enum balance)i;
			return 0;
		}
	return -EINVAL;
}

const char *
balance_name(enum balance b)
{
	ASSERT((size_t)b < ARRAY_COUNT(words));
	return words[b];
}
