/*
 * The ClientHello: peeked until it is whole, never consumed. What is not well
 * formed ends here, with the alert that the parser names; it is never routed.
 */
#include "engine/stage.h"

#include "engine/caller.h"
#include "engine/edge_private.h"
#include "sys/socket.h"

static const char http_answer[] =
    "HTTP/1.1 400 Bad Request\r\n"
    "Content-Type: text/plain\r\n"
    "Connection: close\r\n"
    "Content-Length: 55\r\n"
    "\r\n"
    "This port speaks TLS: use https:// instead of http://.\n";

static enum step
refuse(struct conn *c, const struct hello_result *r, struct span wire)
{
	if (r->fault != HELLO_FAULT_NOT_TLS) {
		conn_refuse(c,
		    r->fault == HELLO_FAULT_NAME ? REASON_UNKNOWN_NAME
						 : REASON_HELLO_MALFORMED,
		    r->alert, r->why);
		return STEP_CLOSE;
	}
	/* Behind a tunnel the edge is told, and nobody else. */
	if (!c->passage && hello_looks_like_http(wire)) {
		(void)leg_say(&c->client, span_text(http_answer));
		conn_close(c, REASON_NOT_TLS, CLOSE_LINGER, "http");
		return STEP_CLOSE;
	}
	conn_close(c, REASON_NOT_TLS, CLOSE_LINGER, r->why);
	return STEP_CLOSE;
}

/* Keeps what outlives the peeked bytes. */
static enum step
take(struct conn *c)
{
	struct worker *w = c->worker;
	struct setup *s = conn_setup(c);
	struct record *r;

	if (!s)
		return STEP_CLOSE;
	if (w->hello.has_server_name)
		s->name = w->hello.server_name;
	c->facts.sni = host_span(&s->name);
	if (atomic_load_explicit(
		&w->edge->wants_events, memory_order_relaxed)) {
		r = conn_record(c);
		/* Without memory the event goes without it. */
		if (r)
			(void)!ja4_fingerprint(&w->hello, r->ja4);
	}
	conn_note_time(c, TIMING_HELLO);
	return STEP_NEXT;
}

static enum step
wait_for_more(struct conn *c, size_t needed)
{
	if (c->client.hung_up) {
		conn_close(c, REASON_CLIENT_CLOSED, CLOSE_PLAIN, NULL);
		return STEP_CLOSE;
	}
	/* Woken once when the rest is there, not once a segment. */
	socket_set_lowat(c->client.watch.fd, needed);
	c->lowered = true;
	return STEP_WAIT;
}

static enum step
judge(struct conn *c, struct span wire)
{
	struct worker *w = c->worker;
	enum caller_kind kind;
	uint8_t alert;

	if (!passage_hello_fits(c, span_of(wire.data, w->hello.wire_bytes))) {
		conn_close(c, REASON_HELLO_MALFORMED, CLOSE_LINGER,
		    "not the hello that the edge has announced");
		return STEP_CLOSE;
	}
	switch (caller_judge(c, &w->hello, &kind, &alert)) {
	case CALLER_TAKEN:
		caller_hand_over(c, kind, &w->hello.server_name);
		return STEP_GONE;
	case CALLER_REFUSED:
		conn_refuse(c, REASON_UNKNOWN_NAME, alert, "for agents");
		return STEP_CLOSE;
	case CALLER_NONE:
		break;
	}
	w->hello_owner = c;
	return take(c);
}

static enum step
read_hello(struct conn *c, struct span wire)
{
	struct worker *w = c->worker;
	struct hello_result r;

	/* The bytes of whoever it was are overwritten. */
	w->hello_owner = NULL;
	if (caller_has_preface(c, wire)) {
		caller_hand_over(c, CALLER_DATA_RAW, NULL);
		return STEP_GONE;
	}
	r = hello_parse(wire, w->scratch, &w->hello);
	if (r.parse == PARSE_MORE)
		return wait_for_more(c, r.needed_bytes);
	if (c->lowered)
		socket_set_lowat(c->client.watch.fd, 1);
	if (r.parse == PARSE_BAD)
		return refuse(c, &r, wire);
	return judge(c, wire);
}

enum step
stage_hello(struct conn *c)
{
	struct worker *w = c->worker;
	size_t count;

	switch (socket_peek(
	    c->client.watch.fd, w->peeked, HELLO_MAX_BYTES, &count)) {
	case IO_OK:
		return read_hello(c, span_of(w->peeked, count));
	case IO_AGAIN:
		return STEP_WAIT;
	case IO_EOF:
		conn_close(c, REASON_CLIENT_CLOSED, CLOSE_PLAIN, NULL);
		return STEP_CLOSE;
	default:
		conn_close(c, REASON_CLIENT_RESET, CLOSE_RESET, NULL);
		return STEP_CLOSE;
	}
}
