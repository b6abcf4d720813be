/* Reads the keys of an endpoint, and its life. */
#include "config/schema.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "tls/stream.h"

#define LABEL_MAX_BYTES 1024
#define LABEL_NAME_MAX_BYTES 64

struct endpoint *
endpoint_new(void)
{
	struct endpoint *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	atomic_init(&e->refs, 1);
	e->policy_script = -1;
	return e;
}

struct endpoint *
endpoint_get(struct endpoint *e)
{
	atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
	return e;
}

static void
endpoint_free(struct endpoint *e)
{
	for (size_t i = 0; i < e->label_count; i++) {
		free(e->label_names[i]);
		free(e->label_values[i]);
	}
	free(e->label_names);
	free(e->label_values);
	free(e->termination.certificate);
	free(e->termination.alpn);
	trust_put(e->termination.trust);
	free(e->upstream_tls.server_name);
	free(e->upstream_tls.certificate);
	trust_put(e->upstream_tls.trust);
	netset_free(e->allow);
	netset_free(e->deny);
	free(e->upstreams);
	if (e->agents != NULL)
		e->release_agents(e->agents);
	certificate_put(e->own_certificate);
	free(e->bind_crt);
	free(e->bind_key);
	free(e->metadata);
	free(e->name);
	free(e->url);
	free(e);
}

void
endpoint_put(struct endpoint *e)
{
	if (e == NULL)
		return;
	/* Whoever frees must see what the others wrote before they let go. */
	if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1)
		endpoint_free(e);
}

bool
endpoint_allows(const struct endpoint *e, const struct addr *client)
{
	if (e->allow == NULL && e->deny == NULL)
		return true;
	if (client->family != ADDR_IP4 && client->family != ADDR_IP6)
		return false;
	if (e->deny != NULL && netset_lookup(e->deny, client, NULL))
		return false;
	return e->allow != NULL && netset_lookup(e->allow, client, NULL);
}

/* The same in every process and after every restart: logs refer to it. */
static void
make_id(struct endpoint *e, const char *of)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	uint64_t hash = hash_stable(span_text(of));
	char *out = e->id;

	memcpy(out, "ep_", 3);
	out += 3;
	for (int shift = 60; shift >= 0; shift -= 5)
		*out++ = digits[(hash >> shift) & 31];
	*out = '\0';
}

struct endpoint *
endpoint_new_bound(const struct snapshot *s, const struct host *domain)
{
	struct endpoint *e = endpoint_new();

	if (e == NULL)
		return NULL;
	e->index = SIZE_MAX;
	e->domain = *domain;
	e->terminate_at = TERMINATE_UPSTREAM;
	e->termination.min_version = TLS_VERSION_1_2;
	e->termination.max_version = TLS_VERSION_1_3;
	e->handshake_ms = s->timeouts.handshake_ms;
	e->connect_ms = s->timeouts.connect_ms;
	e->idle_ms = s->timeouts.idle_ms;
	e->metadata = strdup("");
	if (asprintf(&e->url, "tls://%s", domain->text) < 0)
		e->url = NULL;
	if (e->metadata != NULL && e->url != NULL) {
		make_id(e, e->url);
		return e;
	}
	endpoint_put(e);
	return NULL;
}

static bool
is_any_name(const char *text)
{
	return !strcmp(text, "tls://") || !strcmp(text, "tls://*");
}

static bool
is_random_url(const struct node *n)
{
	return n->kind == NODE_SCALAR && !strcmp(n->text, "tls://");
}

/* "tls://" means any name: a file says that with edge.default_endpoint, where
 * it is plain to see. An agent's means a random one. */
static bool
parse_url(struct reader *r, const struct node *n, const struct key *key,
    struct endpoint *e)
{
	const char *why;

	if (r->file == FILE_AGENT && is_random_url(n))
		return false;
	if (is_any_name(n->text)) {
		if (n->origin.line == 0 && r->file == FILE_EDGE)
			return true;
		reader_complain(r, &n->origin,
		    r->file == FILE_AGENT
			? "'%s': '%s' names nothing; leave it out for a "
			  "random name"
			: "'%s': '%s' names nothing; give the endpoint a "
			  "name and set 'edge.default_endpoint' to it",
		    key->name, n->text);
		return false;
	}
	if (host_parse_url(span_text(n->text), &e->domain, &why) == 0)
		return true;
	reader_complain(r, &n->origin,
	    "'%s': '%s' is not 'tls://' and a name: %s", key->name, n->text,
	    why);
	return false;
}

