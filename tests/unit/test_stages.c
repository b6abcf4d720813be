/* The stages before an upstream is dialled, with every event, through a real
 * edge: the reason, the alert on the wire, and exactly one event. */
#include "stages_bench.h"
#include "still_time.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

/* What a client sends before: a piece of what it should. */
enum piece { NOTHING, PART, WHOLE, GARBAGE, HTTP, BAD_RECORD, NO_NAME, OTHER };

static void
send_piece(int fd, enum piece piece)
{
	struct span hello = hello_for(piece == NO_NAME ? ""
				      : piece == OTHER ? "other.test"
						       : "a.test");

	switch (piece) {
	case NOTHING:
		break;
	case PART:
		send_bytes(fd, hello.data, hello.len - 7);
		break;
	case GARBAGE:
		send_text(fd, "SSH-2.0-x\r\n");
		break;
	case HTTP:
		send_text(fd, "GET / HTTP/1.1\r\n\r\n");
		break;
	case BAD_RECORD:
		send_bytes(fd, "\x17\x03\x03\0\x01x", 6);
		break;
	default:
		send_bytes(fd, hello.data, hello.len);
		break;
	}
}

static const struct {
	enum piece piece;
	enum then then;
	const char *reason;
	int alert; /* 0: none is sent; -1: do not look */
} hellos[] = {
	{ NOTHING, STAYS, "hello_timeout", 0 },
	{ NOTHING, SHUTS, "client_closed", 0 },
	{ NOTHING, RESETS, "client_reset", 0 },
	{ NOTHING, STOPPED, "closed_by_operator", 0 },
	{ PART, STAYS, "hello_timeout", 0 },
	{ PART, SHUTS, "client_closed", -1 },
	/* Half a hello and a reset: as one sees it first. */
	{ PART, RESETS, "client_", 0 },
	{ PART, STOPPED, "closed_by_operator", -1 },
	{ GARBAGE, STAYS, "not_tls", 0 },
	{ GARBAGE, SHUTS, "not_tls", 0 },
	{ HTTP, STAYS, "not_tls", -1 },
	{ BAD_RECORD, STAYS, "hello_malformed", 10 },
	{ BAD_RECORD, SHUTS, "hello_malformed", 10 },
	{ NO_NAME, STAYS, "unknown_name", 112 },
	{ OTHER, STAYS, "unknown_name", 112 },
	{ OTHER, SHUTS, "unknown_name", 112 },
};

START_TEST(hello_with_every_event)
{
	int fd;

	time_stands_still();
	bench_start(&b, EDGE("timeouts: { hello: 100ms }") ENDPOINT);
	fd = bench_connect(&b);
	send_piece(fd, hellos[_i].piece);
	fd = act(fd, hellos[_i].then);
	time_goes_on_for(hellos[_i].reason);
	if (fd >= 0 && hellos[_i].alert > 0)
		expect_alert(fd, (uint8_t)hellos[_i].alert);
	else if (fd >= 0 && hellos[_i].alert == 0)
		expect_end(fd);
	/* A client that keeps its side open costs the linger time. */
	if (fd >= 0)
		close(fd);
	reason_is(hellos[_i].reason);
	event_lacks("\"upstream\":{");
	event_lacks("\"policy\":");
	if (hellos[_i].alert > 0)
		event_has("\"alert\":");
	else
		event_lacks("\"alert\":");
}
END_TEST

START_TEST(http_is_told_in_words)
{
	char text[512];
	size_t len;
	int fd;

	bench_start(&b, EDGE("") ENDPOINT);
	fd = bench_connect(&b);
	send_piece(fd, HTTP);
	ck_assert_int_eq(receive_all(fd, text, sizeof(text), &len), 0);
	ck_assert_int_eq(memcmp(text, "HTTP/1.1 400 ", 13), 0);
	close(fd);
	reason_is("not_tls");
	event_has("\"detail\":\"http\"");
	event_has("\"bytes_out\":0");
}
END_TEST

