/*
 * Which session each client has now: at most one. A client that comes again
 * takes the place of its stale session at once, on whatever worker that is.
 *
 * A client is known by its id and its credential together; that it is the same
 * one was proved before (names_check_cookie). Any thread.
 */
#ifndef TUNNEL_EDGE_CLIENTS_H
#define TUNNEL_EDGE_CLIENTS_H

#include <pthread.h>

#include "base/list.h"

#define EDGE_CLIENT_CHAINS 1024

struct edge_session;

struct edge_clients {
	pthread_mutex_t lock;
	struct list chains[EDGE_CLIENT_CHAINS];
};

void edge_clients_init(struct edge_clients *c);
void edge_clients_fini(struct edge_clients *c); /* nobody is inside */

/* Puts the session in its client's place (`client_id`, `owner`), which holds a
 * reference. Who had it until now comes back with that reference, or NULL. */
struct edge_session *edge_clients_enter(
    struct edge_clients *c, struct edge_session *es);

/* Leaves the place; harmless for who has none (any more). */
void edge_clients_leave(struct edge_clients *c, struct edge_session *es);

/* The session with this id ("ts_..."), with a reference; NULL: none. Looks
 * through all. */
struct edge_session *edge_clients_find(
    struct edge_clients *c, const char *session_id);

#endif
