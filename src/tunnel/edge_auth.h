/*
 * Who an agent is: SrvInfo and Auth. The session's thread.
 */
#ifndef TUNNEL_EDGE_AUTH_H
#define TUNNEL_EDGE_AUTH_H

#include "base/span.h"

struct edge_session;

void edge_on_srv_info(struct edge_session *es, uint32_t id, struct span json);
void edge_on_auth(struct edge_session *es, uint32_t id, struct span json);

/* The session before it has let go: the answer to Auth that was held back. */
void edge_auth_welcome(struct edge_session *es);

#endif
