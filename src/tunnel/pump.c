#include "tunnel/pump.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "sys/socket.h"

/* So much is moved from the stream in one go; what more there is waits for the
 * bridge's next event or the stream's next bytes. */
#define MAX_PIECES 16

struct pump {
	struct session_dead dead;
	struct watch watch; /* of the inner end */
	struct session_host *host;
	struct mux_stream *stream; /* NULL: it is left or gone */
	struct bridge *bridge;
	pump_on_done *on_done;
	void *owner;
	struct pump_report report;
	bool readable, writable, hung_up;
	bool fin_delivered; /* to the bridge */
	bool fin_sent;	    /* to the peer */
	size_t first_len, first_sent;
	uint8_t first[];
};

/* --- the end --- */

static void
on_sweep(struct session_dead *d)
{
	struct pump *p = CONTAINER_OF(d, struct pump, dead);

	if (p->on_done)
		p->on_done(p->owner, &p->report);
}

/*
 * With nothing left to read a local socket's close is a FIN, else a reset: what
 * the outer end still sent is of no use, but must not take from it what it has
 * not read yet.
 */
static void
drop_unread(int fd)
{
	char buffer[4096];
	size_t count;

	shutdown(fd, SHUT_RD);
	while (socket_read(fd, buffer, sizeof(buffer), &count) == IO_OK)
		;
}

/* The stream is left or gone. */
static void
finish(struct pump *p)
{
	int fd = p->watch.fd;

	p->stream = NULL;
	loop_remove(p->host->loop, &p->watch);
	if (p->fin_delivered)
		drop_unread(fd);
	else
		bridge_note_reset(p->bridge, BRIDGE_INNER);
	close(fd);
	bridge_put(p->bridge);
	p->bridge = NULL;
	session_bury(p->host, &p->dead);
}

/* The outer end is gone, or this one is broken. */
static void
reset_stream(struct pump *p)
{
	struct mux_stream *stream = p->stream;
	unsigned code = bridge_code(p->bridge, BRIDGE_OUTER);

	p->report.reset_by_us = true;
	finish(p);
	mux_reset(stream, code != 0 ? code : FRAME_ERROR_CANCEL);
}

/* Both directions have had their FIN, and it was passed on. */
static bool
is_complete(const struct pump *p)
{
	return p->fin_delivered && p->fin_sent;
}

static void
finish_if_complete(struct pump *p)
{
	struct mux_stream *stream = p->stream;

	if (!is_complete(p))
		return;
	finish(p);
	mux_release(stream);
}

/* --- from the stream to the bridge --- */

