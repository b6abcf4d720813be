/* TLS that ends at the edge, through a real edge with OpenSSL itself at both
 * ends: what each side sees, the alert, exactly one event. */
#include "still_time.h"
#include "terminate_bench.h"

#include <openssl/x509v3.h>

static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

START_TEST(plaintext_goes_both_ways)
{
	struct tls_end t;
	char got[5];
	int up;

	bench_start(&b, EDGE("") CERTIFICATES TERMINATED("alpn: [x, y]"));
	ck_assert(
	    hello(&t, (struct tls_wish){
			  .version = versions[_i], .ca = ca, .alpn = "y" }));
	tls_end_send(&t, "hello");
	up = bench_accept(&b);
	receive_bytes(up, got, 5);
	ck_assert_mem_eq(got, "hello", 5);
	send_text(up, "back");
	tls_end_expect(&t, "back");
	tls_end_finish(&t);
	expect_end(up);
	close(up);
	tls_end_expect_close(&t);
	tls_end_free(&t);
	reason_is("client_closed");
	event_has("\"bytes_in\":5,\"bytes_out\":4");
	event_has(_i == 0 ? "\"tls\":{\"version\":\"1.2\""
			  : "\"tls\":{\"version\":\"1.3\"");
	event_has("\"negotiated_alpn\":\"y\"");
	event_has("\"session_resumed\":false");
	event_has("\"terminate_at\":\"edge\"");
	event_has("\"handshake_ms\":");
	event_lacks("tls_truncated");
}
END_TEST

/* Each side's end in each order; the other direction goes on. */
START_TEST(half_closes_are_passed_on)
{
	bool client_first = _i == 0;
	struct tls_end t;
	char got[4];
	int up;

	bench_start(&b, EDGE("") CERTIFICATES TERMINATED(""));
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	up = bench_accept(&b);
	if (client_first) {
		tls_end_finish(&t);
		expect_end(up);
		send_text(up, "late");
		tls_end_expect(&t, "late");
		close(up);
		tls_end_expect_close(&t);
	} else {
		ck_assert_int_eq(shutdown(up, SHUT_WR), 0);
		tls_end_expect_close(&t);
		tls_end_send(&t, "late");
		receive_bytes(up, got, 4);
		tls_end_finish(&t);
		expect_end(up);
		close(up);
	}
	tls_end_free(&t);
	reason_is(client_first ? "client_closed" : "upstream_closed");
}
END_TEST

/* Half an answer, and then nothing: what the edge ends for want of time must
 * not look as if the upstream had ended it. */
START_TEST(an_idle_end_does_not_look_complete)
{
	struct tls_end t;
	int up;

	time_stands_still();
	bench_start(
	    &b, EDGE("timeouts: { idle: 200ms }") CERTIFICATES TERMINATED(""));
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	up = bench_accept(&b);
	send_text(up, "half an ans");
	tls_end_expect(&t, "half an ans");
	time_goes_on();
	tls_end_expect_truncation(&t);
	tls_end_free(&t);
	close(up);
	reason_is("idle_timeout");
}
END_TEST

START_TEST(an_end_without_close_notify_is_told)
{
	struct tls_end t;
	int up;

	bench_start(&b, EDGE("") CERTIFICATES TERMINATED(""));
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	up = bench_accept(&b);
	tls_end_cut(&t);
	expect_end(up);
	close(up);
	tls_end_expect_close(&t);
	tls_end_free(&t);
	reason_is("client_closed");
	event_has("\"detail\":\"tls_truncated\"");
}
END_TEST

/* A record comes out whole, and its rate is kept by waiting. */
START_TEST(waiting_for_the_rate_is_not_idling)
{
	struct tls_end t;
	char text[801], got[800];
	int up;

	memset(text, 'x', 800);
	text[800] = '\0';
	time_stands_still();
	bench_start(&b, EDGE("timeouts: { idle: 200ms }")
			    CERTIFICATES TERMINATED("bytes_per_second: 1KiB"));
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	up = bench_accept(&b);
	tls_end_send(&t, text);
	receive_bytes(up, got, 800);
	tls_end_send(&t, "more");
	time_goes_on();
	receive_bytes(up, got, 4);
	ck_assert_mem_eq(got, "more", 4);
	/* When the rate is paid for, it is idle again. */
	reason_is("idle_timeout");
	close(up);
	tls_end_free(&t);
}
END_TEST

