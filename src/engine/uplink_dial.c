#include "engine/uplink_dial.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/dial.h"
#include "engine/edge_private.h"
#include "engine/greet.h"
#include "engine/terminate.h"
#include "sys/socket.h"
#include "tls/digest.h"
#include "wire/frame.h"

bool
uplink_is_due(const struct conn *c)
{
	const struct setup *s = c->setup;

	return c->endpoint && c->endpoint->agents &&
	       !s->decisions[SCRIPT_EDGE].upstream &&
	       !s->decisions[SCRIPT_ENDPOINT].upstream;
}

void
uplink_release(struct uplink *u)
{
	atomic_fetch_sub(&u->active_count, 1);
	uplink_put(u);
}

static void
drop_call(struct dial *d)
{
	if (d->calling)
		d->call->conn = NULL; /* freed when its answer comes */
	else
		uplink_call_free(d->call);
	d->call = NULL;
	d->calling = false;
	d->hello_bytes = d->heard_bytes = 0;
}

void
uplink_dial_fini(struct setup *s)
{
	drop_call(&s->dial);
	for (unsigned i = 0; i < s->dial.uplink_count; i++)
		uplink_put(s->dial.uplinks[i]);
	s->dial.uplink_count = 0;
}

/* --- the call --- */

static enum step
fail(struct conn *c, enum reason reason, int error, const char *detail)
{
	drop_call(&c->setup->dial);
	return dial_failed(c, reason, error, detail);
}

static enum step
take_way(struct conn *c, struct uplink_call *call)
{
	int fd = call->fd;
	enum step step;

	call->fd = -1;
	step = dial_adopt(c, fd);
	if (step != STEP_WAIT)
		return step;
	c->uplink_way = (uint8_t)call->way;
	if (call->bridge)
		leg_cross(&c->upstream, call->bridge);
	if (!call->tls)
		return step;
	tls_move(call->tls, c->worker->tls);
	leg_secure(&c->upstream, call->tls);
	c->upstream.secured = c->upstream.strict = true;
	call->tls = NULL;
	return step;
}

static void
on_answer(struct mail *mail, void *receiver)
{
	struct uplink_call *call = CONTAINER_OF(mail, struct uplink_call, mail);
	struct conn *c = call->conn;

	(void)receiver;
	if (!c) {
		uplink_call_free(call);
		return;
	}
	c->setup->dial.calling = false;
	if (call->error < 0)
		(void)fail(c, REASON_AGENT_LOST, call->error, NULL);
	else
		(void)take_way(c, call);
	conn_run(c);
}

static enum data_termination
termination_of(const struct conn *c)
{
	if (c->facts.terminated)
		return DATA_ENDS_AT_EDGE;
	return terminate_wanted(c) == TERMINATE_AGENT ? DATA_ENDS_AT_AGENT
						      : DATA_ENDS_AT_UPSTREAM;
}

/* An address that is none (a Unix socket in front of us) is told as such. */
static struct addr
address_to_tell(const struct addr *a)
{
	if (a->family == ADDR_IP4 || a->family == ADDR_IP6)
		return *a;
	return (struct addr){ .family = ADDR_IP4 };
}

static bool
describe(struct conn *c, const struct uplink *u, struct data_open *o)
{
	const struct hello *hello = c->facts.terminated ? NULL : conn_hello(c);

	*o = (struct data_open){
		.client = address_to_tell(&c->facts.client),
		.server = address_to_tell(&c->facts.server),
		.termination = termination_of(c),
		.proxy_version = greet_proxy_version(c),
		.endpoint_id = span_text(u->endpoint_id),
		.authority = c->facts.sni,
		.unique_id = span_text(c->facts.id),
		.alpn = greet_alpn(c),
	};
	if (c->facts.terminated)
		return true;
	if (!hello)
		return false;
	o->hello_bytes = (uint32_t)hello->wire_bytes;
	return sha256_bytes(span_of(c->worker->peeked, hello->wire_bytes),
		   o->hello_sha256) == 0;
}

/* What the agent is told of the connection: how it is judged there. */
static bool
write_header(struct conn *c, const struct uplink *u, struct uplink_call *call)
{
	uint8_t storage[DATA_OPEN_PLAIN_MAX_BYTES];
	struct proxy_writer w;
	struct data_open o;

	if (!describe(c, u, &o))
		return false;
	data_open_begin(&w, storage, sizeof(storage), &o);
	greet_add_private(c, &w);
	call->header_len = data_open_finish(&w);
	if (call->header_len == 0)
		return false;
	call->header = malloc(call->header_len);
	if (call->header)
		memcpy(call->header, storage, call->header_len);
	return call->header != NULL;
}

