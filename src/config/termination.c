/* Reads how an endpoint ends the client's TLS and speaks it to upstreams, and
 * checks that its keys fit together. */
#include "config/schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ALPN_NAME_MAX 255 /* RFC 7301 section 3.1 */
#define ERROR_SIZE 512

/* What was read from the same files is the same. */
struct trust_reading {
	struct index files; /* the paths, joined, to a place in `list` */
	char **keys;
	struct trust **list;
	size_t count;
};

void
trusts_done(struct reader *r)
{
	struct trust_reading *t = r->trusts;

	if (t == NULL)
		return;
	for (size_t i = 0; i < t->count; i++) {
		free(t->keys[i]);
		trust_put(t->list[i]);
	}
	free(t->keys);
	free(t->list);
	index_fini(&t->files);
	free(t);
	r->trusts = NULL;
}

static void
add_paths(FILE *out, const struct path_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		fprintf(out, "%s\n", list->paths[i]);
	fputc('\n', out);
}

/* By what a trust is known; NULL without memory. */
static char *
trust_key(
    struct reader *r, const struct path_list *cas, const struct path_list *crls)
{
	char *key = NULL;
	size_t size;
	FILE *out = open_memstream(&key, &size);

	if (out == NULL) {
		reader_no_memory(r);
		return NULL;
	}
	add_paths(out, cas);
	add_paths(out, crls);
	if (fclose(out) == 0)
		return key;
	reader_no_memory(r);
	free(key);
	return NULL;
}

/* The node of the path that an error is about, if it is one of the list. */
static const struct node *
find_blamed(
    const struct node *n, const struct path_list *list, const char *error)
{
	for (size_t i = 0; i < list->count; i++)
		if (error_is_about(error, list->paths[i]))
			return n->kind == NODE_LIST ? n->items[i] : n;
	return NULL;
}

/* Where a list of paths was written; `crls` may be NULL. */
struct trust_source {
	const struct node *cas, *crls;
};

static struct trust *
load_trust(struct reader *r, const struct trust_source *where,
    const struct path_list *cas, const struct path_list *crls)
{
	char storage[ERROR_SIZE];
	const struct node *at;
	struct text error;
	struct trust *t;

	text_init(&error, storage, sizeof(storage));
	t = trust_load((const char *const *)cas->paths, cas->count,
	    (const char *const *)crls->paths, crls->count, &error);
	if (t != NULL)
		return t;
	at = find_blamed(where->cas, cas, storage);
	if (at == NULL && where->crls != NULL)
		at = find_blamed(where->crls, crls, storage);
	reader_complain(
	    r, at != NULL ? &at->origin : &where->cas->origin, "%s", storage);
	return NULL;
}

static bool
make_room(struct reader *r)
{
	struct trust_reading *t = r->trusts;
	void *grown;

	if (t == NULL)
		t = r->trusts = reader_array(r, 1, sizeof(*t));
	if (t == NULL)
		return false;
	grown = reader_grow(r, t->keys, t->count, sizeof(*t->keys));
	if (grown == NULL)
		return false;
	t->keys = grown;
	grown = reader_grow(r, t->list, t->count, sizeof(*t->list));
	if (grown == NULL)
		return false;
	t->list = grown;
	return true;
}

/* Those files' trust, with a reference; each set of files is read once. */
static struct trust *
find_trust(struct reader *r, const struct trust_source *where,
    const struct path_list *cas, const struct path_list *crls)
{
	char *key = trust_key(r, cas, crls);
	struct trust_reading *t;
	struct trust *trust;
	size_t at;

	if (key == NULL || !make_room(r))
		goto fail;
	t = r->trusts;
	if (index_find(&t->files, span_text(key), &at)) {
		free(key);
		return trust_get(t->list[at]);
	}
	trust = load_trust(r, where, cas, crls);
	if (trust == NULL)
		goto fail;
	if (index_add(&t->files, span_text(key), t->count, &at) < 0) {
		trust_put(trust);
		reader_no_memory(r);
		goto fail;
	}
	t->keys[t->count] = key;
	t->list[t->count++] = trust;
	return trust_get(trust);
fail:
	free(key);
	return NULL;
}

struct trust *
reader_trust(
    struct reader *r, const struct node *n, const struct path_list *cas)
{
	static const struct path_list none;
	struct trust_source where = { .cas = n };

	return find_trust(r, &where, cas, &none);
}

void
read_mutual_tls(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct endpoint *e = target;
	struct mutual_tls_entry entry = { .mode = CLIENT_AUTH_REQUIRE - 1 };
	struct trust_source where = { 0 };

	section_read(r, n, key->name, key->section, &entry);
	if (entry.cas.count > 0) {
		where.cas = node_get(n, "cas");
		where.crls = node_get(n, "crls");
		e->termination.auth = (enum client_auth)(entry.mode + 1);
		trust_put(e->termination.trust);
		e->termination.trust =
		    find_trust(r, &where, &entry.cas, &entry.crls);
	}
	path_list_fini(&entry.cas);
	path_list_fini(&entry.crls);
}

