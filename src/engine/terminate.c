#include "engine/terminate.h"

#include <errno.h>

#include "base/clock.h"
#include "engine/edge_private.h"
#include "engine/worker.h"

/* RFC 8446 section 4.2.9. */
#define EXTENSION_PSK_KEY_EXCHANGE_MODES 45
#define PSK_DHE_KE 1

/* On what terms TLS ends; what it points to lives as long as the setup. */
struct terms {
	const char *certificate; /* label; NULL: by name */
	uint16_t min_version, max_version;
	struct span alpn;
	enum client_auth auth;
	struct trust *trust;
};

enum terminate_at
terminate_wanted(const struct conn *c)
{
	const struct setup *s = c->setup;

	for (int i = SCRIPT_COUNT - 1; i >= 0; i--)
		if (s->decisions[i].terminate_at >= 0)
			return (enum terminate_at)s->decisions[i].terminate_at;
	return c->endpoint ? c->endpoint->terminate_at : TERMINATE_UPSTREAM;
}

/* An agent's file says "agent" for itself, and "edge" for who has done it
 * before; in a process that is both, both are here. */
static bool
ends_here(const struct conn *c, enum terminate_at at)
{
	switch (at) {
	case TERMINATE_EDGE:
		return !c->passage;
	case TERMINATE_AGENT:
		return !(c->endpoint && c->endpoint->agents);
	default:
		return false;
	}
}

bool
terminate_is_due(const struct conn *c)
{
	return !c->facts.terminated && ends_here(c, terminate_wanted(c));
}

/* Some script's decision wants it, not only the endpoint. */
static bool
is_decided(const struct conn *c)
{
	const struct setup *s = c->setup;

	for (int i = 0; i < SCRIPT_COUNT; i++)
		if (s->decisions[i].terminate_at >= 0 &&
		    ends_here(
			c, (enum terminate_at)s->decisions[i].terminate_at))
			return true;
	return false;
}

static struct terms
endpoint_terms(const struct endpoint *e)
{
	const struct termination_settings *t;

	if (!e)
		return (struct terms){
			.min_version = TLS_VERSION_1_2,
			.max_version = TLS_VERSION_1_3,
		};
	t = &e->termination;
	return (struct terms){
		.certificate = t->certificate,
		.min_version = t->min_version,
		.max_version = t->max_version,
		.alpn = span_of(t->alpn, t->alpn_len),
		.auth = t->auth,
		.trust = t->trust,
	};
}

static void
override(struct terms *t, const struct decision_termination *d)
{
	if (d->certificate)
		t->certificate = d->certificate;
	if (d->min_version != 0)
		t->min_version = d->min_version;
	if (d->max_version != 0)
		t->max_version = d->max_version;
	if (d->has_alpn)
		t->alpn = d->alpn;
	if (d->auth >= 0)
		t->auth = (enum client_auth)d->auth;
	if (d->trust)
		t->trust = d->trust;
}

static bool
settle_terms(
    struct conn *c, const struct decision_termination *script, struct terms *t)
{
	const struct setup *s = c->setup;
	const char *wrong = NULL;

	*t = endpoint_terms(c->endpoint);
	override(t, &s->decisions[SCRIPT_EDGE].termination);
	override(
	    t, script ? script : &s->decisions[SCRIPT_ENDPOINT].termination);
	if (t->auth == CLIENT_AUTH_NONE)
		t->trust = NULL;
	else if (!t->trust)
		wrong = "mutual_tls: there are no CAs";
	if (t->min_version > t->max_version)
		wrong = "min_version is above max_version";
	if (wrong)
		conn_deny(c, REASON_POLICY_ERROR, wrong);
	return !wrong;
}

static bool
is_below(struct span name, const struct host *domain)
{
	struct span suffix;

	if (!host_is_wildcard(domain))
		return span_equal(name, host_span(domain));
	suffix = span_of(domain->text + 1, domain->len - 1u);
	return name.len > suffix.len &&
	       span_equal(suffix,
		   span_of(name.data + name.len - suffix.len, suffix.len));
}

/*
 * The name that a certificate of the local CA is for: the client's, if it is
 * the endpoint's; nobody may have certificates made for what is not served
 * here. To a client without a name its endpoint's own.
 */
static bool
name_to_issue(const struct conn *c, struct host *name)
{
	const struct host *sni = &c->setup->name;
	const struct host *domain = c->endpoint ? &c->endpoint->domain : NULL;

	*name = *sni;
	if (!domain)
		return false;
	if (sni->len > 0)
		return domain->len == 0 || is_below(host_span(sni), domain);
	*name = *domain;
	if (domain->len == 0)
		return host_parse(span_text("localhost"), name, NULL) == 0;
	return !host_is_wildcard(domain);
}

