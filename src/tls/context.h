/*
 * A context: what one thread needs to speak TLS as a server and as a client:
 * OpenSSL's contexts for both roles, buffers for records that all its streams
 * share, and the sessions of upstreams. Belongs to one thread.
 */
#ifndef TLS_CONTEXT_H
#define TLS_CONTEXT_H

#include "tls/tickets.h"

struct tls_context;

/*
 * `tickets` is lent and outlives it. `keylog_fd` (-1: none) gets the secrets of
 * all handshakes in the format of SSLKEYLOGFILE: for debugging only. NULL
 * without memory.
 */
struct tls_context *tls_context_new(struct tickets *tickets, int keylog_fd);
void tls_context_free(struct tls_context *c); /* no stream may be left */

/* Forgets the sessions of upstreams (after a reload). */
void tls_context_forget_sessions(struct tls_context *c);

#endif