START_TEST(a_client_that_leaves_the_handshake)
{
	struct tls_end t;
	int fd;

	time_stands_still();
	bench_start(&b,
	    EDGE("timeouts: { handshake: 100ms }") CERTIFICATES TERMINATED(""));
	if (_i == 0) { /* waits */
		fd = bench_client(&b, "a.test");
		time_goes_on();
		reason_is("handshake_timeout");
		close(fd);
	} else if (_i == 1) { /* goes */
		fd = bench_client(&b, "a.test");
		ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
		reason_is("client_closed");
		event_has("in the TLS handshake");
		close(fd);
	} else { /* does not like our certificate */
		ck_assert(!hello(&t, (struct tls_wish){ .ca = other_ca }));
		tls_end_free(&t);
		reason_is("handshake_failed");
		event_has("\"alert\":\"unknown_ca\",\"alert_received\":true");
	}
}
END_TEST

#define TERMINATING(rest)                                           \
	EDGE("policy: { file: $S/p.lua }")                          \
	CERTIFICATES                                                \
	"endpoints: [ { url: tls://a.test, upstream: "              \
	"127.0.0.1:$P }, { url: tls://b.test, terminate_at: edge, " \
	"certificate: a, upstream: 127.0.0.1:$P, " rest " } ]\n"
#define WITH_CAS "local cas = lunette.cas \"clients.pem\"\n"
#define SCRIPT(body)                                     \
	"local lunette = require \"lunette\"\n" WITH_CAS \
	"return function(conn)\n" body "\nend\n"

/* In its own stage, and in the middle of a script. */
START_TEST(the_handshake_with_every_event)
{
	static const char *const reasons[] = {
		[STAYS] = "handshake_timeout",
		[SHUTS] = "client_closed",
		[RESETS] = "client_reset",
		[STOPPED] = "closed_by_operator",
	};
	bool by_script = _i > STOPPED;
	enum then then = (enum then)(_i % (STOPPED + 1));
	int fd;

	bench_script(&b, "p.lua", SCRIPT("conn:terminate {}"));
	time_stands_still();
	bench_start(&b,
	    by_script ? EDGE("timeouts: { handshake: 150ms }, policy: { file: "
			     "$S/p.lua }") CERTIFICATES ENDPOINT
		      : EDGE("timeouts: { handshake: 150ms }")
			    CERTIFICATES TERMINATED(""));
	fd = act(bench_client(&b, "a.test"), then);
	time_goes_on_for(reasons[then]);
	reason_is(reasons[then]);
	if (fd >= 0)
		close(fd);
}
END_TEST

START_TEST(no_certificate_no_handshake)
{
	int fd;

	bench_start(&b,
	    EDGE("default_endpoint: tls://a.test") CERTIFICATES TERMINATED(""));
	fd = bench_client(&b, "elsewhere.test");
	expect_alert(fd, ALERT_UNRECOGNIZED_NAME);
	close(fd);
	reason_is("no_certificate");
}
END_TEST

/* A client without a name gets the certificate of the endpoint's. */
START_TEST(without_a_name_the_endpoint_is_shown)
{
	struct tls_end t;

	bench_start(&b,
	    EDGE("default_endpoint: tls://a.test") CERTIFICATES TERMINATED(""));
	ck_assert(tls_end_connect(
	    &t, bench_connect(&b), (struct tls_wish){ .ca = ca }));
	ck_assert_int_eq(X509_check_host(SSL_get0_peer_certificate(t.ssl),
			     "a.test", 0, 0, NULL),
	    1);
	tls_end_free(&t);
}
END_TEST

/* The local CA signs for what is served here, and for nothing else. */
static const struct {
	const char *name, *shown; /* shown NULL: refused */
} issued[] = {
	{ "x.test", "x.test" },
	{ "b.wild.test", "b.wild.test" },
	{ "elsewhere.test", NULL },
	{ NULL, "x.test" },
};

START_TEST(a_local_ca_fills_in)
{
	struct tls_wish w = { .name = issued[_i].name };
	struct tls_end t;
	int fd;

	bench_start(&b,
	    EDGE("state: $S, local_ca: auto, default_endpoint: "
		 "tls://x.test") "endpoints: [ { url: tls://x.test, "
				 "terminate_at: edge, upstream: "
				 "127.0.0.1:$P }, { url: "
				 "\"tls://*.wild.test\", terminate_at: "
				 "edge, upstream: 127.0.0.1:$P } ]\n");
	if (issued[_i].shown) {
		ck_assert(tls_end_connect(&t, bench_connect(&b), w));
		ck_assert_int_eq(
		    X509_check_host(SSL_get0_peer_certificate(t.ssl),
			issued[_i].shown, 0, 0, NULL),
		    1);
		tls_end_free(&t);
		close(bench_accept(&b));
		events_wait(&b.events, 1);
		return;
	}
	fd = bench_client(&b, issued[_i].name);
	expect_alert(fd, ALERT_UNRECOGNIZED_NAME);
	close(fd);
	reason_is("no_certificate");
}
END_TEST

