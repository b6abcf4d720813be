#include "tunnel/edge_offer.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"

void
edge_refuse(struct edge_refusal *why, enum ngrok_error e, struct span subject)
{
	struct text text;

	why->error = e;
	text_init(&text, why->subject, sizeof(why->subject));
	text_add_span(&text, subject);
	if (text.truncated)
		text_clear(&text);
}

static int
refuse(struct edge_refusal *why, enum ngrok_error e, const char *subject)
{
	edge_refuse(why, e, span_text(subject));
	return -1;
}

/* --- the name --- */

bool
edge_name_is_reserved(const struct snapshot *s, struct span name)
{
	for (size_t i = 0; i < s->agents.server_name_count; i++)
		if (span_equal(name, host_span(&s->agents.server_names[i])))
			return true;
	return false;
}

static int
invalid(struct edge_refusal *why, const char *text, const char *reason)
{
	char storage[256];
	struct text subject;

	text_init(&subject, storage, sizeof(storage));
	text_addf(&subject, "'%.100s': %s", text, reason);
	return refuse(why, NGROK_NAME_INVALID, storage);
}

static int
read_subdomain(const struct snapshot *s, const char *text, struct host *name,
    struct edge_refusal *why)
{
	char storage[HOST_MAX_BYTES * 2];
	const char *reason = "it is too long";
	struct text full;

	if (s->base_domain.len == 0)
		return refuse(why, NGROK_NO_BASE_DOMAIN, NULL);
	text_init(&full, storage, sizeof(storage));
	text_addf(&full, "%.253s.%s", text, s->base_domain.text);
	if (host_parse_pattern(text_span(&full), name, &reason) == 0)
		return 0;
	return invalid(why, text, reason);
}

/* The newest form first; empty if none is used. */
static int
read_name(const struct snapshot *s, const struct bind_options *o,
    struct host *name, struct edge_refusal *why)
{
	const char *text = o->domain[0] ? o->domain : o->hostname, *reason;
	int error;

	*name = (struct host){ 0 };
	if (o->url[0]) {
		error = host_parse_url(span_text(o->url), name, &reason);
		return error == 0 ? 0 : invalid(why, o->url, reason);
	}
	if (!text[0])
		return o->subdomain[0]
			   ? read_subdomain(s, o->subdomain, name, why)
			   : 0;
	error = host_parse_pattern(span_text(text), name, &reason);
	return error == 0 ? 0 : invalid(why, text, reason);
}

/* As names_random makes them: one label of its length below the base domain. */
static bool
looks_random(const struct host *name, const struct host *base)
{
	const char *dot = strchr(name->text, '.');

	return base->len > 0 && dot && dot - name->text == RANDOM_LABEL_BYTES &&
	       strcmp(dot + 1, base->text) == 0;
}

/*
 * A random name comes back by its token. One of another credential, or of
 * another edge's key, is as good as none; a session that is refused for it
 * would come again with it for ever.
 */
static bool
read_token(struct edge_session *es, const struct bind *b, struct host *name)
{
	const struct snapshot *s = edge_session_settings(es);

	return b->token[0] &&
	       names_read_bind_token(atomic_load(&es->tunnel->names), es->owner,
		   b->token, name) == 0 &&
	       looks_random(name, &s->base_domain);
}

bool
edge_name_was_given(
    struct edge_session *es, const struct bind *b, const struct host *name)
{
	struct host given;

	return read_token(es, b, &given) &&
	       span_equal(host_span(&given), host_span(name));
}

static int
judge_name(struct edge_session *es, const struct bind *b,
    const struct host *name, struct edge_refusal *why)
{
	const struct snapshot *s = edge_session_settings(es);

	if (edge_name_is_reserved(s, host_span(name)))
		return refuse(why, NGROK_NAME_RESERVED, name->text);
	/* What was given at random needs no rule when it comes again. */
	if (!credential_may_bind(es->credential, name) &&
	    !edge_name_was_given(es, b, name))
		return refuse(why, NGROK_ACL_NAME, name->text);
	if (routes_get(s->routes, name))
		return refuse(why, NGROK_NAME_OF_EDGE, name->text);
	return 0;
}

int
edge_offer_name(struct edge_session *es, const struct bind *b,
    struct host *name, struct edge_refusal *why)
{
	const struct snapshot *s = edge_session_settings(es);

	if (read_name(s, &b->options, name, why) < 0)
		return -1;
	if (name->len > 0 || read_token(es, b, name))
		return judge_name(es, b, name, why);
	*name = (struct host){ 0 };
	return s->base_domain.len > 0 ? 0
				      : refuse(why, NGROK_NO_BASE_DOMAIN, NULL);
}

/* --- what is asked for --- */

