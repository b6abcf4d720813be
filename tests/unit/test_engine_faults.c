/*
 * The n-th call of what may fail does, for every n that a few connections need:
 * nobody crashes, nothing leaks (the address sanitizer and the count of
 * descriptors look), each connection has its event, and the next is served.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_bench.h"

#define WRAPPED_TABLE(X)     \
	X(socket, EMFILE)    \
	X(accept4, EMFILE)   \
	X(connect, ENOBUFS)  \
	X(epoll_ctl, ENOSPC) \
	X(eventfd, EMFILE)   \
	X(pipe2, EMFILE)     \
	X(splice, ENOMEM)    \
	X(malloc, ENOMEM)    \
	X(calloc, ENOMEM)    \
	X(realloc, ENOMEM)

enum wrapped {
#define WRAPPED_ENUM(name, error) CALL_##name,
	WRAPPED_TABLE(WRAPPED_ENUM) CALL_COUNT
};

static const struct {
	const char *name;
	int error;
} wrapped[] = {
#define WRAPPED_ROW(name, error) { #name, error },
	WRAPPED_TABLE(WRAPPED_ROW)
};

/* The process's calls, but for those of threads that belong to the test. */
static atomic_uint victim, fail_at, calls;
static _Thread_local bool exempt;

static bool
fails(enum wrapped which)
{
	if (exempt || atomic_load(&victim) != which ||
	    atomic_load(&fail_at) == 0 ||
	    atomic_fetch_add(&calls, 1) + 1 != atomic_load(&fail_at))
		return false;
	errno = wrapped[which].error;
	return true;
}

static void
arm(enum wrapped which, unsigned n)
{
	atomic_store(&victim, which);
	atomic_store(&calls, 0);
	atomic_store(&fail_at, n);
}

/* True if the call that was to fail was never made. */
static bool
disarm(void)
{
	return atomic_load(&calls) < atomic_exchange(&fail_at, 0);
}

