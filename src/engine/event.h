/*
 * tcp_connection_closed.v0: the one event of each connection, its log line and
 * its counters, from the connection at its end.
 */
#ifndef ENGINE_EVENT_H
#define ENGINE_EVENT_H

#include "engine/conn.h"

#define EVENT_MAX_BYTES 65536
#define EVENT_CONNECTION_CLOSED "tcp_connection_closed.v0"

struct edge;

/* Keeps what the event tells of the client's TLS, while it is there. */
void event_keep_tls(struct conn *c);

/* The worker's thread. */
void event_connection_closed(struct conn *c);

/* For an accepted connection that never became one: shed by the acceptor, or no
 * memory. Any thread. */
void event_lost(struct edge *edge, const struct arrival *a, enum reason reason);

#endif
