/*
 * The agent's end of direct data connections: one is dialled for each counter
 * that the edge has asked for, proves by its preface that it belongs to the
 * session, and waits for OPEN. Only then it is judged, as a stream is.
 */
#include "tunnel/agent_private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine/passage.h"
#include "sys/socket.h"
#include "tls/data_stream.h"
#include "sys/bridge.h"
#include "tls/secret.h"

/* Connections that are asked for and not yet OPENed, at most; those of them
 * that are being dialled. */
#define DATA_MAX_WAITING 1024
#define DATA_MAX_DIALS 64
/* How long one may wait for its OPEN, and an OPEN for its end. */
#define DATA_PARKED_MS 90000
#define DATA_OPEN_MS 3000

enum dial_state { DIAL_CONNECTING, DIAL_HANDSHAKE, DIAL_WAITING };

struct data_dial {
	struct watch watch;
	struct list node; /* of the session's dials, or parked */
	struct agent_session *session;
	struct outbound *outbound;
	struct timeout timeout;
	enum dial_state state;
	enum data_mode mode;
	uint64_t counter;
	uint8_t preface[DATA_PREFACE_BYTES];
	struct tls_stream *tls; /* mode DATA_TLS */
	uint8_t *heard;		/* of OPEN; NULL: nothing yet */
	size_t heard_len;
	bool ended; /* freed by its timeout, outside of the loop's batch */
};

/* Counters that wait for a free place to be dialled. */
struct data_ask {
	struct list node;
	uint64_t first, count;
	enum data_mode mode;
};

static struct timeouts *
timeouts_of(const struct agent_session *s)
{
	return &s->link->at->worker->timeouts;
}

static void dial_next(struct agent_session *s);

/* Out of the loop, and the caller's to close; -1 if there was none. */
static int
take_descriptor(struct data_dial *d)
{
	int fd = d->watch.fd;

	if (fd >= 0)
		loop_remove(&d->session->link->at->worker->loop, &d->watch);
	return fd;
}

static void
forget(struct data_dial *d)
{
	int fd = take_descriptor(d);

	if (fd >= 0)
		close(fd);
}

static void
dial_free(struct data_dial *d)
{
	outbound_cancel(d->outbound);
	timeouts_clear(timeouts_of(d->session), &d->timeout);
	forget(d);
	tls_free(d->tls);
	list_remove(&d->node);
	wipe(d->preface, sizeof(d->preface));
	free(d->heard);
	free(d);
}

/* It stops counting at once; its memory may still be in the loop's batch. */
static void
end(struct data_dial *d)
{
	struct agent_session *s = d->session;

	if (d->ended)
		return;
	d->ended = true;
	forget(d);
	if (d->state == DIAL_WAITING)
		s->parked_count--;
	else
		s->dial_count--;
	timeouts_set(timeouts_of(s), &d->timeout, 1);
}

static void
on_timeout(struct timeout *t)
{
	struct data_dial *d = CONTAINER_OF(t, struct data_dial, timeout);
	struct agent_session *s = d->session;

	if (!d->ended) {
		if (d->state == DIAL_WAITING)
			s->parked_count--;
		else
			s->dial_count--;
	}
	dial_free(d);
	dial_next(s);
}

/* --- OPEN --- */

/* The client's own TLS inside of ours, or bytes that have come already: the
 * engine gets a bridge, at which it can peek. Takes the socket; a descriptor,
 * or -errno. */
static int
bring_inside_out(
    struct data_dial *d, int fd, struct passage *p, struct span first)
{
	struct tls_stream *tls = d->tls;
	struct bridge *bridge;
	int fds[2], error = bridge_open(&bridge, fds);

	d->tls = NULL;
	if (error < 0) {
		tls_free(tls);
		close(fd);
		return error;
	}
	p->bridge = bridge; /* the outer end's reference */
	error = tls_pump_start(&d->session->link->at->pumps, fd, tls,
	    fds[BRIDGE_INNER], bridge, first);
	if (error == 0)
		return fds[BRIDGE_OUTER];
	close(fds[BRIDGE_OUTER]);
	return error;
}

