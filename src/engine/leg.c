#include "engine/leg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "sys/socket.h"

void
leg_init(struct leg *l)
{
	*l = (struct leg){ .watch.fd = -1 };
}

bool
leg_is_open(const struct leg *l)
{
	return l->watch.fd >= 0;
}

int
leg_open(struct leg *l, struct loop *loop, int fd,
    void (*on_ready)(struct watch *, uint32_t))
{
	int error = loop_add(loop, &l->watch, fd, on_ready);

	l->failed = false; /* of a try before */
	if (error < 0) {
		close(fd);
		l->watch.fd = -1;
	}
	return error;
}

void
leg_cross(struct leg *l, struct bridge *b)
{
	ASSERT(!l->bridge);
	l->bridge = bridge_get(b);
}

int
leg_release(struct leg *l, struct loop *loop)
{
	int fd = l->watch.fd;

	loop_remove(loop, &l->watch);
	l->watch.fd = -1;
	return fd;
}

void
leg_note(struct leg *l, uint32_t events)
{
	if (events & EPOLLIN)
		l->readable = true;
	if (events & EPOLLOUT)
		l->writable = true;
	if (events & EPOLLPRI)
		l->readable = l->urgent = true;
	if (events & EPOLLRDHUP)
		l->readable = l->hung_up = l->ending = true;
	/* The next read or write tells which error it was. */
	if (events & EPOLLERR)
		l->broken = true;
	if (events & (EPOLLERR | EPOLLHUP)) {
		l->readable = l->writable = l->hung_up = true;
		l->ending = false;
	}
}

void
leg_secure(struct leg *l, struct tls_stream *tls)
{
	ASSERT(!l->tls);
	l->tls = tls;
}

enum io
leg_handshake(struct leg *l)
{
	enum io io;

	/* That it can be written is no news to one that waits for the peer. */
	if (!l->readable && tls_blocked_on(l->tls) == TLS_BLOCKED_READ)
		return IO_AGAIN;
	io = tls_handshake(l->tls);
	if (io == IO_AGAIN && tls_blocked_on(l->tls) == TLS_BLOCKED_READ)
		l->readable = false;
	if (io == IO_OK) {
		l->secured = true;
		/* What came right behind the handshake raises no new event. */
		l->readable = l->writable = true;
	}
	return io;
}

/* A read may have something to write first (a key update), and then it is the
 * room for that which it waits for. */
static void
note_blocked_read(struct leg *l)
{
	if (tls_blocked_on(l->tls) & TLS_BLOCKED_WRITE)
		l->writable = false;
	else
		l->readable = false;
}

/*
 * Counts what the socket has taken: plaintext is at least as short as the
 * records that are left. A read that has something to answer may send the rest,
 * and then no flush will.
 */
static void
settle(struct leg *l)
{
	size_t left = tls_unsent_bytes(l->tls);

	if (left > l->unsent_bytes)
		left = l->unsent_bytes;
	l->taken_bytes += l->unsent_bytes - left;
	l->unsent_bytes = (uint32_t)left;
}

/*
 * With its socket empty the stream has given all out but part of a record, and
 * what comes raises a new event; but a FIN that was announced already will not
 * be announced again. After a reset only close_notify proves a good end.
 */
static enum io
read_tls(struct leg *l, void *buffer, size_t size, size_t *count)
{
	enum io io = tls_read(l->tls, buffer, size, count);

	settle(l);
	if (io == IO_AGAIN)
		note_blocked_read(l);
	else if (io == IO_OK && (tls_blocked_on(l->tls) & TLS_BLOCKED_READ) &&
		 !l->hung_up && !l->urgent)
		l->readable = false;
	else if (io == IO_EOF)
		l->truncated = tls_truncated(l->tls);
	if (io == IO_EOF && l->truncated && (l->reset || l->strict))
		io = IO_ERROR;
	if (io == IO_ERROR)
		l->reset = l->failed = true;
	return io;
}

