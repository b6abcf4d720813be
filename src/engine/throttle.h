/*
 * A throttle: the byte rate that a connection is limited to, each direction for
 * itself. A token bucket that holds a tenth of a second's worth; an empty one
 * wakes the connection when there is some again. The worker's thread only.
 */
#ifndef ENGINE_THROTTLE_H
#define ENGINE_THROTTLE_H

#include "base/compiler.h"
#include "sys/timeouts.h"

struct conn;

enum direction { DIRECTION_IN, DIRECTION_OUT, DIRECTION_COUNT };

struct throttle {
	struct timeout refill;
	struct conn *conn;
	uint64_t bytes_per_second;
	int64_t left[DIRECTION_COUNT]; /* below zero: a debt */
	uint64_t filled_ms;
};

/* NULL without memory. */
struct throttle *throttle_new(struct conn *c, uint64_t bytes_per_second);
void throttle_free(struct throttle *t);

/* How much may be read now; 0: wait, conn_wake follows. */
size_t throttle_allowance(struct throttle *t, enum direction d);

/* Somebody was told to wait, and conn_wake has not followed yet. */
bool throttle_holds(const struct throttle *t);

/* May be more than was allowed: it is paid back by waiting. */
void throttle_spend(struct throttle *t, enum direction d, size_t bytes);

#endif