START_TEST(a_hello_may_come_in_any_pieces)
{
	struct span hello = hello_for("a.test");
	uint8_t seen[1024];
	int fd, up;

	bench_start(&b, EDGE("") ENDPOINT);
	fd = bench_connect(&b);
	ck_assert_int_eq(
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)),
	    0);
	for (size_t i = 0; i < hello.len; i++)
		send_bytes(fd, hello.data + i, 1);
	up = bench_accept(&b);
	receive_bytes(up, seen, hello.len);
	ck_assert_int_eq(memcmp(seen, hello.data, hello.len), 0);
	close(up);
	close(fd);
	events_wait(&b.events, 1);
	event_has("\"server_name\":\"a.test\"");
}
END_TEST

#define PROXY_LISTENER(rest)                                               \
	"edge: { listen: [ { address: \"127.0.0.1:0\", proxy_protocol: { " \
	"accept: [1, 2], " rest " } } ], workers: 1,\n"
#define PROXY_EDGE(rest)                                                   \
	"edge: { listen: [ { address: \"127.0.0.1:0\", proxy_protocol: { " \
	"accept: [1, 2], " rest " } } ], workers: 1,\n"                    \
	"  timeouts: { proxy: 100ms, hello: 200ms } }\n"
#define TRUSTED "from: [ 127.0.0.0/8 ]"
#define UNTRUSTED "from: [ 10.0.0.0/8 ]"
#define GOOD "PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n"

static const struct {
	const char *yaml, *bytes;
	enum then then;
	const char *reason;
} proxies[] = {
	{ PROXY_EDGE(TRUSTED) ENDPOINT, "", STAYS, "proxy_timeout" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, "", SHUTS, "client_closed" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, "", RESETS, "client_reset" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, "", STOPPED, "closed_by_operator" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, "PROXY TC", STAYS, "proxy_timeout" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, "PROXY TC", SHUTS, "client_closed" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, "PROXY TC", RESETS, "client_" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, "PROXY TC", STOPPED,
	    "closed_by_operator" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, "\x16\x03\x01", STAYS,
	    "proxy_malformed" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, "PROXY TCP4 x\r\n", STAYS,
	    "proxy_malformed" },
	{ PROXY_EDGE(UNTRUSTED) ENDPOINT, GOOD, STAYS, "proxy_untrusted" },
	{ PROXY_EDGE(UNTRUSTED) ENDPOINT, "", STAYS, "proxy_untrusted" },
	{ PROXY_EDGE(UNTRUSTED ", required: false") ENDPOINT, GOOD, STAYS,
	    "not_tls" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, GOOD, STAYS, "hello_timeout" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, GOOD, SHUTS, "client_closed" },
	{ PROXY_EDGE(TRUSTED) ENDPOINT, GOOD "SSH", STAYS, "not_tls" },
	{ PROXY_EDGE(UNTRUSTED ", required: false") ENDPOINT, "", STAYS,
	    "hello_timeout" },
};

START_TEST(proxy_in_with_every_event)
{
	int fd;

	time_stands_still();
	bench_start(&b, proxies[_i].yaml);
	fd = bench_connect(&b);
	send_text(fd, proxies[_i].bytes);
	fd = act(fd, proxies[_i].then);
	time_goes_on_for(proxies[_i].reason);
	if (fd >= 0 && proxies[_i].then == STAYS)
		expect_end(fd);
	if (fd >= 0)
		close(fd);
	reason_is(proxies[_i].reason);
	event_has("\"peer_ip\":\"127.0.0.1\"");
	if (!strncmp(proxies[_i].bytes, GOOD, sizeof(GOOD) - 1) &&
	    strstr(proxies[_i].yaml, "127.0.0.0/8"))
		event_has("\"client_ip\":\"192.0.2.1\",\"client_port\":1000");
}
END_TEST

