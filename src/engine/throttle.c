#include "engine/throttle.h"

#include <stdlib.h>

#include "engine/worker.h"

#define THROTTLE_FILL_MS 100

/* What one fill adds, and the most that is saved up; at least a byte, or the
 * slowest would never move. */
static int64_t
fill_bytes(const struct throttle *t)
{
	uint64_t bytes = t->bytes_per_second / (1000 / THROTTLE_FILL_MS);

	return bytes > 0 ? (int64_t)bytes : 1;
}

static void
fill(struct throttle *t)
{
	uint64_t now = t->conn->worker->now_ms;
	uint64_t fills = (now - t->filled_ms) / THROTTLE_FILL_MS;
	int64_t most = fill_bytes(t);

	for (int d = 0; d < DIRECTION_COUNT; d++)
		for (uint64_t i = 0; i < fills && t->left[d] < most; i++)
			t->left[d] += most;
	for (int d = 0; d < DIRECTION_COUNT; d++)
		if (t->left[d] > most)
			t->left[d] = most;
	t->filled_ms = now;
}

static void
on_refill(struct timeout *timeout)
{
	struct throttle *t = CONTAINER_OF(timeout, struct throttle, refill);

	fill(t);
	conn_wake(t->conn);
}

struct throttle *
throttle_new(struct conn *c, uint64_t bytes_per_second)
{
	struct throttle *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->conn = c;
	t->bytes_per_second = bytes_per_second;
	timeout_init(&t->refill, on_refill);
	for (int d = 0; d < DIRECTION_COUNT; d++)
		t->left[d] = fill_bytes(t);
	t->filled_ms = c->worker->now_ms;
	return t;
}

void
throttle_free(struct throttle *t)
{
	if (!t)
		return;
	timeouts_clear(&t->conn->worker->timeouts, &t->refill);
	free(t);
}

size_t
throttle_allowance(struct throttle *t, enum direction d)
{
	struct worker *w = t->conn->worker;

	if (w->now_ms - t->filled_ms >= THROTTLE_FILL_MS)
		fill(t);
	if (t->left[d] > 0)
		return (size_t)t->left[d];
	if (!timeout_is_set(&t->refill))
		timeouts_set(
		    &w->timeouts, &t->refill, t->filled_ms + THROTTLE_FILL_MS);
	return 0;
}

bool
throttle_holds(const struct throttle *t)
{
	return timeout_is_set(&t->refill);
}

void
throttle_spend(struct throttle *t, enum direction d, size_t bytes)
{
	t->left[d] -= (int64_t)bytes;
}
