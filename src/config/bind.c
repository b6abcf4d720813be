/* Where the TLS of an agent's endpoint ends: what the agent keeps, and what it
 * would send to the edge with the bind. */
#include "config/schema.h"

#include <stdio.h>
#include <stdlib.h>

/* As the agents of others take it, and what must not be taken for a path. */
static bool
is_pem(const struct node *n)
{
	static const char begin[] = "-----BEGIN";

	return n->kind == NODE_SCALAR &&
	       !strncmp(n->text, begin, strlen(begin));
}

static bool
complain_of_pem(struct reader *r, const struct node *map)
{
	bool found = false;

	for (size_t i = 0; map->kind == NODE_MAP && i < map->item_count; i++) {
		if (!is_pem(map->items[i]))
			continue;
		reader_complain(r, &map->items[i]->origin,
		    "'%s': a file is needed, not the PEM text itself",
		    map->items[i]->key);
		found = true;
	}
	return found;
}

/* The pair is one of the keyring's, so that it is watched, stapled and told of
 * like any other; its name is made of the endpoint's. */
static void
add_own_pair(struct reader *r, const struct node *n, struct endpoint *e,
    struct agent_tls_entry *entry)
{
	const struct node *name = node_get(r->endpoint_nodes[e->index], "name");
	struct certificate_settings pair = { .crt = entry->crt,
		.key = entry->key };

	entry->crt = entry->key = NULL;
	if (asprintf(&pair.label, "endpoint %s",
		name != NULL && name->kind == NODE_SCALAR ? name->text : "") <
	    0) {
		pair.label = NULL;
		reader_no_memory(r);
	}
	free(e->termination.certificate);
	e->termination.certificate =
	    pair.label != NULL ? reader_copy(r, pair.label) : NULL;
	certificates_add(r, node_get(n, "server_certificate"),
	    node_get(n, "server_private_key"), &pair);
}

void
read_agent_tls(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct agent_tls_entry entry = { 0 };
	struct endpoint *e = target;

	if (complain_of_pem(r, n))
		return;
	section_read(r, n, key->name, key->section, &entry);
	if (entry.crt != NULL)
		add_own_pair(r, n, e, &entry);
	if (entry.cas.count > 0) {
		trust_put(e->termination.trust);
		e->termination.auth = CLIENT_AUTH_REQUIRE;
		e->termination.trust = reader_trust(r,
		    node_get(n, "mutual_tls_certificate_authorities"),
		    &entry.cas);
	}
	free(entry.crt);
	free(entry.key);
	path_list_fini(&entry.cas);
}

/* Of two keys that say the same one would win in silence. */
static void
check_twice(struct reader *r, const struct node *n, const struct node *own,
    const char *key, const char *own_key)
{
	const struct node *at = node_get(n, key);

	if (at != NULL && node_get(own, own_key) != NULL)
		reader_complain(r, &at->key_origin,
		    "'%s' and 'agent_tls_termination.%s': one of them", key,
		    own_key);
}

void
check_agent_tls(
    struct reader *r, const struct endpoint *e, const struct node *n)
{
	const struct node *own = node_get(n, "agent_tls_termination");

	if (own == NULL)
		return;
	if (e->terminate_at != TERMINATE_AGENT)
		reader_complain(r, &own->key_origin,
		    "'agent_tls_termination' needs 'terminate_at: agent'");
	check_twice(r, n, own, "certificate", "server_certificate");
	check_twice(
	    r, n, own, "mutual_tls", "mutual_tls_certificate_authorities");
}

/* What the bind has no word for would not be done by the edge. */
static void
check_unsendable(struct reader *r, const struct node *n)
{
	static const char *const keys[] = { "min_version", "max_version",
		"alpn" };

	for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
		const struct node *at = node_get(n, keys[i]);

		if (at != NULL)
			reader_complain(r, &at->key_origin,
			    "'%s' needs 'terminate_at: agent': an agent "
			    "cannot tell the edge about it",
			    keys[i]);
	}
}

static void
check_sent_trust(
    struct reader *r, const struct endpoint *e, const struct node *n)
{
	const struct node *mutual = node_get(n, "mutual_tls");
	const struct node *crls = mutual ? node_get(mutual, "crls") : NULL;

	if (mutual == NULL)
		return;
	if (crls != NULL)
		reader_complain(r, &crls->key_origin,
		    "'crls' needs 'terminate_at: agent': an agent cannot "
		    "tell the edge about them");
	if (e->termination.auth == CLIENT_AUTH_REQUEST)
		reader_complain(r, &node_get(mutual, "mode")->origin,
		    "'mode: request' needs 'terminate_at: agent': the edge "
		    "requires a certificate");
}

static const struct certificate_settings *
find_pair(const struct snapshot *s, const char *label, size_t *count)
{
	const struct certificate_settings *found = NULL;

	*count = 0;
	for (size_t i = 0; i < s->certificate_count; i++)
		if (s->certificates[i].label != NULL &&
		    !strcmp(s->certificates[i].label, label)) {
			found = &s->certificates[i];
			++*count;
		}
	return found;
}

static void
set_sent_pair(struct reader *r, struct endpoint *e, const struct node *n)
{
	const struct node *at = node_get(n, "certificate");
	const struct certificate_settings *pair;
	size_t count;

	if (e->termination.certificate == NULL || at == NULL)
		return;
	certificates_need_label(r, at, e->termination.certificate);
	pair = find_pair(r->s, e->termination.certificate, &count);
	if (pair == NULL)
		return;
	if (count > 1)
		reader_complain(r, &at->origin,
		    "'%s' is the name of %zu certificates; an agent can send "
		    "one to the edge",
		    e->termination.certificate, count);
	e->bind_crt = reader_copy(r, pair->crt);
	e->bind_key = reader_copy(r, pair->key != NULL ? pair->key : pair->crt);
}

void
check_bind(struct reader *r, struct endpoint *e, const struct node *n)
{
	check_unsendable(r, n);
	check_sent_trust(r, e, n);
	set_sent_pair(r, e, n);
}
