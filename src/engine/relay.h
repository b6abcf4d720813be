/*
 * The relay: bytes both ways until both sides are done. Copies through the
 * worker's buffer; a direction that moves a lot between two sockets splices
 * through a borrowed pipe instead.
 */
#ifndef ENGINE_RELAY_H
#define ENGINE_RELAY_H

#include "engine/conn.h"

/* What one leg may move in one turn. */
#define RELAY_TURN_READS 16
#define RELAY_TURN_BYTES (256 * 1024)
/* What is read for a leg that did not take all of the last write: so a slow
 * reader makes us keep little. */
#define RELAY_CONGESTED_BYTES (64 * 1024)
/* A direction that has moved RELAY_SPLICE_AFTER in reads of at least
 * RELAY_LARGE_READ splices: copying wins below, splicing above. */
#define RELAY_SPLICE_AFTER (256 * 1024)
#define RELAY_LARGE_READ (32 * 1024)

/* With a longer idle time than this a dead upstream is found by keepalive; up
 * to it the idle time finds one as soon, without five calls a connection. */
#define RELAY_KEEPALIVE_IDLE_MS (5 * 60 * 1000)

enum flow {
	FLOW_WAIT, /* nothing more can move now */
	FLOW_MORE, /* its share of this turn is used up */
	FLOW_DONE, /* the end was reached and passed on */
};

/* Moves what there is from one leg to the other. */
enum flow relay_step(struct conn *c, struct leg *from, struct leg *to);

/* Sets up the relay: what the event needs is kept, the setup is dropped. 0 or
 * -ENOMEM. */
int relay_begin(struct conn *c) MUST_CHECK;

/* Are there bytes that one side has sent and the other has not taken? */
bool relay_has_pending(const struct conn *c);

#endif
