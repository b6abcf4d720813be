#include "engine/reencrypt.h"

#include <errno.h>

#include "base/clock.h"
#include "engine/greet.h"
#include "engine/worker.h"

/* How the upstream is to be spoken to; lent from decisions and endpoint. */
struct terms {
	enum verify verify;
	struct trust *trust;
	const char *server_name, *certificate;
};

bool
reencrypt_is_due(const struct conn *c)
{
	return (c->facts.terminated || (c->passage && c->passage->plain)) &&
	       c->target && c->target->address.tls;
}

static struct terms
settle_terms(const struct conn *c)
{
	const struct setup *s = c->setup;
	struct terms t = { .verify = VERIFY_AUTO };

	if (c->endpoint) {
		const struct upstream_tls_settings *u =
		    &c->endpoint->upstream_tls;

		t = (struct terms){ u->verify, u->trust, u->server_name,
			u->certificate };
	}
	for (int i = 0; i < SCRIPT_COUNT; i++) {
		const struct decision_upstream_tls *d =
		    &s->decisions[i].upstream_tls;

		if (d->verify >= 0)
			t.verify = d->verify ? VERIFY_ON : VERIFY_OFF;
		if (d->trust)
			t.trust = d->trust;
		if (d->server_name)
			t.server_name = d->server_name;
		if (d->certificate)
			t.certificate = d->certificate;
	}
	return t;
}

/* Judged by what the operator wrote: a name that some name server leads to
 * 127.0.0.1 is not local by that. */
static bool
is_local(const struct upstream_address *a)
{
	switch (a->kind) {
	case UPSTREAM_UNIX:
		return true;
	case UPSTREAM_IP:
		return addr_is_loopback(&a->addr);
	case UPSTREAM_NAME:
		return strcmp(a->name.text, "localhost") == 0;
	}
	return false;
}

static bool
verifies(const struct terms *t, const struct upstream_address *a)
{
	if (t->verify != VERIFY_AUTO)
		return t->verify == VERIFY_ON;
	return t->trust || !is_local(a);
}

static struct span
server_name(const struct terms *t, const struct upstream_address *a,
    char ip[ADDR_TEXT_SIZE])
{
	if (t->server_name)
		return span_text(t->server_name);
	switch (a->kind) {
	case UPSTREAM_NAME:
		return host_span(&a->name);
	case UPSTREAM_IP:
		addr_format_ip(&a->addr, ip);
		return span_text(ip);
	case UPSTREAM_UNIX:
		break;
	}
	return span_of(NULL, 0);
}

/* What was agreed with the client is what is asked of the upstream. */
static struct span
alpn(struct conn *c, uint8_t storage[256])
{
	struct span agreed = greet_alpn(c);

	if (agreed.len == 0 || agreed.len > 255)
		return span_of(NULL, 0);
	storage[0] = (uint8_t)agreed.len;
	memcpy(storage + 1, agreed.data, agreed.len);
	return span_of(storage, 1 + agreed.len);
}

static struct certificate *
client_certificate(const struct conn *c, const char *label)
{
	struct keyring *keyring = c->setup->generation->snapshot->keyring;
	struct certificate *found = NULL;
	struct key_choice choice;

	if (!label || !keyring_labelled(
			  keyring, label, clock_wall_us() / 1000000, &choice))
		return NULL;
	for (int kind = 0; kind < KEY_KIND_COUNT && !found; kind++) {
		found = choice.by_kind[kind];
		choice.by_kind[kind] = NULL;
	}
	key_choice_put(&choice);
	return found;
}

static enum step
give_up(struct conn *c, const char *detail)
{
	return dial_failed(c, REASON_UPSTREAM_TLS_FAILED, 0, detail);
}

static enum step
connect_tls(struct conn *c, const struct terms *t,
    const struct tls_client_settings *settings)
{
	struct tls_stream *tls;

	if (settings->trust && settings->server_name.len == 0)
		return give_up(c, "upstream_tls.server_name is needed");
	if (t->certificate && !settings->certificate)
		return give_up(c, "upstream_tls.certificate is missing");
	tls = tls_connect(c->worker->tls, c->upstream.watch.fd, settings);
	if (!tls)
		return dial_failed(c, REASON_NO_MEMORY, -ENOMEM, NULL);
	leg_secure(&c->upstream, tls);
	return STEP_AGAIN;
}

static enum step
begin(struct conn *c)
{
	const struct upstream_address *a = &c->target->address;
	struct terms t = settle_terms(c);
	char ip[ADDR_TEXT_SIZE];
	uint8_t protocols[256];
	struct tls_client_settings settings = {
		.server_name = server_name(&t, a, ip),
		.alpn = alpn(c, protocols),
		.address = span_text(a->text),
		.holds_last_flight = true, /* the relay reads at once */
	};
	enum step step;

	if (verifies(&t, a)) {
		settings.trust =
		    t.trust ? t.trust : c->setup->generation->system_trust;
		if (!settings.trust)
			return give_up(c, "the system's CAs cannot be read");
	}
	settings.certificate = client_certificate(c, t.certificate);
	step = connect_tls(c, &t, &settings);
	certificate_put(settings.certificate);
	return step;
}

static enum step
fail(struct conn *c)
{
	const struct tls_failure *f = tls_failure(c->upstream.tls);

	switch (f->fault) {
	case TLS_FAULT_MEMORY:
		return dial_failed(c, REASON_NO_MEMORY, -ENOMEM, NULL);
	case TLS_FAULT_CLOSED:
		return give_up(c, "closed in the TLS handshake");
	case TLS_FAULT_RESET:
		return give_up(c, "reset in the TLS handshake");
	default:
		return give_up(c, f->detail);
	}
}

static enum step
handshake(struct conn *c)
{
	if (!worker_take_handshake_step(c->worker)) {
		conn_wake(c);
		return STEP_WAIT;
	}
	switch (leg_handshake(&c->upstream)) {
	case IO_OK:
		upstream_worked(c->target);
		c->reencrypted = true;
		return STEP_NEXT;
	case IO_AGAIN:
		return STEP_WAIT;
	default:
		return fail(c);
	}
}

enum step
reencrypt_step(struct conn *c)
{
	if (!timeout_is_set(&c->timeout))
		return dial_failed(
		    c, REASON_UPSTREAM_TIMEOUT, 0, "in the TLS handshake");
	if (c->upstream.tls)
		return handshake(c);
	switch (leg_flush(&c->upstream, &c->worker->pipes)) {
	case IO_OK:
		return begin(c);
	case IO_AGAIN:
		return STEP_WAIT;
	default:
		leg_drop_pending(&c->upstream, &c->worker->pipes);
		return give_up(c, "reset before the TLS handshake");
	}
}