START_TEST(a_proxy_header_is_consumed_exactly)
{
	struct span hello = hello_for("a.test");
	uint8_t out[1024];
	int fd, up;

	time_stands_still();
	bench_start(&b, PROXY_EDGE(TRUSTED) ENDPOINT);
	fd = bench_connect(&b);
	send_text(fd, GOOD);
	send_bytes(fd, hello.data, hello.len);
	up = bench_accept(&b);
	receive_bytes(up, out, hello.len);
	ck_assert_int_eq(memcmp(out, hello.data, hello.len), 0);
	close(fd);
	expect_end(up);
	close(up);
	reason_is("client_closed");
}
END_TEST

START_TEST(a_client_is_not_counted_with_one_of_the_other_family)
{
	static const char *const headers[] = {
		"PROXY TCP4 32.1.13.184 192.0.2.2 1000 443\r\n",
		"PROXY TCP6 2001:db8:: 2001:db8::2 1000 443\r\n",
	};
	struct span hello = hello_for("a.test");
	int fds[2], ups[2];

	bench_start(&b,
	    PROXY_LISTENER(
		TRUSTED) "limits: { connections_per_client: 1 } }\n" ENDPOINT);
	for (int i = 0; i < 2; i++) {
		fds[i] = bench_connect(&b);
		send_text(fds[i], headers[i]);
		send_bytes(fds[i], hello.data, hello.len);
		ups[i] = bench_accept(&b);
	}
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		close(ups[i]);
	}
}
END_TEST

static const struct {
	const char *body, *yaml, *reason;
	int alert;	  /* 0: FIN, -1: reset, -2: it is let through */
	const char *part; /* of the event */
} policies[] = {
	{ "", SCRIPTED(""), "client_closed", -2, "\"decision\":\"allow\"" },
	{ "return lunette.deny('no')", SCRIPTED(""), "denied_policy", 49,
	    "\"decision\":\"deny\",\"reason\":\"no\"" },
	{ "return lunette.deny('no')", SCRIPTED("hide_names: true"),
	    "denied_policy", 112, "\"alert\":\"unrecognized_name\"" },
	{ "return lunette.deny { close = 'close' }", SCRIPTED(""),
	    "denied_policy", 0, "\"decision\":\"deny\"" },
	{ "return lunette.deny { close = 'reset' }", SCRIPTED(""),
	    "denied_policy", -1, "\"decision\":\"deny\"" },
	{ "return lunette.deny { close = 'tarpit' }",
	    SCRIPTED("timeouts: { hello: 100ms }"), "denied_policy", -1,
	    "\"decision\":\"deny\"" },
	{ "error('oops')", SCRIPTED(""), "policy_error", 49, "oops" },
	{ "return 7", SCRIPTED(""), "policy_error", 49, "\"deny\"" },
	{ "while true do end",
	    EDGE("policy: { file: $S/p.lua, cpu: 10ms }") ENDPOINT,
	    "policy_timeout", 49, "\"deny\"" },
	{ "lunette.sleep(30)",
	    EDGE("policy: { file: $S/p.lua, wall: 50ms }") ENDPOINT,
	    "policy_timeout", 49, "\"detail\":\"edge.policy.wall\"" },
	{ "lunette.sleep(30)",
	    EDGE("policy: { file: $S/p.lua, wall: 50ms }, hide_names: true")
		ENDPOINT,
	    "policy_timeout", 112, "\"decision\":\"deny\"" },
	{ "lunette.sleep(0.03)", SCRIPTED(""), "client_closed", -2,
	    "\"decision\":\"allow\"" },
	{ "lunette.sleep(0.03) return lunette.deny()", SCRIPTED(""),
	    "denied_policy", 49, "\"line\":2" },
	{ "conn:log({ a = '\"\\n' }) return lunette.deny { "
	  "tags = { ['\"x'] = '</y>\\n' } }",
	    SCRIPTED(""), "denied_policy", 49,
	    "\"tags\":{\"\\\"x\":\"</y>\\u000a\"}" },
	{ "return lunette.forward { upstream = '127.0.0.1:1' }", SCRIPTED(""),
	    "upstream_refused", 80, "\"address\":\"127.0.0.1:1\"" },
};

static void
expect_refusal(int fd, int alert)
{
	if (alert > 0)
		expect_alert(fd, (uint8_t)alert);
	else if (alert == 0)
		expect_end(fd);
	else
		expect_reset(fd);
	close(fd);
}

