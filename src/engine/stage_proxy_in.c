/*
 * The PROXY header in front of the hello, on listeners that take one. It is
 * peeked until it is whole and then consumed exactly, so that the hello behind
 * it is still untouched.
 */
#include "engine/stage.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/worker.h"
#include "sys/socket.h"

static enum step
refuse(struct conn *c, enum reason reason, const char *why)
{
	LOG_LIMITED(LOG_LEVEL_WARN, "PROXY header refused",
	    LOG_TEXT("reason", reason_word(reason)),
	    LOG_ADDR("peer", &c->facts.peer),
	    LOG_TEXT("listener", c->listener->name), LOG_TEXT("why", why));
	conn_close(c, reason, CLOSE_LINGER, why);
	return STEP_CLOSE;
}

/* The parsed TLVs point into peeked bytes: the setup keeps its own copy. */
static bool
keep_header(struct setup *s, const struct proxy_header *h, struct span wire)
{
	size_t offset;

	s->proxy = *h;
	if (h->tlvs.len == 0)
		return true;
	s->proxy_bytes = malloc(h->header_bytes);
	if (!s->proxy_bytes)
		return false;
	offset = (size_t)(h->tlvs.data - wire.data);
	memcpy(s->proxy_bytes, wire.data, h->header_bytes);
	s->proxy.tlvs.data = s->proxy_bytes + offset;
	return true;
}

/* Who the header says the client is; LOCAL and UNKNOWN leave the real peer. */
static void
believe(struct conn *c, const struct proxy_header *h)
{
	c->facts.proxy = h;
	if (h->local || h->source.family == ADDR_NONE)
		return;
	c->facts.client = h->source;
	c->facts.server = h->destination;
}

static enum step
accept_header(struct conn *c, const struct proxy_header *h, struct span wire)
{
	struct worker *w = c->worker;
	struct setup *s = conn_setup(c);
	size_t count;

	if (!s)
		return STEP_CLOSE;
	if (!keep_header(s, h, wire)) {
		conn_close(c, REASON_NO_MEMORY, CLOSE_LINGER, NULL);
		return STEP_CLOSE;
	}
	if (socket_read(c->client.watch.fd, w->scratch, h->header_bytes,
		&count) != IO_OK ||
	    count != h->header_bytes) {
		conn_close(c, REASON_INTERNAL, CLOSE_RESET, "recv");
		return STEP_CLOSE;
	}
	socket_set_lowat(c->client.watch.fd, 1);
	believe(c, &s->proxy);
	conn_set_deadline(c, c->listener->snapshot->timeouts.hello_ms);
	return conn_admit_client(c) ? STEP_NEXT : STEP_CLOSE;
}

static enum step
read_header(struct conn *c)
{
	struct worker *w = c->worker;
	struct proxy_header header;
	struct span wire;
	const char *why = NULL;
	size_t count, needed = 1;

	switch (socket_peek(
	    c->client.watch.fd, w->peeked, PROXY_MAX_BYTES, &count)) {
	case IO_AGAIN:
		return STEP_WAIT;
	case IO_EOF:
		conn_close(c, REASON_CLIENT_CLOSED, CLOSE_PLAIN, NULL);
		return STEP_CLOSE;
	case IO_ERROR:
		conn_close(c, REASON_CLIENT_RESET, CLOSE_RESET, NULL);
		return STEP_CLOSE;
	case IO_OK:
		break;
	}
	w->hello_owner = NULL;
	wire = span_of(w->peeked, count);
	switch (proxy_parse(wire, c->listener->settings->proxy_accept, &header,
	    &needed, &why)) {
	case PARSE_BAD:
		return refuse(c, REASON_PROXY_MALFORMED, why);
	case PARSE_OK:
		return accept_header(c, &header, wire);
	case PARSE_MORE:
		break;
	}
	if (c->client.hung_up) {
		conn_close(c, REASON_CLIENT_CLOSED, CLOSE_PLAIN, NULL);
		return STEP_CLOSE;
	}
	socket_set_lowat(c->client.watch.fd, needed);
	return STEP_WAIT;
}

enum step
stage_proxy_in(struct conn *c)
{
	const struct listen_settings *settings = c->listener->settings;

	if (!settings->proxy_accept)
		return conn_admit_client(c) ? STEP_NEXT : STEP_CLOSE;
	if (netset_lookup(settings->proxy_from, &c->facts.peer, NULL))
		return read_header(c);
	if (settings->proxy_required)
		return refuse(c, REASON_PROXY_UNTRUSTED,
		    "the peer is not in proxy_protocol.from");
	conn_set_deadline(c, c->listener->snapshot->timeouts.hello_ms);
	return conn_admit_client(c) ? STEP_NEXT : STEP_CLOSE;
}