static bool
take_open(struct data_dial *d, const struct data_record *record)
{
	struct agent_session *s = d->session;
	uint8_t plain[DATA_OPEN_PLAIN_MAX_BYTES];
	struct data_binding binding;
	struct data_open open;
	struct passage *p;
	struct span rest =
	    span_of(d->heard + record->bytes, d->heard_len - record->bytes);
	const char *why;
	size_t len;
	int fd;

	if (data_keys_unseal_open(&s->keys, d->preface, record, plain, &len) <
		0 ||
	    data_open_read(span_of(plain, len), &open, &why) < 0)
		return false;
	p = accept_passage(s, &open, &d->mode);
	if (!p)
		return false;
	memcpy(binding.preface, d->preface, sizeof(binding.preface));
	memcpy(binding.salt, record->salt.data, sizeof(binding.salt));
	accept_bind_answer(p, &s->keys, &binding);
	fd = take_descriptor(d);
	if (d->tls && (!p->plain || rest.len > 0)) {
		fd = bring_inside_out(d, fd, p, rest);
	} else {
		p->tls = d->tls;
		d->tls = NULL;
	}
	if (fd < 0) {
		passage_free(p);
		return false;
	}
	accept_inject(s->link->at->agent, s->link->at->worker, fd, p);
	return true;
}

/* A record of TLS is given out whole, with what follows OPEN in it: that may be
 * the client's hello. */
static size_t
heard_size(const struct data_dial *d)
{
	return DATA_OPEN_MAX_BYTES + (d->tls ? SESSION_BUFFER_BYTES : 0);
}

static enum io
read_some(struct data_dial *d, size_t wanted, size_t *count)
{
	uint8_t *buffer = d->session->link->at->buffer;
	enum io io;

	if (!d->tls)
		return socket_read(
		    d->watch.fd, d->heard + d->heard_len, wanted, count);
	io = tls_read(d->tls, buffer, SESSION_BUFFER_BYTES, count);
	if (io != IO_OK)
		return io;
	if (d->heard_len + *count > heard_size(d))
		return IO_ERROR;
	memcpy(d->heard + d->heard_len, buffer, *count);
	return IO_OK;
}

static bool
prepare_hearing(struct data_dial *d)
{
	if (d->heard)
		return true;
	d->heard = malloc(heard_size(d));
	if (d->heard)
		timeouts_set(timeouts_of(d->session), &d->timeout,
		    d->session->link->at->worker->now_ms + DATA_OPEN_MS);
	return d->heard != NULL;
}

/* Exactly the record, byte by announced byte. */
static void
hear_open(struct data_dial *d)
{
	struct data_record record;
	size_t needed = DATA_OPEN_HEAD_BYTES, count;
	enum parse parse = PARSE_MORE;
	enum io io = IO_OK;

	if (!prepare_hearing(d)) {
		end(d);
		return;
	}
	while (parse == PARSE_MORE) {
		parse = data_open_record(
		    span_of(d->heard, d->heard_len), &record, &needed);
		if (parse != PARSE_MORE)
			break;
		io = read_some(d, needed - d->heard_len, &count);
		if (io != IO_OK)
			break;
		d->heard_len += count;
	}
	if (parse == PARSE_MORE && io == IO_AGAIN) {
		if (d->heard_len == 0) {
			free(d->heard);
			d->heard = NULL;
			timeouts_set(timeouts_of(d->session), &d->timeout,
			    d->session->link->at->worker->now_ms +
				DATA_PARKED_MS);
		}
		return;
	}
	if (parse == PARSE_OK)
		(void)take_open(d, &record);
	end(d);
}

/* --- the handshake, or the preface alone --- */

static void
wait_for_open(struct data_dial *d)
{
	struct agent_session *s = d->session;

	d->state = DIAL_WAITING;
	s->dial_count--;
	s->parked_count++;
	timeouts_set(timeouts_of(s), &d->timeout,
	    s->link->at->worker->now_ms + DATA_PARKED_MS);
	dial_next(s);
	hear_open(d);
}

static void
shake_hands(struct data_dial *d)
{
	switch (tls_handshake(d->tls)) {
	case IO_OK:
		wait_for_open(d);
		break;
	case IO_AGAIN:
		break;
	default:
		end(d);
	}
}

static void
on_ready(struct watch *w, uint32_t events)
{
	struct data_dial *d = CONTAINER_OF(w, struct data_dial, watch);

	(void)events;
	if (d->state == DIAL_HANDSHAKE)
		shake_hands(d);
	else if (d->state == DIAL_WAITING)
		hear_open(d);
}