void
read_url(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct endpoint *e = target;

	if (reader_text(r, n, key) == NULL || !parse_url(r, n, key, e))
		return;
	if (asprintf(&e->url, "tls://%s", e->domain.text) < 0) {
		e->url = NULL;
		reader_no_memory(r);
		return;
	}
	make_id(e, e->url);
}

void
read_terminate_at(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct endpoint *e = target;
	int word = reader_word(r, n, key);

	if (word == TERMINATE_AGENT && r->file == FILE_EDGE)
		reader_complain(r, &n->origin,
		    "'%s: agent' is for an agent's file: the endpoints of "
		    "agents are not configured at the edge",
		    key->name);
	else if (word >= 0)
		e->terminate_at = (enum terminate_at)word;
}

void
read_upstream_address(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct upstream_entry *entry = target;
	const char *text = reader_text(r, n, key), *why;

	if (text != NULL && upstream_address_parse(span_text(text),
				&entry->upstream.address, &why) < 0)
		reader_complain(
		    r, &n->origin, "'%s': '%s': %s", key->name, text, why);
}

/* `alone`: it is not one of a list. */
static void
check_upstream_keys(struct reader *r, const struct node *n, bool alone)
{
	const struct node *url = node_get(n, "url");
	const struct node *proxy = node_get(n, "proxy_protocol");
	const struct node *address = node_get(n, "address");

	if (r->file == FILE_EDGE)
		url = proxy = NULL; /* has been refused */
	if (n->kind == NODE_MAP && address == NULL && url == NULL)
		reader_complain(r, &n->origin, "'address' is missing");
	if (address != NULL && url != NULL)
		reader_complain(r, &url->key_origin,
		    "'url' and 'address' are the same: one of them");
	if (proxy != NULL && !alone)
		reader_complain(r, &proxy->key_origin,
		    "'proxy_protocol' is for all upstreams alike: set "
		    "'proxy_proto' of the endpoint");
}

static void
read_upstream(struct reader *r, const struct node *n, const struct key *key,
    struct endpoint *e, size_t index)
{
	struct upstream_entry entry = { 0 };

	section_defaults(r, &schema_upstream, &entry);
	if (n->kind == NODE_SCALAR)
		read_upstream_address(r, n, key, &entry);
	else
		section_read(r, n, key->name, &schema_upstream, &entry);
	check_upstream_keys(r, n, e->upstream_count == 1);
	e->upstreams[index] = entry.upstream;
	if (entry.proxy_proto != 0)
		e->proxy_proto = entry.proxy_proto;
}

static void
check_same_upstream(struct reader *r, const struct node *n,
    const struct endpoint *e, size_t index)
{
	const char *text = e->upstreams[index].address.text;

	for (size_t i = 0; i < index && text[0] != '\0'; i++)
		if (!strcmp(e->upstreams[i].address.text, text))
			reader_complain(r, &n->origin,
			    "upstream '%s' is listed twice; give it a weight",
			    text);
}

void
read_upstreams(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct endpoint *e = target;
	size_t count = n->kind == NODE_LIST ? n->item_count : 1;

	if (n->kind == NODE_LIST && !reader_list(r, n, key))
		return;
	e->upstreams = reader_array(r, count, sizeof(*e->upstreams));
	if (e->upstreams == NULL)
		return;
	e->upstream_count = count;
	if (n->kind != NODE_LIST) {
		read_upstream(r, n, key, e, 0);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		read_upstream(r, n->items[i], key, e, i);
		check_same_upstream(r, n->items[i], e, i);
	}
}

void
read_restriction(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	section_read(r, n, key->name, key->section, target);
	if (n->kind != NODE_MAP || node_get(n, "allow") != NULL)
		return;
	if (node_get(n, "deny") != NULL)
		reader_complain(r, &n->origin,
		    "'deny' without 'allow' lets nobody in; to let everybody "
		    "else in add 'allow: [\"0.0.0.0/0\", \"::/0\"]'");
	else
		reader_complain(r, &n->origin, "'allow' is missing");
}

void
read_proxy_tlvs(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct endpoint *e = target;

	if (!reader_list(r, n, key))
		return;
	for (size_t i = 0; i < n->item_count; i++) {
		int word = reader_word(r, n->items[i], key);

		if (word >= 0)
			e->proxy_tlvs |= 1u << word;
	}
	/* It travels within the other. */
	if (e->proxy_tlvs & PROXY_SEND_CLIENT_CERTIFICATE)
		e->proxy_tlvs |= PROXY_SEND_SSL;
}

