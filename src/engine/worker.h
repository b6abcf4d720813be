/*
 * A worker: one thread with a loop, a mailbox, deadlines, slabs and one Lua
 * state. Connections are born, live and die on it. Everything but the mailbox
 * and the counters belongs to its thread.
 */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include <pthread.h>

#include "base/slab.h"
#include "engine/conn.h"
#include "engine/counters.h"
#include "engine/health.h"
#include "engine/sweep.h"
#include "sys/loop.h"
#include "sys/mailbox.h"

/* Bytes read in one go; see "Legs and relay" in the design. */
#define WORKER_BUFFER_BYTES (256 * 1024)
/* How many old policy versions are kept for close hooks. */
#define WORKER_MAX_OLD_POLICIES 4
#define WORKER_MAILBOX_LIMIT 1024
/* Steps of TLS handshakes in one turn: a burst of them, with the most costly
 * signatures, must not starve the relays. */
#define WORKER_HANDSHAKE_STEPS 8

struct edge;
struct policy_context;

/* One version of the policy on one worker. When it is retired (too many newer
 * ones) `policy` goes and only the name stays. */
struct policy_slot {
	unsigned refs;
	struct policy *policy;
	struct policy_context *context; /* counted */
	char version[POLICY_VERSION_SIZE];
	struct list old; /* on worker.old_policies, oldest first */
};

struct worker {
	struct edge *edge;
	unsigned index;
	pthread_t thread;
	bool started;
	struct loop loop;
	struct watch mailbox_watch;
	struct mailbox mailbox;
	struct timeouts timeouts;
	struct timeout drain_timeout;
	uint64_t now_ms;
	struct slab conns, setups;
	struct pipes pipes;
	struct tls_context *tls;
	unsigned handshake_steps; /* in this turn */
	struct list live, runnable, dead;
	struct generation *generation; /* current; counted */
	struct policy_slot *policy;    /* current; NULL: no scripts */
	struct list old_policies;
	unsigned old_policy_count;
	uint64_t renew_after_ms; /* no replacement of a full state before */
	struct health *health;	 /* worker 0 only */
	void *tunnel; /* its state; owned by the tunnel; NULL: there is none */
	bool draining, drained, stopping;
	struct worker_order {
		struct mail mail;
		uint64_t drain_ms;
	} drain_order, stop_order;
	struct sweep sweep;
	uint64_t id_seed[2]; /* for connection ids */
	uint64_t id_count;
	/* The last hello that was parsed, and whose it is. */
	struct conn *hello_owner;
	struct hello hello;
	uint8_t *peeked, *scratch; /* HELLO_MAX_BYTES each */
	uint8_t *buffer;	   /* WORKER_BUFFER_BYTES */
	char *event_text;	   /* EVENT_MAX_BYTES */
	struct counters counters;  /* atomic: read by others */
	/* For the watchdog: since when it is inside Lua; 0: it is not. */
	_Atomic uint64_t in_policy_since_ms;
};

/* Allocates all but starts nothing. Returns 0 or -errno; worker_fini in any
 * case. Main thread. */
int worker_init(struct worker *w, struct edge *edge, unsigned index) MUST_CHECK;
int worker_start(struct worker *w) MUST_CHECK;

/* Tells it to end everything at once, waits for it, and frees. Main thread. */
void worker_stop(struct worker *w);
/* Its mailbox takes nothing any more. */
void worker_close(struct worker *w);
void worker_fini(struct worker *w);

/*
 * The new configuration as a mail, made before any worker gets one, so that
 * nothing can fail in the middle of a switch. Takes the policy (NULL: no
 * scripts) and references on generation and context. NULL without memory (then
 * nothing is taken). Post it to the worker's mailbox or discard it.
 */
struct mail *worker_switch_mail(struct generation *g, struct policy *policy,
    struct policy_context *context);

/* Lets connections finish within this time, then closes them. Main thread. */
void worker_drain(struct worker *w, uint64_t ms);

/* Live connections; any thread. */
uint64_t worker_open_count(const struct worker *w);

/* The slot for a run that begins now, with one reference; NULL: no scripts. */
struct policy_slot *policy_slot_get(struct worker *w);
void policy_slot_put(struct worker *w, struct policy_slot *slot);

/* Whether another step of a TLS handshake may be made in this turn. */
bool worker_take_handshake_step(struct worker *w) MUST_CHECK;

/* A new id: `prefix`, then 26 characters. */
void worker_make_id(struct worker *w, const char *prefix, char out[32]);

#endif
