/* TLS to the upstream behind TLS that has ended at the edge, through a real
 * edge with OpenSSL itself at both ends. */
#include "still_time.h"
#include "terminate_bench.h"

#define REENCRYPTED(address, more)                                            \
	EDGE("")                                                              \
	CERTIFICATES "endpoints: [ { url: tls://a.test, terminate_at: edge, " \
		     "upstream: \"tls://" address "\", " more " } ]\n"

static struct made *backend;

static struct tls_wish
as_backend(void)
{
	if (!backend)
		backend = make((struct recipe){
		    .issuer = ca, .names = "DNS:backend.test,DNS:localhost" });
	return (struct tls_wish){ .certificate = backend };
}

static const struct {
	const char *settings, *fails;
} verifications[] = {
	{ "", NULL }, /* loopback */
	{ "upstream_tls: { verify: false }", NULL },
	{ "upstream_tls: { cas: $S/ca.pem, server_name: backend.test }", NULL },
	{ "upstream_tls: { cas: $S/ca.pem, server_name: other.test }",
	    "hostname mismatch" },
	{ "upstream_tls: { cas: $S/ca.pem }", "IP address mismatch" },
	{ "upstream_tls: { cas: $S/others.pem, server_name: backend.test }",
	    "unable to get local issuer certificate" },
	{ "upstream_tls: { verify: true, server_name: backend.test }",
	    "unable to get local issuer certificate" },
};

START_TEST(an_upstream_is_verified)
{
	const char *fails = verifications[_i].fails;
	struct tls_end t, up;
	char yaml[1024];

	snprintf(yaml, sizeof(yaml), REENCRYPTED("127.0.0.1:$P", "%s"),
	    verifications[_i].settings);
	bench_start(&b, yaml);
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	if (!fails) {
		ck_assert(tls_end_accept(&up, bench_accept(&b), as_backend()));
		tls_end_send(&t, "in");
		tls_end_expect(&up, "in");
		tls_end_send(&up, "out");
		tls_end_expect(&t, "out");
		tls_end_finish(&up);
		tls_end_expect_close(&t);
		tls_end_finish(&t);
		tls_end_expect_close(&up);
	} else {
		(void)tls_end_accept(&up, bench_accept(&b), as_backend());
		ck_assert_int_gt(tls_end_expect_alert(&up), 0);
		tls_end_expect_close(&t);
	}
	tls_end_free(&t);
	tls_end_free(&up);
	reason_is(fails ? "upstream_tls_failed" : "upstream_closed");
	if (fails)
		event_has(fails);
	event_has(fails ? "\"tls\":false" : "\"tls\":true");
}
END_TEST

START_TEST(an_upstream_that_is_cut_off_looks_so)
{
	struct tls_end t, up;

	bench_start(&b, REENCRYPTED("127.0.0.1:$P", ""));
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	ck_assert(tls_end_accept(&up, bench_accept(&b), as_backend()));
	tls_end_send(&up, "half");
	tls_end_cut(&up);
	tls_end_expect(&t, "half");
	tls_end_expect_truncation(&t);
	tls_end_free(&t);
	tls_end_free(&up);
	reason_is("upstream_closed");
	event_has("tls_truncated");
}
END_TEST

/* Our last flight waits for the client's first bytes, which do not come. */
START_TEST(a_client_that_is_cut_off_before_the_upstream_begins)
{
	struct tls_end t, up;
	int fd;

	bench_start(&b, REENCRYPTED("127.0.0.1:$P", ""));
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	fd = bench_accept(&b);
	tls_end_cut(&t);
	ck_assert(tls_end_accept(&up, fd, as_backend()));
	tls_end_expect_truncation(&up);
	tls_end_finish(&up);
	tls_end_free(&t);
	tls_end_free(&up);
	reason_is("client_closed");
	event_has("tls_truncated");
}
END_TEST

START_TEST(the_next_upstream_is_tried_when_tls_fails)
{
	struct tls_end t, up;
	char yaml[512];
	uint16_t port;
	int bad = socket_on_any_port(&port), fd;

	snprintf(yaml, sizeof(yaml),
	    EDGE("") CERTIFICATES "endpoints: [ { url: tls://a.test, "
				  "terminate_at: edge, upstream: [ "
				  "\"tls://127.0.0.1:%u\", "
				  "\"tls://127.0.0.1:$P\" ] } ]\n",
	    port);
	bench_start(&b, yaml);
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	fd = accept_from(bad);
	send_text(fd, "220 not TLS at all\r\n");
	ck_assert(tls_end_accept(&up, bench_accept(&b), as_backend()));
	tls_end_send(&up, "fine");
	tls_end_expect(&t, "fine");
	close(fd);
	close(bad);
	tls_end_free(&up);
	tls_end_free(&t);
	events_wait(&b.events, 1);
}
END_TEST

