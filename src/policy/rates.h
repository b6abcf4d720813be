/*
 * Token buckets by key, shared by all workers: lunette.rate.
 *
 * A fixed table of 65,536 buckets, all memory taken at the start; the key that
 * was asked for longest ago makes way for a new one. Sharded by the key's hash,
 * a mutex a shard; any thread.
 */
#ifndef POLICY_RATES_H
#define POLICY_RATES_H

#include "base/compiler.h"
#include "base/span.h"

#define RATES_MAX_KEYS 65536

struct rates;

struct rates *rates_new(void); /* NULL without memory */
void rates_free(struct rates *r);

/*
 * Takes a token from the key's bucket, which holds at most `burst` (at least 1)
 * and gains `per_second` (0 or more) while time goes by; a new bucket is full.
 * False when there is none. `now_us` is monotonic.
 */
bool rates_take(struct rates *r, struct span key, double per_second,
    double burst, int64_t now_us);

/* Whether there is one; takes none. */
bool rates_has(struct rates *r, struct span key, double per_second,
    double burst, int64_t now_us);

#endif