int
edge_offer_check(const struct bind *b, struct edge_refusal *why)
{
	const struct bind_options *o = &b->options;

	if (strcmp(b->proto, "tls") != 0)
		return refuse(why, NGROK_PROTO_UNSUPPORTED, b->proto);
	for (size_t i = 0; i < b->bindings.count; i++)
		if (strcmp(b->bindings.items[i], "public") != 0)
			return refuse(why, NGROK_BINDING_UNSUPPORTED,
			    b->bindings.items[i]);
	if (b->ip_policy_ref[0])
		return refuse(why, NGROK_IP_POLICY_REF, NULL);
	if (o->has_traffic_policy)
		return refuse(why, NGROK_TRAFFIC_POLICY, NULL);
	if (o->has_mutual_tls_at_edge && !o->ends_at_edge)
		return refuse(why, NGROK_MUTUAL_TLS_NEEDS_TERMINATION, NULL);
	if (o->has_mutual_tls_at_edge && o->mutual_tls_ca.len == 0)
		return refuse(why, NGROK_MUTUAL_TLS_NO_CA, NULL);
	if (o->deny_cidrs.count > 0 && o->allow_cidrs.count == 0)
		return refuse(why, NGROK_DENY_WITHOUT_ALLOW, NULL);
	return 0;
}

/* --- the endpoint --- */

static int
add_network(struct netset *set, const char *text, struct edge_refusal *why)
{
	char storage[256];
	struct network net;
	const char *reason;
	struct text subject;

	if (network_parse(span_text(text), &net, &reason) < 0) {
		text_init(&subject, storage, sizeof(storage));
		text_addf(&subject, "'%.100s': %s", text, reason);
		return refuse(why, NGROK_CIDR_INVALID, storage);
	}
	if (netset_add(set, &net, 0) < 0)
		return refuse(why, NGROK_NO_MEMORY, NULL);
	return 0;
}

static int
read_networks(const struct message_texts *texts, struct netset **out,
    struct edge_refusal *why)
{
	if (texts->count == 0)
		return 0;
	*out = netset_new();
	if (!*out)
		return refuse(why, NGROK_NO_MEMORY, NULL);
	for (size_t i = 0; i < texts->count; i++)
		if (add_network(*out, texts->items[i], why) < 0)
			return -1;
	return 0;
}

static int
read_certificate(
    const struct bind_options *o, struct endpoint *e, struct edge_refusal *why)
{
	char storage[sizeof(why->subject)];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	e->own_certificate = certificate_parse(
	    message_span(&o->cert), message_span(&o->key), &error);
	return e->own_certificate
		   ? 0
		   : refuse(why, NGROK_CERTIFICATE_INVALID, storage);
}

/* Without one every client would be turned away. */
static int
check_own_certificate(const struct generation *g, const struct host *name,
    struct edge_refusal *why)
{
	struct key_choice keys;

	if (g->authority || host_is_wildcard(name))
		return 0;
	if (!keyring_find(g->snapshot->keyring, host_span(name),
		clock_wall_us() / 1000000, &keys))
		return refuse(why, NGROK_CERTIFICATE_INVALID,
		    "this edge has none for the name");
	key_choice_put(&keys);
	return 0;
}

static int
read_trust(
    const struct bind_options *o, struct endpoint *e, struct edge_refusal *why)
{
	char storage[sizeof(why->subject)];
	struct text error;

	if (!o->has_mutual_tls_at_edge)
		return 0;
	text_init(&error, storage, sizeof(storage));
	e->termination.trust =
	    trust_parse(message_span(&o->mutual_tls_ca), &error);
	if (!e->termination.trust)
		return refuse(why, NGROK_MUTUAL_TLS_CA_INVALID, storage);
	e->termination.auth = CLIENT_AUTH_REQUIRE;
	return 0;
}

static int
set_termination(const struct generation *g, const struct bind_options *o,
    const struct host *name, struct endpoint *e, struct edge_refusal *why)
{
	if (!o->ends_at_edge) {
		e->terminate_at = o->mutual_tls_at_agent ||
					  strcmp(o->terminate_at, "agent") == 0
				      ? TERMINATE_AGENT
				      : TERMINATE_UPSTREAM;
		return 0;
	}
	e->terminate_at = TERMINATE_EDGE;
	if (o->cert.len > 0 ? read_certificate(o, e, why) < 0
			    : check_own_certificate(g, name, why) < 0)
		return -1;
	return read_trust(o, e, why);
}

static int
set_metadata(const struct bind *b, struct endpoint *e, struct edge_refusal *why)
{
	char *metadata = strdup(b->metadata);

	if (!metadata)
		return refuse(why, NGROK_NO_MEMORY, NULL);
	free(e->metadata);
	e->metadata = metadata;
	return 0;
}

struct endpoint *
edge_offer_endpoint(const struct generation *g, const struct bind *b,
    const struct host *name, struct edge_refusal *why)
{
	const struct bind_options *o = &b->options;
	struct endpoint *e = endpoint_new_bound(g->snapshot, name);

	if (!e) {
		(void)refuse(why, NGROK_NO_MEMORY, NULL);
		return NULL;
	}
	e->pooling_enabled = b->pooling_enabled;
	e->proxy_proto = (uint8_t)o->proxy_proto;
	if (set_metadata(b, e, why) == 0 &&
	    read_networks(&o->allow_cidrs, &e->allow, why) == 0 &&
	    read_networks(&o->deny_cidrs, &e->deny, why) == 0 &&
	    set_termination(g, o, name, e, why) == 0)
		return e;
	endpoint_put(e);
	return NULL;
}
