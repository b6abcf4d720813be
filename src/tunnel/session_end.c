#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/socket.h"
#include "tunnel/session_private.h"

/* How long the last bytes may take when the session is over already. */
#define LINGER_MS 1000

/* So often what comes then is dropped in one turn. */
#define TURN_READS 4

static const char *const end_words[] = {
#define X(name, word) word,
	SESSION_END_TABLE(X)
#undef X
};

const char *
session_end_word(enum session_end end)
{
	return end_words[end];
}

bool
session_fell_silent(enum session_end end)
{
	return end == SESSION_END_HEARTBEAT || end == SESSION_END_RESET;
}

/* --- the host --- */

static void
on_sweep(struct timeout *t)
{
	struct session_host *h = CONTAINER_OF(t, struct session_host, sweep);
	struct list *node;

	while ((node = list_shift(&h->dead))) {
		struct session_dead *d =
		    LIST_ENTRY(node, struct session_dead, node);

		if (d->on_sweep)
			d->on_sweep(d);
		free(d);
	}
}

void
session_host_init(struct session_host *h, struct loop *loop,
    struct timeouts *timeouts, uint8_t *buffer, size_t size)
{
	ASSERT(size >= SESSION_BUFFER_BYTES);
	*h = (struct session_host){
		.loop = loop,
		.timeouts = timeouts,
		.buffer = buffer,
		.buffer_size = size,
	};
	list_init(&h->sessions);
	list_init(&h->dead);
	timeout_init(&h->sweep, on_sweep);
}

/* A deadline that has passed is due at the end of this turn, or the next. */
void
session_schedule(struct session_host *h, struct timeout *t)
{
	timeouts_set(h->timeouts, t, 1);
}

void
session_bury(struct session_host *h, struct session_dead *d)
{
	list_append(&h->dead, &d->node);
	session_schedule(h, &h->sweep);
}

/* --- the end --- */

static bool
is_broken(const struct session *s)
{
	return s->end == SESSION_END_RESET || s->end == SESSION_END_HEARTBEAT ||
	       s->end == SESSION_END_HANDSHAKE_TIMEOUT;
}

/*
 * Answers first: ngrok's agents in Rust take nothing more once they have seen a
 * GOAWAY. If the socket takes nothing now, there will be none.
 */
static void
say_goodbye(struct session *s)
{
	if (!s->writable || is_broken(s) || s->end == SESSION_END_PEER_CLOSED ||
	    tls_flush(s->tls) != IO_OK)
		return;
	if (!session_write(s, session_batch_size(s)) && !s->writable)
		return;
	if (!mux_fault(s->mux))
		mux_go_away(s->mux, FRAME_ERROR_NONE, s->detail);
	(void)session_write(s, MUX_FILL_MIN_BYTES);
}

void
session_destroy(struct session *s)
{
	struct session_host *h = s->host;
	int fd = s->watch.fd;

	timeouts_clear(h->timeouts, &s->soon);
	timeouts_clear(h->timeouts, &s->deadline);
	loop_remove(h->loop, &s->watch);
	tls_free(s->tls);
	close(fd);
	list_remove(&s->node);
	session_bury(h, &s->dead);
}

/* The last bytes, then close_notify and FIN; false: nothing can be written. */
static bool
end_writing(struct session *s)
{
	enum io io;

	if (s->shut || !s->writable)
		return true;
	io = tls_flush(s->tls);
	if (io == IO_OK && s->opened)
		io = tls_shut(s->tls);
	s->writable = io != IO_AGAIN;
	if (io != IO_OK)
		return io == IO_AGAIN;
	s->shut = true;
	return shutdown(s->watch.fd, SHUT_WR) == 0;
}

/* False: there is nothing more to wait for. */
static bool
drop_input(struct session *s)
{
	size_t count;
	enum io io = IO_OK;

	for (int i = 0; i < TURN_READS && s->readable && io == IO_OK; i++) {
		io = socket_read(
		    s->watch.fd, s->host->buffer, s->host->buffer_size, &count);
		if (io == IO_AGAIN)
			s->readable = false;
	}
	if (s->readable && io == IO_OK)
		session_schedule(s->host, &s->soon);
	return io == IO_OK || io == IO_AGAIN;
}

/*
 * Until the peer ends its side too: closing a socket that holds bytes unread is
 * a reset, which may overtake what was written last.
 */
void
session_linger(struct session *s)
{
	if (!end_writing(s) || !drop_input(s))
		session_destroy(s);
}

static bool
should_linger(const struct session *s)
{
	return !is_broken(s) && s->end != SESSION_END_PEER_CLOSED &&
	       s->end != SESSION_END_STOPPED;
}

/* All that hangs on the session is told, and on_end is the last. */
void
session_finish(struct session *s)
{
	struct mux *m = s->mux;

	if (s->opened)
		say_goodbye(s);
	session_stop_beat(s);
	timeouts_clear(s->host->timeouts, &s->deadline);
	s->streams_total = mux_counters(m).opened_count;
	mux_free(m);
	s->mux = NULL;
	s->phase = SESSION_LINGERS;
	s->host->count--;
	if (s->settings.calls->on_end)
		s->settings.calls->on_end(s, s->end, s->detail);
	if (!should_linger(s)) {
		if (!is_broken(s))
			(void)end_writing(s);
		session_destroy(s);
		return;
	}
	session_set_timeout(s, &s->deadline, LINGER_MS);
	s->readable = true;
	session_linger(s);
}

void
session_host_fini(struct session_host *h)
{
	while (!list_empty(&h->sessions)) {
		struct session *s =
		    LIST_ENTRY(h->sessions.next, struct session, node);

		session_fail(s, SESSION_END_STOPPED, "");
		if (s->phase == SESSION_ENDS)
			session_finish(s);
		else
			session_destroy(s);
	}
	timeouts_clear(h->timeouts, &h->sweep);
	on_sweep(&h->sweep);
}
