#include "tunnel/tls_pump.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "sys/socket.h"

/* What is read of the bridge in one go. */
#define OUT_BYTES ((size_t)64 * 1024)
/* Reads of one direction in a row, before others have their turn. */
#define TURN_READS 16

/* One of the two descriptors, as the loop has told. */
struct end {
	struct watch watch;
	bool readable, writable;
};

struct tls_pump {
	struct end net, inner;
	struct tls_pump_host *host;
	struct list node;
	struct timeout later; /* goes on, or frees */
	struct tls_stream *tls;
	struct bridge *bridge;
	uint8_t *kept; /* for the bridge, of what was read */
	size_t kept_at, kept_len;
	bool in_done, out_done; /* the end was passed on */
	bool fin_due;		/* our FIN follows what TLS holds */
	bool probed;		/* the peer was asked for a sign of life */
	bool ended;
};

static void on_probe(struct timeout *t);

void
tls_pump_host_init(struct tls_pump_host *h, struct loop *loop,
    struct timeouts *timeouts, uint8_t *buffer, size_t size)
{
	*h = (struct tls_pump_host){
		.loop = loop,
		.timeouts = timeouts,
		.buffer = buffer,
		.buffer_size = size,
	};
	list_init(&h->pumps);
	timeout_init(&h->probe, on_probe);
}

static void
forget(struct tls_pump *p, struct end *e)
{
	int fd = e->watch.fd;

	if (fd < 0)
		return;
	loop_remove(p->host->loop, &e->watch);
	close(fd);
}

static void
pump_free(struct tls_pump *p)
{
	timeouts_clear(p->host->timeouts, &p->later);
	list_remove(&p->node);
	forget(p, &p->net);
	forget(p, &p->inner);
	tls_free(p->tls);
	bridge_put(p->bridge);
	free(p->kept);
	free(p);
}

/* The loop's batch may still point at it: freed by its timeout. */
static void
end(struct tls_pump *p)
{
	if (p->ended)
		return;
	p->ended = true;
	forget(p, &p->inner);
	forget(p, &p->net);
	timeouts_set(p->host->timeouts, &p->later, 1);
}

static void
reset(struct tls_pump *p)
{
	int fd = p->net.watch.fd;

	if (p->ended)
		return;
	bridge_note_reset(p->bridge, BRIDGE_INNER);
	if (fd >= 0) {
		loop_remove(p->host->loop, &p->net.watch);
		socket_reset(fd);
	}
	end(p);
}

/* --- from TLS to the bridge --- */

static bool
keep(struct tls_pump *p, const uint8_t *data, size_t len)
{
	p->kept = malloc(len);
	if (!p->kept)
		return false;
	memcpy(p->kept, data, len);
	p->kept_at = 0;
	p->kept_len = len;
	return true;
}

/* IO_OK: nothing is left. */
static enum io
write_kept(struct tls_pump *p)
{
	size_t count;
	enum io io = socket_write(p->inner.watch.fd, p->kept + p->kept_at,
	    p->kept_len - p->kept_at, &count);

	if (io == IO_ERROR)
		return io;
	p->kept_at += count;
	if (p->kept_at < p->kept_len) {
		p->inner.writable = false;
		return IO_AGAIN;
	}
	free(p->kept);
	p->kept = NULL;
	return IO_OK;
}

/* A record is given out whole: what the bridge does not take waits here. */
static enum io
pass_in(struct tls_pump *p, size_t len)
{
	size_t count = 0;
	enum io io =
	    socket_write(p->inner.watch.fd, p->host->buffer, len, &count);

	if (io == IO_ERROR)
		return io;
	if (count == len)
		return IO_OK;
	p->inner.writable = false;
	return keep(p, p->host->buffer + count, len - count) ? IO_AGAIN
							     : IO_ERROR;
}

static enum io
read_in(struct tls_pump *p)
{
	size_t count;
	enum io io =
	    tls_read(p->tls, p->host->buffer, p->host->buffer_size, &count);

	if (io == IO_AGAIN)
		p->net.readable = false;
	if (io == IO_EOF && !tls_truncated(p->tls)) {
		p->in_done = true;
		shutdown(p->inner.watch.fd, SHUT_WR);
		return IO_EOF;
	}
	if (io != IO_OK)
		return io == IO_AGAIN ? io : IO_ERROR;
	return pass_in(p, count);
}

static enum io
step_in(struct tls_pump *p)
{
	enum io io = IO_OK;

	for (int i = 0; i < TURN_READS && io == IO_OK && !p->in_done; i++) {
		if (p->kept)
			io = p->inner.writable ? write_kept(p) : IO_AGAIN;
		else
			io = p->net.readable ? read_in(p) : IO_AGAIN;
	}
	return io;
}

/* --- from the bridge to TLS --- */

/* Nothing may be unsent. */
static enum io
say_end(struct tls_pump *p)
{
	p->out_done = true;
	if (tls_shut(p->tls) == IO_AGAIN) {
		p->fin_due = true;
		p->net.writable = false;
	} else {
		shutdown(p->net.watch.fd, SHUT_WR);
	}
	return IO_EOF;
}

