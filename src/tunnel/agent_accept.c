/*
 * What comes through a session to this agent, and whether it is taken: the
 * agent's own settings decide, never what the edge would like. Both transports
 * meet here.
 */
#include "tunnel/agent_private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/conn.h"
#include "engine/passage.h"
#include "sys/bridge.h"
#include "tunnel/pump.h"
#include "tunnel/stream_header.h"

struct agent_passage {
	struct passage passage;
	char edge_name[AGENT_TEXT_SIZE];
	struct data_keys keys; /* of a data connection; wiped */
	struct data_binding binding;
	const struct agent_hooks *hooks; /* NULL: it was not counted */
	struct agent_traffic traffic;
};

static struct agent_passage *
mine(struct passage *p)
{
	return CONTAINER_OF(p, struct agent_passage, passage);
}

static void
on_free(struct passage *p)
{
	struct agent_passage *ap = mine(p);

	if (ap->hooks && ap->hooks->on_end)
		ap->hooks->on_end(ap->hooks->data, p->endpoint, &ap->traffic);
	data_keys_wipe(&ap->keys);
	endpoint_put(p->endpoint);
	free(ap);
}

static void
on_end(struct passage *p, const struct conn *c)
{
	mine(p)->traffic = (struct agent_traffic){
		.duration_us = clock_us() - c->start_us,
		.bytes_in = conn_bytes_in(c),
		.bytes_out = c->client.taken_bytes,
	};
}

static void
begin(struct agent_passage *ap, const struct agent *a)
{
	ap->hooks = &a->hooks;
	if (a->hooks.on_begin)
		a->hooks.on_begin(a->hooks.data, ap->passage.endpoint);
}

static bool
seal_answer(struct passage *p, enum data_reason reason, uint8_t *out)
{
	struct agent_passage *ap = mine(p);

	return data_keys_seal_answer(&ap->keys, &ap->binding, reason, out) == 0;
}

static bool
same_end(enum data_termination told, enum terminate_at own)
{
	switch (own) {
	case TERMINATE_EDGE:
		return told == DATA_ENDS_AT_EDGE;
	case TERMINATE_AGENT:
		return told == DATA_ENDS_AT_AGENT;
	default:
		return told == DATA_ENDS_AT_UPSTREAM;
	}
}

/* An edge that would have our plain bytes, or sends plain ones where a hello
 * belongs, has been tampered with, or its settings are not ours. */
static void
complain_of_end(const struct agent_session *s, const struct endpoint *e,
    const struct data_open *o)
{
	static const char *const words[] = { "edge", "agent", "upstream" };

	LOG_ERROR("the edge has TLS end elsewhere than this agent: refused",
	    LOG_TEXT("edge", s->server_name.text),
	    LOG_TEXT("endpoint", e->url ? e->url : e->name),
	    LOG_TEXT("edge_says", words[o->termination]),
	    LOG_TEXT("agent_says", terminate_at_name(e->terminate_at)));
}

static enum data_reason
judge(struct agent_session *s, const struct offer *offer,
    const struct data_open *o, const enum data_mode *mode)
{
	bool plain = o->termination == DATA_ENDS_AT_EDGE;

	if (!offer)
		return DATA_UNKNOWN_ENDPOINT;
	if (!same_end(o->termination, offer->endpoint->terminate_at) ||
	    (plain && mode && *mode != DATA_TLS)) {
		complain_of_end(s, offer->endpoint, o);
		return DATA_TERMINATION_DIFFERS;
	}
	if (!plain && o->hello_bytes == 0)
		return DATA_OTHER_HELLO;
	return s->link->at->draining ? DATA_DRAIN : DATA_ACCEPTED;
}

static void
copy_text(char *out, size_t size, struct span text)
{
	struct text t;

	text_init(&t, out, size);
	text_add_escaped(&t, text, size);
}

static void
fill(struct passage *p, struct agent_session *s, const struct data_open *o)
{
	p->free = on_free;
	p->on_end = on_end;
	p->client = o->client;
	p->server = o->server;
	p->edge = s->remote;
	copy_text(p->id, sizeof(p->id), o->unique_id);
	p->plain = o->termination == DATA_ENDS_AT_EDGE;
	if (p->plain && host_parse(o->authority, &p->name, NULL) < 0)
		p->name.len = 0;
	p->proxy_proto = o->proxy_version;
	p->checks_hello = !p->plain;
	p->hello_bytes = o->hello_bytes;
	memcpy(p->hello_sha256, o->hello_sha256, sizeof(p->hello_sha256));
	if (p->plain && o->alpn.len > 0 && o->alpn.len <= sizeof(p->alpn)) {
		memcpy(p->alpn, o->alpn.data, o->alpn.len);
		p->alpn_len = (uint8_t)o->alpn.len;
	}
}

struct passage *
accept_passage(struct agent_session *s, const struct data_open *open,
    const enum data_mode *mode)
{
	struct agent_passage *ap = calloc(1, sizeof(*ap));
	struct offer *offer = offers_find(s, open->endpoint_id);
	struct passage *p;

	if (!ap)
		return NULL;
	p = &ap->passage;
	fill(p, s, open);
	copy_text(
	    ap->edge_name, sizeof(ap->edge_name), host_span(&s->server_name));
	p->edge_name = ap->edge_name;
	p->refusal = judge(s, offer, open, mode);
	if (offer)
		p->endpoint = endpoint_get(offer->endpoint);
	if (p->refusal == DATA_ACCEPTED)
		begin(ap, s->link->at->agent);
	p->way = !mode		     ? UPLINK_STREAM
		 : *mode == DATA_TLS ? UPLINK_TLS
				     : UPLINK_RAW;
	return p;
}

