/* A whole edge in this process under what main may do to it while clients come
 * and go. The thread sanitizer reads along in `make check-tsan`. */
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/edge_private.h"
#include "engine_bench.h"

static struct bench b;

static void
setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	bench_init(&b);
}

static void
teardown(void)
{
	bench_fini(&b);
}

#define LISTEN "listen: [ \"127.0.0.1:0\" ], workers: 2, "
#define ENDPOINT \
	"endpoints: [ { url: tls://a.test, upstream: 127.0.0.1:$P } ]\n"
#define EDGE(rest) "edge: { " LISTEN rest " }\n" ENDPOINT

/* An upstream that sends back what it gets, until its listener is closed. */
static void *
echo_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char data[16384];
	ssize_t n;

	while ((n = recv(fd, data, sizeof(data), 0)) > 0)
		if (send(fd, data, (size_t)n, MSG_NOSIGNAL) != n)
			break;
	close(fd);
	return NULL;
}

struct echo {
	pthread_t thread;
	int listener;
	unsigned served;
};

static void *
echo_main(void *arg)
{
	struct echo *e = arg;
	int fd;

	/* One after the other: the clients below do not overlap by much, and
	 * the rest waits in the queue. */
	while ((fd = accept_while_open(e->listener)) >= 0) {
		e->served++;
		echo_one((void *)(intptr_t)fd);
	}
	return NULL;
}

static void
echo_start(struct echo *e)
{
	*e = (struct echo){ .listener = b.upstream_fd };
	ck_assert_int_eq(pthread_create(&e->thread, NULL, echo_main, e), 0);
}

static void
echo_stop(struct echo *e)
{
	shutdown(e->listener, SHUT_RDWR);
	pthread_join(e->thread, NULL);
}

/* A client's whole life; false if anything was not as it should be. */
static bool
visit(uint16_t port)
{
	struct span hello = hello_for("a.test");
	uint8_t back[1024];
	int fd = connect_to_port(port);
	size_t len;
	bool good;

	send_bytes(fd, hello.data, hello.len);
	good = shutdown(fd, SHUT_WR) == 0 &&
	       receive_all(fd, back, sizeof(back), &len) == 0 &&
	       len == hello.len && memcmp(back, hello.data, len) == 0;
	close(fd);
	return good;
}

struct crowd {
	pthread_t thread;
	uint16_t port;
	atomic_bool stop;
	unsigned visits, bad;
};

static void *
crowd_main(void *arg)
{
	struct crowd *c = arg;

	while (!atomic_load(&c->stop) || c->visits == 0) {
		c->bad += !visit(c->port);
		c->visits++;
	}
	return NULL;
}

static void
crowd_start(struct crowd *c, uint16_t port)
{
	c->port = port;
	c->visits = c->bad = 0;
	atomic_init(&c->stop, false);
	ck_assert_int_eq(pthread_create(&c->thread, NULL, crowd_main, c), 0);
}

static unsigned
crowd_stop(struct crowd *c)
{
	atomic_store(&c->stop, true);
	pthread_join(c->thread, NULL);
	ck_assert_uint_eq(c->bad, 0);
	return c->visits;
}

static void
pause_until(uint64_t ms)
{
	while (clock_ms() < ms)
		poll(NULL, 0, (int)(ms - clock_ms()));
}

START_TEST(connections_are_spread_and_counted)
{
	enum { COUNT = 40 };
	struct edge_status status;
	int fds[COUNT], ups[COUNT];

	bench_start(&b, EDGE(""));
	for (int i = 0; i < COUNT; i++) {
		fds[i] = bench_client(&b, "a.test");
		ups[i] = bench_accept(&b);
	}
	edge_status(b.edge, &status);
	ck_assert_uint_eq(status.connections_open, COUNT);
	for (int i = 0; i < 2; i++)
		ck_assert_uint_ge(
		    worker_open_count(&b.edge->workers[i]), COUNT / 4);
	for (int i = 0; i < COUNT; i++) {
		close(fds[i]);
		close(ups[i]);
	}
	events_wait(&b.events, COUNT);
	edge_status(b.edge, &status);
	ck_assert_uint_eq(status.connections_open, 0);
	ck_assert_uint_eq(status.connections_total, COUNT);
	ck_assert_uint_eq(status.recent_count, EDGE_RECENT_COUNT);
	ck_assert_str_eq(status.recent[0].name, "a.test");
	ck_assert_uint_eq(atomic_load(&b.edge->open_count), 0);
}
END_TEST

