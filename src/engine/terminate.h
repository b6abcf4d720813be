/*
 * Terminating the client's TLS here: in the handshake stage, or in the middle
 * of a script that says conn:terminate. What the endpoint says is overridden by
 * the edge's script and then by the endpoint's.
 */
#ifndef ENGINE_TERMINATE_H
#define ENGINE_TERMINATE_H

#include "engine/conn.h"

/* Where scripts and endpoint want the client's TLS to end. */
enum terminate_at terminate_wanted(const struct conn *c);

/* Scripts and endpoint want the client's TLS to end here, and it has not. */
bool terminate_is_due(const struct conn *c);

/*
 * Chooses certificate and terms, asks the limits and begins; the hello is
 * consumed by what follows. `script`: what conn:terminate says, or NULL. False:
 * closed.
 */
bool terminate_begin(
    struct conn *c, const struct decision_termination *script) MUST_CHECK;

/* One step of the handshake: STEP_NEXT when it is done, STEP_WAIT, or
 * STEP_CLOSE. At most WORKER_HANDSHAKE_STEPS of all connections in a turn. */
enum step terminate_step(struct conn *c);

/*
 * Whether the endpoint that was chosen may serve a client whose TLS has ended
 * already: its own rule about client certificates must have been kept, also if
 * a script has led here from another endpoint.
 */
bool terminate_suits(const struct conn *c);

/*
 * The client's TLS will pass through, but a script says how to terminate it, or
 * the endpoint asks clients for certificates: nobody would look at those.
 */
bool terminate_is_missed(const struct conn *c);

#endif
