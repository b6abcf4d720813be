/*
 * A visit to an edge: one session, as an agent would have it, that asks a
 * question, says who it is and ends. It binds nothing and serves nothing, and
 * takes the place of no agent's session.
 *
 * The calling thread blocks.
 */
#ifndef TUNNEL_VISIT_H
#define TUNNEL_VISIT_H

#include "sys/errand.h"
#include "tunnel/introduction.h"
#include "tunnel/outbound.h"
#include "tunnel/session.h"

/* Connects as the agent does: through `proxy` (NULL: none), to `fixed` unless
 * that is ADDR_NONE or there is a proxy. The descriptor, which is the caller's,
 * or -errno with `*why`, a literal. */
int visit_connect(struct errand *e, const struct edge_address *edge,
    const struct addr *fixed, const struct proxy_url *proxy,
    uint64_t timeout_ms, const char **why) MUST_CHECK;

enum visit_step {
	VISIT_HANDSHAKE,
	VISIT_QUESTION,
	VISIT_LOGIN, /* only with a token */
	VISIT_DONE,
};

struct visit_settings {
	struct errand *errand;
	const struct agent_settings *agent;
	const struct edge_address *edge;
	const struct edge_trust *trust;
};

/* Texts of the edge are escaped. */
struct visit {
	enum visit_step reached; /* what failed, or VISIT_DONE */
	char error[1024];
	char region[128];      /* answered to the question */
	int64_t round_trip_us; /* of the question; -1: not answered */
	bool logged_in;
	char edge_version[128], account[128];
};

/* Takes the descriptor, which visit_connect gave. */
void visit_edge(
    const struct visit_settings *settings, int fd, struct visit *out);

#endif
