/* The stages from the dial on, with every event, through a real edge: the
 * reason, the alert on the wire, what the upstream saw, exactly one event. */
#include "stages_bench.h"
#include "still_time.h"

#include <arpa/inet.h>
#include <errno.h>

#include "wire/proxy.h"

static const struct {
	const char *upstream, *rest, *reason;
} dials[] = {
	{ "127.0.0.1:1", "", "upstream_refused" },
	{ "unix:/nonexistent/socket", "", "upstream_unreachable" },
	{ "name.invalid:443",
	    "resolver: { servers: [ \"127.0.0.1:1\" ] }, "
	    "timeouts: { connect: 200ms },",
	    "upstream_dns" },
};

START_TEST(dial_with_every_failure)
{
	char yaml[1024];
	int fd;

	snprintf(yaml, sizeof(yaml),
	    "edge: { listen: [ \"127.0.0.1:0\" ], %s workers: 1 }\n"
	    "endpoints: [ { url: tls://a.test, upstream: \"%s\" } ]\n",
	    dials[_i].rest, dials[_i].upstream);
	bench_start(&b, yaml);
	fd = bench_client(&b, "a.test");
	expect_alert(fd, 80);
	close(fd);
	reason_is(dials[_i].reason);
	event_has("\"endpoint\":{");
}
END_TEST

/* A listener whose queue is full answers no SYN. */
static int
full_listener(uint16_t *port, int fill[64], int *count)
{
	int fd = socket_on_any_port(port);

	ck_assert_int_eq(listen(fd, 0), 0);
	for (*count = 0; *count < 64; ++*count) {
		struct sockaddr_in a = { .sin_family = AF_INET };
		int c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

		a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		a.sin_port = htons(*port);
		(void)connect(c, (struct sockaddr *)&a, sizeof(a));
		fill[*count] = c;
	}
	return fd;
}

START_TEST(dial_with_every_event)
{
	static const char *const reasons[] = {
		[STAYS] = "upstream_timeout",
		[SHUTS] = "upstream_timeout",
		[RESETS] = "client_reset",
		[STOPPED] = "closed_by_operator",
	};
	int fill[64], count, listener, fd;
	char yaml[512];
	uint16_t port;

	listener = full_listener(&port, fill, &count);
	snprintf(yaml, sizeof(yaml),
	    EDGE("timeouts: { connect: 150ms }") "endpoints: [ { url: "
						 "tls://a.test, upstream: "
						 "\"127.0.0.1:%u\" } ]\n",
	    port);
	time_stands_still();
	bench_start(&b, yaml);
	fd = act(bench_client(&b, "a.test"), (enum then)_i);
	time_goes_on_for(reasons[_i]);
	if (fd >= 0 && _i != STOPPED)
		expect_alert(fd, 80);
	if (fd >= 0)
		close(fd);
	reason_is(reasons[_i]);
	while (count > 0)
		close(fill[--count]);
	close(listener);
}
END_TEST

START_TEST(the_next_upstream_is_tried)
{
	int fd, up;

	bench_start(&b, EDGE("") "endpoints: [ { url: tls://a.test, upstream: "
				 "[ \"127.0.0.1:1\", \"127.0.0.1:$P\" ] } ]\n");
	for (int i = 0; i < 4; i++) {
		fd = bench_client(&b, "a.test");
		up = bench_accept(&b);
		close(fd);
		close(up);
	}
	events_wait(&b.events, 4);
	ck_assert_uint_eq(events_with(&b.events, "upstream_refused"), 0);
}
END_TEST

#define RETRY(body)                                                   \
	"local lunette = require \"lunette\"\n"                       \
	"return { connect = function(conn) return lunette.forward { " \
	"upstream = '127.0.0.1:1' } end,\n"                           \
	"retry = function(conn, failure)\n" body "\nend }\n"

START_TEST(a_retry_may_choose_another)
{
	char script[512], port[8];
	int fd, up;

	snprintf(port, sizeof(port), "%u", b.upstream_port);
	snprintf(script, sizeof(script),
	    RETRY("if failure.reason == 'upstream_refused' and "
		  "failure.attempt == 1 then return lunette.forward { upstream "
		  "= '127.0.0.1:%s' } end"),
	    port);
	bench_script(&b, "p.lua", script);
	bench_start(&b, SCRIPTED(""));
	fd = bench_client(&b, "a.test");
	up = bench_accept(&b);
	close(fd);
	close(up);
	events_wait(&b.events, 1);
	event_has(port);
}
END_TEST

