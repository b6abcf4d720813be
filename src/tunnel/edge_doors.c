#include "tunnel/edge_doors.h"

#include <stdlib.h>

#include "base/hash.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"

struct edge_door {
	struct list node;
	struct data_keys keys;
	struct edge_session *session; /* counted */
};

void
edge_doors_init(struct edge_doors *d)
{
	pthread_rwlock_init(&d->lock, NULL);
	for (size_t i = 0; i < EDGE_DOOR_CHAINS; i++)
		list_init(&d->chains[i]);
}

void
edge_doors_fini(struct edge_doors *d)
{
	for (size_t i = 0; i < EDGE_DOOR_CHAINS; i++)
		ASSERT(list_empty(&d->chains[i]));
	pthread_rwlock_destroy(&d->lock);
}

static struct list *
chain_of(struct edge_doors *d, const uint8_t session[DATA_SESSION_BYTES])
{
	return &d->chains[hash_bytes(span_of(session, DATA_SESSION_BYTES)) %
			  EDGE_DOOR_CHAINS];
}

struct edge_door *
edge_doors_open(
    struct edge_doors *d, const struct data_keys *keys, struct edge_session *es)
{
	struct edge_door *door = calloc(1, sizeof(*door));

	if (!door)
		return NULL;
	door->keys = *keys;
	door->session = edge_session_get(es);
	pthread_rwlock_wrlock(&d->lock);
	list_append(chain_of(d, keys->session), &door->node);
	pthread_rwlock_unlock(&d->lock);
	return door;
}

void
edge_doors_close(struct edge_doors *d, struct edge_door *door)
{
	if (!door)
		return;
	pthread_rwlock_wrlock(&d->lock);
	list_remove(&door->node);
	pthread_rwlock_unlock(&d->lock);
	data_keys_wipe(&door->keys);
	edge_session_put(door->session);
	free(door);
}

static struct edge_door *
find(struct list *chain, const uint8_t session[DATA_SESSION_BYTES])
{
	LIST_FOREACH (node, chain) {
		struct edge_door *door =
		    LIST_ENTRY(node, struct edge_door, node);

		if (constant_time_equal(
			door->keys.session, session, DATA_SESSION_BYTES))
			return door;
	}
	return NULL;
}

struct edge_session *
edge_doors_find(struct edge_doors *d, const uint8_t session[DATA_SESSION_BYTES],
    struct data_keys *keys)
{
	struct edge_session *es = NULL;
	struct edge_door *door;

	*keys = (struct data_keys){ 0 };
	pthread_rwlock_rdlock(&d->lock);
	door = find(chain_of(d, session), session);
	if (door) {
		*keys = door->keys;
		es = edge_session_get(door->session);
	}
	pthread_rwlock_unlock(&d->lock);
	return es;
}
