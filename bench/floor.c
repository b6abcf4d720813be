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

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS 2
#define EVENTS 256
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
	struct side client, upstream;
	bool connected, closed;
	struct relay *next; /* in a hand-over, then in the graveyard */
};

struct worker {
	pthread_t thread;
	int epoll_fd, event_fd;
	unsigned upstream_port;
	pthread_mutex_t lock;
	struct relay *handed;
	struct relay *graveyard;
	uint8_t *buffer;
	unsigned pipes;
};

static void
watch(struct worker *w, int fd, void *data)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = data,
	};

	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

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
	r->next = w->graveyard;
	w->graveyard = r;
}

static void
bury(struct worker *w)
{
	while (w->graveyard) {
		struct relay *r = w->graveyard;

		w->graveyard = r->next;
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
	watch(w, fd, &r->upstream);
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
take_handed(struct worker *w)
{
	struct relay *r, *next;
	eventfd_t count;

	eventfd_read(w->event_fd, &count);
	pthread_mutex_lock(&w->lock);
	r = w->handed;
	w->handed = NULL;
	pthread_mutex_unlock(&w->lock);
	for (; r; r = next) {
		next = r->next;
		watch(w, r->client.fd, &r->client);
		r->client.readable = true;
		step(w, r);
	}
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct epoll_event events[EVENTS];

	for (;;) {
		int count = epoll_wait(w->epoll_fd, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == w)
				take_handed(w);
			else
				on_event(
				    w, events[i].data.ptr, events[i].events);
		}
		bury(w);
	}
	return NULL;
}

static void
worker_start(struct worker *w, unsigned upstream_port)
{
	w->upstream_port = upstream_port;
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	w->buffer = malloc(BUFFER_BYTES);
	pthread_mutex_init(&w->lock, NULL);
	watch(w, w->event_fd, w);
	if (pthread_create(&w->thread, NULL, work, w) != 0)
		die("pthread_create");
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
hand_over(struct worker *w, int fd)
{
	struct relay *r = calloc(1, sizeof(*r));
	bool was_empty;

	if (!r)
		die("calloc");
	side_init(&r->client, r, &r->upstream, fd);
	side_init(&r->upstream, r, &r->client, -1);
	pthread_mutex_lock(&w->lock);
	was_empty = !w->handed;
	r->next = w->handed;
	w->handed = r;
	pthread_mutex_unlock(&w->lock);
	if (was_empty)
		eventfd_write(w->event_fd, 1);
}

static void
accept_loop(int listener, struct worker *workers)
{
	struct pollfd fds[2] = { { listener, POLLIN, 0 },
		{ STDIN_FILENO, POLLIN, 0 } };
	unsigned turn = 0;
	int fd;

	while (poll(fds, 2, -1) >= 0 && !fds[1].revents)
		while ((fd = accept4(listener, NULL, NULL,
			    SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
			hand_over(&workers[turn++ % WORKERS], fd);
}

int
main(int argc, char **argv)
{
	static struct worker workers[WORKERS];
	unsigned port;
	int listener;

	if (argc != 2) {
		fprintf(stderr, "usage: floor UPSTREAM_PORT\n");
		return 2;
	}
	raise_limits();
	for (int i = 0; i < WORKERS; i++)
		worker_start(&workers[i], (unsigned)atoi(argv[1]));
	listener = listen_anywhere(&port);
	printf("%u\n", port);
	fflush(stdout);
	accept_loop(listener, workers);
	return 0;
}
