#include "tunnel/session.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "sys/socket.h"
#include "tunnel/session_private.h"

#define DEFAULT_MS 10000
#define DEFAULT_TOLERANCE_MS 15000
#define DEFAULT_RESPONSE_MS 15000

/* One turn's share of a session. */
#define TURN_READS 4
#define TURN_WRITES 4

/* More waits with us, where small frames can still overtake it: behind what the
 * kernel has taken even a heartbeat must wait. */
#define UNSENT_BYTES (128 * 1024)

/* --- small things --- */

static bool
is_over(const struct session *s)
{
	return s->phase >= SESSION_ENDS;
}

void *
session_owner(const struct session *s)
{
	return s->settings.owner;
}

struct session_host *
session_host(const struct session *s)
{
	return s->host;
}

struct tls_stream *
session_tls(const struct session *s)
{
	return s->tls;
}

struct mux *
session_mux(const struct session *s)
{
	return s->mux;
}

bool
session_is_open(const struct session *s)
{
	return s->phase == SESSION_OPEN;
}

bool
session_is_lunette(const struct session *s)
{
	return s->is_lunette;
}

void
session_set_timeout(struct session *s, struct timeout *t, uint64_t ms)
{
	timeouts_set(s->host->timeouts, t, clock_ms() + ms);
}

struct session_counters
session_counters(const struct session *s)
{
	struct session_counters c = {
		.bytes_in = s->bytes_in,
		.bytes_out = s->bytes_out,
		.streams_total = s->streams_total,
		.latency_us = s->latency_us,
	};

	if (s->mux) {
		c.streams_total = mux_counters(s->mux).opened_count;
		c.streams_open = mux_counters(s->mux).open_count;
	}
	return c;
}

void
session_fail(struct session *s, enum session_end end, const char *detail)
{
	if (is_over(s))
		return;
	s->phase = SESSION_ENDS;
	s->end = end;
	snprintf(s->detail, sizeof(s->detail), "%s", detail ? detail : "");
	session_schedule(s->host, &s->soon);
}

void
session_close(struct session *s, const char *detail)
{
	session_fail(s, SESSION_END_CLOSED, detail);
}

void
session_go_away(struct session *s, const char *text)
{
	if (session_is_open(s))
		mux_go_away(s->mux, FRAME_ERROR_NONE, text);
}

struct mux_stream *
session_open_stream(struct session *s, uint32_t type)
{
	return session_is_open(s) ? mux_open(s->mux, type, NULL, NULL) : NULL;
}

/* --- admission --- */

/* What a peer may hold before it has said who it is, and how many streams it
 * can bear itself. */
static void
apply_limits(struct session *s)
{
	unsigned streams = MUX_MAX_STREAMS;
	size_t unread = MUX_MAX_UNREAD_BYTES;

	if (!s->is_lunette && !s->settings.is_agent)
		streams = SESSION_SDK_STREAMS;
	if (!s->settings.admitted) {
		streams = SESSION_STRANGER_STREAMS;
		unread = SESSION_STRANGER_BYTES;
	}
	mux_set_limits(s->mux, streams, unread);
}

void
session_admit(struct session *s)
{
	if (s->settings.admitted || !session_is_open(s))
		return;
	s->settings.admitted = true;
	timeouts_clear(s->host->timeouts, &s->deadline);
	apply_limits(s);
}

/* --- handshake --- */

static void
open_session(struct session *s)
{
	struct tls_facts facts;

	tls_facts(s->tls, &facts);
	s->is_lunette = span_is(facts.alpn, "lunette/1");
	if (!s->is_lunette && !s->settings.is_agent)
		mux_finish_before_reset(s->mux);
	tls_trim(s->tls);
	s->phase = SESSION_OPEN;
	s->opened = true;
	/* What came right behind the handshake raises no new event. */
	s->readable = s->writable = true;
	timeouts_clear(s->host->timeouts, &s->deadline);
	if (!s->settings.admitted)
		session_set_timeout(s, &s->deadline, s->settings.admission_ms);
	apply_limits(s);
	session_start_beat(s);
	if (s->settings.calls->on_open)
		s->settings.calls->on_open(s);
}

