/*
 * How an agent and an edge come to know each other: whom an agent takes for an
 * edge, and how it says who it is itself.
 */
#ifndef TUNNEL_INTRODUCTION_H
#define TUNNEL_INTRODUCTION_H

#include "config/snapshot.h"
#include "tls/session_context.h"

/* One of the two: who must have signed the edge's certificate, or which it
 * must be. */
struct edge_trust {
	struct trust *trust; /* counted; NULL: there is a pin */
	bool pinned;
	uint8_t pin[SESSION_PIN_BYTES];
};

/* As `connect_cas` of agent_settings says. False with one line in `error`. May
 * block on the disk. */
bool edge_trust_load(struct edge_trust *t, const char *connect_cas,
    struct text *error) MUST_CHECK;
void edge_trust_fini(struct edge_trust *t); /* harmless after zeros */

/* The URL of the proxy through which edges are reached: the configured one, or
 * what the environment says in `http_proxy`. Lent; NULL: none. */
const char *edge_proxy_url(const struct agent_settings *a);

/* See tls_session_connect: the name is the edge's, or its address. */
struct tls_stream *edge_connect_tls(struct tls_context *c, int fd,
    const struct edge_trust *t, const struct upstream_address *edge);

/* Why the edge need not ask for it. */
#define UPDATE_UNSUPPORTED "Lunette is updated by its package"

/* Who an agent says that it is. All texts are lent. */
struct introduction {
	const struct agent_settings *settings;
	/* What the edge gave before, or "". */
	const char *client_id, *cookie;
	const char *user_agent;
};

/*
 * The Auth request for a session whose handshake is done. The token is proved,
 * unless it is too short for that: then it is in it. 0 with the JSON in `*json`
 * (to be given back with message_wipe), or -errno.
 */
int introduction_write(const struct introduction *i,
    const struct tls_stream *tls, struct span *json) MUST_CHECK;

#endif
