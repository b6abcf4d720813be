/* Reads what an edge is told of its agents, and checks it. */
#include "config/schema.h"

#include <stdlib.h>

/* Random names are one label below the base domain. */
#define RANDOM_LABEL_MAX 63

void
read_agents(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	r->s->agents.enabled = true;
	section_defaults(r, key->section, target);
	section_read(r, n, key->name, key->section, target);
}

/* Folded, and no wildcard. */
static bool
read_host(struct reader *r, const struct node *n, const struct key *key,
    struct host *out)
{
	const char *text = reader_text(r, n, key), *why;

	if (text == NULL)
		return false;
	if (host_parse(span_text(text), out, &why) == 0)
		return true;
	reader_complain(r, &n->origin, "'%s': '%s' is no host name: %s",
	    key->name, text, why);
	return false;
}

void
read_base_domain(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct snapshot *s = target;

	if (!read_host(r, n, key, &s->base_domain))
		return;
	if (s->base_domain.len + 1 + RANDOM_LABEL_MAX > HOST_MAX_BYTES)
		reader_complain(r, &n->origin,
		    "'%s' is too long for names below it", key->name);
}

static bool
is_listed(const struct agents_settings *a, const struct host *name)
{
	for (size_t i = 0; i < a->server_name_count; i++)
		if (span_equal(host_span(&a->server_names[i]), host_span(name)))
			return true;
	return false;
}

void
read_server_names(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct agents_settings *a = &r->s->agents;

	(void)target;
	if (!reader_list(r, n, key))
		return;
	a->server_names =
	    reader_array(r, n->item_count, sizeof(*a->server_names));
	for (size_t i = 0; a->server_names != NULL && i < n->item_count; i++) {
		struct host name;

		if (!read_host(r, n->items[i], key, &name))
			continue;
		if (is_listed(a, &name))
			reader_complain(r, &n->items[i]->origin,
			    "'%s': '%s' is listed twice", key->name, name.text);
		else
			a->server_names[a->server_name_count++] = name;
	}
}

static const struct node *
node_at(const struct node *root, const char *section, const char *key)
{
	const struct node *n = node_get(root, section);

	return n != NULL ? node_get(n, key) : NULL;
}

/* Without `edge.agents` what is for agents would do nothing. */
static void
check_needless(struct reader *r, const struct node *root)
{
	const struct node *base = node_at(root, "edge", "base_domain");
	const struct node *listen = node_at(root, "edge", "listen");

	if (base != NULL)
		reader_complain(r, &base->key_origin,
		    "'base_domain' needs 'edge.agents': only agents get "
		    "names below it");
	for (size_t i = 0; i < r->s->listen_count; i++)
		if (r->s->listens[i].serves == SERVES_AGENTS)
			reader_complain(r, &listen->items[i]->origin,
			    "'serves: agents' needs 'edge.agents'");
}

static bool
serves(const struct snapshot *s, enum serves whom)
{
	for (size_t i = 0; i < s->listen_count; i++)
		if (s->listens[i].serves == whom ||
		    s->listens[i].serves == SERVES_BOTH)
			return true;
	return false;
}

/* Either would be in vain without the other. */
static void
check_served(struct reader *r, const struct node *root)
{
	const struct node *listen = node_at(root, "edge", "listen");

	if (listen == NULL || r->failed)
		return;
	if (!serves(r->s, SERVES_AGENTS))
		reader_complain(r, &listen->key_origin,
		    "no listener serves agents, and there is 'edge.agents'");
	if (!serves(r->s, SERVES_CLIENTS))
		reader_complain(
		    r, &listen->key_origin, "no listener serves clients");
}

/* An agent that asks for the name would never reach an endpoint. */
static void
check_reserved(struct reader *r, const struct host *name, const struct node *at)
{
	const struct endpoint *e = routes_get(r->s->routes, name);

	if (e != NULL)
		reader_complain(r,
		    &node_get(r->endpoint_nodes[e->index], "url")->origin,
		    "'%s' is reserved for agents, at %s:%u:%u", e->url,
		    at->origin.source, at->origin.line, at->origin.column);
}

static void
check_server_name(
    struct reader *r, const struct host *name, const struct node *at)
{
	check_reserved(r, name, at);
	if (r->s->agents.certificate != NULL || r->s->local_ca ||
	    certificates_cover(r, name))
		return;
	reader_complain(r, &at->origin,
	    "no certificate covers '%s': add one to 'certificates', name one "
	    "with 'certificate', or set 'edge.local_ca: auto'",
	    name->text);
}

/* The node of a name: those that are wrong have none in the settings. */
static const struct node *
name_node(const struct node *list, const struct host *name)
{
	for (size_t i = 0; i < list->item_count; i++) {
		struct host h;

		if (list->items[i]->kind == NODE_SCALAR &&
		    host_parse(span_text(list->items[i]->text), &h, NULL) ==
			0 &&
		    span_equal(host_span(&h), host_span(name)))
			return list->items[i];
	}
	return list;
}

void
check_agents(struct reader *r, const struct node *root)
{
	const struct agents_settings *a = &r->s->agents;
	const struct node *n = node_at(root, "edge", "agents");

	if (!a->enabled) {
		check_needless(r, root);
		return;
	}
	if (a->certificate != NULL)
		certificates_need_label(
		    r, node_get(n, "certificate"), a->certificate);
	for (size_t i = 0; i < a->server_name_count; i++)
		check_server_name(r, &a->server_names[i],
		    name_node(
			node_get(n, "server_names"), &a->server_names[i]));
	check_served(r, root);
}
