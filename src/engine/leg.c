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

	if (error < 0) {
		close(fd);
		l->watch.fd = -1;
	}
	return error;
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
		l->readable = l->hung_up = true;
	/* The next read or write tells which error it was. */
	if (events & (EPOLLERR | EPOLLHUP))
		l->readable = l->writable = l->hung_up = true;
}

enum io
leg_read(struct leg *l, void *buffer, size_t size, size_t *count)
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
	else if (io == IO_EOF && l->reset)
		io = IO_ERROR;
	if (io == IO_ERROR)
		l->reset = l->failed = true;
	return io;
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

enum io
leg_write(struct leg *l, struct span bytes, size_t *count)
{
	enum io io = socket_write(l->watch.fd, bytes.data, bytes.len, count);

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

enum io
leg_flush(struct leg *l, struct pipes *pipes)
{
	if (!leg_has_pending(l))
		return IO_OK;
	if (!l->writable)
		return IO_AGAIN;
	return l->pending ? flush_buffer(l) : flush_pipe(l, pipes);
}

bool
leg_has_pending(const struct leg *l)
{
	return l->pending || l->pipe;
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
}

void
leg_shut(struct leg *l)
{
	if (!l->shut && leg_is_open(l))
		shutdown(l->watch.fd, SHUT_WR);
	l->shut = true;
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
	int fd = leg_is_open(l) ? forget(l) : -1;

	if (fd >= 0)
		socket_reset(fd);
}