/* A Unix socket only says that it has ended: the bridge knows how. */
static bool
crossed_reset(const struct leg *l)
{
	return l->bridge && bridge_was_reset(l->bridge, BRIDGE_INNER);
}

static enum io
read_plain(struct leg *l, void *buffer, size_t size, size_t *count)
{
	enum io io = socket_read(l->watch.fd, buffer, size, count);

	if (io == IO_AGAIN)
		l->readable = false;
	/* Less than asked for means empty, and what comes later raises a new
	 * event; but a FIN that was announced already will not be again, and a
	 * read also stops where urgent data stood. */
	else if (io == IO_OK && *count < size && !l->hung_up && !l->urgent)
		l->readable = false;
	/* After an error was reported once, the kernel only says EOF: a peer
	 * that has reset must not look like one that has finished. */
	else if (io == IO_EOF && (l->reset || crossed_reset(l)))
		io = IO_ERROR;
	if (io == IO_ERROR)
		l->reset = l->failed = true;
	return io;
}

enum io
leg_read(struct leg *l, void *buffer, size_t size, size_t *count)
{
	return l->tls ? read_tls(l, buffer, size, count)
		      : read_plain(l, buffer, size, count);
}

enum io
leg_discard(struct leg *l, void *buffer, size_t size)
{
	size_t count;

	return read_plain(l, buffer, size, &count);
}

/*
 * What the peer sent before it reset can still be read, and the reading finds
 * the end. An error of our own machine's is not met by reading: the peer may
 * wait for ever, so nothing more is to be had of this leg.
 */
static enum io
note_write_error(struct leg *l)
{
	l->reset = l->readable = true;
	if (errno == ENOMEM || errno == ENOBUFS || errno == EINVAL)
		l->failed = true;
	return IO_ERROR;
}

static enum io
note_tls_write(struct leg *l, enum io io)
{
	if (io == IO_ERROR) {
		l->unsent_bytes = 0;
		return note_write_error(l);
	}
	settle(l);
	l->congested = io == IO_AGAIN;
	if (l->congested)
		l->writable = false;
	return io;
}

static enum io
write_tls(struct leg *l, struct span bytes, size_t *count)
{
	l->unsent_bytes = (uint32_t)bytes.len;
	*count = bytes.len;
	return note_tls_write(l, tls_write(l->tls, bytes)) == IO_ERROR
		   ? IO_ERROR
		   : IO_OK;
}

static enum io
write_plain(struct leg *l, struct span bytes, size_t *count)
{
	enum io (*write)(int, const void *, size_t, size_t *) =
	    l->more ? socket_write_more : socket_write;
	enum io io = write(l->watch.fd, bytes.data, bytes.len, count);

	if (io == IO_ERROR)
		return note_write_error(l);
	if (io == IO_AGAIN)
		*count = 0;
	l->taken_bytes += *count;
	l->congested = *count < bytes.len;
	if (l->congested)
		l->writable = false;
	return l->congested ? IO_AGAIN : IO_OK;
}

enum io
leg_write(struct leg *l, struct span bytes, size_t *count)
{
	return l->secured ? write_tls(l, bytes, count)
			  : write_plain(l, bytes, count);
}

void
leg_expect_more(struct leg *l, bool more)
{
	l->more = more;
	if (l->secured)
		tls_expect_more(l->tls, more);
}

enum io
leg_say(struct leg *l, struct span words)
{
	size_t count = 0;
	enum io io = leg_write(l, words, &count);

	l->taken_bytes -= count;
	return io;
}

static enum io
flush_buffer(struct leg *l)
{
	struct leg_buffer *b = l->pending;
	struct span rest = span_of(b->data + b->start, b->end - b->start);
	size_t count;
	enum io io = leg_write(l, rest, &count);

	if (io == IO_ERROR)
		return io;
	b->start += count;
	if (b->start == b->end) {
		free(b);
		l->pending = NULL;
	}
	return io;
}