/* The failures in a row that are held against the refused upstream. */
static unsigned
failures_counted(void)
{
	struct upstream_address address;
	struct upstream *u;
	unsigned count;

	ck_assert_int_eq(
	    upstream_address_parse(span_text("127.0.0.1:1"), &address, NULL),
	    0);
	u = upstream_find(b.edge->upstreams, &address);
	count = atomic_load(&u->failures);
	upstream_put(u);
	return count;
}

START_TEST(a_retry_does_not_go_past_an_endpoints_script)
{
	int fd;

	bench_script(&b, "p.lua",
	    RETRY("return lunette.forward { endpoint = 'tls://b.test' }"));
	bench_script(&b, "b.lua",
	    "local lunette = require \"lunette\"\n"
	    "return function(conn) return lunette.deny('closed') end\n");
	bench_start(&b,
	    EDGE("policy: { file: $S/p.lua }") "endpoints:\n"
					       "  - { url: tls://a.test, "
					       "upstream: 127.0.0.1:$P }\n"
					       "  - { url: tls://b.test, "
					       "upstream: 127.0.0.1:$P, "
					       "policy: $S/b.lua }\n");
	fd = bench_client(&b, "a.test");
	expect_alert(fd, 49);
	close(fd);
	reason_is("denied_policy");
	event_has("\"reason\":\"closed\"");
}
END_TEST

START_TEST(a_retry_that_gives_up_dials_no_more)
{
	int fd;

	bench_script(&b, "p.lua",
	    "return { connect = function(conn) end,\n"
	    "  retry = function(conn, failure) end }\n");
	bench_start(&b,
	    EDGE("policy: { file: $S/p.lua }") "endpoints: [ { url: "
					       "tls://a.test, upstream: "
					       "127.0.0.1:1 } ]\n");
	fd = bench_client(&b, "a.test");
	expect_alert(fd, 80);
	close(fd);
	reason_is("upstream_refused");
	ck_assert_uint_eq(failures_counted(), 1);
}
END_TEST

START_TEST(a_retry_that_never_gives_up_is_ended)
{
	int fd;

	bench_script(&b, "p.lua",
	    RETRY("return lunette.forward { upstream = '127.0.0.1:1' }"));
	bench_start(&b, SCRIPTED(""));
	fd = bench_client(&b, "a.test");
	expect_alert(fd, 80);
	close(fd);
	reason_is("upstream_refused");
}
END_TEST

START_TEST(greet_writes_the_proxy_header_first)
{
	uint8_t data[2048];
	struct proxy_header header;
	const char *why;
	size_t needed;
	int fd, up;

	bench_start(&b,
	    EDGE(
		"") "endpoints: [ { url: tls://a.test, upstream: 127.0.0.1:$P, "
		    "proxy_proto: 2, proxy_tlvs: [ authority, alpn, unique_id, "
		    "crc32c ] } ]\n");
	fd = bench_client(&b, "a.test");
	up = bench_accept(&b);
	receive_bytes(up, data, 16);
	receive_bytes(up, data + 16, (size_t)(data[14] << 8 | data[15]));
	ck_assert_int_eq(proxy_parse(span_of(data, sizeof(data)), 1 << 2,
			     &header, &needed, &why),
	    PARSE_OK);
	ck_assert_uint_eq(header.source.family, ADDR_IP4);
	receive_bytes(up, data, hello_for("a.test").len);
	ck_assert_int_eq(memcmp(data, hello_for("a.test").data, 20), 0);
	close(fd);
	expect_end(up);
	close(up);
	reason_is("client_closed");
	snprintf((char *)data, sizeof(data), "\"bytes_in\":%zu",
	    hello_for("a.test").len);
	event_has((char *)data);
	event_has("\"proxy_proto\":2");
}
END_TEST

START_TEST(greet_refuses_a_header_that_is_too_long)
{
	int fd, up;

	bench_script(&b, "p.lua",
	    LUA("return lunette.forward { proxy_proto = 2, tlvs = { "
		"[0xE0] = string.rep('x', 4090) } }"));
	bench_start(&b, SCRIPTED(""));
	fd = bench_client(&b, "a.test");
	up = bench_accept(&b);
	expect_alert(fd, 80);
	close(fd);
	expect_end(up);
	close(up);
	reason_is("policy_error");
}
END_TEST

/* The relay: who ends it and how. */
enum ending {
	CLIENT_ENDS,
	UPSTREAM_ENDS,
	CLIENT_RESETS,
	UPSTREAM_RESETS,
	IDLE,
	STOP,
	DRAIN,
};