static enum step
call(struct conn *c, struct uplink *u)
{
	struct dial *d = &c->setup->dial;
	struct uplink_call *call = calloc(1, sizeof(*call));

	if (!call)
		return fail(c, REASON_NO_MEMORY, -ENOMEM, NULL);
	call->fd = -1;
	call->conn = c;
	call->return_to = &c->worker->mailbox;
	call->on_answer = on_answer;
	call->plain = c->facts.terminated;
	call->client = c->facts.client;
	call->deadline_ms = c->worker->now_ms + dial_connect_ms(c);
	if (!write_header(c, u, call)) {
		uplink_call_free(call);
		return fail(c, REASON_NO_MEMORY, -ENOMEM,
		    "what the agent is told is too long");
	}
	d->call = call;
	d->calling = true;
	uplink_call(u, call);
	conn_set_deadline(c, dial_connect_ms(c));
	return STEP_WAIT;
}

static void
take_uplink(struct conn *c, struct uplink *u)
{
	struct dial *d = &c->setup->dial;

	if (c->uplink)
		uplink_release(c->uplink);
	c->uplink = uplink_get(u);
	atomic_fetch_add(&u->active_count, 1);
	d->uplinks[d->uplink_count++] = u;
	d->attempts++;
}

/* A denial stands: another agent's rules must not turn it into a yes. */
static bool
may_try_another(const struct dial *d)
{
	return d->uplink_count < DIAL_MAX_UPLINKS && !d->given_up;
}

enum step
uplink_dial(struct conn *c)
{
	struct dial *d = &c->setup->dial;
	struct uplink *u;

	if (d->calling && timeout_is_set(&c->timeout))
		return STEP_WAIT;
	if (d->calling)
		return fail(c, REASON_AGENT_LOST, -ETIMEDOUT, NULL);
	u = may_try_another(d) ? agent_pool_pick(c->endpoint->agents,
				     d->uplinks, d->uplink_count)
			       : NULL;
	if (!u)
		return dial_give_up(c);
	take_uplink(c, u);
	return call(c, u);
}

/* --- what the agent says --- */

/* Refused in so many words: nothing was forwarded, so the next one may be
 * tried, but for a denial. */
static enum step
refused(struct conn *c, enum data_reason reason)
{
	if (reason == DATA_DENIED)
		c->setup->dial.denied = c->setup->dial.given_up = true;
	LOG_LIMITED(LOG_LEVEL_INFO, "an agent refuses a connection",
	    LOG_TEXT("id", c->facts.id),
	    LOG_TEXT("session", c->uplink->session_id),
	    LOG_TEXT("endpoint", c->endpoint->url),
	    LOG_TEXT("reason", data_reason_word(reason)));
	return fail(c, REASON_AGENT_REFUSED, 0, data_reason_word(reason));
}

/* Gone without a word: what it had was a copy of the hello, but early data may
 * have come to the upstream along with that. */
static enum step
lost(struct conn *c, const char *detail)
{
	const struct hello *hello = conn_hello(c);

	if (c->setup->dial.hello_bytes > 0 && (!hello || hello->has_early_data))
		c->setup->dial.given_up = true;
	return fail(c, REASON_AGENT_LOST, 0, detail);
}

static enum step
lost_stream(struct conn *c)
{
	unsigned code = bridge_code(c->upstream.bridge, BRIDGE_INNER);

	if (code > UPLINK_RESET_CODE && code <= UPLINK_RESET_CODE + DATA_DRAIN)
		return refused(c, (enum data_reason)(code - UPLINK_RESET_CODE));
	/* A Lunette agent that would not take it says why: it did take it, and
	 * this is the upstream's own reset. */
	if (c->uplink->is_lunette && code == FRAME_ERROR_CANCEL) {
		conn_close(c, REASON_UPSTREAM_RESET, CLOSE_RESET, NULL);
		return STEP_CLOSE;
	}
	return lost(c, "the agent closed the stream");
}

/* Any byte of the upstream's says that it was reached. One that waits for more
 * before it says anything is not held up for ever. */
static enum step
hear_stream(struct conn *c)
{
	uint8_t byte;
	size_t count;

	if (!c->upstream.readable)
		return timeout_is_set(&c->timeout) ? STEP_WAIT : STEP_NEXT;
	switch (socket_peek(c->upstream.watch.fd, &byte, 1, &count)) {
	case IO_OK:
		return STEP_NEXT;
	case IO_AGAIN:
		c->upstream.readable = false;
		return timeout_is_set(&c->timeout) ? STEP_WAIT : STEP_NEXT;
	default:
		return lost_stream(c);
	}
}

/* Inside TLS the upstream's first bytes may come in the same record. */
static bool
keep_rest(struct conn *c, struct span rest)
{
	if (rest.len == 0 || leg_keep(&c->client, rest))
		return true;
	conn_close(c, REASON_NO_MEMORY, CLOSE_RESET, NULL);
	return false;
}

static enum step
judge(struct conn *c, struct span rest)
{
	struct dial *d = &c->setup->dial;
	struct data_record record;
	enum data_reason reason;
	size_t needed;

	if (data_answer_record(span_of(d->heard, DATA_ANSWER_BYTES), &record,
		&needed) != PARSE_OK ||
	    data_keys_unseal_answer(
		&d->call->keys, &d->call->binding, &record, &reason) < 0) {
		conn_refuse(c, REASON_AGENT_LOST, ALERT_INTERNAL_ERROR,
		    "the agent's answer is not its own");
		return STEP_CLOSE;
	}
	if (reason != DATA_ACCEPTED)
		return refused(c, reason);
	return keep_rest(c, rest) ? STEP_NEXT : STEP_CLOSE;
}

