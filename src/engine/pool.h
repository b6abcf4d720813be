/*
 * Pools that scripts open: balancers by their settings, one a process, so that
 * all workers and all versions of a script share turns and counts. Any thread.
 */
#ifndef ENGINE_POOL_H
#define ENGINE_POOL_H

#include "engine/balance.h"
#include "engine/health.h"
#include "policy/policy.h"

struct pool;
struct pools;

struct pools *pools_new(struct upstreams *upstreams); /* NULL: no memory */
void pools_free(struct pools *p);		      /* all must be closed */

/* One reference; NULL with a message in `error`. */
struct pool *pool_open(struct pools *p,
    const struct policy_pool_settings *settings, struct text *error);
void pool_close(struct pool *pool);

struct balancer *pool_balancer(struct pool *pool);

/* Writes what the pools want checked to `targets` (room for `size`), each with
 * a reference for the caller to give back. Returns how many there are in all.
 */
size_t pools_health_targets(
    struct pools *p, struct health_target *targets, size_t size);

#endif