static const char *const reloads[] = {
	EDGE(""),
	"edge: { listen: [ \"127.0.0.1:0\", \"127.0.0.2:0\" ], workers: 2 }\n"
	"endpoints: [ { url: tls://a.test, upstream: 127.0.0.1:$P },\n"
	"  { url: \"tls://*.b.test\", upstream: 127.0.0.1:$P,\n"
	"    health: { every: 100ms } } ]\n",
	"edge: { " LISTEN "policy: { file: $S/p.lua } }\n" ENDPOINT,
	"edge: { listen: [ \"127.0.0.1:0\", \"127.0.0.3:0\", \"[::1]:0\" ],\n"
	"  workers: 2, policy: { file: $S/q.lua } }\n"
	"endpoints: [ { url: tls://a.test, balance: hash, upstream:\n"
	"  [ { address: \"127.0.0.1:$P\", weight: 3 } ] } ]\n",
};

START_TEST(reloads_under_load_lose_nothing)
{
	uint64_t begin = clock_ms();
	struct crowd crowd[2];
	struct echo echo;
	unsigned visits = 0;

	bench_script(&b, "p.lua", "return function(conn) end\n");
	bench_script(&b, "q.lua",
	    "local lunette = require \"lunette\"\n"
	    "return { connect = function(conn) lunette.sleep(0.001) end,\n"
	    "  close = function(conn) end }\n");
	echo_start(&echo);
	bench_start(&b, reloads[0]);
	for (int i = 0; i < 2; i++)
		crowd_start(&crowd[i], bench_port(&b, 0));
	for (unsigned i = 1; i <= 15; i++) {
		uint16_t port = bench_port(&b, 0);

		ck_assert_msg(bench_reload(&b, reloads[i % 4]), "%s", b.error);
		ck_assert_uint_eq(bench_port(&b, 0), port);
		pause_until(begin + 100 * i);
	}
	for (int i = 0; i < 2; i++)
		visits += crowd_stop(&crowd[i]);
	events_wait(&b.events, visits);
	bench_stop(&b);
	echo_stop(&echo);
	ck_assert_uint_ge(echo.served, visits); /* health checks too */
}
END_TEST

START_TEST(a_listener_comes_and_goes)
{
	struct addr a;
	uint16_t port;
	int fd;

	bench_script(&b, "p.lua", "return function(conn) end\n");
	bench_script(&b, "q.lua", "return function(conn) end\n");
	bench_start(&b, EDGE(""));
	ck_assert(bench_reload(&b, reloads[1]));
	ck_assert_uint_eq(edge_listener_count(b.edge), 2);
	edge_listener_addr(b.edge, 1, &a);
	port = a.port;
	ck_assert_int_eq(a.bytes[3], 2);
	ck_assert(bench_reload(&b, EDGE("")));
	ck_assert_uint_eq(edge_listener_count(b.edge), 1);
	/* Closed as soon as the acceptor has let go of it. */
	for (uint64_t until = clock_ms() + PATIENCE_MS;;) {
		struct sockaddr_storage sa;
		socklen_t len = addr_to_sockaddr(&a, &sa);
		int refused;

		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		refused = connect(fd, (struct sockaddr *)&sa, len) != 0;
		close(fd);
		if (refused)
			break;
		ck_assert_uint_lt(clock_ms(), until);
	}
	ck_assert_uint_ne(port, 0);
}
END_TEST

