/*
 * The PROXY header: the first bytes on the wire to the upstream, in one piece.
 */
#include "engine/stage.h"

#include "engine/relay.h"
#include "engine/worker.h"

static uint8_t
chosen_version(const struct conn *c)
{
	const struct setup *s = c->setup;

	for (int i = SCRIPT_COUNT - 1; i >= 0; i--)
		if (s->decisions[i].proxy_proto >= 0)
			return (uint8_t)s->decisions[i].proxy_proto;
	return c->endpoint ? c->endpoint->proxy_proto : 0;
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

static void
add_registered(struct conn *c, struct proxy_writer *w, unsigned wanted)
{
	const struct hello *hello;

	if ((wanted & PROXY_SEND_AUTHORITY) && c->facts.sni.len > 0)
		proxy_add_tlv(w, PROXY_TLV_AUTHORITY, c->facts.sni);
	if (wanted & PROXY_SEND_ALPN) {
		hello = conn_hello(c);
		if (hello && hello->has_alpn)
			proxy_add_tlv(w, PROXY_TLV_ALPN, hello->alpn);
	}
	if (wanted & PROXY_SEND_UNIQUE_ID)
		proxy_add_tlv(w, PROXY_TLV_UNIQUE_ID, span_text(c->facts.id));
}

static void
add_private(const struct setup *s, struct proxy_writer *w)
{
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
	add_private(c->setup, &w);
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

	c->proxy_proto = chosen_version(c);
	if (c->proxy_proto == 0)
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

enum step
stage_greet(struct conn *c)
{
	if (greet(c) == STEP_CLOSE)
		return STEP_CLOSE;
	if (relay_begin(c) == 0)
		return STEP_NEXT;
	conn_close(c, REASON_NO_MEMORY, CLOSE_RESET, NULL);
	return STEP_CLOSE;
}
