/*
 * Sweeps: what becomes of a worker's connections through a tunnel when the
 * session that they came by is no more. Those whose uplink was cut (revoked,
 * stopped, hostile) end. Of a session that fell silent each data connection is
 * asked for a sign of life, since a dead path tells nobody: one that gives none
 * ends with `agent_lost`, instead of after TCP's own two minutes. At an agent
 * all data connections are asked.
 *
 * Belongs to the worker; its thread, but for sweep_order.
 */
#ifndef ENGINE_SWEEP_H
#define ENGINE_SWEEP_H

#include <stdatomic.h>

#include "sys/mailbox.h"
#include "sys/timeouts.h"

struct sweep {
	struct mail mail;
	atomic_bool ordered; /* and not delivered yet */
	struct timeout probe;
	bool probing; /* some were asked, and have time until `probe` */
	bool again;   /* others are to be asked then */
};

void sweep_init(struct sweep *s);
void sweep_fini(struct sweep *s, struct timeouts *timeouts);

/* It runs soon, on the worker of this mailbox. Any thread. */
void sweep_order(struct sweep *s, struct mailbox *mailbox);

#endif
