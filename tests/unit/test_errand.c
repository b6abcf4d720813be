/* Errands: names, connections and time, one after the other. */
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "dns_server.h"
#include "faults.h"
#include "sys/errand.h"
#include "sys/ready.h"
#include "sys/socket.h"

#define PATIENCE_MS 20000

static struct dns_server *dns;
static struct errand errand;

FAULT(epoll_create1);
FAULT(epoll_ctl);
FAULT(eventfd);

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __real_epoll_ctl(int epoll, int op, int fd, void *event);
int __wrap_epoll_ctl(int epoll, int op, int fd, void *event);
int __real_eventfd(unsigned value, int flags);
int __wrap_eventfd(unsigned value, int flags);

int
__wrap_epoll_create1(int flags)
{
	return fault_hits(&epoll_create1_fault) ? -1
						: __real_epoll_create1(flags);
}

int
__wrap_epoll_ctl(int epoll, int op, int fd, void *event)
{
	return fault_hits(&epoll_ctl_fault)
		   ? -1
		   : __real_epoll_ctl(epoll, op, fd, event);
}

int
__wrap_eventfd(unsigned value, int flags)
{
	return fault_hits(&eventfd_fault) ? -1 : __real_eventfd(value, flags);
}

static void
setup(void)
{
	char servers[32];

	dns = dns_server_new();
	snprintf(
	    servers, sizeof(servers), "127.0.0.1:%u", dns_server_port(dns));
	ck_assert_int_eq(errand_init(&errand, servers), 0);
}

static void
teardown(void)
{
	errand_fini(&errand);
	dns_server_free(dns);
}

static int
resolve(const char *name, struct resolver_answer *answer)
{
	struct host host;

	ck_assert_int_eq(host_parse(span_text(name), &host, NULL), 0);
	return errand_resolve(&errand, &host, answer);
}

START_TEST(names)
{
	struct resolver_answer answer;
	unsigned asked;

	ck_assert_int_eq(resolve("plain.test", &answer), 0);
	ck_assert_uint_gt(answer.count, 0);
	asked = dns_server_asked(dns, "plain");
	ck_assert_int_eq(resolve("plain.test", &answer), 0); /* from memory */
	ck_assert_uint_eq(dns_server_asked(dns, "plain"), asked);
	ck_assert_uint_gt(answer.count, 0);
	ck_assert_int_eq(resolve("nx.test", &answer), -ENOENT);
}
END_TEST

START_TEST(connections)
{
	struct addr addr;
	int listener, fd;

	ck_assert_int_eq(addr_parse(span_text("127.0.0.1"), &addr), 0);
	listener = socket_listen(&addr);
	ck_assert_int_ge(listener, 0);
	ck_assert_int_eq(socket_local_addr(listener, &addr), 0);
	fd = errand_connect(&addr, PATIENCE_MS);
	ck_assert_int_ge(fd, 0);
	close(fd);
	close(listener);
	ck_assert_int_eq(errand_connect(&addr, PATIENCE_MS), -ECONNREFUSED);
}
END_TEST

START_TEST(unix_sockets)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;

	snprintf(
	    un.sun_path, sizeof(un.sun_path), "errand-%d.sock", (int)getpid());
	unlink(un.sun_path);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_int_eq(
	    errand_connect_unix(un.sun_path, PATIENCE_MS), -ECONNREFUSED);
	ck_assert_int_eq(listen(listener, 1), 0);
	fd = errand_connect_unix(un.sun_path, PATIENCE_MS);
	ck_assert_int_ge(fd, 0);
	close(fd);
	close(listener);
	unlink(un.sun_path);
	ck_assert_int_eq(
	    errand_connect_unix(un.sun_path, PATIENCE_MS), -ENOENT);
}
END_TEST

START_TEST(waiting_for_a_descriptor)
{
	uint64_t begun = clock_ms();
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(ready_wait(fds[0], POLLOUT, 0), 0);
	ck_assert_int_eq(ready_wait(fds[0], POLLIN, 0), -ETIMEDOUT);
	ck_assert_int_eq(ready_wait(fds[0], POLLIN, begun + 20), -ETIMEDOUT);
	ck_assert_uint_ge(clock_ms(), begun + 20);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(ready_wait(fds[0], POLLIN, UINT64_MAX), 0);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

struct alarm {
	struct timeout timeout;
	bool rung;
};

static void
on_timeout(struct timeout *t)
{
	CONTAINER_OF(t, struct alarm, timeout)->rung = true;
}

START_TEST(time_passes_only_when_it_is_waited_for)
{
	struct alarm alarm = { .rung = false };

	timeout_init(&alarm.timeout, on_timeout);
	errand_catch_up(&errand);
	timeouts_set(
	    &errand.timeouts, &alarm.timeout, errand.timeouts.now_ms + 30);
	ck_assert(!alarm.rung);
	errand_wait(&errand, &alarm.rung);
	ck_assert_uint_ge(errand.timeouts.now_ms, alarm.timeout.queued_ms);
}
END_TEST

START_TEST(what_it_cannot_do_without)
{
	struct fault *const faults[] = { &epoll_create1_fault, &epoll_ctl_fault,
		&eventfd_fault };
	struct errand e;
	int result;

	fault_set(faults[_i], 1, EMFILE);
	UNDER_FAULTS(result = errand_init(&e, NULL));
	fault_set(faults[_i], 0, 0);
	ck_assert_int_eq(result, -EMFILE);
	ck_assert_int_eq(errand_init(&e, "no address"), -EINVAL);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, names);
	tcase_add_test(tcase, connections);
	tcase_add_test(tcase, unix_sockets);
	tcase_add_test(tcase, waiting_for_a_descriptor);
	tcase_add_test(tcase, time_passes_only_when_it_is_waited_for);
	tcase_add_loop_test(tcase, what_it_cannot_do_without, 0, 3);
}

UNIT_MAIN("errand", add_tests)
