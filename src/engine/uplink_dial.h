/*
 * Dialling through an agent: for endpoints that agents have bound. One uplink
 * of the endpoint's pool after the other is called, and what comes back is the
 * connection's upstream leg; then the agent is told what it gets, and has its
 * say, before anything of the client's is consumed.
 *
 * What an agent is sent before it has answered is at most a copy of the hello,
 * so the next one can be tried. The worker's thread.
 */
#ifndef ENGINE_UPLINK_DIAL_H
#define ENGINE_UPLINK_DIAL_H

#include "engine/conn.h"

/* How long an agent may take to answer on a data connection. */
#define UPLINK_ANSWER_MS 5000

/* Agents serve the endpoint, and no script has named another upstream. */
bool uplink_is_due(const struct conn *c);

/* The dial stage of such a connection. */
enum step uplink_dial(struct conn *c);

/* The greet stage up to the relay, behind our PROXY header if there is one:
 * STEP_NEXT when the agent has taken the connection. */
enum step uplink_greet(struct conn *c);

/* Forgets a call that is under way, or what it has brought. */
void uplink_dial_fini(struct setup *s);

/* Gives the connection's uplink back. */
void uplink_release(struct uplink *u);

#endif
