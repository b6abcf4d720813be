/*
 * The upstream of the benchmarks: waits for the first bytes of a connection (or
 * for AFTER of them), answers with some, and closes (or holds).
 *
 *	sink BYTES [hold | AFTER]
 *
 * Prints its port. Ends when standard input does.
 */
#include "common.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES (256 * 1024)
#define EVENTS 256

struct client {
	int fd;
	bool asked, answered;
	uint64_t taken, left;
};

struct sink {
	int epoll_fd, listen_fd;
	uint64_t bytes, after;
	bool hold;
	uint8_t *buffer;
};

static void
drop(struct client *c)
{
	close(c->fd);
	free(c);
}

/* True when the client is done with. */
static bool
take_input(struct sink *s, struct client *c)
{
	ssize_t n;

	while ((n = recv(c->fd, s->buffer, BUFFER_BYTES, 0)) > 0) {
		c->taken += (uint64_t)n;
		c->asked = c->taken >= s->after;
	}
	if (n < 0)
		return errno != EAGAIN;
	return c->answered || !c->asked;
}

static bool
give_output(struct sink *s, struct client *c)
{
	while (c->asked && c->left > 0) {
		size_t len = c->left < BUFFER_BYTES ? c->left : BUFFER_BYTES;
		ssize_t n = send(c->fd, s->buffer, len, MSG_NOSIGNAL);

		if (n < 0)
			return errno != EAGAIN;
		c->left -= (uint64_t)n;
	}
	c->answered = c->asked;
	return c->answered && !s->hold;
}

static void
serve(struct sink *s, struct client *c, uint32_t events)
{
	bool done = false;

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		done = take_input(s, c);
	if (!done && !c->answered)
		done = give_output(s, c);
	if (done)
		drop(c);
}

static void
accept_all(struct sink *s)
{
	int fd;

	while ((fd = accept4(s->listen_fd, NULL, NULL,
		    SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct client *c = calloc(1, sizeof(*c));
		struct epoll_event event = {
			.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
			.data.ptr = c,
		};

		if (!c)
			die("calloc");
		c->fd = fd;
		c->left = s->bytes;
		if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
			die("epoll_ctl");
	}
}

static void
watch(const struct sink *s, int fd, void *data)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = data };

	/* A file as standard input cannot be watched and never ends us. */
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 &&
	    errno != EPERM)
		die("epoll_ctl");
}

static void
run(struct sink *s)
{
	struct epoll_event events[EVENTS];

	for (;;) {
		int count = epoll_wait(s->epoll_fd, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			void *data = events[i].data.ptr;

			if (!data)
				return;
			if (data == s)
				accept_all(s);
			else
				serve(s, data, events[i].events);
		}
	}
}

int
main(int argc, char **argv)
{
	struct sink s = { .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	unsigned port;

	if (argc < 2) {
		fprintf(stderr, "usage: sink BYTES [hold | AFTER]\n");
		return 2;
	}
	raise_limits();
	s.bytes = strtoull(argv[1], NULL, 10);
	s.hold = argc > 2 && !strcmp(argv[2], "hold");
	s.after = argc > 2 && !s.hold ? strtoull(argv[2], NULL, 10) : 1;
	s.buffer = calloc(1, BUFFER_BYTES);
	s.listen_fd = listen_anywhere(&port);
	watch(&s, s.listen_fd, &s);
	watch(&s, STDIN_FILENO, NULL);
	printf("%u\n", port);
	fflush(stdout);
	run(&s);
	return 0;
}