/* What the socket took, of all pieces with one call; IO_AGAIN: nothing. */
static enum io
write_pieces(struct pump *p, size_t *taken)
{
	struct span pieces[MAX_PIECES];
	struct iovec parts[MAX_PIECES];
	size_t count = mux_peek_many(p->stream, pieces, MAX_PIECES);
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
	ssize_t n;

	for (size_t i = 0; i < count; i++)
		parts[i] = (struct iovec){
			.iov_base = (void *)(uintptr_t)pieces[i].data,
			.iov_len = pieces[i].len,
		};
	do
		n = sendmsg(p->watch.fd, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	*taken = n > 0 ? (size_t)n : 0;
	if (n < 0)
		return errno == EAGAIN ? IO_AGAIN : IO_ERROR;
	return IO_OK;
}

/* False: the pump is finished. */
static bool
deliver(struct pump *p)
{
	size_t taken;
	enum io io;

	while (p->writable && mux_unread_bytes(p->stream) > 0) {
		io = write_pieces(p, &taken);
		p->report.bytes_in += taken;
		if (io == IO_AGAIN)
			p->writable = false;
		if (io == IO_ERROR) {
			reset_stream(p);
			return false;
		}
		mux_take(p->stream, taken, clock_ms());
	}
	if (!p->fin_delivered && mux_at_end(p->stream)) {
		p->fin_delivered = true;
		shutdown(p->watch.fd, SHUT_WR);
		finish_if_complete(p);
	}
	return p->stream != NULL;
}

static void
on_readable(struct mux_stream *stream)
{
	(void)deliver(mux_stream_owner(stream));
}

static void
on_reset(struct mux_stream *stream, uint32_t error)
{
	struct pump *p = mux_stream_owner(stream);

	p->report.error = error;
	bridge_set_code(p->bridge, BRIDGE_INNER, error);
	finish(p);
}

/* --- from the bridge to the stream --- */

static void
send_first(struct pump *p, struct mux_room *room)
{
	size_t n = p->first_len - p->first_sent;

	if (n > room->size)
		n = room->size;
	memcpy(room->data, p->first + p->first_sent, n);
	p->first_sent += n;
	room->used = n;
	room->more = true;
}

/* The outer end was closed in a way that is no good end. */
static bool
was_cut(const struct pump *p)
{
	return bridge_was_reset(p->bridge, BRIDGE_OUTER) ||
	       (!p->fin_delivered && bridge_is_parted(p->watch.fd));
}

static void
end_stream(struct pump *p, struct mux_room *room)
{
	if (was_cut(p)) {
		reset_stream(p);
		return;
	}
	p->fin_sent = room->fin = true;
	if (!is_complete(p))
		return;
	room->leave = true;
	mux_own(p->stream, NULL, NULL);
	finish(p);
}

/* Less than there was room for means empty, and what comes later raises a new
 * event; but an end that was announced already will not be again. */
static void
note_read(struct pump *p, struct mux_room *room)
{
	p->report.bytes_out += room->used;
	if (room->used < room->size && !p->hung_up)
		p->readable = false;
	room->more = p->readable;
}

static void
on_room(struct mux_stream *stream, struct mux_room *room)
{
	struct pump *p = mux_stream_owner(stream);
	enum io io;

	if (p->first_sent < p->first_len) {
		send_first(p, room);
		return;
	}
	if (!p->readable)
		return;
	io = socket_read(p->watch.fd, room->data, room->size, &room->used);
	if (io == IO_OK)
		note_read(p, room);
	else if (io == IO_AGAIN)
		p->readable = false;
	else if (io == IO_EOF)
		end_stream(p, room);
	else
		reset_stream(p);
}

static const struct mux_stream_calls pump_calls = {
	.on_readable = on_readable,
	.on_room = on_room,
	.on_reset = on_reset,
};

/* --- the bridge's events --- */

/*
 * The outer end is closed whole, and there is nobody to read the rest for: it
 * had sent its FIN before and will not take what still comes, or it was reset
 * and the peer takes nothing.
 */
static bool
is_deserted(const struct pump *p)
{
	if (p->fin_delivered)
		return false;
	return p->fin_sent || (bridge_was_reset(p->bridge, BRIDGE_OUTER) &&
				  mux_window_bytes(p->stream) == 0);
}

static void
on_ready(struct watch *w, uint32_t events)
{
	struct pump *p = CONTAINER_OF(w, struct pump, watch);

	if (events & EPOLLOUT)
		p->writable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		p->hung_up = true;
	if (p->hung_up || (events & EPOLLIN))
		p->readable = true;
	if ((events & (EPOLLHUP | EPOLLERR)) && is_deserted(p)) {
		reset_stream(p);
		return;
	}
	if (p->writable && !deliver(p))
		return;
	if (p->readable)
		mux_want(p->stream);
}

/* --- a new one --- */

static void
refuse(struct mux_stream *stream, int inner_fd, struct bridge *bridge)
{
	bridge_note_reset(bridge, BRIDGE_INNER);
	close(inner_fd);
	bridge_put(bridge);
	mux_reset(stream, FRAME_ERROR_INTERNAL);
}

static struct pump *
pump_new(struct session *s, struct mux_stream *stream, struct span first)
{
	struct pump *p = calloc(1, sizeof(*p) + first.len);

	if (!p)
		return NULL;
	list_init(&p->dead.node);
	p->dead.on_sweep = on_sweep;
	p->host = session_host(s);
	p->stream = stream;
	p->first_len = first.len;
	if (first.len > 0)
		memcpy(p->first, first.data, first.len);
	return p;
}

int
pump_start(struct session *s, struct mux_stream *stream, struct span first,
    int inner_fd, struct bridge *bridge, pump_on_done *done, void *owner)
{
	struct pump *p = pump_new(s, stream, first);
	int error;

	if (!p) {
		refuse(stream, inner_fd, bridge);
		return -ENOMEM;
	}
	error = loop_add(p->host->loop, &p->watch, inner_fd, on_ready);
	if (error < 0) {
		free(p);
		refuse(stream, inner_fd, bridge);
		return error;
	}
	p->bridge = bridge;
	p->on_done = done;
	p->owner = owner;
	p->writable = true;
	mux_own(stream, &pump_calls, p);
	mux_want(stream);
	/* What has come already is not told again. */
	(void)deliver(p);
	return 0;
}