static bool
find_keys(struct conn *c, const char *label, struct key_choice *keys)
{
	const struct setup *s = c->setup;
	struct keyring *keyring = s->generation->snapshot->keyring;
	int64_t now = clock_wall_us() / 1000000;
	struct span name = host_span(&s->name);

	*keys = (struct key_choice){ { NULL } };
	if (!label && c->endpoint && c->endpoint->own_certificate) {
		struct certificate *own = c->endpoint->own_certificate;

		keys->by_kind[certificate_key_kind(own)] = certificate_get(own);
		return true;
	}
	if (label)
		return keyring_labelled(keyring, label, now, keys);
	if (name.len == 0 && c->endpoint)
		name = host_span(&c->endpoint->domain);
	return name.len > 0 && keyring_find(keyring, name, now, keys);
}

static bool
may_issue(const struct conn *c, const char *label, struct host *name)
{
	return !label && c->setup->generation->authority &&
	       name_to_issue(c, name);
}

static bool
issue(struct conn *c, const struct host *name, struct key_choice *keys)
{
	struct certificate *made = authority_issue(
	    c->setup->generation->authority, name, clock_wall_us() / 1000000);

	if (made)
		keys->by_kind[certificate_key_kind(made)] = made;
	else
		conn_close(c, REASON_NO_MEMORY, CLOSE_LINGER, NULL);
	return made != NULL;
}

static void
refuse_without_certificate(struct conn *c, bool by_script)
{
	if (!by_script && is_decided(c))
		conn_deny(c, REASON_POLICY_ERROR,
		    "terminate_at: no certificate covers the name");
	else
		conn_refuse(
		    c, REASON_NO_CERTIFICATE, ALERT_UNRECOGNIZED_NAME, NULL);
}

/* One of the limits of handshakes, as a bucket of its own. */
static bool
take_token(struct conn *c, uint64_t per_second, struct span key,
    const char *configured_as)
{
	struct vault *vault = &c->worker->edge->vault;
	struct rates *limits = atomic_load(&vault->handshakes);

	if (per_second == 0 || !limits ||
	    rates_take(limits, key, (double)per_second, (double)per_second,
		clock_us()))
		return true;
	LOG_LIMITED(LOG_LEVEL_WARN, "too many TLS handshakes in a second",
	    LOG_TEXT("limit", configured_as),
	    LOG_ADDR("client", &c->facts.client));
	conn_refuse(c, REASON_LIMIT, ALERT_INTERNAL_ERROR, configured_as);
	return false;
}

/* The narrowest first, so that what one client is refused costs the others
 * nothing. */
static bool
within_limits(struct conn *c)
{
	const struct limit_settings *limits =
	    &c->setup->generation->snapshot->limits;
	const struct addr *client = &c->facts.client;
	const struct endpoint *e = c->endpoint;
	uint8_t key[1 + sizeof(client->bytes)];

	key[0] = client->family;
	memcpy(key + 1, client->bytes, sizeof(client->bytes));
	return take_token(c, limits->handshakes_per_second_per_client,
		   span_of(key, sizeof(key)),
		   "limits.handshakes_per_second_per_client") &&
	       take_token(c, e ? e->handshakes_per_second : 0,
		   span_text(e ? e->id : NULL), "handshakes_per_second") &&
	       take_token(c, limits->handshakes_per_second, span_text("*"),
		   "limits.handshakes_per_second");
}

/* A ticket that the client cannot use is an eighth of the handshake's cost. */
static bool
wants_tickets(struct conn *c)
{
	const struct hello *hello = conn_hello(c);
	struct span rest, body;
	uint16_t type;

	if (!hello)
		return true;
	rest = hello->extensions;
	while (hello_next_extension(&rest, &type, &body))
		if (type == EXTENSION_PSK_KEY_EXCHANGE_MODES)
			return body.len > 1 &&
			       memchr(body.data + 1, PSK_DHE_KE, body.len - 1);
	return false;
}

/* Against what a later choice of another endpoint is held. */
static void
note_terms(struct setup *s, const struct terms *t, struct endpoint *e)
{
	s->terminated_for = e;
	s->terminated_auth = t->auth;
	s->terminated_trust = t->trust ? trust_get(t->trust) : NULL;
}

static bool
begin(struct conn *c, const struct terms *t, const struct key_choice *keys)
{
	struct setup *s = c->setup;
	const struct snapshot *settings = s->generation->snapshot;
	struct tls_stream *tls = tls_accept(c->worker->tls, c->client.watch.fd,
	    &(struct tls_server_settings){
		.keys = keys,
		.min_version = t->min_version,
		.max_version = t->max_version,
		.alpn = t->alpn,
		.auth = t->auth,
		.trust = t->trust,
		.name = host_span(&s->name),
		.endpoint_id = c->endpoint ? c->endpoint->id : "",
		.session_life_s = (uint32_t)(settings->session_life_ms / 1000),
		.wants_tickets = wants_tickets(c),
	    });

	if (!tls) {
		conn_close(c, REASON_NO_MEMORY, CLOSE_LINGER, NULL);
		return false;
	}
	leg_secure(&c->client, tls);
	c->terminates = true;
	/* Consumed from here on; whether scripts still see it must not depend
	 * on who said hello meanwhile. */
	if (c->worker->hello_owner == c)
		c->worker->hello_owner = NULL;
	note_terms(s, t, c->endpoint);
	s->handshake_began_us = clock_us();
	conn_set_deadline(c, c->endpoint ? c->endpoint->handshake_ms
					 : settings->timeouts.handshake_ms);
	return true;
}