static const char *const relay_reasons[] = {
	[CLIENT_ENDS] = "client_closed",
	[UPSTREAM_ENDS] = "upstream_closed",
	[CLIENT_RESETS] = "client_reset",
	[UPSTREAM_RESETS] = "upstream_reset",
	[IDLE] = "idle_timeout",
	[STOP] = "closed_by_operator",
	[DRAIN] = "drain",
};

static void
end_relay(enum ending ending, int *fd, int *up)
{
	int *first = ending == CLIENT_ENDS || ending == CLIENT_RESETS ? fd : up;
	int *second = first == fd ? up : fd;

	if (ending == CLIENT_RESETS || ending == UPSTREAM_RESETS) {
		close_with_reset(*first);
		*first = -1;
		expect_reset(*second);
		return;
	}
	if (ending == CLIENT_ENDS || ending == UPSTREAM_ENDS) {
		ck_assert_int_eq(shutdown(*first, SHUT_WR), 0);
		expect_end(*second);
		ck_assert_int_eq(shutdown(*second, SHUT_WR), 0);
	}
	if (ending == STOP)
		bench_stop(&b);
	if (ending == DRAIN)
		edge_drain(b.edge);
	if (ending == DRAIN || ending == IDLE)
		time_goes_on();
	expect_end(*fd);
	if (ending != UPSTREAM_ENDS && ending != CLIENT_ENDS)
		expect_end(*up);
}

START_TEST(relay_with_every_event)
{
	uint8_t data[1024];
	size_t len = hello_for("a.test").len;
	int fd, up;

	time_stands_still();
	bench_start(&b, _i == IDLE ? EDGE("timeouts: { idle: 300ms }") ENDPOINT
				   : EDGE("timeouts: { drain: 100ms }")
					 ENDPOINT);
	fd = bench_client(&b, "a.test");
	up = bench_accept(&b);
	receive_bytes(up, data, len);
	send_text(up, "reply");
	receive_bytes(fd, data, 5);
	end_relay((enum ending)_i, &fd, &up);
	if (fd >= 0)
		close(fd);
	if (up >= 0)
		close(up);
	reason_is(relay_reasons[_i]);
	event_has("\"bytes_out\":5");
	event_has("\"first_byte_ms\":");
}
END_TEST

START_TEST(what_is_cut_short_does_not_look_complete)
{
	static const enum ending endings[] = { IDLE, STOP, DRAIN };
	static char block[65536];
	int fd, up, error;
	size_t len;
	char *all = malloc(64 << 20);

	bench_start(&b, endings[_i] == IDLE
			    ? EDGE("timeouts: { idle: 300ms }") ENDPOINT
			    : EDGE("timeouts: { drain: 100ms }") ENDPOINT);
	fd = bench_client(&b, "a.test");
	up = bench_accept(&b);
	receive_bytes(up, block, hello_for("a.test").len);
	/* The client does not read: everything fills up. */
	while (send(up, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	ck_assert_int_eq(
	    setsockopt(up, SOL_SOCKET, SO_SNDTIMEO,
		&(struct timeval){ .tv_usec = 100000 }, sizeof(struct timeval)),
	    0);
	while (send(up, block, sizeof(block), MSG_NOSIGNAL) > 0)
		;
	if (endings[_i] == STOP)
		bench_stop(&b);
	else if (endings[_i] == DRAIN)
		edge_drain(b.edge);
	events_wait(&b.events, 1);
	error = receive_all(fd, all, 64 << 20, &len);
	ck_assert_int_eq(error, ECONNRESET);
	free(all);
	close(fd);
	close(up);
	reason_is(relay_reasons[endings[_i]]);
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(
	    tcase, dial_with_every_failure, 0, ARRAY_COUNT(dials));
	tcase_add_loop_test(tcase, dial_with_every_event, 0, STOPPED + 1);
	tcase_add_test(tcase, the_next_upstream_is_tried);
	tcase_add_test(tcase, a_retry_may_choose_another);
	tcase_add_test(tcase, a_retry_does_not_go_past_an_endpoints_script);
	tcase_add_test(tcase, a_retry_that_gives_up_dials_no_more);
	tcase_add_test(tcase, a_retry_that_never_gives_up_is_ended);
	tcase_add_test(tcase, greet_writes_the_proxy_header_first);
	tcase_add_test(tcase, greet_refuses_a_header_that_is_too_long);
	tcase_add_loop_test(tcase, relay_with_every_event, 0, DRAIN + 1);
	tcase_add_loop_test(
	    tcase, what_is_cut_short_does_not_look_complete, 0, 3);
}

UNIT_MAIN("stages_upstream", add)
