/* What lunette diagnose looks at on the way to an edge, and there. */
#ifndef CMD_DIAGNOSE_EDGE_H
#define CMD_DIAGNOSE_EDGE_H

#include "cmd/findings.h"
#include "config/snapshot.h"
#include "sys/errand.h"
#include "tunnel/introduction.h"
#include "wire/proxy_url.h"

struct edge_diagnosis {
	struct findings *findings;
	struct errand *errand;
	const struct agent_settings *agent;
	const struct edge_trust *trust;
	const struct proxy_url *proxy; /* NULL: none */
};

/* The way to the proxy: whether it can be connected to. */
bool diagnose_proxy(const struct edge_diagnosis *d);

/* Names, addresses, TLS, protocol and token, a line each. Whether an agent
 * could work with this edge; `only` says that with no other if not with this.
 */
bool diagnose_edge(
    const struct edge_diagnosis *d, const struct edge_address *edge, bool only);

#endif