static bool
has_protocol(const struct termination_settings *t, struct span name)
{
	for (size_t at = 0; at < t->alpn_len; at += 1 + t->alpn[at])
		if (span_equal(span_of(t->alpn + at + 1, t->alpn[at]), name))
			return true;
	return false;
}

static void
add_protocol(struct reader *r, const struct node *n, const struct key *key,
    struct termination_settings *t)
{
	const char *text = reader_text(r, n, key);
	struct span name;

	if (text == NULL)
		return;
	name = span_text(text);
	if (name.len > ALPN_NAME_MAX) {
		reader_complain(r, &n->origin,
		    "'%s': a protocol's name has at most %d bytes", key->name,
		    ALPN_NAME_MAX);
		return;
	}
	if (has_protocol(t, name)) {
		reader_complain(r, &n->origin, "'%s': '%s' is listed twice",
		    key->name, text);
		return;
	}
	t->alpn[t->alpn_len++] = (uint8_t)name.len;
	memcpy(t->alpn + t->alpn_len, name.data, name.len);
	t->alpn_len += name.len;
}

void
read_alpn(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct termination_settings *t =
	    &((struct endpoint *)target)->termination;

	if (!reader_list(r, n, key))
		return;
	t->alpn = reader_array(r, n->item_count, 1 + ALPN_NAME_MAX);
	if (t->alpn == NULL)
		return;
	for (size_t i = 0; i < n->item_count; i++)
		add_protocol(r, n->items[i], key, t);
}

void
read_verify(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct upstream_tls_settings *u = target;
	static const struct key boolean = {
		.name = "verify", .type = "boolean", .size = sizeof(bool)
	};
	bool on = true;

	(void)key;
	read_boolean(r, n, &boolean, &on);
	u->verify = on ? VERIFY_ON : VERIFY_OFF;
}

void
read_upstream_cas(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct upstream_tls_settings *u = target;
	struct path_list cas = { 0 };
	struct key paths = *key;

	paths.offset = 0;
	read_paths(r, n, &paths, &cas);
	if (cas.count > 0)
		u->trust = reader_trust(r, n, &cas);
	path_list_fini(&cas);
}

void
read_server_name(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct upstream_tls_settings *u = target;
	const char *text = reader_text(r, n, key), *why;
	struct addr addr;
	struct host host;

	if (text == NULL)
		return;
	if (addr_parse(span_text(text), &addr) == 0) {
		u->server_name = reader_copy(r, text);
	} else if (host_parse(span_text(text), &host, &why) == 0) {
		u->server_name = reader_copy(r, host.text);
	} else {
		reader_complain(r, &n->origin,
		    "'%s': '%s' is no IP address, and no name: %s", key->name,
		    text, why);
	}
}

static bool
has_policy(const struct reader *r, const struct endpoint *e)
{
	return r->s->edge_script >= 0 || e->policy_script >= 0;
}

const char *
reader_self(const struct reader *r)
{
	return r->file == FILE_AGENT ? "agent" : "edge";
}

bool
reader_ends_here(const struct reader *r, const struct endpoint *e)
{
	return e->terminate_at ==
	       (r->file == FILE_AGENT ? TERMINATE_AGENT : TERMINATE_EDGE);
}

/* What was written to end TLS must not be passed over in silence. */
static void
check_needless(struct reader *r, const struct node *n)
{
	static const char *const keys[] = { "certificate", "min_version",
		"max_version", "alpn", "mutual_tls" };

	for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
		const struct node *at = node_get(n, keys[i]);

		if (at != NULL)
			reader_complain(r, &at->key_origin,
			    "'%s' needs 'terminate_at: %s': the client's "
			    "TLS does not end here",
			    keys[i], reader_self(r));
	}
}

/* Of TLS that ends elsewhere; a policy may still end it here. */
static void
check_idle_keys(
    struct reader *r, const struct endpoint *e, const struct node *n)
{
	const struct node *at = node_get(n, "upstream_tls");

	if (has_policy(r, e))
		return;
	if (at != NULL && e->terminate_at == TERMINATE_UPSTREAM)
		reader_complain(r, &at->key_origin,
		    "'upstream_tls' needs 'terminate_at: %s': what is "
		    "passed on is encrypted already",
		    reader_self(r));
	at = node_get(n, "handshakes_per_second");
	if (at != NULL)
		reader_complain(r, &at->key_origin,
		    "'handshakes_per_second' needs 'terminate_at: %s'",
		    reader_self(r));
	if (e->proxy_tlvs & PROXY_SEND_SSL)
		reader_complain(r, &node_get(n, "proxy_tlvs")->origin,
		    "'ssl' and 'client_certificate' need 'terminate_at: "
		    "%s': otherwise they are not known here",
		    reader_self(r));
}

