/*
 * The clients of the benchmarks. Each connection sends a ClientHello and reads
 * the answer to its end, which must have exactly the expected length.
 *
 *	load PORT NAME BYTES run COUNT CONCURRENCY
 *	load PORT NAME BYTES rate COUNT PER_SECOND
 *	load PORT NAME BYTES hold
 *
 * `hold` reads numbers from standard input, one a line, opens connections until
 * so many are open and answered, and says "ok"; it ends with its input. The
 * others print one line: connections that were served, seconds in all, and the
 * median and 99th percentile from connecting to the answer's first byte, in
 * microseconds.
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

#define BUFFER_BYTES (1024 * 1024)
#define EVENTS 256

struct client {
	int fd;
	bool sent;
	uint64_t got, began_ns, first_ns;
};

struct load {
	int epoll_fd;
	unsigned port;
	uint64_t expected;
	uint8_t hello[HELLO_MAX_BYTES];
	size_t hello_len;
	uint8_t *buffer;
	uint64_t open, served, failed, answered;
	uint32_t *latency_us;
};

static void
begin(struct load *l)
{
	struct client *c = calloc(1, sizeof(*c));
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = c,
	};

	if (!c)
		die("calloc");
	c->began_ns = now_ns();
	c->fd = connect_to(l->port);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
		die("epoll_ctl");
	l->open++;
}

static void
end(struct load *l, struct client *c)
{
	if (c->got == l->expected) {
		if (l->latency_us)
			l->latency_us[l->served] =
			    (uint32_t)((c->first_ns - c->began_ns) / 1000);
		l->served++;
	} else {
		l->failed++;
	}
	close(c->fd);
	free(c);
	l->open--;
}

/* True when the connection is over. */
static bool
send_hello(struct load *l, struct client *c)
{
	ssize_t n;

	if (c->sent)
		return false;
	n = send(c->fd, l->hello, l->hello_len, MSG_NOSIGNAL);
	if (n < 0)
		return errno != EAGAIN && errno != ENOTCONN;
	c->sent = true;
	return (size_t)n != l->hello_len;
}

static void
note_bytes(struct load *l, struct client *c, size_t n)
{
	if (c->got == 0)
		c->first_ns = now_ns();
	c->got += n;
	if (c->got == l->expected)
		l->answered++;
}

static bool
read_answer(struct load *l, struct client *c)
{
	for (;;) {
		ssize_t n = recv(c->fd, l->buffer, BUFFER_BYTES, 0);

		if (n < 0)
			return errno != EAGAIN;
		if (n == 0)
			return true;
		note_bytes(l, c, (size_t)n);
	}
}

static void
serve(struct load *l, struct client *c, uint32_t events)
{
	bool done = false;

	if (events & EPOLLOUT)
		done = send_hello(l, c);
	if (!done && (events & ~(uint32_t)EPOLLOUT))
		done = read_answer(l, c);
	if (done)
		end(l, c);
}

static void
turn(struct load *l, int timeout_ms)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(l->epoll_fd, events, EVENTS, timeout_ms);

	for (int i = 0; i < count; i++)
		serve(l, events[i].data.ptr, events[i].events);
}

static void
run(struct load *l, uint64_t count, uint64_t concurrency)
{
	uint64_t begun = 0;

	while (begun < count || l->open > 0) {
		while (begun < count && l->open < concurrency) {
			begin(l);
			begun++;
		}
		turn(l, -1);
	}
}

static void
run_at_rate(struct load *l, uint64_t count, uint64_t per_second)
{
	uint64_t start_ns = now_ns(), begun = 0;

	while (begun < count || l->open > 0) {
		uint64_t passed_ns = now_ns() - start_ns;

		if (begun < count &&
		    passed_ns >= begun * 1000000000 / per_second) {
			begin(l);
			begun++;
		}
		/* Spins: a timer would add its own lateness. */
		turn(l, 0);
	}
}

static int
hold(struct load *l)
{
	char line[64];

	while (fgets(line, sizeof(line), stdin)) {
		uint64_t wanted = strtoull(line, NULL, 10);

		/* A hundred at a time: no backlog is longer than that. */
		while (l->answered < wanted && l->failed == 0) {
			while (l->open < wanted && l->open < l->answered + 100)
				begin(l);
			turn(l, -1);
		}
		printf("%s\n", l->failed ? "failed" : "ok");
		fflush(stdout);
	}
	return l->failed ? 1 : 0;
}

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void
report(struct load *l, uint64_t start_ns)
{
	uint32_t median = 0, high = 0;

	qsort(l->latency_us, l->served, sizeof(*l->latency_us), compare);
	if (l->served > 0) {
		median = l->latency_us[l->served / 2];
		high = l->latency_us[l->served * 99 / 100];
	}
	printf("%llu %.6f %u %u\n", (unsigned long long)l->served,
	    (double)(now_ns() - start_ns) / 1e9, median, high);
}

int
main(int argc, char **argv)
{
	struct load l = { .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	uint64_t start_ns, count, number;

	if (argc != 5 && argc != 7) {
		fprintf(stderr,
		    "usage: load PORT NAME BYTES hold | run COUNT CONCURRENCY "
		    "| rate COUNT PER_SECOND\n");
		return 2;
	}
	raise_limits();
	l.port = (unsigned)atoi(argv[1]);
	l.hello_len = hello_make(l.hello, argv[2]);
	l.expected = strtoull(argv[3], NULL, 10);
	l.buffer = malloc(BUFFER_BYTES);
	if (argc == 5)
		return hold(&l);
	count = strtoull(argv[5], NULL, 10);
	number = strtoull(argv[6], NULL, 10);
	l.latency_us = calloc(count + 1, sizeof(*l.latency_us));
	start_ns = now_ns();
	if (!strcmp(argv[4], "rate"))
		run_at_rate(&l, count, number);
	else
		run(&l, count, number);
	report(&l, start_ns);
	return l.served == count ? 0 : 1;
}