/* Exactly the ANSWER: what follows is the upstream's. */
static enum step
hear_answer(struct conn *c)
{
	struct dial *d = &c->setup->dial;
	uint8_t *buffer = c->worker->buffer;
	size_t wanted = DATA_ANSWER_BYTES - d->heard_bytes, count;
	enum io io;

	if (!c->upstream.readable && !timeout_is_set(&c->timeout))
		return lost(c, "no answer of the agent's");
	if (!c->upstream.readable)
		return STEP_WAIT;
	io = leg_read(&c->upstream, buffer,
	    c->upstream.secured ? WORKER_BUFFER_BYTES : wanted, &count);
	if (io == IO_AGAIN)
		return timeout_is_set(&c->timeout)
			   ? STEP_WAIT
			   : lost(c, "no answer of the agent's");
	if (io != IO_OK)
		return lost(c, "the agent closed the connection");
	if (count < wanted)
		wanted = count;
	memcpy(d->heard + d->heard_bytes, buffer, wanted);
	d->heard_bytes += wanted;
	if (d->heard_bytes < DATA_ANSWER_BYTES)
		return STEP_AGAIN;
	return judge(c, span_of(buffer + wanted, count - wanted));
}

/* --- what the agent is sent --- */

static bool
send_copy(struct conn *c, struct span bytes, bool counts)
{
	size_t count = 0;

	if (leg_has_pending(&c->upstream))
		return false;
	if (leg_write(&c->upstream, bytes, &count) == IO_ERROR)
		return true; /* hearing finds out */
	if (!counts)
		c->upstream.taken_bytes -= bytes.len;
	return count == bytes.len ||
	       leg_keep(&c->upstream,
		   span_of(bytes.data + count, bytes.len - count));
}

/* OPEN and the hello in one piece; a TLS stream takes it whole. */
static bool
send_opening(struct conn *c)
{
	struct dial *d = &c->setup->dial;
	const struct hello *hello = c->facts.terminated ? NULL : conn_hello(c);
	uint8_t *buffer = c->worker->buffer;
	size_t len = d->call->open_len;

	memcpy(buffer, d->call->open, len);
	if (hello) {
		memcpy(buffer + len, c->worker->peeked, hello->wire_bytes);
		d->hello_bytes = hello->wire_bytes;
	}
	if (len + d->hello_bytes == 0)
		return true;
	c->upstream.taken_bytes -= len;
	return send_copy(c, span_of(buffer, len + d->hello_bytes), true);
}

/* What the agent has a copy of is taken from the client's socket now. */
static bool
consume_hello(struct conn *c)
{
	struct dial *d = &c->setup->dial;
	size_t left = d->hello_bytes, count;

	while (left > 0) {
		if (socket_read(c->client.watch.fd, c->worker->buffer, left,
			&count) != IO_OK) {
			conn_close(c, REASON_CLIENT_RESET, CLOSE_RESET, NULL);
			return false;
		}
		left -= count;
	}
	return true;
}

static bool
needs_hello(const struct conn *c)
{
	return !c->facts.terminated && c->setup->dial.hello_bytes == 0;
}

static enum step
begin(struct conn *c)
{
	struct dial *d = &c->setup->dial;

	if (!send_opening(c)) {
		conn_close(c, REASON_NO_MEMORY, CLOSE_RESET, NULL);
		return STEP_CLOSE;
	}
	if (needs_hello(c)) {
		conn_close(c, REASON_CLIENT_RESET, CLOSE_RESET, NULL);
		return STEP_CLOSE;
	}
	d->call->open_len = 0;
	conn_set_deadline(c, UPLINK_ANSWER_MS);
	return STEP_AGAIN;
}

static enum step
hear(struct conn *c)
{
	if (c->uplink_way != UPLINK_STREAM)
		return hear_answer(c);
	return c->facts.terminated ? STEP_NEXT : hear_stream(c);
}

enum step
uplink_greet(struct conn *c)
{
	struct dial *d = &c->setup->dial;
	enum step step;

	switch (leg_flush(&c->upstream, &c->worker->pipes)) {
	case IO_OK:
		break;
	case IO_AGAIN: /* a PROXY header or a hello of many kilobytes */
		if (timeout_is_set(&c->timeout) && !c->upstream.readable)
			return STEP_WAIT;
		break;
	default:
		leg_drop_pending(&c->upstream, &c->worker->pipes);
		return c->upstream.bridge ? lost_stream(c)
					  : lost(c, "the agent has reset");
	}
	if (d->call->open_len > 0 || needs_hello(c))
		return begin(c);
	step = hear(c);
	if (step == STEP_NEXT && !consume_hello(c))
		step = STEP_CLOSE;
	if (step == STEP_NEXT)
		drop_call(d);
	return step;
}