void
read_endpoint_policy(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct endpoint *e = target;

	e->policy_script = reader_script(r, n, key);
}

void
read_metadata(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct endpoint *e = target;

	/* An empty text is what there is without the key. */
	if (n->kind == NODE_SCALAR && n->quoted && n->text[0] == '\0')
		return;
	if (n->kind == NODE_SCALAR && n->origin.line == 0 && n->text[0] == '\0')
		return;
	read_text(r, n, key, e);
}

static void
add_label(struct reader *r, const struct node *n, const struct key *key,
    struct endpoint *e)
{
	char *name, *value;

	if (n->kind != NODE_SCALAR) {
		reader_complain(r, &n->origin,
		    "'%s': the value of '%s' must be a text", key->name,
		    n->key);
		return;
	}
	if (strlen(n->key) > LABEL_NAME_MAX_BYTES ||
	    strlen(n->text) > LABEL_MAX_BYTES) {
		reader_complain(r, &n->key_origin,
		    "'%s': a name has at most %d bytes, a value %d", key->name,
		    LABEL_NAME_MAX_BYTES, LABEL_MAX_BYTES);
		return;
	}
	name = reader_copy(r, n->key);
	value = reader_copy(r, n->text);
	e->label_names[e->label_count] = name;
	e->label_values[e->label_count++] = value;
}

void
read_labels(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct endpoint *e = target;

	if (n->kind != NODE_MAP || n->item_count > key->max) {
		reader_complain(r, &n->origin,
		    "'%s': expected names and values, at most %" PRIu64,
		    key->name, key->max);
		return;
	}
	e->label_names = reader_array(r, n->item_count, sizeof(char *));
	e->label_values = reader_array(r, n->item_count, sizeof(char *));
	if (e->label_names == NULL || e->label_values == NULL)
		return;
	for (size_t i = 0; i < n->item_count; i++)
		add_label(r, n->items[i], key, e);
}

void
read_endpoint_name(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct endpoint *e = target;
	size_t known;

	read_text(r, n, key, e);
	if (e->name == NULL)
		return;
	for (const char *at = e->name; *at != '\0'; at++)
		if (*at <= ' ' || *at == 0x7f || e->name[0] == '-') {
			reader_complain(r, &n->origin,
			    "'%s' must not hold blanks nor begin with '-'",
			    key->name);
			return;
		}
	switch (index_add(&r->names, span_text(e->name), e->index, &known)) {
	case -EEXIST:
		reader_complain(r, &n->origin,
		    "'%s': '%s' is an endpoint already, in line %u", key->name,
		    e->name, r->endpoint_nodes[known]->origin.line);
		break;
	case -ENOMEM:
		reader_no_memory(r);
		break;
	}
}

/* What one key brings depends on others, in whatever order they stand. */
static void
finish_agent_endpoint(struct endpoint *e, const struct node *n)
{
	const struct node *url = node_get(n, "url");

	if (node_get(n, "agent_tls_termination") != NULL &&
	    node_get(n, "terminate_at") == NULL)
		e->terminate_at = TERMINATE_AGENT;
	if (url == NULL || is_random_url(url)) {
		e->is_random = true;
		make_id(e, e->name != NULL ? e->name : "");
	}
}

static void
read_endpoint(struct reader *r, const struct node *n, const struct key *key)
{
	struct snapshot *s = r->s;
	struct endpoint *e = endpoint_new();

	if (e == NULL) {
		reader_no_memory(r);
		return;
	}
	e->index = s->endpoint_count;
	r->endpoint_nodes[e->index] = n;
	s->endpoints[s->endpoint_count++] = e;
	section_defaults(r, &schema_endpoint, e);
	section_read(r, n, key->name, &schema_endpoint, e);
	if (e->metadata == NULL)
		e->metadata = reader_copy(r, "");
	if (n->kind != NODE_MAP)
		return;
	if (r->file == FILE_AGENT)
		finish_agent_endpoint(e, n);
	else if (node_get(n, "url") == NULL)
		reader_complain(r, &n->origin, "'url' is missing");
}

void
read_endpoints(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct snapshot *s = target;

	if (!reader_list(r, n, key))
		return;
	s->endpoints = reader_array(r, n->item_count, sizeof(*s->endpoints));
	r->endpoint_nodes =
	    reader_array(r, n->item_count, sizeof(*r->endpoint_nodes));
	if (s->endpoints == NULL || r->endpoint_nodes == NULL)
		return;
	for (size_t i = 0; i < n->item_count; i++)
		read_endpoint(r, n->items[i], key);
}
