/*
 * An errand: what a command needs that waits for one thing after the other. A
 * loop with its timeouts, a resolver and the mailbox for its answers; they turn
 * only while something is waited for.
 *
 * One thread, which the functions block.
 */
#ifndef SYS_ERRAND_H
#define SYS_ERRAND_H

#include "sys/loop.h"
#include "sys/mailbox.h"
#include "sys/resolver.h"
#include "sys/timeouts.h"

struct errand {
	struct loop loop;
	struct timeouts timeouts;
	struct mailbox mailbox;
	struct watch mail;
	struct resolver *resolver;
};

/* `servers` as in resolver_settings. 0, or -errno and nothing is held. */
int errand_init(struct errand *e, const char *servers) MUST_CHECK;
void errand_fini(struct errand *e); /* no watch and no timeout may be left */

/* Brings the timeouts up to date: before a deadline is counted from them. */
void errand_catch_up(struct errand *e);

/* Waits for something and delivers it, or what is due. */
void errand_turn(struct errand *e);

/* Turns the loop until `*done`, which is set from within. */
void errand_wait(struct errand *e, const bool *done);

/* Asks for the addresses of a name; see resolver_answer, whose error is the
 * result. */
int errand_resolve(struct errand *e, const struct host *name,
    struct resolver_answer *out) MUST_CHECK;

/* Connects to an address, or to a Unix socket. The descriptor, which is the
 * caller's, or -errno; -ETIMEDOUT after `timeout_ms`. */
int errand_connect(const struct addr *to, uint64_t timeout_ms) MUST_CHECK;
int errand_connect_unix(const char *path, uint64_t timeout_ms) MUST_CHECK;

#endif