/* The upstream gets the hello, and the end. */
static void
expect_passage(int fd)
{
	int up = bench_accept(&b);
	uint8_t seen[1024];

	receive_bytes(up, seen, hello_for("a.test").len);
	close(fd);
	expect_end(up);
	close(up);
}

START_TEST(policy_with_every_answer)
{
	char script[1024];
	int fd;

	snprintf(script, sizeof(script), LUA("%s"), policies[_i].body);
	bench_script(&b, "p.lua", script);
	time_stands_still();
	bench_start(&b, policies[_i].yaml);
	fd = bench_client(&b, "a.test");
	/* Scripts sleep, and a tarpit's end is a deadline. */
	time_goes_on();
	if (policies[_i].alert == -2)
		expect_passage(fd);
	else
		expect_refusal(fd, policies[_i].alert);
	reason_is(policies[_i].reason);
	event_has(policies[_i].part);
	event_has("\"policy\":{\"version\":\"");
}
END_TEST

/* While a script waits. */
static const struct {
	enum then then;
	const char *reason;
} waits[] = {
	{ SHUTS, "policy_timeout" }, /* may be half-closed: it goes on */
	{ STOPPED, "closed_by_operator" },
	{ RESETS, "client_reset" },
};

START_TEST(policy_waits_with_every_event)
{
	int fd;

	bench_script(&b, "p.lua", LUA("lunette.sleep(30)"));
	time_stands_still();
	bench_start(
	    &b, EDGE("policy: { file: $S/p.lua, wall: 200ms }") ENDPOINT);
	fd = act(bench_client(&b, "a.test"), waits[_i].then);
	time_goes_on_for(waits[_i].reason);
	if (fd >= 0 && waits[_i].then == SHUTS)
		expect_alert(fd, 49);
	if (fd >= 0)
		close(fd);
	reason_is(waits[_i].reason);
}
END_TEST

START_TEST(a_script_that_was_answered_for_does_not_go_on)
{
	int fd;

	bench_script(
	    &b, "p.lua", LUA("lunette.sleep(0.1) conn:log({ late = true })"));
	bench_start(
	    &b, EDGE("policy: { file: $S/p.lua, wall: 50ms }") ENDPOINT);
	fd = bench_client(&b, "a.test");
	expect_alert(fd, 49);
	/* It lingers until the script would have gone on. */
	poll(NULL, 0, 150);
	close(fd);
	reason_is("policy_timeout");
	event_lacks("late");
}
END_TEST

START_TEST(a_restriction_denies)
{
	int fd;

	bench_start(&b,
	    EDGE(
		"") "endpoints: [ { url: tls://a.test, upstream: 127.0.0.1:$P, "
		    "ip_restriction: { allow: [ 10.0.0.0/8 ] } } ]\n");
	fd = bench_client(&b, "a.test");
	expect_alert(fd, 49);
	close(fd);
	reason_is("denied_ip");
	event_has("\"ip_policy\":{\"decision\":\"block\"}");
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(
	    tcase, hello_with_every_event, 0, ARRAY_COUNT(hellos));
	tcase_add_test(tcase, http_is_told_in_words);
	tcase_add_test(tcase, a_hello_may_come_in_any_pieces);
	tcase_add_loop_test(
	    tcase, proxy_in_with_every_event, 0, ARRAY_COUNT(proxies));
	tcase_add_test(tcase, a_proxy_header_is_consumed_exactly);
	tcase_add_test(
	    tcase, a_client_is_not_counted_with_one_of_the_other_family);
	tcase_add_loop_test(
	    tcase, policy_with_every_answer, 0, ARRAY_COUNT(policies));
	tcase_add_loop_test(
	    tcase, policy_waits_with_every_event, 0, ARRAY_COUNT(waits));
	tcase_add_test(tcase, a_script_that_was_answered_for_does_not_go_on);
	tcase_add_test(tcase, a_restriction_denies);
}

UNIT_MAIN("stages", add)
