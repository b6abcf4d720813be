/*
 * The floor of passthrough: the least work that a relay of Lunette's kind must
 * do, without a product around it. An accept thread hands descriptors to two
 * workers (mutex, list, eventfd); a worker peeks until the ClientHello is
 * whole, connects to the one upstream, copies, and splices through a 1 MiB pipe
 * once 256 KiB have moved. No names, limits, timeouts, counters or log.
 *
 *	floor UPSTREAM_PORT
 *
 * Prints its port. Ends when standard input does.
 */
#include "common.h"
#include "crew.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES (256 * 1024)
#define PIPE_BYTES (1024 * 1024)
#define SPLICE_AFTER_BYTES (256 * 1024)

struct side {
	struct relay *relay;
	struct side *other;
	int fd;
	bool readable, writable, ended, shut;
	uint64_t moved;
	uint8_t *kept; /* read, not taken by the other side */
	size_t kept_at, kept_len;
	int pipe_read, pipe_write; /* -1: none */
	size_t in_pipe;
};

struct relay {
	struct handed handed; /* `next` then links the graveyard */
	struct side client, upstream;
	bool connected, closed;
};

struct worker {
	struct crew_worker crew;
	unsigned upstream_port;
	struct relay *graveyard;
	uint8_t *buffer;
	unsigned pipes;
};

static void
side_close(struct worker *w, struct side *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->kept);
	if (s->pipe_read >= 0) {
		close(s->pipe_read);
		close(s->pipe_write);
		w->pipes--;
	}
}

/* Freed at the end of the turn: a later event may still point here. */
static void
relay_close(struct worker *w, struct relay *r)
{
	if (r->closed)
		return;
	r->closed = true;
	side_close(w, &r->client);
	side_close(w, &r->upstream);
	r->handed.next = (struct handed *)w->graveyard;
	w->graveyard = r;
}

static void
bury(struct worker *w)
{
	while (w->graveyard) {
		struct relay *r = w->graveyard;

		w->graveyard = (struct relay *)r->handed.next;
		free(r);
	}
}

/* Keeps what the other side did not take. */
static bool
keep(struct side *s, const uint8_t *data, size_t len)
{
	s->kept = malloc(len);
	if (!s->kept)
		return false;
	memcpy(s->kept, data, len);
	s->kept_at = 0;
	s->kept_len = len;
	return true;
}

/* Bytes written, or -1 when the connection is broken. */
static ssize_t
write_some(struct side *to, const uint8_t *data, size_t len)
{
	ssize_t n = send(to->fd, data, len, MSG_NOSIGNAL);

	if (n < 0 && errno == EAGAIN) {
		to->writable = false;
		return 0;
	}
	if (n >= 0 && (size_t)n < len)
		to->writable = false;
	return n;
}

static bool
flush_kept(struct side *s)
{
	while (s->kept && s->other->writable) {
		ssize_t n = write_some(
		    s->other, s->kept + s->kept_at, s->kept_len - s->kept_at);

		if (n < 0)
			return false;
		s->kept_at += (size_t)n;
		if (s->kept_at == s->kept_len) {
			free(s->kept);
			s->kept = NULL;
		}
	}
	return true;
}

/* One read and one write; false when the connection is broken. */
static bool
copy_some(struct worker *w, struct side *s)
{
	ssize_t n = recv(s->fd, w->buffer, BUFFER_BYTES, 0), written;

	if (n < 0) {
		s->readable = false;
		return errno == EAGAIN;
	}
	if (n == 0) {
		s->ended = true;
		return true;
	}
	s->moved += (uint64_t)n;
	written = write_some(s->other, w->buffer, (size_t)n);
	if (written < 0)
		return false;
	return written == n ||
	       keep(s, w->buffer + written, (size_t)(n - written));
}

static void
borrow_pipe(struct worker *w, struct side *s)
{
	int fds[2];

	if (s->moved < SPLICE_AFTER_BYTES || s->pipe_read >= 0 ||
	    w->pipes >= 16 || pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
		return;
	if (fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES) < 0) {
		close(fds[0]);
		close(fds[1]);
		return;
	}
	w->pipes++;
	s->pipe_read = fds[0];
	s->pipe_write = fds[1];
}

static bool
fill_pipe(struct side *s)
{
	ssize_t n = splice(s->fd, NULL, s->pipe_write, NULL, PIPE_BYTES,
	    SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n == 0)
		s->ended = true;
	if (n < 0) {
		s->readable = false;
		return errno == EAGAIN;
	}
	s->in_pipe += (size_t)n;
	return true;
}