void
accept_bind_answer(struct passage *p, const struct data_keys *keys,
    const struct data_binding *binding)
{
	struct agent_passage *ap = mine(p);

	ap->keys = *keys;
	ap->binding = *binding;
	p->seal_answer = seal_answer;
}

/* --- on its way to a worker --- */

struct injection {
	struct mail mail;
	int fd;
	struct passage *passage;
};

static void
deliver_injection(struct mail *mail, void *receiver)
{
	struct injection *i = CONTAINER_OF(mail, struct injection, mail);
	struct worker *w = receiver;

	if (i->passage->tls)
		tls_move(i->passage->tls, w->tls);
	(void)passage_inject(w, i->fd, i->passage);
	free(i);
}

static void
discard_injection(struct mail *mail)
{
	struct injection *i = CONTAINER_OF(mail, struct injection, mail);

	close(i->fd);
	passage_free(i->passage);
	free(i);
}

void
accept_inject(struct agent *a, struct worker *from, int fd, struct passage *p)
{
	unsigned count = edge_worker_count(from->edge);
	struct worker *to = edge_worker(
	    from->edge, atomic_fetch_add(&a->next_worker, 1) % count);
	struct injection *i = to == from ? NULL : calloc(1, sizeof(*i));

	/* Without memory for a letter it stays here. */
	if (!i) {
		(void)passage_inject(from, fd, p);
		return;
	}
	if (p->tls)
		tls_move(p->tls, NULL);
	i->mail.deliver = deliver_injection;
	i->mail.discard = discard_injection;
	i->fd = fd;
	i->passage = p;
	mailbox_post(&to->mailbox, &i->mail);
}

/* --- streams --- */

/* A stream whose header has not come whole yet. */
struct header_wait {
	struct agent_session *session;
	struct stream_header_reader reader;
};

static void
refuse_stream(struct mux_stream *stream, enum data_reason reason)
{
	mux_reset(stream, UPLINK_RESET_CODE + reason);
}

/* The bytes behind the header stay in the stream, for the pump. */
static void
take_stream(struct agent_session *s, struct mux_stream *stream,
    const struct data_open *open)
{
	struct passage *p = accept_passage(s, open, NULL);
	struct bridge *bridge;
	int fds[2];

	if (!p || bridge_open(&bridge, fds) < 0) {
		passage_free(p);
		refuse_stream(stream, DATA_LIMIT);
		return;
	}
	p->bridge = bridge; /* the outer end's reference */
	if (pump_start(s->session, stream, span_of(NULL, 0), fds[BRIDGE_INNER],
		bridge, NULL, NULL) < 0)
		LOG_LIMITED(LOG_LEVEL_ERROR, "no memory for a stream");
	accept_inject(
	    s->link->at->agent, s->link->at->worker, fds[BRIDGE_OUTER], p);
}

/* An edge that does not say what Lunette's must say is not served: who the
 * client is and what it has said could not be checked. */
static void
take_header(struct agent_session *s, struct mux_stream *stream,
    const struct stream_header *h)
{
	struct data_open open;
	const char *why = "there is none";

	if (h->open.len > 0 &&
	    data_open_read(message_span(&h->open), &open, &why) == 0) {
		take_stream(s, stream, &open);
		return;
	}
	LOG_LIMITED(LOG_LEVEL_WARN, "a stream without a proper OPEN: refused",
	    LOG_TEXT("edge", s->server_name.text), LOG_TEXT("error", why));
	refuse_stream(stream, DATA_UNKNOWN_ENDPOINT);
}

static void
forget_wait(struct header_wait *w)
{
	stream_header_reader_fini(&w->reader);
	free(w);
}

static void
on_header_readable(struct mux_stream *stream)
{
	struct header_wait *w = mux_stream_owner(stream);
	struct agent_session *s = w->session;
	struct stream_header header;
	enum parse parse = PARSE_MORE;
	char storage[MESSAGE_ERROR_SIZE];
	struct span bytes;
	struct text error;
	size_t used;

	text_init(&error, storage, sizeof(storage));
	while (parse == PARSE_MORE && (bytes = mux_peek(stream)).len > 0) {
		parse = stream_header_feed(
		    &w->reader, bytes, &used, &header, &error);
		mux_take(stream, used, s->link->at->worker->now_ms);
	}
	if (parse == PARSE_MORE && !mux_at_end(stream))
		return;
	forget_wait(w);
	if (parse != PARSE_OK) {
		LOG_LIMITED(LOG_LEVEL_WARN, "a stream's header is refused",
		    LOG_TEXT("edge", s->server_name.text),
		    LOG_TEXT("error", error.data));
		refuse_stream(stream, DATA_UNKNOWN_ENDPOINT);
		return;
	}
	take_header(s, stream, &header);
	stream_header_fini(&header);
}

static void
on_header_reset(struct mux_stream *stream, uint32_t error)
{
	(void)error;
	forget_wait(mux_stream_owner(stream));
}

void
accept_stream(struct session *session, struct mux_stream *stream)
{
	static const struct mux_stream_calls calls = {
		.on_readable = on_header_readable,
		.on_reset = on_header_reset,
	};
	struct agent_session *s = session_owner(session);
	struct header_wait *w = calloc(1, sizeof(*w));

	if (!w) {
		refuse_stream(stream, DATA_LIMIT);
		return;
	}
	w->session = s;
	mux_own(stream, &calls, w);
	on_header_readable(stream);
}