static bool
leads_to_tls(const struct endpoint *e)
{
	for (size_t i = 0; i < e->upstream_count; i++)
		if (e->upstreams[i].address.tls)
			return true;
	return false;
}

static void
check_upstream_tls(
    struct reader *r, const struct endpoint *e, const struct node *n)
{
	const struct upstream_tls_settings *u = &e->upstream_tls;
	const struct node *at = node_get(n, "upstream_tls");

	if (at == NULL || at->kind != NODE_MAP)
		return;
	if (u->certificate != NULL)
		certificates_need_label(
		    r, node_get(at, "certificate"), u->certificate);
	if (u->trust != NULL && u->verify == VERIFY_OFF)
		reader_complain(r, &node_get(at, "cas")->key_origin,
		    "'cas' has no use with 'verify: false'");
	if (!leads_to_tls(e) && !has_policy(r, e))
		reader_complain(r, &at->key_origin,
		    "'upstream_tls' needs an upstream with 'tls://'");
}

static void
check_versions(struct reader *r, const struct endpoint *e, const struct node *n)
{
	const struct node *at = node_get(n, "min_version");

	/* Of the two, that one was written: the other's default is the
	 * newest. */
	if (e->termination.min_version > e->termination.max_version)
		reader_complain(r,
		    &(at != NULL ? at : node_get(n, "max_version"))->origin,
		    "'min_version' is above 'max_version'");
}

/* Where the certificate was written that the endpoint shows. */
static const struct node *
certificate_node(const struct node *n)
{
	const struct node *own = node_get(n, "agent_tls_termination");
	const struct node *at =
	    own != NULL ? node_get(own, "server_certificate") : NULL;

	return at != NULL ? at : node_get(n, "certificate");
}

/* Shown all the same, since the operator said so. */
static void
warn_of_other_name(
    struct reader *r, const struct endpoint *e, const struct node *n)
{
	const char *label = e->termination.certificate;
	struct key_choice choice;
	bool covers = false;

	if (e->domain.len == 0 || host_is_wildcard(&e->domain) ||
	    !keyring_labelled(r->s->keyring, label, time(NULL), &choice))
		return;
	for (size_t i = 0; i < KEY_KIND_COUNT; i++)
		if (choice.by_kind[i] != NULL &&
		    certificate_covers(
			choice.by_kind[i], host_span(&e->domain)))
			covers = true;
	key_choice_put(&choice);
	if (!covers)
		reader_warn(r, &certificate_node(n)->origin,
		    "the certificate '%s' is not for '%s': clients will not "
		    "accept it",
		    label, e->domain.text);
}

/* Without a certificate an endpoint that ends TLS could serve nobody. */
static void
check_certificate(
    struct reader *r, const struct endpoint *e, const struct node *n)
{
	const char *label = e->termination.certificate;
	const struct node *at = node_get(n, "terminate_at");

	if (label != NULL) {
		/* One of its own was there, or has been complained of. */
		if (node_get(n, "agent_tls_termination") == NULL)
			certificates_need_label(
			    r, node_get(n, "certificate"), label);
		warn_of_other_name(r, e, n);
		return;
	}
	/* Without a label here its own has been complained of. */
	if (r->s->local_ca || node_get(n, "agent_tls_termination") != NULL)
		return;
	if (e->is_random) {
		reader_complain(r, &at->origin,
		    "the edge chooses the name, so that no certificate can "
		    "cover it: name one with 'certificate', or set "
		    "'agent.local_ca: auto'");
		return;
	}
	if (e->domain.len == 0 || certificates_cover(r, &e->domain))
		return;
	if (has_policy(r, e))
		reader_warn(r, &at->origin,
		    "no certificate covers '%s': unless the policy names one, "
		    "clients are refused",
		    e->domain.text);
	else
		reader_complain(r, &at->origin,
		    "no certificate covers '%s': add one to 'certificates', "
		    "or set '%s.local_ca: auto'",
		    e->domain.text, reader_self(r));
}

void
check_termination(struct reader *r, struct endpoint *e, const struct node *n)
{
	if (r->file == FILE_AGENT)
		check_agent_tls(r, e, n);
	if (reader_ends_here(r, e)) {
		check_certificate(r, e, n);
		check_versions(r, e, n);
	} else if (e->terminate_at == TERMINATE_UPSTREAM) {
		check_needless(r, n);
		check_idle_keys(r, e, n);
	} else {
		check_bind(r, e, n);
		check_idle_keys(r, e, n);
	}
	check_upstream_tls(r, e, n);
}

void
check_default_termination(struct reader *r)
{
	const struct endpoint *e = r->s->default_endpoint;

	if (e == NULL || r->default_endpoint == NULL ||
	    e->terminate_at != TERMINATE_EDGE ||
	    e->termination.certificate != NULL || r->s->local_ca)
		return;
	reader_warn(r, &r->default_endpoint->origin,
	    "names that no certificate covers are refused: give '%s' a "
	    "'certificate', or set 'edge.local_ca: auto'",
	    e->url);
}