static enum io
flush_pipe(struct leg *l, struct pipes *pipes)
{
	ssize_t n;

	while (l->pipe->bytes > 0) {
		n = splice(l->pipe->read_fd, NULL, l->watch.fd, NULL,
		    l->pipe->bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			l->writable = false;
			return IO_AGAIN;
		}
		if (n <= 0)
			return note_write_error(l);
		l->pipe->bytes -= (size_t)n;
		l->taken_bytes += (uint64_t)n;
	}
	pipes_return(pipes, l->pipe);
	l->pipe = NULL;
	return IO_OK;
}

static enum io
flush_tls(struct leg *l)
{
	enum io io = note_tls_write(l, tls_flush(l->tls));

	if (io == IO_OK && l->fin_due) {
		l->fin_due = false;
		shutdown(l->watch.fd, SHUT_WR);
	}
	return io;
}

enum io
leg_flush(struct leg *l, struct pipes *pipes)
{
	if (!leg_has_pending(l))
		return IO_OK;
	if (!l->writable)
		return IO_AGAIN;
	if (l->pending)
		return flush_buffer(l);
	return l->pipe ? flush_pipe(l, pipes) : flush_tls(l);
}

bool
leg_has_pending(const struct leg *l)
{
	return l->pending || l->pipe || (l->secured && tls_has_unsent(l->tls));
}

bool
leg_keep(struct leg *l, struct span rest)
{
	struct leg_buffer *b;

	ASSERT(!leg_has_pending(l));
	b = malloc(sizeof(*b) + rest.len);
	if (!b)
		return false;
	b->start = 0;
	b->end = rest.len;
	memcpy(b->data, rest.data, rest.len);
	l->pending = b;
	return true;
}

void
leg_drop_pending(struct leg *l, struct pipes *pipes)
{
	free(l->pending);
	l->pending = NULL;
	if (l->pipe)
		pipes_return(pipes, l->pipe);
	l->pipe = NULL;
	if (l->secured)
		tls_drop_unsent(l->tls);
	l->unsent_bytes = 0;
	l->fin_due = false;
}

void
leg_shut(struct leg *l)
{
	if (l->shut || !leg_is_open(l))
		return;
	l->shut = true;
	leg_expect_more(l, true);
	if (l->secured && tls_shut(l->tls) == IO_AGAIN) {
		l->fin_due = true;
		l->writable = false;
		return;
	}
	shutdown(l->watch.fd, SHUT_WR);
}

void
leg_cut(struct leg *l)
{
	if (l->shut || !leg_is_open(l))
		return;
	l->shut = true;
	/* What its TLS holds back, our last flight: else the peer would take
	 * this for an end in the handshake. */
	if (l->secured)
		(void)tls_write(l->tls, span_of(NULL, 0));
	shutdown(l->watch.fd, SHUT_WR);
}

/*
 * Closing the only descriptor of a socket takes it out of the epoll set too
 * (epoll(7), "Questions and answers"), which saves a call. Bytes taken and the
 * watch's magic stay: the one for the event, the other because this turn's
 * batch may still point here.
 */
static int
forget(struct leg *l)
{
	int fd = l->watch.fd;
	struct leg fresh = {
		.watch.magic = l->watch.magic,
		.watch.fd = -1,
		.failed = l->failed,
		.taken_bytes = l->taken_bytes,
	};

	ASSERT(!leg_has_pending(l));
	tls_free(l->tls);
	bridge_put(l->bridge);
	*l = fresh;
	return fd;
}

void
leg_close(struct leg *l)
{
	int fd = leg_is_open(l) ? forget(l) : -1;

	if (fd >= 0)
		close(fd);
}

void
leg_abort(struct leg *l)
{
	int fd;

	if (!leg_is_open(l))
		return;
	if (l->bridge)
		bridge_note_reset(l->bridge, BRIDGE_OUTER);
	fd = forget(l);
	if (fd >= 0)
		socket_reset(fd);
}
