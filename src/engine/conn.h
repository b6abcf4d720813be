/*
 * A connection: from accept to its one event.
 *
 * It is born, lives and dies on one worker. `conn` is the small record that an
 * idle connection holds; `setup` is what only the stages before the relay need
 * and is given back when the relay begins; `record` is what only some events
 * need. Everything here belongs to the worker's thread.
 */
#ifndef ENGINE_CONN_H
#define ENGINE_CONN_H

#include "base/tally.h"
#include "engine/balance.h"
#include "engine/generation.h"
#include "engine/leg.h"
#include "engine/listener.h"
#include "engine/passage.h"
#include "engine/reason.h"
#include "engine/stage.h"
#include "engine/uplink.h"
#include "policy/policy.h"
#include "sys/timeouts.h"
#include "tls/digest.h"
#include "wire/alert.h"

struct worker;
struct policy_slot;
struct throttle;

#define CONN_MAGIC 0xc0ffee42

/* The most addresses of one name that one connection tries. */
#define DIAL_MAX_ADDRS 4
/* The most decisions of a policy's retry for one connection. */
#define DIAL_MAX_RETRIES 8
/* The most agents of one endpoint that one connection tries. */
#define DIAL_MAX_UPLINKS 8
/* What one connection may add to traffic_policy.logs, in bytes. */
#define RECORD_MAX_LOG_BYTES 16384
#define RECORD_MAX_KEYS 16

enum closing_way {
	/* FIN, without waiting: both sides are done and have said so, or it is
	 * not for us to say in their name (no close_notify). */
	CLOSE_PLAIN,
	CLOSE_LINGER,	  /* say `parting`, FIN, read what is left, close */
	CLOSE_RESET,	  /* reset what is still open */
	CLOSE_PASS_RESET, /* deliver what was read, then reset */
	CLOSE_TARPIT,	  /* hold, silent, up to the deadline that is set */
};

enum script_of { SCRIPT_EDGE, SCRIPT_ENDPOINT, SCRIPT_COUNT };

enum timing {
	TIMING_HELLO,
	TIMING_POLICY,
	TIMING_DIAL,
	TIMING_FIRST_BYTE,
	TIMING_COUNT
};

/* A name that is being resolved for a dial or a script. It may outlive its
 * connection, which then has taken itself out of `conn`. */
struct conn_query {
	struct resolver_query query;
	struct conn *conn;
	void (*on_answer)(struct conn *c, const struct resolver_answer *a);
};

struct dial {
	struct balancer_tried tried;
	unsigned attempts;		   /* upstreams tried, for retry() */
	unsigned retries;		   /* decisions by retry() */
	struct addr addrs[DIAL_MAX_ADDRS]; /* of the current upstream's name */
	unsigned addr_count, addr_next;
	bool greeted;	     /* our PROXY header was written to it */
	bool chosen_tried;   /* the upstream that a script named */
	bool given_up;	     /* by a script's retry, or it must not go on */
	bool denied;	     /* the agent has said no to the client */
	bool blame;	     /* the target has failed since it was taken */
	enum reason failure; /* of the last try */
	int failure_errno;
	const char *detail; /* of the last try: a literal, or NULL */

	/* Through an agent: whom it was tried with, and the call to the last of
	 * them: under way (`calling`), or answered and owned. */
	struct uplink *uplinks[DIAL_MAX_UPLINKS]; /* counted */
	unsigned uplink_count;
	struct uplink_call *call;
	bool calling;
	size_t hello_bytes; /* of the client's that the agent was sent a copy
			       of; they are still in the socket */
	uint8_t heard[DATA_ANSWER_BYTES]; /* of its ANSWER */
	size_t heard_bytes;
};

/* Needed up to the relay. */
struct setup {
	struct conn *conn;
	struct generation *generation; /* counted */
	struct host name;	       /* the SNI; empty: none */
	struct proxy_header proxy;     /* inbound; version 0: none */
	uint8_t *proxy_bytes;	       /* what its TLVs point into */
	struct policy_run *run;
	struct conn_query *query;
	enum script_of script; /* that runs, or that decided last */
	bool routed, retrying;
	bool asked[SCRIPT_COUNT];	 /* has been run */
	const struct endpoint *admitted; /* its ip_restriction said yes */
	/* The client's TLS has ended here: for which endpoint (lent by the
	 * generation; may be NULL) and what client certificates it took. */
	const struct endpoint *terminated_for;
	enum client_auth terminated_auth;
	struct trust *terminated_trust; /* counted */
	int64_t handshake_began_us;
	uint64_t policy_left_ms; /* of a script that waits for its handshake */
	/* The edge's script's, then the endpoint's; what a later one leaves
	 * open an earlier one settles, and then the endpoint's settings. */
	struct decision decisions[SCRIPT_COUNT];
	struct timeout sleep; /* lunette.sleep */
	unsigned answers;     /* to lunette.resolve since the last turn */
	struct dial dial;
};

/* For the event, where there is something to keep. */
struct record {
	char *reason; /* of the decision */
	char *tags;   /* JSON object members */
	char *logs;   /* JSON list members */
	size_t logs_len;
	struct tracked_key *keys; /* lunette.active; from malloc */
	size_t key_count;
	char *tls;		 /* JSON object members */
	char ja4[JA4_TEXT_SIZE]; /* "": not wanted */
};

/* A key that conn:track counts this connection under. */
struct tracked_key {
	struct tally_key *held;
	uint64_t hash; /* so that no key counts twice */
};