bool
terminate_begin(struct conn *c, const struct decision_termination *script)
{
	struct key_choice keys;
	struct terms terms;
	struct host name;
	bool found, begun;

	if (c->passage && c->passage->plain) {
		conn_deny(c, REASON_POLICY_ERROR,
		    "the client's TLS has ended at the edge");
		return false;
	}
	if (!settle_terms(c, script, &terms))
		return false;
	found = find_keys(c, terms.certificate, &keys);
	if (!found && !may_issue(c, terms.certificate, &name)) {
		refuse_without_certificate(c, script != NULL);
		return false;
	}
	/* Making a certificate is work that the limits are to bound. */
	begun = within_limits(c) && (found || issue(c, &name, &keys)) &&
		passage_accept(c) && begin(c, &terms, &keys);
	key_choice_put(&keys);
	return begun;
}

static const struct {
	enum reason reason;
	enum closing_way way;
} faults[] = {
	[TLS_FAULT_NONE] = { REASON_INTERNAL, CLOSE_LINGER },
	[TLS_FAULT_ALERT_RECEIVED] = { REASON_HANDSHAKE_FAILED, CLOSE_LINGER },
	[TLS_FAULT_PROTOCOL] = { REASON_HANDSHAKE_FAILED, CLOSE_LINGER },
	[TLS_FAULT_CERTIFICATE_MISSING] = { REASON_CLIENT_CERTIFICATE_MISSING,
	    CLOSE_LINGER },
	[TLS_FAULT_CERTIFICATE_INVALID] = { REASON_CLIENT_CERTIFICATE_INVALID,
	    CLOSE_LINGER },
	[TLS_FAULT_CLOSED] = { REASON_CLIENT_CLOSED, CLOSE_PLAIN },
	[TLS_FAULT_RESET] = { REASON_CLIENT_RESET, CLOSE_RESET },
	[TLS_FAULT_MEMORY] = { REASON_NO_MEMORY, CLOSE_LINGER },
};

/* OpenSSL has sent the alert itself. */
static enum step
fail(struct conn *c)
{
	const struct tls_failure *f = tls_failure(c->client.tls);

	if (f->fingerprint[0])
		LOG_LIMITED(LOG_LEVEL_INFO, "a client's certificate is refused",
		    LOG_TEXT("id", c->facts.id),
		    LOG_ADDR("client", &c->facts.client),
		    LOG_TEXT("fingerprint_sha256", f->fingerprint),
		    LOG_TEXT("error", f->detail));
	conn_note_alert(c, f);
	conn_close(c, faults[f->fault].reason, faults[f->fault].way,
	    f->fault == TLS_FAULT_CLOSED ? "in the TLS handshake" : f->detail);
	return STEP_CLOSE;
}

static enum step
finish(struct conn *c)
{
	c->facts.terminated = true;
	c->handshake_us = (uint32_t)(clock_us() - c->setup->handshake_began_us);
	c->handshake_in =
	    c->stage == STAGE_POLICY ? TIMING_POLICY : TIMING_DIAL;
	return STEP_NEXT;
}

enum step
terminate_step(struct conn *c)
{
	if (!worker_take_handshake_step(c->worker)) {
		conn_wake(c);
		return STEP_WAIT;
	}
	switch (leg_handshake(&c->client)) {
	case IO_OK:
		return finish(c);
	case IO_AGAIN:
		return STEP_WAIT;
	default:
		return fail(c);
	}
}

/* A request is no stricter than a requirement. */
static bool
is_kept(const struct setup *s, const struct termination_settings *rule)
{
	return s->terminated_trust && rule->auth <= s->terminated_auth &&
	       trust_same(s->terminated_trust, rule->trust);
}

bool
terminate_suits(const struct conn *c)
{
	const struct setup *s = c->setup;
	const struct endpoint *e = c->endpoint;

	if (!c->facts.terminated || !e || e == s->terminated_for ||
	    !ends_here(c, e->terminate_at) ||
	    e->termination.auth == CLIENT_AUTH_NONE)
		return true;
	return is_kept(s, &e->termination);
}

static bool
says_how(const struct decision_termination *t)
{
	return t->certificate || t->min_version || t->max_version ||
	       t->has_alpn || t->auth > CLIENT_AUTH_NONE;
}

bool
terminate_is_missed(const struct conn *c)
{
	const struct setup *s = c->setup;
	const struct endpoint *e = c->endpoint;

	if (c->facts.terminated || terminate_is_due(c))
		return false;
	for (int i = 0; i < SCRIPT_COUNT; i++)
		if (says_how(&s->decisions[i].termination))
			return true;
	return e && ends_here(c, e->terminate_at) &&
	       e->termination.auth != CLIENT_AUTH_NONE;
}
