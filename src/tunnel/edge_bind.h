/*
 * What agents bind: names, each an endpoint of the registry with an uplink of
 * this session, and tunnels with labels, which nobody selects. The session's
 * thread.
 */
#ifndef TUNNEL_EDGE_BIND_H
#define TUNNEL_EDGE_BIND_H

#include "base/list.h"
#include "base/span.h"
#include "config/snapshot.h"
#include "engine/uplink.h"
#include "tunnel/message.h"

struct edge_session;

struct edge_bind {
	struct uplink uplink;	      /* counted */
	struct edge_session *session; /* counted */
	struct list node; /* of the session; unlinked: not bound any more */
	struct endpoint *endpoint; /* counted */
	bool is_random; /* the name was given: no rule need allow it */
};

struct edge_labelled {
	struct list node;
	char id[DATA_ENDPOINT_MAX_BYTES + 1];
	struct message_labels labels;
	char *forwards_to, *metadata;
};

void edge_on_bind(struct edge_session *es, uint32_t id, struct span json);
void edge_on_unbind(struct edge_session *es, uint32_t id, struct span json);
void edge_on_labelled(struct edge_session *es, uint32_t id, struct span json);

/* The session lets go of all. */
void edge_unbind_all(struct edge_session *es);

/* What the credential (with new rules) may no longer bind: let go, and the
 * agent told. */
void edge_unbind_forbidden(struct edge_session *es);

#endif
