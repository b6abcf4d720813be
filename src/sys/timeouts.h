/*
 * The deadlines of one thread: a hashed wheel of 512 slots of 16 ms.
 *
 * Setting and clearing cost a few pointer writes; a deadline fires within one
 * slot after its time, never before. A deadline moved later is only noted and
 * found when its old slot comes round, so refreshing an idle time-out on every
 * read costs one store. Durations may differ freely.
 */
#ifndef SYS_TIMEOUTS_H
#define SYS_TIMEOUTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define TIMEOUTS_SLOTS 512
#define TIMEOUTS_SLOT_MS 16

struct timeout {
	struct list node;
	uint64_t deadline_ms; /* monotonic; 0: not set */
	uint64_t queued_ms;   /* the slot time it is filed under */
	void (*on_timeout)(struct timeout *t);
};

struct timeouts {
	struct list slots[TIMEOUTS_SLOTS];
	uint64_t
	    used[TIMEOUTS_SLOTS / 64]; /* bitmap: slot may hold something */
	uint64_t now_ms;	       /* up to where it has run */
	uint64_t count;
};

void timeouts_init(struct timeouts *ts, uint64_t now_ms);
void timeout_init(struct timeout *t, void (*on_timeout)(struct timeout *));

/* Sets or moves. A deadline that has passed fires at the next run. */
void timeouts_set(struct timeouts *ts, struct timeout *t, uint64_t deadline_ms);
void timeouts_clear(struct timeouts *ts, struct timeout *t);
bool timeout_is_set(const struct timeout *t);

/* Calls on_timeout (cleared before the call) for all that are due. Handlers may
 * set and clear any timeout, their own too. */
void timeouts_run(struct timeouts *ts, uint64_t now_ms);

/* Milliseconds until the loop should wake: 0 if something is due, -1 if nothing
 * is set. */
int timeouts_wait_ms(const struct timeouts *ts, uint64_t now_ms);

#endif