static const struct {
	bool shows, right;
	const char *mode, *reason;
	int alert[2]; /* of TLS 1.2 and 1.3; 0: accepted */
} mutual[] = {
	{ false, false, "require", "client_certificate_missing",
	    { ALERT_HANDSHAKE_FAILURE, ALERT_CERTIFICATE_REQUIRED } },
	{ true, false, "require", "client_certificate_invalid",
	    { ALERT_UNKNOWN_CA, ALERT_UNKNOWN_CA } },
	{ true, true, "require", "client_closed", { 0, 0 } },
	{ false, false, "request", "client_closed", { 0, 0 } },
	{ true, false, "request", "client_certificate_invalid",
	    { ALERT_UNKNOWN_CA, ALERT_UNKNOWN_CA } },
	{ true, true, "request", "client_closed", { 0, 0 } },
};

static void
start_mutual(const char *mode)
{
	char yaml[1024];

	snprintf(yaml, sizeof(yaml),
	    EDGE("") CERTIFICATES TERMINATED(
		"mutual_tls: { cas: $S/clients.pem, mode: %s }"),
	    mode);
	bench_start(&b, yaml);
}

START_TEST(client_certificates)
{
	int row = _i / 2, version = _i % 2;
	int alert = mutual[row].alert[version];
	struct tls_wish w = { .version = versions[version], .ca = ca };
	struct tls_end t;

	start_mutual(mutual[row].mode);
	if (mutual[row].shows)
		w.certificate = mutual[row].right ? client : stranger;
	(void)hello(&t, w);
	if (alert != 0) {
		ck_assert_int_eq(tls_end_expect_alert(&t), alert);
	} else {
		int up = bench_accept(&b);

		tls_end_finish(&t);
		expect_end(up);
		close(up);
	}
	tls_end_free(&t);
	reason_is(mutual[row].reason);
	if (alert != 0 && mutual[row].shows)
		event_has("\"client\":{\"fingerprint_sha256\":\"");
	if (alert == 0 && mutual[row].shows)
		event_has("\"client\":{\"subject\":{\"common_name\":\"alice\"");
}
END_TEST

START_TEST(a_script_terminates_and_reads_the_certificate)
{
	struct tls_wish w = { .version = versions[_i % 2], .ca = ca };
	bool allowed = _i < 2;
	struct tls_end t;

	bench_script(&b, "p.lua",
	    SCRIPT("local tls = conn:terminate { certificate = \"a\", "
		   "mutual_tls = { cas = cas } }\n"
		   "if tls.client.subject.common_name ~= \"alice\" or "
		   "tls.client.san.uris[1] ~= "
		   "\"spiffe://example.test/payments\" then\n"
		   "  return lunette.deny \"who are you\"\n"
		   "end\n"
		   "return lunette.forward { tags = { v = tls.version } }"));
	bench_start(&b, TERMINATING(""));
	w.certificate = allowed ? client
				: make((struct recipe){ .issuer = client_ca,
				      .common_name = "bob",
				      .extended_key_usage = "clientAuth" });
	ck_assert(hello(&t, w));
	if (allowed) {
		close(bench_accept(&b));
		tls_end_expect_close(&t);
	} else {
		tls_end_expect_close(&t);
	}
	tls_end_free(&t);
	reason_is(allowed ? "upstream_closed" : "denied_policy");
	event_lacks("\"alert\"");
	if (allowed)
		event_has(_i == 0 ? "\"tags\":{\"v\":\"1.2\"}"
				  : "\"tags\":{\"v\":\"1.3\"}");
	else
		event_has("who are you");
}
END_TEST

/* Another client's hello would take its place: so it is never there. */
START_TEST(the_hello_is_gone_behind_terminate)
{
	struct tls_end t;

	bench_script(&b, "p.lua",
	    SCRIPT("conn:terminate { certificate = \"a\" }\n"
		   "return lunette.deny(conn.tls.hello and \"is there\" or "
		   "\"is gone\")"));
	bench_start(&b, TERMINATING(""));
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	tls_end_expect_close(&t);
	tls_end_free(&t);
	reason_is("denied_policy");
	event_has("is gone");
}
END_TEST

