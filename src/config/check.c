/* Checks what one key alone cannot show. */
#include "config/schema.h"

#include <errno.h>
#include <stdlib.h>

#include "base/nearest.h"

#define DEFAULT_LISTEN ":443"

static bool
is_wildcard(const struct addr *a)
{
	static const uint8_t zeros[16];

	return (a->family == ADDR_IP4 || a->family == ADDR_IP6) &&
	       !memcmp(a->bytes, zeros, a->family == ADDR_IP4 ? 4 : 16);
}

/* Would a connection to `to` reach a socket that is bound to `bound`? The IPv6
 * wildcard takes IPv4 too, and 0.0.0.0 and :: are ways to say "this host". */
static bool
reaches(const struct addr *to, const struct addr *bound)
{
	if (addr_same_ip(to, bound))
		return true;
	if (is_wildcard(to))
		return is_wildcard(bound) || addr_is_loopback(bound);
	if (!is_wildcard(bound) || !addr_is_loopback(to))
		return false;
	return bound->family == ADDR_IP6 || to->family == ADDR_IP4;
}

static bool
is_localhost(const struct host *h)
{
	static const char suffix[] = ".localhost";
	size_t len = sizeof(suffix) - 1;

	if (!strcmp(h->text, "localhost"))
		return true;
	return h->len > len && !strcmp(h->text + h->len - len, suffix);
}

/* A connection would come back to us for ever. */
static bool
is_own_listener(const struct upstream_address *u, const struct addr *bound)
{
	if (u->kind == UPSTREAM_UNIX || u->port != bound->port || u->port == 0)
		return false;
	if (u->kind == UPSTREAM_IP)
		return reaches(&u->addr, bound);
	return is_localhost(&u->name) &&
	       (is_wildcard(bound) || addr_is_loopback(bound));
}

static const struct origin *
upstream_origin(const struct node *endpoint, size_t index)
{
	const struct node *n = node_get(endpoint, "upstream");

	return n->kind == NODE_LIST ? &n->items[index]->origin : &n->origin;
}

static void
check_loops(struct reader *r, const struct endpoint *e, const struct node *n)
{
	const struct snapshot *s = r->s;

	for (size_t i = 0; i < e->upstream_count; i++) {
		const struct upstream_address *u = &e->upstreams[i].address;

		for (size_t k = 0; k < s->listen_count; k++) {
			if (!is_own_listener(u, &s->listens[k].addr))
				continue;
			reader_complain(r, upstream_origin(n, i),
			    "upstream '%s' is this edge's own listener '%s'",
			    u->text, s->listens[k].address);
			break;
		}
	}
}

static void
check_upstream(struct reader *r, const struct endpoint *e, const struct node *n)
{
	bool has_policy = r->s->edge_script >= 0 || e->policy_script >= 0;
	const struct node *upstream;

	if (node_get(n, "upstream") == NULL && !has_policy)
		reader_complain(r, &n->origin,
		    "'upstream' is missing, and there is no policy that could "
		    "choose one");
	if (e->proxy_tlvs != 0 && e->proxy_proto != 2)
		reader_complain(r, &node_get(n, "proxy_tlvs")->origin,
		    "'proxy_tlvs' needs 'proxy_proto: 2'");
	upstream = node_get(n, "upstream");
	if (upstream != NULL && node_get(upstream, "proxy_protocol") != NULL &&
	    node_get(n, "proxy_proto") != NULL)
		reader_complain(r, &node_get(n, "proxy_proto")->key_origin,
		    "'proxy_proto' and 'proxy_protocol' are the same: one of "
		    "them");
}

static void
add_route(struct reader *r, struct endpoint *e, const struct node *n)
{
	const struct endpoint *first;
	const struct origin *where, *other;
	int err;

	if (e->domain.len == 0) {
		/* Any name: the default can never be reached beside it. */
		if (e->url != NULL)
			r->s->default_endpoint = e;
		return;
	}
	err = routes_add(r->s->routes, &e->domain, e);
	if (err == -ENOMEM) {
		reader_no_memory(r);
	} else if (err == -EEXIST) {
		first = routes_get(r->s->routes, &e->domain);
		where = &node_get(n, "url")->origin;
		other =
		    &node_get(r->endpoint_nodes[first->index], "url")->origin;
		reader_complain(r, where,
		    "'%s' is an endpoint already, at %s:%u:%u", e->url,
		    other->source, other->line, other->column);
	}
}

static void
inherit_timeouts(struct endpoint *e, const struct timeout_settings *timeouts)
{
	if (e->handshake_ms == 0)
		e->handshake_ms = timeouts->handshake_ms;
	if (e->connect_ms == 0)
		e->connect_ms = timeouts->connect_ms;
	if (e->idle_ms == 0)
		e->idle_ms = timeouts->idle_ms;
}

