/*
 * Calls: the engine asks for a way to the agent. First a data connection that
 * waits, then one that is asked for and waited for, then a stream of the
 * session. The session's thread.
 */
#ifndef TUNNEL_EDGE_CALLS_H
#define TUNNEL_EDGE_CALLS_H

#include "engine/uplink.h"

/* uplink.on_call of what agents have bound. */
void edge_on_call(struct uplink *u, struct uplink_call *call);

/* By a stream, come what may. Takes the call and answers it. */
void edge_call_stream(struct uplink_call *call);

#endif