START_TEST(a_script_whose_client_does_not_finish)
{
	struct tls_end t;
	int fd;

	bench_script(&b, "p.lua",
	    SCRIPT("conn:terminate { mutual_tls = { cas = cas } }"));
	time_stands_still();
	bench_start(
	    &b, EDGE("policy: { file: $S/p.lua, wall: 10s }, "
		     "timeouts: { handshake: 100ms }") CERTIFICATES ENDPOINT);
	if (_i == 0) {
		fd = bench_client(&b, "a.test");
		time_goes_on();
		reason_is("handshake_timeout");
		event_has("\"terminate_at\":\"edge\"");
		close(fd);
		return;
	}
	(void)hello(&t, (struct tls_wish){ .ca = ca });
	ck_assert_int_eq(tls_end_expect_alert(&t), ALERT_CERTIFICATE_REQUIRED);
	tls_end_free(&t);
	reason_is("client_certificate_missing");
}
END_TEST

/* What an endpoint asks of its clients is not gone around by terminating for
 * another one first. */
static const struct {
	const char *terminates, *rule, *reason;
} detours[] = {
	{ "", "", "upstream_closed" },
	{ "", MUTUAL, "policy_error" },
	{ "mutual_tls = { cas = cas }", MUTUAL, "upstream_closed" },
	{ "mutual_tls = { cas = cas, mode = \"request\" }", MUTUAL,
	    "policy_error" },
	{ "mutual_tls = { cas = cas }", "mutual_tls: { cas: $S/others.pem }",
	    "policy_error" },
	{ "mutual_tls = { cas = cas }",
	    "mutual_tls: { cas: $S/clients.pem, mode: request }",
	    "upstream_closed" },
};

START_TEST(detours_around_mutual_tls)
{
	bool passes = strcmp(detours[_i].reason, "policy_error") != 0;
	char script[512], yaml[1024];
	struct tls_end t;

	snprintf(script, sizeof(script),
	    SCRIPT("conn:terminate { %s }\n"
		   "return lunette.forward { endpoint = \"tls://b.test\" }"),
	    detours[_i].terminates);
	bench_script(&b, "p.lua", script);
	snprintf(yaml, sizeof(yaml), TERMINATING("%s"), detours[_i].rule);
	bench_start(&b, yaml);
	ck_assert(
	    hello(&t, (struct tls_wish){ .ca = ca, .certificate = client }));
	if (passes)
		close(bench_accept(&b));
	tls_end_expect_close(&t);
	tls_end_free(&t);
	reason_is(detours[_i].reason);
}
END_TEST

START_TEST(a_decision_terminates)
{
	struct tls_end t;

	bench_script(&b, "p.lua",
	    SCRIPT("return lunette.forward { terminate_at = \"edge\", "
		   "min_version = \"1.3\", mutual_tls = { cas = cas } }"));
	bench_start(&b, TERMINATING(""));
	if (_i == 0) {
		ck_assert(hello(
		    &t, (struct tls_wish){ .ca = ca, .certificate = client }));
		close(bench_accept(&b));
		tls_end_expect_close(&t);
		tls_end_free(&t);
		reason_is("upstream_closed");
		return;
	}
	(void)hello(&t, (struct tls_wish){ .version = TLS1_2_VERSION });
	ck_assert_int_eq(tls_end_expect_alert(&t), ALERT_PROTOCOL_VERSION);
	tls_end_free(&t);
	reason_is("handshake_failed");
}
END_TEST

START_TEST(a_decision_without_a_certificate_is_an_error)
{
	int fd;

	bench_script(&b, "p.lua",
	    SCRIPT("return lunette.forward { terminate_at = \"edge\" }"));
	bench_start(&b, EDGE("policy: { file: $S/p.lua }, default_endpoint: "
			     "tls://a.test") CERTIFICATES ENDPOINT);
	fd = bench_client(&b, "elsewhere.test");
	expect_alert(fd, ALERT_ACCESS_DENIED);
	close(fd);
	reason_is("policy_error");
	event_has("no certificate covers the name");
}
END_TEST

static const struct {
	const char *edge, *endpoint, *detail;
} limits[] = {
	{ "limits: { handshakes_per_second: 1 }", "",
	    "limits.handshakes_per_second\"" },
	{ "limits: { handshakes_per_second_per_client: 1 }", "",
	    "limits.handshakes_per_second_per_client\"" },
	{ "", "handshakes_per_second: 1", "\"handshakes_per_second\"" },
};

