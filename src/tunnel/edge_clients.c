#include "tunnel/edge_clients.h"

#include "base/hash.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"

void
edge_clients_init(struct edge_clients *c)
{
	pthread_mutex_init(&c->lock, NULL);
	for (size_t i = 0; i < EDGE_CLIENT_CHAINS; i++)
		list_init(&c->chains[i]);
}

void
edge_clients_fini(struct edge_clients *c)
{
	for (size_t i = 0; i < EDGE_CLIENT_CHAINS; i++)
		ASSERT(list_empty(&c->chains[i]));
	pthread_mutex_destroy(&c->lock);
}

static struct list *
chain_of(struct edge_clients *c, const struct edge_session *es)
{
	return &c->chains[hash_bytes(span_text(es->client_id)) %
			  EDGE_CLIENT_CHAINS];
}

static bool
is_same_client(const struct edge_session *a, const struct edge_session *b)
{
	return strcmp(a->client_id, b->client_id) == 0 &&
	       strcmp(a->owner, b->owner) == 0;
}

static struct edge_session *
find_same(struct list *chain, const struct edge_session *es)
{
	LIST_FOREACH (node, chain) {
		struct edge_session *other =
		    LIST_ENTRY(node, struct edge_session, client_node);

		if (is_same_client(other, es))
			return other;
	}
	return NULL;
}

struct edge_session *
edge_clients_enter(struct edge_clients *c, struct edge_session *es)
{
	struct list *chain = chain_of(c, es);
	struct edge_session *old;

	ASSERT(list_empty(&es->client_node));
	pthread_mutex_lock(&c->lock);
	old = find_same(chain, es);
	if (old)
		list_remove(&old->client_node);
	list_append(chain, &edge_session_get(es)->client_node);
	pthread_mutex_unlock(&c->lock);
	return old;
}

void
edge_clients_leave(struct edge_clients *c, struct edge_session *es)
{
	bool was_inside;

	pthread_mutex_lock(&c->lock);
	was_inside = !list_empty(&es->client_node);
	list_remove(&es->client_node);
	pthread_mutex_unlock(&c->lock);
	if (was_inside)
		edge_session_put(es);
}

static struct edge_session *
find_in_chain(struct list *chain, const char *session_id)
{
	LIST_FOREACH (node, chain) {
		struct edge_session *es =
		    LIST_ENTRY(node, struct edge_session, client_node);

		if (strcmp(es->id, session_id) == 0)
			return edge_session_get(es);
	}
	return NULL;
}

struct edge_session *
edge_clients_find(struct edge_clients *c, const char *session_id)
{
	struct edge_session *found = NULL;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; !found && i < EDGE_CLIENT_CHAINS; i++)
		found = find_in_chain(&c->chains[i], session_id);
	pthread_mutex_unlock(&c->lock);
	return found;
}