struct conn {
	struct leg client, upstream;
	uint32_t magic;
	uint8_t stage;	     /* enum stage */
	uint8_t reason;	     /* enum reason; REASON_NONE while alive */
	uint8_t way;	     /* enum closing_way */
	uint8_t alert;	     /* sent to the client; 0: none */
	uint8_t proxy_proto; /* in force to the upstream */
	bool scripted : 1;   /* a script has run */
	bool denied : 1;     /* ... and said no */
	bool restricted : 1; /* an ip_restriction was asked */
	bool ip_denied : 1;
	bool running : 1;	 /* conn_run is on the stack */
	bool upstream_first : 1; /* its EOF came before the client's */
	bool parted : 1;	 /* closing: the parting words are out */
	bool lowered : 1;	 /* SO_RCVLOWAT is not 1 */
	bool alert_sent : 1;	 /* `alert` is on the wire already */
	bool alert_received : 1; /* `alert` is the client's */
	bool reencrypted : 1;	 /* TLS of our own to the upstream */
	bool terminates : 1;	 /* the client's TLS ends here */
	bool relayed : 1;	 /* it has come to the relay */
	bool probed : 1;	 /* see engine/sweep.h */
	bool vouched : 1;	 /* it has answered: no doubt any more */
	uint8_t handshake_in;	 /* enum timing: into whose time it fell */
	struct worker *worker;
	struct timeout timeout; /* the stage's deadline */
	struct list live;	/* of the worker */
	struct list queue;	/* the worker's runnable or dead list */
	struct setup *setup;
	struct record *record;
	struct throttle *throttle;
	struct listener *listener;  /* counted until the relay */
	struct endpoint *endpoint;  /* counted */
	struct upstream *target;    /* counted, and its active_count */
	struct uplink *uplink;	    /* instead: the agent's; the same */
	struct passage *passage;    /* owned; NULL: it was accepted here */
	uint8_t uplink_way;	    /* enum uplink_way; of `uplink` */
	struct policy_slot *policy; /* counted; NULL: there are no scripts */
	int edge_script;	    /* index of the edge's script, -1: none */
	int decision_line;	    /* of the script; 0: unknown */
	struct tally_key *client_key;
	char *names;	    /* SNI and listener, from the relay on */
	const char *detail; /* for the event; a literal, or in `record` */
	int failed_errno;   /* of the dial, for the event's detail */
	union {
		uint64_t idle_ms;	  /* relaying */
		uint64_t linger_until_ms; /* passing a reset on */
	};
	int64_t start_us;		   /* monotonic */
	uint32_t timings_us[TIMING_COUNT]; /* since start; 0: not reached */
	uint32_t handshake_us;		   /* that the TLS handshake took */
	struct policy_conn facts;
};

/* An accepted connection on its way from the acceptor. */
struct arrival {
	struct mail mail;
	int fd;
	struct listener *listener; /* counted */
	struct addr peer, local;
	int64_t start_us, start_wall_us;
};

/* Makes a connection of what arrived and runs it; takes the arrival's parts. */
void conn_new(struct worker *w, struct arrival *a);

/* The same for what came through a tunnel; false without memory, and nothing is
 * taken. */
bool conn_new_passage(struct worker *w, int fd, struct passage *p) MUST_CHECK;

/* Gives the client's descriptor away: the connection is none, and ends without
 * an event. Its place under the limit goes with it (edge_release). */
int conn_give_away(struct conn *c) MUST_CHECK;

/* Runs the stages until one waits. */
void conn_run(struct conn *c);

/* conn_run at the next turn: for callers that are inside somebody else. */
void conn_wake(struct conn *c);

/*
 * Ends the connection: marks and queues; may be called from anywhere, any
 * number of times, the first reason stays. `detail` is a literal or NULL.
 */
void conn_close(struct conn *c, enum reason reason, enum closing_way way,
    const char *detail);

/* Notes for the event which alert the client's TLS has sent or got; it is not
 * said again. */
void conn_note_alert(struct conn *c, const struct tls_failure *f);

/* conn_close with an alert to the client as the parting words. */
void conn_refuse(
    struct conn *c, enum reason reason, uint8_t alert, const char *detail);

/* conn_refuse in the policy's name: an outsider must not learn from the alert
 * which names exist, if the operator says so. Needs the setup. */
void conn_deny(struct conn *c, enum reason reason, const char *detail);

/* The last step: event, close hook, and everything given back but the memory,
 * which the worker frees at the end of its turn. */
void conn_finish(struct conn *c);

/* Counts the connection against limits.connections_per_client once the client's
 * address is known. False: it was one too many and is closed. */
bool conn_admit_client(struct conn *c);

/*
 * Asks for a name's addresses. The answer goes to `on_answer`, at once (from
 * the cache) or later on this thread, unless the setup is gone by then. False:
 * no memory, and nothing will come.
 */
bool conn_resolve(struct conn *c, const struct host *name,
    void (*on_answer)(
	struct conn *, const struct resolver_answer *)) MUST_CHECK;

/*
 * Gives the try of an upstream up that could be reached but not spoken to, and
 * goes on with the next. `detail` is a literal, as in conn_close.
 */
enum step dial_failed(
    struct conn *c, enum reason reason, int error, const char *detail);

/* Gives the upstream back. */
void conn_drop_target(struct conn *c);

/* The setup, made if there is none; NULL without memory (the connection is
 * closed then). */
struct setup *conn_setup(struct conn *c);
void conn_drop_setup(struct conn *c);

/* The record, made if there is none; NULL without memory. */
struct record *conn_record(struct conn *c);

/* The hello, peeked again if another connection's took its place; NULL once it
 * was relayed. */
const struct hello *conn_hello(struct conn *c);

/* Sets the stage's deadline. */
void conn_set_deadline(struct conn *c, uint64_t ms_from_now);

/* What the upstream took of the client's bytes, our PROXY header apart. */
uint64_t conn_bytes_in(const struct conn *c);

void conn_note_time(struct conn *c, enum timing t);

#endif