START_TEST(handshakes_are_limited)
{
	char yaml[1024];
	int fds[32];

	snprintf(yaml, sizeof(yaml), EDGE("%s") CERTIFICATES TERMINATED("%s"),
	    limits[_i].edge, limits[_i].endpoint);
	bench_start(&b, yaml);
	for (int i = 0; i < 32; i++)
		fds[i] = bench_client(&b, "a.test");
	for (int i = 0; i < 32; i++)
		close(fds[i]);
	events_wait(&b.events, 32);
	/* At most a few seconds have passed. */
	ck_assert_uint_gt(events_with(&b.events, limits[_i].detail), 8);
	ck_assert_uint_lt(events_with(&b.events, limits[_i].detail), 32);
}
END_TEST

static atomic_uint issued_count;

struct certificate *__real_authority_issue(
    struct authority *a, const struct host *name, int64_t now);
struct certificate *__wrap_authority_issue(
    struct authority *a, const struct host *name, int64_t now);

struct certificate *
__wrap_authority_issue(
    struct authority *a, const struct host *name, int64_t now)
{
	atomic_fetch_add(&issued_count, 1);
	return __real_authority_issue(a, name, now);
}

START_TEST(no_certificate_is_made_beyond_the_limit)
{
	char name[32];

	bench_start(&b,
	    EDGE("state: $S, local_ca: auto, limits: { handshakes_per_second: "
		 "1 }") "endpoints: [ { url: \"tls://*.wild.test\", "
			"terminate_at: edge, upstream: 127.0.0.1:$P } ]\n");
	for (int i = 0; i < 32; i++) {
		snprintf(name, sizeof(name), "n%d.wild.test", i);
		close(bench_client(&b, name));
	}
	events_wait(&b.events, 32);
	ck_assert_uint_gt(atomic_load(&issued_count), 0);
	ck_assert_uint_eq(atomic_load(&issued_count),
	    32 - events_with(&b.events, "handshakes_per_second\""));
}
END_TEST

/* What a script says of the client's certificate is not lost because nothing
 * of it ends here. */
static const char *const unheard[] = {
	"return lunette.forward { mutual_tls = { cas = cas } }",
	"return lunette.forward { min_version = \"1.3\" }",
	"return lunette.forward { endpoint = \"tls://b.test\", "
	"terminate_at = \"upstream\" }",
};

START_TEST(a_rule_that_could_not_be_kept_denies)
{
	char script[512];
	int fd;

	snprintf(script, sizeof(script), SCRIPT("%s"), unheard[_i]);
	bench_script(&b, "p.lua", script);
	bench_start(&b, TERMINATING(MUTUAL));
	fd = bench_client(&b, "a.test");
	expect_alert(fd, ALERT_ACCESS_DENIED);
	close(fd);
	reason_is("policy_error");
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, prepare, teardown);
	tcase_add_loop_test(tcase, plaintext_goes_both_ways, 0, 2);
	tcase_add_loop_test(tcase, half_closes_are_passed_on, 0, 2);
	tcase_add_test(tcase, an_idle_end_does_not_look_complete);
	tcase_add_test(tcase, an_end_without_close_notify_is_told);
	tcase_add_test(tcase, waiting_for_the_rate_is_not_idling);
	tcase_add_loop_test(tcase, a_client_that_leaves_the_handshake, 0, 3);
	tcase_add_loop_test(
	    tcase, the_handshake_with_every_event, 0, 2 * (STOPPED + 1));
	tcase_add_test(tcase, no_certificate_no_handshake);
	tcase_add_test(tcase, without_a_name_the_endpoint_is_shown);
	tcase_add_loop_test(tcase, a_local_ca_fills_in, 0, ARRAY_COUNT(issued));
	tcase_add_loop_test(
	    tcase, client_certificates, 0, 2 * ARRAY_COUNT(mutual));
	tcase_add_loop_test(
	    tcase, a_script_terminates_and_reads_the_certificate, 0, 4);
	tcase_add_test(tcase, the_hello_is_gone_behind_terminate);
	tcase_add_loop_test(tcase, a_script_whose_client_does_not_finish, 0, 2);
	tcase_add_loop_test(
	    tcase, detours_around_mutual_tls, 0, ARRAY_COUNT(detours));
	tcase_add_loop_test(tcase, a_decision_terminates, 0, 2);
	tcase_add_test(tcase, a_decision_without_a_certificate_is_an_error);
	tcase_add_loop_test(
	    tcase, handshakes_are_limited, 0, ARRAY_COUNT(limits));
	tcase_add_test(tcase, no_certificate_is_made_beyond_the_limit);
	tcase_add_loop_test(tcase, a_rule_that_could_not_be_kept_denies, 0,
	    ARRAY_COUNT(unheard));
}

UNIT_MAIN("terminate", add)
