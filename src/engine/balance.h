/*
 * A balancer chooses one of several upstreams. Immutable but for its counters;
 * any thread.
 *
 * round_robin: in turn, by weight (smooth); least_connections: fewest live
 * connections for its weight; random_two: the less busy of two drawn at random;
 * hash: consistent (a ring of 160 points a unit of weight), so that a key keeps
 * its upstream while that is up and few keys move when one goes.
 */
#ifndef ENGINE_BALANCE_H
#define ENGINE_BALANCE_H

#include "config/snapshot.h"
#include "engine/upstream.h"

struct balancer;

#define BALANCER_MAX_UPSTREAMS 256

/* Takes one reference on each upstream; `count` is 1 to
 * BALANCER_MAX_UPSTREAMS. NULL without memory. */
struct balancer *balancer_new(struct upstreams *table, enum balance method,
    const struct upstream_settings *upstreams, size_t count);
void balancer_free(struct balancer *b);

size_t balancer_count(const struct balancer *b);
struct upstream *balancer_at(const struct balancer *b, size_t index); /* lent */

/* Upstreams of one connection that were tried already, by index. */
struct balancer_tried {
	uint64_t bits[BALANCER_MAX_UPSTREAMS / 64];
};

/*
 * Picks one that was not tried, marks it as tried, and returns it with a
 * reference. When all that are left are down, one of them all the same (a wrong
 * health check must not take a service away). NULL when all were tried. `key`
 * is for hash: the client's address or the policy's key; without one (len 0)
 * it is round robin.
 */
struct upstream *balancer_pick(struct balancer *b, struct span key,
    struct balancer_tried *tried, uint64_t now_ms);

int balance_parse(struct span word, enum balance *out) MUST_CHECK;
const char *balance_name(enum balance b);

#endif
