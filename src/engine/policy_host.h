/*
 * Between the connection and the policy: the functions that scripts may call of
 * the engine, and the ways in and out of a script.
 */
#ifndef ENGINE_POLICY_HOST_H
#define ENGINE_POLICY_HOST_H

#include "engine/conn.h"

/*
 * What the functions that know no connection find their way by: the host_data
 * of one policy version. Counted: each worker's state of that version has one.
 */
struct policy_context {
	atomic_uint refs;
	struct edge *edge;
	struct geo *geo; /* NULL: no database */
};

/* Takes `geo`, also when it fails. NULL without memory. */
struct policy_context *policy_context_new(struct edge *e, struct geo *geo);
struct policy_context *policy_context_get(struct policy_context *context);
void policy_context_put(struct policy_context *context);

/* For policy_settings.host; its host_data is a struct policy_context. */
extern const struct policy_host policy_host;

/* The script's index in the snapshot, -1: there is none. */
int policy_host_script(const struct conn *c, enum script_of which);

/*
 * Runs a script's connect, or retry if `failure` is given. What it waits for is
 * arranged; setup->run has the outcome. False: no memory, closed.
 */
bool policy_host_start(struct conn *c, enum script_of which,
    const struct policy_failure *failure) MUST_CHECK;

/* Ends a run that is not waited for any more; harmless when there is none. */
void policy_host_cancel(struct conn *c);

/* A script waits for the TLS that it has begun to terminate. */
bool policy_host_terminates(const struct conn *c);

/* That is done: goes on with the script, in the policy's stage. */
void policy_host_terminated(struct conn *c);

/* lunette.sleep is over: goes on with the script and then the connection. */
void policy_host_slept(struct conn *c);

/* The close hooks of a connection at its end. */
void policy_host_close(struct conn *c);

#endif
