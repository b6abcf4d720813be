/* Listeners and the acceptor, with bind, accept4, open and poll wrapped. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine_bench.h"

int __real_bind(int fd, const struct sockaddr *a, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *a, socklen_t len);
int __real_accept4(int fd, struct sockaddr *a, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *len, int flags);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);

static int bind_error; /* 0: it works */
/* Every other accept4 of the edge fails: the one in between sheds. */
static atomic_bool out_of_descriptors;
static atomic_uint accepts, opens_that_fail, polls;
static _Thread_local bool is_test;

int
__wrap_bind(int fd, const struct sockaddr *a, socklen_t len)
{
	if (bind_error == 0)
		return __real_bind(fd, a, len);
	errno = bind_error;
	return -1;
}

int
__wrap_accept4(int fd, struct sockaddr *a, socklen_t *len, int flags)
{
	if (is_test || !atomic_load(&out_of_descriptors) ||
	    atomic_fetch_add(&accepts, 1) % 2)
		return __real_accept4(fd, a, len, flags);
	errno = EMFILE;
	return -1;
}

int
__wrap_open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	if (is_test || atomic_load(&opens_that_fail) == 0)
		return __real_open(path, flags, mode);
	atomic_fetch_sub(&opens_that_fail, 1);
	errno = EMFILE;
	return -1;
}

int
__wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	if (!is_test)
		atomic_fetch_add(&polls, 1);
	return __real_poll(fds, count, timeout_ms);
}

static struct bench b;

static void
setup(void)
{
	is_test = true;
	signal(SIGPIPE, SIG_IGN);
	bench_init(&b);
}

static void
teardown(void)
{
	bench_fini(&b);
}

#define ENDPOINT \
	"endpoints: [ { url: tls://a.test, upstream: 127.0.0.1:$P } ]\n"
#define EDGE "edge: { listen: [ \"127.0.0.1:0\" ], workers: 1 }\n" ENDPOINT

static const struct {
	int error;
	const char *says;
} binds[] = {
	{ EADDRINUSE, "cannot listen on 127.0.0.1:443: another process uses "
		      "port 443; stop it (`ss -ltnp` names it) or choose "
		      "another address" },
	{ EACCES, "cannot listen on 127.0.0.1:443: no permission for port 443; "
		  "use a port from 1024 up such as :8443, or give the "
		  "CAP_NET_BIND_SERVICE capability" },
	{ EADDRNOTAVAIL, "cannot listen on 127.0.0.1:443: this machine does "
			 "not have the address 127.0.0.1:443" },
	{ ENOBUFS, "cannot listen on 127.0.0.1:443: No buffer space "
		   "available" },
};

START_TEST(why_it_cannot_listen_is_said_in_one_line)
{
	bind_error = binds[_i].error;
	ck_assert(!bench_try_start(&b,
	    "edge: { listen: [ \"127.0.0.1:443\" ], workers: 1 }\n" ENDPOINT));
	ck_assert_str_eq(b.error, binds[_i].says);
}
END_TEST

START_TEST(a_port_in_use_is_found_out)
{
	char yaml[256];

	/* The upstream would be our own listener. */
	snprintf(yaml, sizeof(yaml),
	    "edge: { listen: [ \"127.0.0.1:%u\" ], workers: 1 }\n"
	    "endpoints: [ { url: tls://a.test, upstream: 192.0.2.1:1 } ]\n",
	    b.upstream_port);
	ck_assert(!bench_try_start(&b, yaml));
	ck_assert_ptr_nonnull(strstr(b.error, "another process uses port"));
}
END_TEST

#define TWO(rest)                                                        \
	"edge: { listen: [ \"127.0.0.1:0\", \"127.0.0.1:0\" " rest " ]," \
	" workers: 1 }\n" ENDPOINT

START_TEST(listeners_keep_their_ports_over_a_reload)
{
	uint16_t ports[2];
	int waiting[2];

	bench_start(&b, TWO(""));
	for (size_t i = 0; i < 2; i++)
		ports[i] = bench_port(&b, i);
	ck_assert_uint_ne(ports[0], ports[1]);
	for (int round = 0; round < 3; round++) {
		ck_assert(bench_reload(
		    &b, round % 2 ? TWO("") : TWO(", \"127.0.0.2:0\"")));
		for (size_t i = 0; i < 2; i++) {
			ck_assert_uint_eq(bench_port(&b, i), ports[i]);
			waiting[i] = connect_to_port(ports[i]);
		}
		bench_wait_open(&b, 2);
		close(waiting[0]);
		close(waiting[1]);
		bench_wait_open(&b, 0);
	}
	events_wait(&b.events, 6);
}
END_TEST

static void
shed(int count)
{
	for (int i = 0; i < count; i++) {
		int fd = connect_to_port(bench_port(&b, 0));

		expect_end(fd);
		close(fd);
	}
}

START_TEST(without_descriptors_it_sheds_and_does_not_spin)
{
	uint64_t begin;
	int fd, up;

	bench_start(&b, EDGE);
	atomic_store(&out_of_descriptors, true);
	begin = clock_ms();
	atomic_store(&polls, 0);
	shed(5);
	events_wait(&b.events, 5);
	ck_assert_uint_eq(events_with(&b.events, "\"reason\":\"limit\""), 5);
	/* 5, 10, 20, ... ms between them; the watchdog polls as well. */
	ck_assert_uint_ge(clock_ms() - begin, 5 + 10 + 20 + 40);
	ck_assert_uint_le(atomic_load(&polls), 30);
	ck_assert_uint_le(atomic_load(&accepts), 12);
	atomic_store(&out_of_descriptors, false);
	fd = bench_client(&b, "a.test");
	up = bench_accept(&b);
	close(fd);
	close(up);
	events_wait(&b.events, 6);
}
END_TEST

START_TEST(a_reserve_that_was_lost_is_taken_again)
{
	bench_start(&b, EDGE);
	atomic_store(&out_of_descriptors, true);
	atomic_store(&opens_that_fail, 1);
	shed(3);
	events_wait(&b.events, 3);
	ck_assert_uint_eq(events_with(&b.events, "\"reason\":\"limit\""), 3);
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, why_it_cannot_listen_is_said_in_one_line, 0,
	    ARRAY_COUNT(binds));
	tcase_add_test(tcase, a_port_in_use_is_found_out);
	tcase_add_test(tcase, listeners_keep_their_ports_over_a_reload);
	tcase_add_test(tcase, without_descriptors_it_sheds_and_does_not_spin);
	tcase_add_test(tcase, a_reserve_that_was_lost_is_taken_again);
}

UNIT_MAIN("acceptor", add)