static void
shake(struct session *s)
{
	if (!s->readable && tls_blocked_on(s->tls) == TLS_BLOCKED_READ)
		return;
	switch (tls_handshake(s->tls)) {
	case IO_OK:
		open_session(s);
		break;
	case IO_AGAIN:
		if (tls_blocked_on(s->tls) == TLS_BLOCKED_READ)
			s->readable = false;
		break;
	default:
		session_fail(
		    s, SESSION_END_HANDSHAKE, tls_failure(s->tls)->detail);
		break;
	}
}

/* --- reading --- */

/* Empty, or its own answers find no room; see leg.c. */
static void
note_blocked(struct session *s)
{
	if (tls_blocked_on(s->tls) & TLS_BLOCKED_WRITE)
		s->writable = false;
	else
		s->readable = false;
}

static void
feed(struct session *s, size_t count)
{
	int error;

	s->bytes_in += count;
	error = mux_feed(s->mux, span_of(s->host->buffer, count));
	if (error == -EPROTO)
		session_fail(s, SESSION_END_PROTOCOL, mux_fault(s->mux));
	else if (error == -ENOBUFS)
		session_fail(s, SESSION_END_OVERLOAD, mux_fault(s->mux));
	else if (error < 0)
		session_fail(s, SESSION_END_NO_MEMORY, mux_fault(s->mux));
}

static void
read_once(struct session *s)
{
	size_t count;

	switch (
	    tls_read(s->tls, s->host->buffer, s->host->buffer_size, &count)) {
	case IO_OK:
		if ((tls_blocked_on(s->tls) & TLS_BLOCKED_READ) &&
		    !s->hung_up && !s->urgent)
			s->readable = false;
		feed(s, count);
		break;
	case IO_AGAIN:
		note_blocked(s);
		break;
	case IO_EOF:
		session_fail(s, SESSION_END_PEER_CLOSED,
		    tls_truncated(s->tls) ? "without close_notify" : "");
		break;
	case IO_ERROR:
		session_fail(s, SESSION_END_RESET,
		    tls_failure(s->tls)->fault == TLS_FAULT_PROTOCOL
			? tls_failure(s->tls)->detail
			: log_errno_text(errno));
		break;
	}
}

static bool
may_read(const struct session *s)
{
	return session_is_open(s) && s->readable && mux_has_room(s->mux);
}

static void
read_some(struct session *s)
{
	for (int i = 0; i < TURN_READS && may_read(s); i++)
		read_once(s);
}

/* --- writing --- */

static bool
note_written(struct session *s, enum io io)
{
	if (io == IO_AGAIN)
		s->writable = false;
	else if (io == IO_ERROR)
		session_fail(s, SESSION_END_RESET, log_errno_text(errno));
	return io == IO_OK;
}

/* The next batch; false: nothing is left to write, or it cannot be. */
bool
session_write(struct session *s, size_t size)
{
	size_t len = mux_fill(s->mux, s->host->buffer, size);

	s->bytes_out += len;
	return len > 0 && note_written(s,
			      tls_write(s->tls, span_of(s->host->buffer, len)));
}

size_t
session_batch_size(const struct session *s)
{
	return s->host->buffer_size < TLS_WRITE_MAX_BYTES ? s->host->buffer_size
							  : TLS_WRITE_MAX_BYTES;
}

static void
write_some(struct session *s)
{
	if (!s->writable || !note_written(s, tls_flush(s->tls)))
		return;
	for (int i = 0; i < TURN_WRITES; i++)
		if (!session_is_open(s) ||
		    !session_write(s, session_batch_size(s)))
			return;
}

/* A reset that somebody asked for found no place. */
static void
look_for_fault(struct session *s)
{
	if (mux_fault(s->mux))
		feed(s, 0);
}

/* --- events --- */

static void
work(struct session *s)
{
	if (s->phase == SESSION_SHAKES)
		shake(s);
	read_some(s);
	if (session_is_open(s))
		write_some(s);
	if (session_is_open(s))
		look_for_fault(s);
	if (may_read(s) ||
	    (session_is_open(s) && s->writable && mux_has_output(s->mux)))
		session_schedule(s->host, &s->soon);
}

