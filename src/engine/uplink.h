/*
 * An uplink: the way to one agent that has bound an endpoint, as the engine
 * sees it. Who holds the session makes it and answers its calls; the engine
 * picks one, calls it, and gets a descriptor behind which is the agent.
 *
 * A call travels as a mail to the worker of the session and back to the worker
 * of the connection. It owns what it carries; a connection that has lost
 * interest takes itself out of `conn`, and what then comes is closed.
 *
 * Uplinks are counted; any thread. `on_call` runs on the session's thread.
 */
#ifndef ENGINE_UPLINK_H
#define ENGINE_UPLINK_H

#include <stdatomic.h>

#include "base/addr.h"
#include "sys/bridge.h"
#include "sys/mailbox.h"
#include "tls/stream.h"
#include "tls/data_keys.h"

struct conn;
struct uplink;

#define UPLINK_ID_SIZE 33

/* With this and a data_reason an agent resets a stream that it refuses. */
#define UPLINK_RESET_CODE 0x100

/* How the bytes travel to the agent. */
enum uplink_way {
	UPLINK_STREAM, /* a stream of the session, through a bridge */
	UPLINK_RAW,    /* a data connection: the client's own TLS, as it is */
	UPLINK_TLS,    /* a data connection inside TLS of ours */
};

struct uplink_call {
	struct mail mail;  /* there and back */
	struct conn *conn; /* touched on its own thread; NULL: it is gone */
	struct mailbox *return_to;
	void (*on_answer)(struct mail *m, void *receiver); /* takes the call */
	struct uplink *uplink;				   /* counted */

	/* What is asked: */
	bool plain;	    /* the client's TLS has ended here */
	struct addr client; /* for agents that are told in text */
	uint8_t *header;    /* what OPEN seals, see data_open_begin; owned */
	size_t header_len;
	uint64_t deadline_ms; /* monotonic: nobody waits after that */

	/* What is answered: */
	int error; /* 0, or a negative errno: no way to this agent now */
	enum uplink_way way;
	int fd;			/* owned; -1: none */
	struct bridge *bridge;	/* counted; of a stream */
	struct tls_stream *tls; /* owned; UPLINK_TLS: belongs to no thread's
				   context until tls_move */
	/* Of a data connection: what to send first, and who may answer. */
	uint8_t open[DATA_OPEN_MAX_BYTES];
	size_t open_len;
	struct data_keys keys; /* wiped with the call */
	struct data_binding binding;
};

struct uplink {
	atomic_uint refs;
	void (*free)(struct uplink *u);
	/* On the session's thread; takes the call and answers it by
	 * uplink_answer, at once or later. */
	void (*on_call)(struct uplink *u, struct uplink_call *call);
	struct mailbox *mailbox;	 /* of the session's worker; lent */
	char session_id[UPLINK_ID_SIZE]; /* "ts_..." */
	struct addr agent;		 /* where the session comes from */
	char endpoint_id[DATA_ENDPOINT_MAX_BYTES + 1]; /* the agent's name for
						       what it has bound */
	/* The agent is Lunette's own: it checks hellos and writes PROXY headers
	 * by itself. */
	bool is_lunette;
	atomic_bool gone; /* the session has ended */
	/* Of the session, live as long as the uplink, and take effect by
	 * edge_sweep. NULL: data connections always outlive the session. */
	const atomic_uint *cut_for;  /* enum reason, for which all that goes
					through it must end; 0: nothing must */
	const atomic_bool *in_doubt; /* it ended without a word: its data
					connections may be dead as well */
	_Atomic uint32_t active_count;
};

struct uplink *uplink_get(struct uplink *u);
void uplink_put(struct uplink *u); /* NULL is harmless */

/* Sends the call on its way; takes it. A session that is gone answers with
 * -ENOTCONN. The connection's thread. */
void uplink_call(struct uplink *u, struct uplink_call *call);

/* The call goes back, with what was filled in. The session's thread. */
void uplink_answer(struct uplink_call *call);

/* What an unused call carries is closed and wiped. NULL is harmless. */
void uplink_call_free(struct uplink_call *call);

#endif
