/*
 * The PROXY header: the first bytes on the wire to the upstream, in one piece
 * and in clear; behind it our TLS, if the bytes are to be encrypted again.
 */
#include "engine/greet.h"

#include "engine/reencrypt.h"
#include "engine/relay.h"
#include "engine/uplink_dial.h"
#include "engine/worker.h"

uint8_t
greet_proxy_version(const struct conn *c)
{
	const struct setup *s = c->setup;

	for (int i = SCRIPT_COUNT - 1; i >= 0; i--)
		if (s->decisions[i].proxy_proto >= 0)
			return (uint8_t)s->decisions[i].proxy_proto;
	if (c->endpoint && c->endpoint->proxy_proto != 0)
		return c->endpoint->proxy_proto;
	return c->passage ? c->passage->proxy_proto : 0;
}

static unsigned
chosen_tlvs(const struct conn *c)
{
	const struct setup *s = c->setup;

	for (int i = SCRIPT_COUNT - 1; i >= 0; i--)
		if (s->decisions[i].proxy_tlvs >= 0)
			return (unsigned)s->decisions[i].proxy_tlvs;
	return c->endpoint ? c->endpoint->proxy_tlvs : 0;
}

struct span
greet_alpn(struct conn *c)
{
	const struct hello *hello;
	struct tls_facts facts;

	if (c->facts.terminated) {
		tls_facts(c->client.tls, &facts);
		return facts.alpn;
	}
	if (c->passage && c->passage->plain)
		return span_of(c->passage->alpn, c->passage->alpn_len);
	hello = conn_hello(c);
	return hello && hello->has_alpn ? hello->alpn : span_of(NULL, 0);
}

static void
add_alpn(struct conn *c, struct proxy_writer *w)
{
	struct span alpn = greet_alpn(c);

	if (alpn.len > 0)
		proxy_add_tlv(w, PROXY_TLV_ALPN, alpn);
}

/* Only of TLS that has ended here: of any other we know nothing. */
static void
add_ssl(struct conn *c, struct proxy_writer *w, bool with_certificate)
{
	const struct peer *peer = tls_peer(c->client.tls);
	struct tls_facts facts;
	struct proxy_ssl ssl;

	tls_facts(c->client.tls, &facts);
	ssl = (struct proxy_ssl){
		.version = span_text(facts.version_name),
		.cipher = span_text(facts.cipher_name),
		.group = span_text(facts.group),
		.signature_scheme = span_text(facts.signature),
		.signature_algorithm = span_text(facts.server_signature),
		.key_algorithm = span_text(facts.server_key),
	};
	if (peer) {
		ssl.client_certificate = true;
		ssl.resumed = facts.resumed;
		ssl.verified = facts.peer_verified;
		ssl.common_name = peer->subject.common_name;
		if (with_certificate)
			ssl.certificate = peer->der;
	}
	proxy_add_ssl(w, &ssl);
}

static void
add_registered(struct conn *c, struct proxy_writer *w, unsigned wanted)
{
	const unsigned of_ssl = PROXY_SEND_SSL | PROXY_SEND_CLIENT_CERTIFICATE;

	if ((wanted & PROXY_SEND_AUTHORITY) && c->facts.sni.len > 0)
		proxy_add_tlv(w, PROXY_TLV_AUTHORITY, c->facts.sni);
	if (wanted & PROXY_SEND_ALPN)
		add_alpn(c, w);
	if (wanted & PROXY_SEND_UNIQUE_ID)
		proxy_add_tlv(w, PROXY_TLV_UNIQUE_ID, span_text(c->facts.id));
	if ((wanted & of_ssl) && c->facts.terminated)
		add_ssl(c, w, wanted & PROXY_SEND_CLIENT_CERTIFICATE);
}

void
greet_add_private(const struct conn *c, struct proxy_writer *w)
{
	const struct setup *s = c->setup;

	for (int i = 0; i < SCRIPT_COUNT; i++) {
		const struct decision *d = &s->decisions[i];

		for (size_t j = 0; j < d->tlv_count; j++)
			proxy_add_tlv(w, d->tlvs[j].type, d->tlvs[j].value);
	}
}

/* 0: too long for a header. */
static size_t
write_header(struct conn *c, uint8_t out[PROXY_MAX_BYTES])
{
	const struct policy_conn *f = &c->facts;
	unsigned wanted = chosen_tlvs(c);
	struct proxy_writer w;

	if (c->proxy_proto == 1)
		return proxy_write_v1(out, &f->client, &f->server);
	proxy_begin_v2(&w, out, PROXY_MAX_BYTES, &f->client, &f->server);
	add_registered(c, &w, wanted);
	greet_add_private(c, &w);
	return proxy_finish_v2(&w, (wanted & PROXY_SEND_CRC32C) != 0);
}

static bool
send_header(struct conn *c, struct span header)
{
	size_t count = 0;

	if (leg_write(&c->upstream, header, &count) == IO_ERROR)
		return true; /* the relay finds the reset and reports it */
	/* The header is ours: what the upstream took of the client starts
	 * to count behind it. */
	c->upstream.taken_bytes -= header.len;
	if (count == header.len)
		return true;
	return leg_keep(
	    &c->upstream, span_of(header.data + count, header.len - count));
}

static enum step
greet(struct conn *c)
{
	uint8_t *out = c->worker->buffer;
	size_t len;

	c->proxy_proto = greet_proxy_version(c);
	/* A Lunette agent is told in what comes before the bytes, and writes
	 * the header itself. */
	if (c->proxy_proto == 0 || (c->uplink && c->uplink->is_lunette))
		return STEP_NEXT;
	len = write_header(c, out);
	if (len == 0) {
		conn_refuse(c, REASON_POLICY_ERROR, ALERT_INTERNAL_ERROR,
		    "the PROXY header would be over 4096 bytes");
		return STEP_CLOSE;
	}
	if (send_header(c, span_of(out, len)))
		return STEP_NEXT;
	conn_close(c, REASON_NO_MEMORY, CLOSE_RESET, NULL);
	return STEP_CLOSE;
}

/* The header goes out once; what comes after it may take several turns. */
static enum step
begin(struct conn *c)
{
	struct dial *d = &c->setup->dial;

	if (d->greeted)
		return STEP_NEXT;
	d->greeted = true;
	conn_set_deadline(
	    c, c->endpoint
		   ? c->endpoint->handshake_ms
		   : c->setup->generation->snapshot->timeouts.handshake_ms);
	return greet(c);
}

enum step
stage_greet(struct conn *c)
{
	enum step step = begin(c);

	if (step == STEP_NEXT && c->uplink)
		step = uplink_greet(c);
	else if (step == STEP_NEXT && reencrypt_is_due(c))
		step = reencrypt_step(c);
	if (step != STEP_NEXT)
		return step;
	if (!passage_accept(c))
		return STEP_CLOSE;
	if (relay_begin(c) == 0)
		return STEP_NEXT;
	conn_close(c, REASON_NO_MEMORY, CLOSE_RESET, NULL);
	return STEP_CLOSE;
}
