/*
 * Doors: the sessions to which data connections may come, by the 16 bytes of
 * their preface, with the keys that a preface is checked by and whom to bring
 * it to. Any thread; what is given out is a copy, to be wiped.
 */
#ifndef TUNNEL_EDGE_DOORS_H
#define TUNNEL_EDGE_DOORS_H

#include <pthread.h>

#include "base/list.h"
#include "tls/data_keys.h"

#define EDGE_DOOR_CHAINS 1024

struct edge_session;
struct edge_door;

struct edge_doors {
	pthread_rwlock_t lock;
	struct list chains[EDGE_DOOR_CHAINS];
};

void edge_doors_init(struct edge_doors *d);
void edge_doors_fini(struct edge_doors *d); /* all are closed */

/* Opens one; copies the keys, takes a reference on the session. NULL without
 * memory. */
struct edge_door *edge_doors_open(struct edge_doors *d,
    const struct data_keys *keys, struct edge_session *es);
/* Closes it, keys wiped. NULL is harmless. */
void edge_doors_close(struct edge_doors *d, struct edge_door *door);

/* The session with its keys, and a reference; NULL: none is known, and `keys`
 * is empty. */
struct edge_session *edge_doors_find(struct edge_doors *d,
    const uint8_t session[DATA_SESSION_BYTES], struct data_keys *keys);

#endif