static bool
drain_pipe(struct side *s)
{
	ssize_t n = splice(s->pipe_read, NULL, s->other->fd, NULL, s->in_pipe,
	    SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n < 0) {
		s->other->writable = false;
		return errno == EAGAIN;
	}
	s->in_pipe -= (size_t)n;
	return true;
}

static bool
splice_some(struct side *s)
{
	if (s->in_pipe == 0 && !fill_pipe(s))
		return false;
	return s->in_pipe == 0 || drain_pipe(s);
}

static bool
can_move(const struct side *s)
{
	if (s->in_pipe > 0)
		return s->other->writable;
	return !s->kept && !s->ended && s->readable && s->other->writable;
}

/* Everything that can be moved from one side to the other now. */
static bool
pump(struct worker *w, struct side *s)
{
	if (!flush_kept(s))
		return false;
	while (can_move(s)) {
		borrow_pipe(w, s);
		if (!(s->pipe_read >= 0 ? splice_some(s) : copy_some(w, s)))
			return false;
	}
	if (s->ended && !s->kept && s->in_pipe == 0 && !s->shut) {
		s->shut = true;
		shutdown(s->other->fd, SHUT_WR);
	}
	return true;
}

static bool
start_connect(struct worker *w, struct relay *r)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int one = 1,
	    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	r->upstream.fd = fd;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons((uint16_t)w->upstream_port);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 &&
	    errno != EINPROGRESS)
		return false;
	crew_watch(&w->crew, fd, &r->upstream);
	return true;
}

/* Connects once the whole record is there; false: give up. */
static bool
peek(struct worker *w, struct relay *r)
{
	uint8_t hello[HELLO_MAX_BYTES];
	ssize_t n = recv(r->client.fd, hello, sizeof(hello), MSG_PEEK);

	if (n < 0)
		return errno == EAGAIN;
	if (n == 0)
		return false;
	if (n < 5 || (hello[3] << 8 | hello[4]) + 5 > n)
		return hello[0] == 22;
	return start_connect(w, r);
}

static void
step(struct worker *w, struct relay *r)
{
	bool good = true;

	if (r->closed)
		return;
	if (r->upstream.fd < 0)
		good = peek(w, r);
	else if (r->connected)
		good = pump(w, &r->client) && pump(w, &r->upstream);
	if (!good || (r->client.shut && r->upstream.shut))
		relay_close(w, r);
}

static void
on_event(struct worker *w, struct side *s, uint32_t events)
{
	struct relay *r = s->relay;

	if (r->closed)
		return;
	if (events & EPOLLOUT) {
		s->writable = true;
		if (s == &r->upstream)
			r->connected = true;
	}
	if (events & ~(uint32_t)EPOLLOUT)
		s->readable = true;
	if ((events & EPOLLERR) && !r->connected) {
		relay_close(w, r);
		return;
	}
	step(w, r);
}

static void
side_init(struct side *s, struct relay *r, struct side *other, int fd)
{
	s->relay = r;
	s->other = other;
	s->fd = fd;
	s->pipe_read = s->pipe_write = -1;
}

static void
take_handed(struct worker *w)
{
	struct handed *h, *next;

	for (h = crew_take(&w->crew); h; h = next) {
		struct relay *r = (struct relay *)h;

		next = h->next;
		side_init(&r->client, r, &r->upstream, h->fd);
		side_init(&r->upstream, r, &r->client, -1);
		crew_watch(&w->crew, h->fd, &r->client);
		r->client.readable = true;
		step(w, r);
	}
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct epoll_event events[CREW_EVENTS];

	for (;;) {
		int count =
		    epoll_wait(w->crew.epoll_fd, events, CREW_EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (!events[i].data.ptr)
				take_handed(w);
			else
				on_event(
				    w, events[i].data.ptr, events[i].events);
		}
		bury(w);
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	static struct worker workers[CREW_WORKERS];
	struct crew_worker *crew[CREW_WORKERS];

	if (argc != 2) {
		fprintf(stderr, "usage: floor UPSTREAM_PORT\n");
		return 2;
	}
	raise_limits();
	for (int i = 0; i < CREW_WORKERS; i++) {
		workers[i].upstream_port = (unsigned)atoi(argv[1]);
		workers[i].buffer = malloc(BUFFER_BYTES);
		crew[i] = &workers[i].crew;
		crew_start(crew[i], work, &workers[i]);
	}
	crew_accept(crew, sizeof(struct relay));
	return 0;
}
