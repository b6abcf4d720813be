/* Versions of the policy that come and go while connections hold on to them. */
#include "unit.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/edge_private.h"
#include "engine_bench.h"
#include "still_time.h"

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

#define ENDPOINT \
	"endpoints: [ { url: tls://a.test, upstream: 127.0.0.1:$P } ]\n"

#define VERSION(n)                                                   \
	"local lunette = require \"lunette\"\n"                      \
	"-- " n "\n"                                                 \
	"return { connect = function(conn)\n"                        \
	"  if conn.sni == 'sleep.test' then lunette.sleep(%s) end\n" \
	"  if conn.sni ~= 'a.test' then return lunette.deny() end\n" \
	"end, close = function(conn) end }\n"

static void
next_version(unsigned n, const char *listen)
{
	char name[16], script[512], yaml[512];

	snprintf(name, sizeof(name), "v%u.lua", n);
	snprintf(script, sizeof(script), VERSION("version %u"), n, "1");
	bench_script(&b, name, script);
	snprintf(yaml, sizeof(yaml),
	    "edge: { listen: [ %s ], workers: 2, policy: { file: $S/%s } }\n%s",
	    listen, name, ENDPOINT);
	if (b.edge)
		ck_assert_msg(bench_reload(&b, yaml), "%s", b.error);
	else
		bench_start(&b, yaml);
}

#define PLAIN "\"127.0.0.1:0\""
#define PROXIED                                                      \
	"{ address: \"127.0.0.1:0\", proxy_protocol: { accept: [1]," \
	" from: [ 127.0.0.0/8 ] } }"

static uint64_t
hooks_dropped(void)
{
	return counter_read(&b.edge->workers[0].counters.policy_hooks_dropped) +
	       counter_read(&b.edge->workers[1].counters.policy_hooks_dropped);
}

#define HEADER "PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n"

/* Connections that hold on to a version, four so that both workers have some.
 */
struct held {
	int fds[4], ups[4];
};

static void
hold_version(struct held *h, const char *header)
{
	struct span hello = hello_for("a.test");

	for (int i = 0; i < 4; i++) {
		h->fds[i] = bench_connect(&b);
		send_text(h->fds[i], header);
		send_bytes(h->fds[i], hello.data, hello.len);
		h->ups[i] = bench_accept(&b);
	}
}

static void
let_go(struct held *h)
{
	for (int i = 0; i < 4; i++) {
		send_text(h->fds[i], "still");
		receive_bytes(
		    h->ups[i], &(char[1024]){ 0 }, hello_for("a.test").len + 5);
		close(h->fds[i]);
		close(h->ups[i]);
	}
}

START_TEST(old_policies_are_retired)
{
	enum { COUNT = WORKER_MAX_OLD_POLICIES + 2 };
	struct held held[COUNT];

	for (unsigned v = 0; v < COUNT; v++) {
		next_version(v, PLAIN);
		hold_version(&held[v], "");
	}
	while (hooks_dropped() < 4)
		sched_yield();
	ck_assert_uint_eq(hooks_dropped(), 4);
	for (unsigned v = 0; v < COUNT; v++)
		let_go(&held[v]);
	events_wait(&b.events, 4 * COUNT);
	ck_assert_uint_eq(
	    events_with(&b.events, "\"decision\":\"allow\""), 4 * COUNT);
}
END_TEST

/* What is under way under a version when that is retired. */
static void
retire_first_version(const char *listen, const char *header)
{
	struct held held[WORKER_MAX_OLD_POLICIES + 1];
	unsigned v;

	for (v = 0; v < ARRAY_COUNT(held); v++) {
		next_version(v + 1, listen);
		hold_version(&held[v], header);
	}
	next_version(v + 1, listen);
	while (hooks_dropped() < 4)
		sched_yield();
	while (v-- > 0)
		let_go(&held[v]);
}

START_TEST(a_script_that_waits_is_ended_with_its_version)
{
	int fds[4];

	/* They must not wake up before their version is retired. */
	time_stands_still();
	next_version(0, PLAIN);
	for (int i = 0; i < 4; i++)
		fds[i] = bench_client(&b, "sleep.test");
	while (bench_ask(&b, 0).setup_count + bench_ask(&b, 1).setup_count < 4)
		sched_yield();
	retire_first_version(PLAIN, "");
	for (int i = 0; i < 4; i++) {
		char alert[7];

		receive_bytes(fds[i], alert, 7);
		ck_assert_int_eq(alert[6], 49);
	}
	/* They linger past the end of the script's sleep. */
	time_goes_on();
	poll(NULL, 0, 1100);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	events_wait(&b.events, 24);
	ck_assert_uint_eq(events_with(&b.events, "policy_memory"), 4);
}
END_TEST