static void
complain_of_default(struct reader *r)
{
	const struct node *n = r->default_endpoint;
	const struct snapshot *s = r->s;
	const char **urls = reader_array(r, s->endpoint_count, sizeof(*urls));
	const char *near;
	size_t count = 0;

	if (urls == NULL)
		return;
	for (size_t i = 0; i < s->endpoint_count; i++)
		if (s->endpoints[i]->url != NULL)
			urls[count++] = s->endpoints[i]->url;
	near = nearest_word(span_text(n->text), urls, count);
	if (near != NULL)
		reader_complain(r, &n->origin,
		    "'default_endpoint': there is no endpoint '%s'; did you "
		    "mean '%s'?",
		    n->text, near);
	else
		reader_complain(r, &n->origin,
		    "'default_endpoint': there is no endpoint '%s'", n->text);
	free(urls);
}

static void
find_default_endpoint(struct reader *r)
{
	struct host domain;

	if (r->default_endpoint == NULL || r->s->default_endpoint != NULL)
		return;
	if (host_parse_url(
		span_text(r->default_endpoint->text), &domain, NULL) == 0)
		r->s->default_endpoint = routes_get(r->s->routes, &domain);
	if (r->s->default_endpoint == NULL)
		complain_of_default(r);
}

void
check_endpoints(struct reader *r, const struct node *root)
{
	struct snapshot *s = r->s;

	for (size_t i = 0; i < s->endpoint_count; i++) {
		struct endpoint *e = s->endpoints[i];
		const struct node *n = r->endpoint_nodes[i];

		if (n->kind != NODE_MAP)
			continue;
		inherit_timeouts(e, &s->timeouts);
		add_route(r, e, n);
		check_upstream(r, e, n);
		check_termination(r, e, n);
		check_loops(r, e, n);
	}
	find_default_endpoint(r);
	check_default_termination(r);
	if (s->endpoint_count > 0 || r->failed)
		return;
	if (r->file == FILE_AGENT)
		reader_complain(
		    r, &root->origin, "there is nothing to serve: no endpoint");
	else if (s->edge_script < 0 && !s->agents.enabled)
		reader_complain(r, &root->origin,
		    "there is nothing to serve: no endpoint and no policy");
}

static bool
same_listener(const struct listen_settings *a, const struct listen_settings *b)
{
	return a->addr.port != 0 && a->addr.port == b->addr.port &&
	       addr_same_ip(&a->addr, &b->addr);
}

static void
check_listeners(struct reader *r, const struct node *root)
{
	const struct snapshot *s = r->s;
	const struct node *edge = node_get(root, "edge");
	const struct node *list = edge ? node_get(edge, "listen") : NULL;

	for (size_t i = 0; i < s->listen_count; i++)
		for (size_t k = 0; k < i; k++)
			if (same_listener(&s->listens[k], &s->listens[i]))
				reader_complain(r, &list->items[i]->origin,
				    "'%s' is listened on already",
				    s->listens[i].address);
}

static void
add_default_listener(struct reader *r)
{
	struct node n = { .kind = NODE_SCALAR };
	char text[] = DEFAULT_LISTEN;
	struct snapshot *s = r->s;

	if (s->listen_count > 0 || r->failed)
		return;
	n.text = text;
	s->listens = reader_array(r, 1, sizeof(*s->listens));
	if (s->listens == NULL)
		return;
	s->listen_count = 1;
	section_defaults(r, &schema_listener, &s->listens[0]);
	read_listen_address(r, &n, &schema_listener.keys[0], &s->listens[0]);
}

static void
check_policy(struct reader *r, const struct node *root)
{
	const struct policy_options *o = &r->s->policy;
	const struct node *self = node_get(root, reader_self(r));
	const struct node *n = self ? node_get(self, "policy") : NULL;

	if (n == NULL || r->failed)
		return;
	if (o->run_memory_bytes > o->memory_bytes)
		reader_complain(r, &n->origin,
		    "'run_memory' is more than 'memory' of the whole state");
	if (o->cpu_ms > o->wall_ms)
		reader_complain(r, &n->origin,
		    "'cpu' is more than 'wall', the time of a run in all");
}

void
check_snapshot(struct reader *r, const struct node *root)
{
	if (r->file == FILE_EDGE) {
		check_listeners(r, root);
		add_default_listener(r);
	}
	check_policy(r, root);
	check_endpoints(r, root);
	if (r->file == FILE_EDGE)
		check_agents(r, root);
}