static void
on_soon(struct timeout *t)
{
	struct session *s = CONTAINER_OF(t, struct session, soon);

	if (!is_over(s))
		work(s);
	if (s->phase == SESSION_ENDS)
		session_finish(s);
	else if (s->phase == SESSION_LINGERS)
		session_linger(s);
}

static void
on_deadline(struct timeout *t)
{
	struct session *s = CONTAINER_OF(t, struct session, deadline);

	if (s->phase == SESSION_SHAKES)
		session_fail(s, SESSION_END_HANDSHAKE_TIMEOUT, "");
	else if (s->phase == SESSION_OPEN)
		session_fail(s, SESSION_END_ADMISSION_TIMEOUT, "");
	else if (s->phase == SESSION_LINGERS)
		session_destroy(s);
}

/* Only notes: what there is to do is done when the turn's batch is over, all
 * at once. */
static void
on_ready(struct watch *w, uint32_t events)
{
	struct session *s = CONTAINER_OF(w, struct session, watch);

	if (events & EPOLLIN)
		s->readable = true;
	if (events & EPOLLOUT)
		s->writable = true;
	if (events & EPOLLPRI)
		s->readable = s->urgent = true;
	if (events & EPOLLRDHUP)
		s->readable = s->hung_up = true;
	if (events & (EPOLLERR | EPOLLHUP))
		s->readable = s->writable = s->hung_up = true;
	session_schedule(s->host, &s->soon);
}

static void
on_output(struct mux *m)
{
	struct session *s = mux_owner(m);

	session_schedule(s->host, &s->soon);
}

static void
on_go_away(struct mux *m, uint32_t error, struct span text)
{
	struct session *s = mux_owner(m);

	if (session_is_open(s) && s->settings.calls->on_go_away)
		s->settings.calls->on_go_away(s, error, text);
}

/* --- a new one --- */

static void
use_default(uint64_t *ms, uint64_t otherwise)
{
	if (*ms == 0)
		*ms = otherwise;
}

static void
use_settings(struct session *s, const struct session_settings *settings)
{
	struct session_settings *own = &s->settings;

	*own = *settings;
	use_default(&own->handshake_ms, DEFAULT_MS);
	use_default(&own->admission_ms, DEFAULT_MS);
	use_default(&own->heartbeat_interval_ms, DEFAULT_MS);
	use_default(&own->heartbeat_tolerance_ms, DEFAULT_TOLERANCE_MS);
	use_default(&own->request_ms, DEFAULT_MS);
	use_default(&own->response_ms, DEFAULT_RESPONSE_MS);
}

static struct mux *
make_mux(struct session *s)
{
	struct mux_settings settings = {
		.is_agent = s->settings.is_agent,
		.on_open = session_on_stream,
		.on_go_away = on_go_away,
		.on_output = on_output,
		.owner = s,
	};

	return mux_new(&settings);
}

static struct session *
fail_new(struct session *s, int fd, struct tls_stream *tls)
{
	if (s && s->mux)
		mux_free(s->mux);
	free(s);
	tls_free(tls);
	close(fd);
	return NULL;
}

struct session *
session_new(struct session_host *h, int fd, struct tls_stream *tls,
    const struct session_settings *settings)
{
	struct session *s = calloc(1, sizeof(*s));
	int unsent = UNSENT_BYTES;

	if (!s)
		return fail_new(s, fd, tls);
	s->host = h;
	use_settings(s, settings);
	s->mux = make_mux(s);
	if (!s->mux || loop_add(h->loop, &s->watch, fd, on_ready) < 0)
		return fail_new(s, fd, tls);
	/* Sockets that are not TCP do without. */
	(void)setsockopt(
	    fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	s->tls = tls;
	s->latency_us = -1;
	list_init(&s->dead.node);
	list_append(&h->sessions, &s->node);
	h->count++;
	timeout_init(&s->soon, on_soon);
	timeout_init(&s->deadline, on_deadline);
	session_set_timeout(s, &s->deadline, s->settings.handshake_ms);
	session_schedule(h, &s->soon);
	return s;
}
