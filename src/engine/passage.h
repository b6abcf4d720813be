/*
 * A passage: how a connection came to this process through a tunnel, seen from
 * the agent's end. Who holds the session makes it and injects the connection
 * with it; the engine says through it, once, whether the connection is taken,
 * and gives it back when the connection has ended.
 *
 * The edge has announced the client's addresses and the hello; what the edge
 * wants is never asked for where the agent's own configuration has a say.
 *
 * Belongs to the connection's worker.
 */
#ifndef ENGINE_PASSAGE_H
#define ENGINE_PASSAGE_H

#include "config/snapshot.h"
#include "engine/reason.h"
#include "engine/uplink.h"
#include "sys/bridge.h"
#include "tls/stream.h"
#include "wire/data_record.h"

struct conn;
struct worker;

struct passage {
	/* Gives its memory and the endpoint back. */
	void (*free)(struct passage *p);
	/* The connection is over, and its event is written; before `free`. */
	void (*on_end)(struct passage *p, const struct conn *c);
	/* The sealed ANSWER of a data connection (DATA_ANSWER_BYTES), which is
	 * the first that goes back; refused with `reason`, 0: accepted. NULL:
	 * it came by a stream, where only a refusal is told, as the bridge's
	 * reset code. False without memory. */
	bool (*seal_answer)(
	    struct passage *p, enum data_reason reason, uint8_t *out);
	struct endpoint *endpoint; /* counted; of this process's own settings */
	struct addr client, server; /* as the edge has seen them */
	struct addr edge;	    /* the session's remote address */
	const char *edge_name;	    /* lives in the passage */
	char id[64];		    /* the edge's id of the connection */
	struct host name;    /* that the client asked for, of plain ones */
	bool plain;	     /* TLS has ended at the edge */
	uint8_t proxy_proto; /* for the upstream, if it says nothing */
	bool checks_hello;   /* the edge has announced it: */
	uint32_t hello_bytes;
	uint8_t hello_sha256[32];
	uint8_t alpn[255];	/* the protocol that the edge has agreed on */
	uint8_t alpn_len;	/* 0: none */
	struct tls_stream *tls; /* owned until the connection takes it; its
				   handshake is done; NULL: the descriptor is
				   plain */
	struct bridge *bridge;	/* counted; NULL: the descriptor is no bridge's
				 */
	enum uplink_way way;	/* for the event */
	/* It is not to be: the connection ends at once, and this is what the
	 * edge hears. DATA_ACCEPTED: it is up to the stages. */
	enum data_reason refusal;
	bool answered;
};

/*
 * Makes a connection of a descriptor that has come through a tunnel and runs
 * it. Takes the descriptor and the passage whatever happens. False: refused for
 * want of room or memory (the refusal was said). The worker's thread.
 */
bool passage_inject(struct worker *w, int fd, struct passage *p);

/* Says that the connection is taken; harmless when it was said, or when there
 * is no passage. False: no memory, closed. */
bool passage_accept(struct conn *c) MUST_CHECK;

/* Says that it is not, if nothing has been said yet; conn_close does that. The
 * client learns it from the edge: no alert of ours may follow. */
void passage_refuse(struct conn *c, enum reason reason);

/* The hello is the one that the edge has announced. */
bool passage_hello_fits(const struct conn *c, struct span wire);

void passage_free(struct passage *p); /* NULL is harmless */

#endif
