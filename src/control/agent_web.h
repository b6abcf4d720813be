/*
 * The agent's web address: what an agent tells about itself on this machine, by
 * HTTP on 127.0.0.1:4040 unless configured otherwise.
 *
 * It offers the reading half of the published agent API under /api, measures
 * for Prometheus at /metrics and a page for people at / (agent_routes.c has the
 * list). There is no login, as there is none in the published agent; instead it
 * answers only requests whose Host nobody but this machine can have
 * (host_guard.h), and changes nothing: other methods than GET and HEAD get 405.
 * Its bounds and its thread are those of web_server.h.
 *
 * Life: agent_web_new once sessions and endpoints can be asked for;
 * agent_web_free before they go. After that the source is not called again.
 */
#ifndef CONTROL_AGENT_WEB_H
#define CONTROL_AGENT_WEB_H

#include "base/addr.h"
#include "control/agent_view.h"

/* A taken port is no error: this many ports are tried, as the published agent
 * does, 4040 to 4049. */
#define AGENT_WEB_PORTS 10

struct agent_web_settings {
	struct addr address;
	/* Further hosts to answer to (`web_allow_hosts`); see host_guard.h. */
	const char *const *allow_hosts;
	size_t allow_host_count;
};

struct agent_web;

/*
 * Starts it and logs where. Copies settings and source; source->data stays the
 * caller's. 0; -EADDRINUSE if all ports are taken; -EINVAL for an entry of
 * allow_hosts, which is logged; another -errno of listening; -ENOMEM.
 */
int agent_web_new(const struct agent_web_settings *settings,
    const struct agent_web_source *source, struct agent_web **out) MUST_CHECK;

/* Ends it at once; clients that hang are cut off. NULL is allowed. Must not be
 * called under the lock that the source takes. */
void agent_web_free(struct agent_web *w);

/* Where it listens. Any thread. */
void agent_web_address(const struct agent_web *w, struct addr *out);

#endif
