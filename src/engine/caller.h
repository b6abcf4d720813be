/*
 * Callers: connections that are not a client's but an agent's, told apart by
 * their first bytes. In this order: the preface of a data connection; a name
 * that is reserved for agents, which is never an endpoint; a name that is
 * known, whatever its ALPN; an ALPN of agents. The worker's thread.
 */
#ifndef ENGINE_CALLER_H
#define ENGINE_CALLER_H

#include "engine/conn.h"
#include "engine/tunnel_host.h"

/* It begins as a preface does, on a listener that takes agents. */
bool caller_has_preface(const struct conn *c, struct span wire);

enum caller_verdict {
	CALLER_NONE,	/* a client */
	CALLER_TAKEN,	/* an agent, of the kind that `*kind` says */
	CALLER_REFUSED, /* with `*alert`: to a reserved name or where only
			   agents are taken, and no agent */
};

enum caller_verdict caller_judge(const struct conn *c,
    const struct hello *hello, enum caller_kind *kind, uint8_t *alert);

/* Gives it to the tunnel; the connection has ended then, without an event.
 * `name` may be NULL. */
void caller_hand_over(
    struct conn *c, enum caller_kind kind, const struct host *name);

#endif