static bool
begin_tls(struct data_dial *d)
{
	struct agent_session *s = d->session;
	uint8_t psk[SHA256_BYTES];

	if (data_keys_psk(&s->keys, d->preface, psk) < 0)
		return false;
	d->tls = tls_data_connect(s->link->at->worker->tls, d->watch.fd,
	    d->preface, psk, host_span(&s->server_name));
	wipe(psk, sizeof(psk));
	return d->tls != NULL;
}

static bool
begin(struct data_dial *d)
{
	struct agent_session *s = d->session;
	size_t count;

	if (data_keys_make_preface(&s->keys, d->mode, d->counter, d->preface) <
	    0)
		return false;
	if (d->mode == DATA_TLS) {
		d->state = DIAL_HANDSHAKE;
		return begin_tls(d);
	}
	/* On a new connection it fits. */
	return socket_write(d->watch.fd, d->preface, sizeof(d->preface),
		   &count) == IO_OK &&
	       count == sizeof(d->preface);
}

static void
on_connected(void *owner, int fd, const struct addr *reached, const char *why)
{
	struct data_dial *d = owner;
	struct agent_session *s = d->session;

	(void)reached;
	d->outbound = NULL;
	if (fd < 0) {
		LOG_LIMITED(LOG_LEVEL_INFO, "no data connection to the edge",
		    LOG_TEXT("edge", s->server_name.text),
		    LOG_TEXT("error", why), LOG_ERRNO(-fd));
		end(d);
		return;
	}
	socket_keep_alive(fd);
	if (loop_add(&s->link->at->worker->loop, &d->watch, fd, on_ready) < 0) {
		close(fd);
		d->watch.fd = -1;
		end(d);
		return;
	}
	if (!begin(d))
		end(d);
	else if (d->mode == DATA_TLS)
		shake_hands(d);
	else
		wait_for_open(d);
}

static bool
dial(struct agent_session *s, uint64_t counter, enum data_mode mode)
{
	struct data_dial *d = calloc(1, sizeof(*d));
	struct agent_worker *at = s->link->at;

	if (!d)
		return false;
	d->watch.fd = -1;
	d->session = s;
	d->counter = counter;
	d->mode = mode;
	timeout_init(&d->timeout, on_timeout);
	d->outbound = outbound_start(&at->outbound, &s->target,
	    at->agent->has_proxy ? &at->agent->proxy : NULL, on_connected, d);
	if (!d->outbound) {
		free(d);
		return false;
	}
	s->dial_count++;
	list_append(&s->dials, &d->node);
	return true;
}

static void
dial_next(struct agent_session *s)
{
	while (s->dial_count < DATA_MAX_DIALS && !list_empty(&s->asked)) {
		struct data_ask *ask =
		    LIST_ENTRY(s->asked.next, struct data_ask, node);

		if (!dial(s, ask->first, ask->mode))
			return;
		ask->first++;
		if (--ask->count > 0)
			continue;
		list_remove(&ask->node);
		free(ask);
	}
}

static uint64_t
asked_count(const struct agent_session *s)
{
	uint64_t count = s->dial_count + s->parked_count;

	LIST_FOREACH (node, &s->asked)
		count += LIST_ENTRY(node, struct data_ask, node)->count;
	return count;
}

bool
data_dial(struct agent_session *s, uint64_t first, uint64_t count,
    enum data_mode mode)
{
	struct data_ask *ask;

	if (!s->has_keys || first == 0 || count == 0 ||
	    count > DATA_MAX_WAITING ||
	    asked_count(s) + count > DATA_MAX_WAITING ||
	    first > DATA_COUNTER_MAX - count)
		return false;
	ask = calloc(1, sizeof(*ask));
	if (!ask)
		return true; /* the edge falls back */
	ask->first = first;
	ask->count = count;
	ask->mode = mode;
	list_append(&s->asked, &ask->node);
	dial_next(s);
	return true;
}

void
data_forget(struct agent_session *s)
{
	struct list *node;

	while ((node = list_shift(&s->asked)))
		free(LIST_ENTRY(node, struct data_ask, node));
	while ((node = list_shift(&s->dials)))
		dial_free(LIST_ENTRY(node, struct data_dial, node));
	s->dial_count = s->parked_count = 0;
}