#define WRAP(type, failed, name, parameters, arguments)                       \
	type __real_##name parameters;                                        \
	type __wrap_##name parameters;                                        \
	type __wrap_##name parameters                                         \
	{                                                                     \
		return fails(CALL_##name) ? failed : __real_##name arguments; \
	}

WRAP(int, -1, socket, (int d, int t, int p), (d, t, p))
WRAP(int, -1, accept4, (int f, struct sockaddr *a, socklen_t *l, int g),
    (f, a, l, g))
WRAP(
    int, -1, connect, (int f, const struct sockaddr *a, socklen_t l), (f, a, l))
WRAP(int, -1, epoll_ctl, (int e, int o, int f, struct epoll_event *v),
    (e, o, f, v))
WRAP(int, -1, eventfd, (unsigned v, int f), (v, f))
WRAP(int, -1, pipe2, (int *p, int f), (p, f))
WRAP(ssize_t, -1, splice,
    (int i, off_t *x, int o, off_t *y, size_t n, unsigned f),
    (i, x, o, y, n, f))
WRAP(void *, NULL, malloc, (size_t n), (n))
WRAP(void *, NULL, calloc, (size_t m, size_t n), (m, n))
WRAP(void *, NULL, realloc, (void *p, size_t n), (p, n))

static struct bench b;

/* The upstream: reads all and says so. */
static pthread_t server;

static void *
serve(void *arg)
{
	static char data[65536];
	int fd;

	(void)arg;
	exempt = true;
	while ((fd = accept_while_open(b.upstream_fd)) >= 0) {
		ssize_t n;

		while ((n = recv(fd, data, sizeof(data), 0)) > 0)
			;
		if (n == 0)
			(void)!send(fd, "ok", 2, MSG_NOSIGNAL);
		close(fd);
	}
	return NULL;
}

static void
setup(void)
{
	exempt = true;
	signal(SIGPIPE, SIG_IGN);
	bench_init(&b);
	bench_script(&b, "p.lua",
	    "local lunette = require \"lunette\"\n"
	    "return { connect = function(conn)\n"
	    "  conn:log { name = conn.sni }\n"
	    "  conn:track(conn.client_ip)\n"
	    "  lunette.sleep(0.001)\n"
	    "  if conn.sni == 'no.test' then return lunette.deny('no') end\n"
	    "  return lunette.forward { tags = { a = 'b' } }\n"
	    "end, close = function(conn, summary) end }\n");
	ck_assert_int_eq(pthread_create(&server, NULL, serve, NULL), 0);
}

static void
teardown(void)
{
	shutdown(b.upstream_fd, SHUT_RDWR);
	pthread_join(server, NULL);
	bench_fini(&b);
}

static const char yaml[] =
    "edge: { listen: [ \"127.0.0.1:0\" ], workers: 1,\n"
    "  policy: { file: $S/p.lua },\n"
    "  limits: { connections_per_client: 100 } }\n"
    "endpoints: [ { url: tls://a.test, upstream: 127.0.0.1:$P,\n"
    "  proxy_proto: 2 } ]\n";

/* A whole client; true if it got its answer. Whatever happens, it ends. */
static bool
visit(const char *name, size_t len)
{
	static char block[512 * 1024];
	struct span hello = hello_for(name);
	int fd = connect_to_port(bench_port(&b, 0));
	char answer[64];
	size_t got;
	int error;

	send_bytes(fd, hello.data, hello.len);
	while (len > 0) {
		ssize_t n = send(fd, block,
		    len < sizeof(block) ? len : sizeof(block), MSG_NOSIGNAL);

		ck_assert(n > 0 || errno != EAGAIN);
		if (n <= 0)
			break;
		len -= (size_t)n;
	}
	shutdown(fd, SHUT_WR);
	error = receive_all(fd, answer, sizeof(answer), &got);
	close(fd);
	return error == 0 && got == 2 && !memcmp(answer, "ok", 2);
}

#define LARGE (4 * 1024 * 1024)

static bool
one_run(enum wrapped which, unsigned n)
{
	unsigned before = b.events.count;
	bool over;

	arm(which, n);
	(void)visit("a.test", 0);
	(void)visit("no.test", 0);
	(void)visit("other.test", 0);
	(void)visit("a.test", LARGE);
	over = disarm();
	ck_assert_msg(visit("a.test", 0), "not served after %s %u\n%s",
	    wrapped[which].name, n, b.events.len < 4000 ? b.events.text : "");
	events_wait(&b.events, before + 5);
	return over;
}

START_TEST(connections_survive_the_failure_of_any_call)
{
	unsigned n = 1;

	bench_start(&b, yaml);
	while (!one_run((enum wrapped)_i, n))
		n++;
	/* Without one failure this would have shown nothing. */
	if (_i != CALL_eventfd && _i != CALL_splice)
		ck_assert_uint_gt(n, 1);
}
END_TEST

/* Starting or reloading under a failure; true if the failure never came. */
static bool
start_or_reload(enum wrapped which, unsigned n, bool reload)
{
	struct snapshot *s = bench_snapshot(&b, yaml);
	struct journal_sink *sink = events_sink(&b.events);
	const struct edge_surroundings alone = { .tunnel = NULL };
	struct text error;
	bool over, worked;

	text_init(&error, b.error, sizeof(b.error));
	arm(which, n);
	exempt = false;
	if (reload)
		worked = edge_reload(b.edge, s, sink, &error) == 0;
	else
		worked = (b.edge = edge_new(s, sink, &alone, &error)) != NULL;
	exempt = true;
	if (worked) /* what is still to be done on other threads */
		(void)visit("a.test", 0);
	over = disarm();
	snapshot_put(s);
	ck_assert_msg(worked || error.len > 0, "no word about %s %u",
	    wrapped[which].name, n);
	ck_assert(worked || !over);
	if (b.edge)
		ck_assert_msg(visit("a.test", 0), "not served after %s %u\n%s",
		    wrapped[which].name, n, "");
	return over;
}

/* Every n at first; compiling a script takes thousands. */
static unsigned
next_n(unsigned n)
{
	return n + 1 + n / 40;
}

START_TEST(an_edge_starts_or_says_why_not)
{
	unsigned n = 1;
	bool over;

	do {
		over = start_or_reload((enum wrapped)_i, n, false);
		if (b.edge)
			bench_stop(&b);
		n = next_n(n);
	} while (!over);
}
END_TEST

START_TEST(a_reload_works_or_changes_nothing)
{
	unsigned n = 1;

	bench_start(&b, yaml);
	while (!start_or_reload((enum wrapped)_i, n, true))
		n = next_n(n);
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(
	    tcase, connections_survive_the_failure_of_any_call, 0, CALL_COUNT);
	tcase_add_loop_test(
	    tcase, an_edge_starts_or_says_why_not, 0, CALL_COUNT);
	tcase_add_loop_test(
	    tcase, a_reload_works_or_changes_nothing, 0, CALL_COUNT);
}

UNIT_MAIN("engine_faults", add)