START_TEST(a_reload_that_fails_changes_nothing)
{
	const struct generation *before;
	struct echo echo;
	uint16_t taken;
	char yaml[512];
	int other = socket_on_any_port(&taken);

	echo_start(&echo);
	bench_script(&b, "good.lua", "return function(conn) end\n");
	bench_script(&b, "bad.lua", "return function(conn\n");
	bench_start(&b, EDGE("policy: { file: $S/good.lua }"));
	ck_assert(visit(bench_port(&b, 0)));
	before = bench_ask(&b, 0).generation;
	ck_assert(!bench_reload(&b, EDGE("policy: { file: $S/bad.lua }")));
	ck_assert_ptr_nonnull(strstr(b.error, "bad.lua:"));
	snprintf(yaml, sizeof(yaml),
	    "edge: { listen: [ \"127.0.0.1:0\", \"127.0.0.1:%u\" ] "
	    "}\n" ENDPOINT,
	    taken);
	ck_assert(!bench_reload(&b, yaml));
	ck_assert_ptr_nonnull(strstr(b.error, "cannot listen on"));
	ck_assert_uint_eq(edge_listener_count(b.edge), 1);
	ck_assert(visit(bench_port(&b, 0)));
	events_wait(&b.events, 2);
	ck_assert_uint_eq(events_with(&b.events, "\"decision\":\"allow\""), 2);
	ck_assert_ptr_eq(before, bench_ask(&b, 0).generation);
	bench_stop(&b);
	close(other);
	echo_stop(&echo);
}
END_TEST

START_TEST(two_edges_do_not_know_of_each_other)
{
	struct bench second;
	int fd;

	bench_start(&b, EDGE("limits: { connections: 5 }"));
	bench_init(&second);
	bench_start(&second, EDGE("default_endpoint: a.test"));
	fd = bench_client(&second, "other.test");
	close(bench_accept(&second));
	close(fd);
	events_wait(&second.events, 1);
	ck_assert_uint_eq(b.events.count, 0);
	bench_stop(&second);
	fd = bench_client(&b, "other.test");
	receive_bytes(fd, &(char[7]){ 0 }, 7);
	close(fd);
	events_wait(&b.events, 1);
	bench_fini(&second);
}
END_TEST

static void
wait_drained(void)
{
	struct pollfd p = { edge_drained_fd(b.edge), POLLIN, 0 };

	ck_assert_int_eq(poll(&p, 1, PATIENCE_MS), 1);
}

START_TEST(draining_waits_for_the_last)
{
	struct pollfd p;
	int fd, up;

	bench_start(&b, EDGE("timeouts: { drain: 1h }"));
	fd = bench_client(&b, "a.test");
	up = bench_accept(&b);
	edge_drain(b.edge);
	edge_drain(b.edge);
	p = (struct pollfd){ edge_drained_fd(b.edge), POLLIN, 0 };
	ck_assert_int_eq(poll(&p, 1, 50), 0);
	send_text(fd, "on");
	receive_bytes(up, &(char[1024]){ 0 }, hello_for("a.test").len + 2);
	close(fd);
	close(up);
	wait_drained();
	events_wait(&b.events, 1);
	ck_assert_uint_eq(events_with(&b.events, "client_closed"), 1);
}
END_TEST

START_TEST(draining_an_idle_edge_is_over_at_once)
{
	bench_start(&b, EDGE(""));
	edge_drain(b.edge);
	wait_drained();
}
END_TEST

START_TEST(stopping_ends_every_stage)
{
	int fds[3], up;

	bench_start(&b, EDGE(""));
	fds[0] = bench_client(&b, "a.test");
	up = bench_accept(&b);
	fds[1] = bench_connect(&b);
	send_text(fds[1], "\x16\x03");
	fds[2] = bench_client(&b, "other.test"); /* lingers */
	receive_bytes(fds[2], &(char[7]){ 0 }, 7);
	bench_wait_open(&b, 3);
	bench_stop(&b);
	ck_assert_uint_eq(b.events.count, 3);
	ck_assert_uint_eq(events_with(&b.events, "closed_by_operator"), 2);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	close(up);
}
END_TEST

START_TEST(one_client_has_only_so_many)
{
	int fds[3], ups[3];

	bench_start(&b, EDGE("limits: { connections_per_client: 2 }"));
	for (int i = 0; i < 2; i++) {
		fds[i] = bench_client(&b, "a.test");
		ups[i] = bench_accept(&b);
	}
	fds[2] = bench_connect(&b);
	expect_end(fds[2]);
	close(fds[2]);
	events_wait(&b.events, 1);
	ck_assert_uint_eq(
	    events_with(&b.events, "\"limits.connections_per_client\""), 1);
	close(fds[0]);
	close(ups[0]);
	events_wait(&b.events, 2);
	fds[0] = bench_client(&b, "a.test");
	ups[0] = bench_accept(&b);
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		close(ups[i]);
	}
	events_wait(&b.events, 4);
}
END_TEST