START_TEST(an_upstream_that_says_nothing)
{
	struct tls_end t;
	int up;

	time_stands_still();
	bench_start(&b, EDGE("timeouts: { handshake: 200ms }") CERTIFICATES
	    "endpoints: [ { url: tls://a.test, terminate_at: edge, "
	    "upstream: \"tls://127.0.0.1:$P\" } ]\n");
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	up = bench_accept(&b);
	time_goes_on();
	tls_end_expect_close(&t);
	tls_end_free(&t);
	reason_is("upstream_timeout");
	event_has("in the TLS handshake");
	close(up);
}
END_TEST

/* While the upstream keeps us waiting for its part of the handshake. */
START_TEST(an_upstreams_handshake_with_every_event)
{
	static const char *const reasons[] = {
		[STAYS] = "upstream_timeout",
		[SHUTS] = "upstream_timeout",
		[RESETS] = "client_reset",
		[STOPPED] = "closed_by_operator",
	};
	enum then then = (enum then)_i;
	struct tls_end t;
	int up;

	time_stands_still();
	bench_start(&b, EDGE("timeouts: { handshake: 300ms }") CERTIFICATES
	    "endpoints: [ { url: tls://a.test, terminate_at: edge, "
	    "upstream: \"tls://127.0.0.1:$P\" } ]\n");
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	up = bench_accept(&b);
	t.fd = act(t.fd, then);
	time_goes_on_for(reasons[then]);
	reason_is(reasons[then]);
	close(up);
	if (t.fd >= 0)
		tls_end_free(&t);
	else
		SSL_free(t.ssl);
}
END_TEST

START_TEST(the_header_goes_in_clear_before_our_tls)
{
	struct tls_end t, up;
	char got[16];
	int fd;

	bench_start(&b,
	    REENCRYPTED("127.0.0.1:$P", "proxy_proto: 2, proxy_tlvs: [ssl]"));
	ck_assert(hello(&t, (struct tls_wish){ .ca = ca }));
	fd = bench_accept(&b);
	receive_bytes(fd, got, 16);
	ck_assert_mem_eq(got, "\r\n\r\n\0\r\nQUIT\n", 12);
	{
		char rest[4096];
		size_t len = (size_t)((uint8_t)got[14] << 8 | (uint8_t)got[15]);

		receive_bytes(fd, rest, len);
		ck_assert_ptr_nonnull(memmem(rest, len, "TLSv1.3", 7));
	}
	ck_assert(tls_end_accept(&up, fd, as_backend()));
	tls_end_send(&t, "x");
	tls_end_expect(&up, "x");
	tls_end_free(&up);
	tls_end_free(&t);
	events_wait(&b.events, 1);
}
END_TEST

/* What arrives still encrypted is never wrapped again. */
START_TEST(passthrough_is_not_wrapped)
{
	struct tls_end t;
	struct span sent = hello_for("a.test");
	uint8_t got[1024];
	int fd, up;

	(void)t;
	bench_start(&b, EDGE("") "endpoints: [ { url: tls://a.test, upstream: "
				 "\"tls://127.0.0.1:$P\" } ]\n");
	fd = bench_client(&b, "a.test");
	up = bench_accept(&b);
	receive_bytes(up, got, sent.len);
	ck_assert_mem_eq(got, sent.data, sent.len);
	close(fd);
	close(up);
	events_wait(&b.events, 1);
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, prepare, teardown);
	tcase_add_loop_test(
	    tcase, an_upstream_is_verified, 0, ARRAY_COUNT(verifications));
	tcase_add_test(tcase, an_upstream_that_is_cut_off_looks_so);
	tcase_add_test(
	    tcase, a_client_that_is_cut_off_before_the_upstream_begins);
	tcase_add_test(tcase, the_next_upstream_is_tried_when_tls_fails);
	tcase_add_test(tcase, an_upstream_that_says_nothing);
	tcase_add_loop_test(
	    tcase, an_upstreams_handshake_with_every_event, 0, STOPPED + 1);
	tcase_add_test(tcase, the_header_goes_in_clear_before_our_tls);
	tcase_add_test(tcase, passthrough_is_not_wrapped);
}

UNIT_MAIN("reencrypt", add)