START_TEST(a_policy_that_is_gone_does_not_let_anybody_in)
{
	int fds[4];

	time_stands_still();
	next_version(0, PROXIED);
	/* The header is taken under the first version ... */
	for (int i = 0; i < 4; i++) {
		fds[i] = bench_connect(&b);
		send_text(fds[i], HEADER);
	}
	while (bench_ask(&b, 0).setup_count + bench_ask(&b, 1).setup_count < 4)
		sched_yield();
	retire_first_version(PROXIED, HEADER);
	/* ... the hello comes when that has been retired. */
	for (int i = 0; i < 4; i++) {
		struct span hello = hello_for("a.test");

		(void)!send(fds[i], hello.data, hello.len, MSG_NOSIGNAL);
		shutdown(fds[i], SHUT_WR);
	}
	events_wait(&b.events, 24);
	ck_assert_uint_eq(events_with(&b.events, "policy_memory"), 4);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}
END_TEST

/* Leaks, and says so with another alert than a failure does. */
static const char leaking[] =
    "local lunette = require \"lunette\"\n"
    "local kept = {}\n"
    "return function(conn)\n"
    "  if conn.sni == 'sleep.test' then lunette.sleep(9) end\n"
    "  if conn.sni ~= 'leak.test' then return end\n"
    "  kept[#kept + 1] = ('x'):rep(200000) .. #kept\n"
    "  return lunette.deny { alert = 'unrecognized_name' }\n"
    "end\n";

static int
alert_for(const char *name)
{
	int fd = bench_client(&b, name);
	char alert[7];

	receive_bytes(fd, alert, sizeof(alert));
	close(fd);
	return alert[6];
}

START_TEST(a_state_that_scripts_have_filled_is_replaced)
{
	unsigned leaks = 0;
	struct held held;
	int sleeper, alert;
	char answer[7];

	bench_script(&b, "leak.lua", leaking);
	bench_start(&b, "edge: { listen: [ " PLAIN " ], workers: 1, policy: "
			"{ file: $S/leak.lua, memory: 4MiB } }\n" ENDPOINT);
	sleeper = bench_client(&b, "sleep.test");
	while (bench_ask(&b, 0).setup_count < 1)
		sched_yield();
	do {
		alert = alert_for("leak.test");
		leaks++;
	} while (alert == 112);
	ck_assert_int_eq(alert, 49);
	/* The run that waited in the old state is denied ... */
	receive_bytes(sleeper, answer, sizeof(answer));
	ck_assert_int_eq(answer[6], 49);
	close(sleeper);
	/* ... and all others are served by the new one. */
	ck_assert_int_eq(alert_for("leak.test"), 112);
	hold_version(&held, "");
	let_go(&held);
	events_wait(&b.events, leaks + 6);
	ck_assert_uint_eq(events_with(&b.events, "policy_memory"), 2);
}
END_TEST

START_TEST(a_full_state_stays_if_its_script_has_changed)
{
	bench_script(&b, "leak.lua", leaking);
	bench_start(&b, "edge: { listen: [ " PLAIN " ], workers: 1, policy: "
			"{ file: $S/leak.lua, memory: 4MiB } }\n" ENDPOINT);
	bench_script(&b, "leak.lua", "this is no script");
	while (alert_for("leak.test") == 112)
		continue;
	/* Nothing falls through to allow. */
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(alert_for("leak.test"), 49);
}
END_TEST

START_TEST(a_script_that_asks_without_end_meets_the_wall)
{
	/* That name fails once; from then on the cache answers at once. */
	bench_script(&b, "ask.lua",
	    "local lunette = require \"lunette\"\n"
	    "return function(conn)\n"
	    "  if conn.sni == 'a.test' then return end\n"
	    "  while true do lunette.resolve('nobody.invalid') end\n"
	    "end\n");
	bench_start(&b, "edge: { listen: [ " PLAIN " ], workers: 1, resolver: "
			"{ servers: [ \"127.0.0.1:1\" ] }, policy: "
			"{ file: $S/ask.lua, wall: 2s } }\n" ENDPOINT);
	ck_assert_int_eq(alert_for("ask.test"), 49);
	events_wait(&b.events, 1);
	ck_assert_uint_eq(events_with(&b.events, "policy_timeout"), 1);
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, old_policies_are_retired);
	tcase_add_test(tcase, a_script_that_waits_is_ended_with_its_version);
	tcase_add_test(tcase, a_policy_that_is_gone_does_not_let_anybody_in);
	tcase_add_test(tcase, a_state_that_scripts_have_filled_is_replaced);
	tcase_add_test(tcase, a_full_state_stays_if_its_script_has_changed);
	tcase_add_test(tcase, a_script_that_asks_without_end_meets_the_wall);
}

UNIT_MAIN("edge_policy", add)
