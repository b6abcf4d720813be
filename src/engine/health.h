/*
 * Active TCP health checks, run by one worker: each upstream that is asked for
 * is connected to every `every_ms` (spread over the period); `fall` failures in
 * a row take it down, `rise` successes bring it back. Changes are logged.
 * Names are resolved for each check. The worker's thread only.
 */
#ifndef ENGINE_HEALTH_H
#define ENGINE_HEALTH_H

#include "config/snapshot.h"
#include "engine/upstream.h"
#include "sys/loop.h"
#include "sys/resolver.h"
#include "sys/timeouts.h"

struct health;

/* Borrows all it is given. NULL without memory. */
struct health *health_new(struct loop *loop, struct timeouts *timeouts,
    struct resolver *resolver, struct mailbox *mailbox);
void health_free(struct health *h);

struct health_target {
	struct upstream
	    *upstream; /* borrowed for the call; referenced inside */
	struct health_settings settings;
};

/* Replaces the set of targets: known ones keep their state, ones that are no
 * longer asked for stop and count as up. One upstream twice: the shorter period
 * wins. 0 or -ENOMEM (nothing changed). */
int health_set_targets(struct health *h, const struct health_target *targets,
    size_t count) MUST_CHECK;

#endif