/* Closed for good before all was delivered to it: that is a reset too. */
static bool
was_cut(const struct tls_pump *p)
{
	return bridge_was_reset(p->bridge, BRIDGE_OUTER) ||
	       (!p->in_done && bridge_is_parted(p->inner.watch.fd));
}

static enum io
read_out(struct tls_pump *p)
{
	size_t count;
	enum io io =
	    socket_read(p->inner.watch.fd, p->host->buffer, OUT_BYTES, &count);

	if (io == IO_AGAIN)
		p->inner.readable = false;
	if (io == IO_EOF)
		return was_cut(p) ? IO_ERROR : say_end(p);
	if (io != IO_OK)
		return io;
	io = tls_write(p->tls, span_of(p->host->buffer, count));
	if (io == IO_AGAIN)
		p->net.writable = false;
	return io;
}

static enum io
flush(struct tls_pump *p)
{
	enum io io = tls_flush(p->tls);

	if (io == IO_AGAIN)
		p->net.writable = false;
	if (io == IO_OK && p->fin_due) {
		p->fin_due = false;
		shutdown(p->net.watch.fd, SHUT_WR);
	}
	return io;
}

static enum io
step_out(struct tls_pump *p)
{
	enum io io = IO_OK;

	for (int i = 0; i < TURN_READS && io == IO_OK; i++) {
		if (tls_has_unsent(p->tls))
			io = p->net.writable ? flush(p) : IO_AGAIN;
		else if (p->out_done)
			return IO_EOF;
		else
			io = p->inner.readable ? read_out(p) : IO_AGAIN;
	}
	return io;
}

static void
run(struct tls_pump *p)
{
	enum io in = step_in(p), out = step_out(p);

	if (in == IO_ERROR || out == IO_ERROR)
		reset(p);
	else if (p->in_done && p->out_done && !p->fin_due)
		end(p);
	else if (in == IO_OK || out == IO_OK)
		timeouts_set(p->host->timeouts, &p->later, 1);
}

static void
on_later(struct timeout *t)
{
	struct tls_pump *p = CONTAINER_OF(t, struct tls_pump, later);

	if (p->ended)
		pump_free(p);
	else
		run(p);
}

static void
note(struct end *e, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		e->readable = true;
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		e->writable = true;
}

static void
on_net_ready(struct watch *w, uint32_t events)
{
	struct tls_pump *p = CONTAINER_OF(w, struct tls_pump, net.watch);

	note(&p->net, events);
	run(p);
}

static void
on_inner_ready(struct watch *w, uint32_t events)
{
	struct tls_pump *p = CONTAINER_OF(w, struct tls_pump, inner.watch);

	note(&p->inner, events);
	run(p);
}

static int
add(struct tls_pump *p, struct end *e, int fd,
    void (*on_ready)(struct watch *, uint32_t))
{
	int error = loop_add(p->host->loop, &e->watch, fd, on_ready);

	if (error < 0) {
		close(fd);
		e->watch.fd = -1;
	}
	return error;
}

int
tls_pump_start(struct tls_pump_host *h, int fd, struct tls_stream *tls,
    int inner_fd, struct bridge *bridge, struct span first)
{
	struct tls_pump *p = calloc(1, sizeof(*p));
	int error, other;

	if (!p) {
		bridge_note_reset(bridge, BRIDGE_INNER);
		bridge_put(bridge);
		tls_free(tls);
		close(inner_fd);
		close(fd);
		return -ENOMEM;
	}
	p->host = h;
	p->tls = tls;
	p->bridge = bridge;
	timeout_init(&p->later, on_later);
	list_append(&h->pumps, &p->node);
	error = add(p, &p->net, fd, on_net_ready);
	other = add(p, &p->inner, inner_fd, on_inner_ready);
	if (first.len > 0 && !keep(p, first.data, first.len))
		error = -ENOMEM;
	if (error == 0 && other == 0) {
		/* What came behind the handshake raises no new event. */
		p->net.readable = true;
		return 0;
	}
	bridge_note_reset(bridge, BRIDGE_INNER);
	pump_free(p);
	return error < 0 ? error : other;
}

/* --- signs of life --- */

static void
on_probe(struct timeout *t)
{
	struct tls_pump_host *h = CONTAINER_OF(t, struct tls_pump_host, probe);

	LIST_FOREACH (node, &h->pumps) {
		struct tls_pump *p = LIST_ENTRY(node, struct tls_pump, node);

		if (p->probed && !p->ended &&
		    !socket_probe_answered(p->net.watch.fd, SOCKET_PROBE_MS))
			reset(p);
		p->probed = false;
	}
}

void
tls_pump_host_ask(struct tls_pump_host *h)
{
	LIST_FOREACH (node, &h->pumps) {
		struct tls_pump *p = LIST_ENTRY(node, struct tls_pump, node);

		if (p->ended)
			continue;
		p->probed = true;
		socket_probe(p->net.watch.fd);
	}
	timeouts_set(h->timeouts, &h->probe, clock_ms() + SOCKET_PROBE_MS);
}

void
tls_pump_host_fini(struct tls_pump_host *h)
{
	timeouts_clear(h->timeouts, &h->probe);
	while (!list_empty(&h->pumps)) {
		struct tls_pump *p =
		    LIST_ENTRY(h->pumps.next, struct tls_pump, node);

		reset(p);
		pump_free(p);
	}
}
