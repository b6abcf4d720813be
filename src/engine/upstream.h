/*
 * Upstreams: where bytes go. One object an address in the whole process, shared
 * by endpoints, decisions and pools, so that its count of live connections and
 * its health are known to all of them.
 *
 * Health: up until proved otherwise. Active checks (see health.h) and passive
 * ones (upstream_failed, upstream_worked) feed the same state. Counters are
 * atomic; any thread.
 */
#ifndef ENGINE_UPSTREAM_H
#define ENGINE_UPSTREAM_H

#include <stdatomic.h>

#include "base/list.h"
#include "wire/upstream_address.h"

struct upstreams; /* the table */

struct upstream {
	atomic_uint refs;
	struct upstreams *table;
	struct upstream *next; /* in the table's chain */
	uint64_t hash;
	struct upstream_address address;
	atomic_uint active_count;
	atomic_bool down;		   /* by active checks */
	atomic_uint failures;		   /* dials that failed in a row */
	_Atomic uint64_t shunned_until_ms; /* passive: not picked before */
};

/* After this many dials in a row failed, an upstream is not picked for
 * UPSTREAM_SHUN_MS, unless all others are down too. */
#define UPSTREAM_SHUN_FAILURES 3
#define UPSTREAM_SHUN_MS 10000

struct upstreams *upstreams_new(void); /* NULL without memory */
void upstreams_free(struct upstreams *t);

/* One reference more; NULL without memory. */
struct upstream *upstream_find(
    struct upstreams *t, const struct upstream_address *address);
struct upstream *upstream_get(struct upstream *u);
void upstream_put(struct upstream *u);

bool upstream_is_up(const struct upstream *u, uint64_t now_ms);
void upstream_worked(struct upstream *u);
void upstream_failed(struct upstream *u, uint64_t now_ms);

#endif