START_TEST(the_limit_holds_connections_back_and_lets_them_in)
{
	struct edge_status status;
	int fds[6], ups[6];
	struct pollfd p;

	bench_start(&b, EDGE("limits: { connections: 3 }"));
	for (int i = 0; i < 6; i++)
		fds[i] = bench_client(&b, "a.test");
	for (int i = 0; i < 3; i++)
		ups[i] = bench_accept(&b);
	p = (struct pollfd){ b.upstream_fd, POLLIN, 0 };
	ck_assert_int_eq(poll(&p, 1, 50), 0);
	edge_status(b.edge, &status);
	ck_assert_uint_eq(status.connections_open, 3);
	ck_assert_uint_eq(status.connections_limit, 3);
	/* Each that goes lets one in, at once. */
	for (int i = 0; i < 3; i++) {
		close(fds[i]);
		close(ups[i]);
		ups[i + 3] = bench_accept(&b);
	}
	/* And so does a higher limit. */
	for (int i = 0; i < 3; i++)
		fds[i] = bench_client(&b, "a.test");
	ck_assert(bench_reload(&b, EDGE("limits: { connections: 6 }")));
	for (int i = 0; i < 3; i++)
		ups[i] = bench_accept(&b);
	for (int i = 0; i < 6; i++) {
		close(fds[i]);
		close(ups[i]);
	}
	events_wait(&b.events, 9);
}
END_TEST

/* Mail that keeps a worker busy until it is told to go on. */
struct plug {
	struct mail mail;
	atomic_bool in, out;
};

static void
deliver_plug(struct mail *m, void *receiver)
{
	struct plug *p = CONTAINER_OF(m, struct plug, mail);

	(void)receiver;
	atomic_store(&p->in, true);
	while (!atomic_load(&p->out))
		poll(NULL, 0, 1);
}

START_TEST(full_mailboxes_hold_the_acceptor_back)
{
	/* One address has few ports to spare for this; so a small box. */
	enum { BOX = 8, COUNT = 40 };
	struct plug plugs[2];
	int fds[COUNT];
	unsigned i;

	bench_start(&b, EDGE(""));
	for (i = 0; i < 2; i++) {
		struct mailbox *m = &b.edge->workers[i].mailbox;

		plugs[i].mail.deliver = deliver_plug;
		plugs[i].mail.discard = NULL;
		atomic_init(&plugs[i].in, false);
		atomic_init(&plugs[i].out, false);
		pthread_mutex_lock(&m->lock);
		m->limit = BOX;
		pthread_mutex_unlock(&m->lock);
		mailbox_post(m, &plugs[i].mail);
		while (!atomic_load(&plugs[i].in))
			sched_yield();
	}
	for (i = 0; i < COUNT; i++)
		fds[i] = bench_connect(&b);
	/* Accepted is what the boxes hold and one a back-off; not all. */
	while (atomic_load(&b.edge->open_count) < 2 * BOX)
		sched_yield();
	ck_assert_uint_lt(atomic_load(&b.edge->open_count), COUNT);
	for (i = 0; i < 2; i++)
		atomic_store(&plugs[i].out, true);
	bench_wait_open(&b, COUNT);
	for (i = 0; i < COUNT; i++)
		close(fds[i]);
	events_wait(&b.events, COUNT);
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, connections_are_spread_and_counted);
	tcase_add_test(tcase, reloads_under_load_lose_nothing);
	tcase_add_test(tcase, a_listener_comes_and_goes);
	tcase_add_test(tcase, a_reload_that_fails_changes_nothing);
	tcase_add_test(tcase, two_edges_do_not_know_of_each_other);
	tcase_add_test(tcase, draining_waits_for_the_last);
	tcase_add_test(tcase, draining_an_idle_edge_is_over_at_once);
	tcase_add_test(tcase, stopping_ends_every_stage);
	tcase_add_test(tcase, one_client_has_only_so_many);
	tcase_add_test(
	    tcase, the_limit_holds_connections_back_and_lets_them_in);
	tcase_add_test(tcase, full_mailboxes_hold_the_acceptor_back);
}

UNIT_MAIN("edge", add)
