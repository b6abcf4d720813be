#include "unit.h"

#include <stdio.h>

#include "policy_support.h"

static struct bench bench;

static void
setup(void)
{
	policy_bench_init(&bench);
}

static void
teardown(void)
{
	policy_bench_fini(&bench);
}

static void
must_wait(const char *body)
{
	struct policy_outcome *o;

	bench.conn.terminated = false;
	o = policy_bench_body(&bench, body);
	ck_assert_msg(o->state == POLICY_WAITING, "%s: %s", body, o->message);
	ck_assert_int_eq(o->wait, POLICY_WAIT_TERMINATE);
}

/* The text of an expression after termination. */
static const char *
value_after(const char *expression)
{
	struct policy_outcome *o;
	char body[512];

	snprintf(body, sizeof(body),
	    "local tls = conn:terminate()\n"
	    "return { reason = tostring(%s) }",
	    expression);
	must_wait(body);
	o = policy_bench_shake_hands(&bench);
	ck_assert_msg(
	    o->state == POLICY_DECIDED, "%s: %s", expression, o->message);
	return o->decision.reason;
}

START_TEST(what_was_agreed_is_known)
{
	ck_assert_str_eq(value_after("tls.version"), "1.3");
	ck_assert_str_eq(
	    value_after("tls.cipher_suite"), "TLS_AES_128_GCM_SHA256");
	ck_assert_str_eq(value_after("tls.negotiated_alpn"), "h2");
	ck_assert_str_eq(value_after("tls.session_resumed"), "false");
	ck_assert_str_eq(value_after("tls.client"), "nil");
	ck_assert_str_eq(value_after("tls == conn.tls"), "true");
	ck_assert_str_eq(value_after("tls.sni"), "app.example.com");
}
END_TEST

START_TEST(before_it_nothing_is_known_and_nothing_kept)
{
	must_wait("local tls = conn.tls\n"
		  "local before = tostring(tls.version) .. "
		  "tostring(tls.cipher_suite) .. tostring(tls.client)\n"
		  "conn:terminate()\n"
		  "return { reason = before .. tls.version }");
	ck_assert_str_eq(
	    policy_bench_shake_hands(&bench)->decision.reason, "nilnilnil1.3");
	/* A host that cannot tell. */
	bench.host.tls = NULL;
	bench.host.peer = NULL;
	ck_assert_str_eq(value_after("tls.version"), "nil");
	ck_assert_str_eq(value_after("tls.session_resumed"), "nil");
	ck_assert_str_eq(value_after("tls.negotiated_alpn"), "nil");
	ck_assert_str_eq(value_after("tls.client"), "nil");
}
END_TEST

START_TEST(of_the_hello_stays_what_was_read)
{
	must_wait("local hello, alpn = conn.tls.hello, conn.tls.alpn_protocols"
		  "\nlocal groups = #hello.groups\n"
		  "conn:terminate()\n"
		  "return { reason = conn.tls.alpn_protocols[1] .. "
		  "tostring(#conn.tls.hello.groups == groups) .. "
		  "#conn.tls.hello.cipher_suites }");
	ck_assert_str_eq(
	    policy_bench_shake_hands(&bench)->decision.reason, "h2true0");
	bench.has_hello = true;
	ck_assert_str_eq(value_after("tls.hello"), "nil");
}
END_TEST

static const struct span units[] = { { (const uint8_t *)"payments", 8 },
	{ (const uint8_t *)"a\0b\x1b[2J", 7 } };
static const struct span names[] = { { (const uint8_t *)"c.test", 6 } };
static const struct span uris[] = { { (const uint8_t *)"spiffe://a.test/pay",
    19 } };

static struct peer
client(void)
{
	struct peer p = {
		.serial_number = span_text("0a"),
		.not_before = 1700000000,
		.not_after = 1800000000,
		.fingerprint_sha256 = span_text("ab12"),
		.signature_algorithm = span_text("ecdsa-with-SHA256"),
		.key_algorithm = span_text("EC256"),
		.pem = span_text("-----BEGIN CERTIFICATE-----"),
	};

	p.subject.common_name = span_text("client");
	p.subject.organizational_unit = (struct peer_list){ units, 2 };
	p.issuer.common_name = span_text("a CA");
	p.dns_names = (struct peer_list){ names, 1 };
	p.uris = (struct peer_list){ uris, 1 };
	return p;
}

START_TEST(the_clients_certificate_is_a_table)
{
	static const struct {
		const char *expression, *value;
	} cases[] = {
		{ "c.subject.common_name", "client" },
		{ "c.subject.organizational_unit[1]", "payments" },
		{ "#c.subject.organizational_unit[2]", "7" },
		{ "#c.subject.organizational_unit", "2" },
		{ "#c.subject.country + #c.subject.locality + "
		  "#c.subject.organization + #c.subject.province + "
		  "#c.subject.postal_code + #c.subject.street_address",
		    "0" },
		{ "c.issuer.common_name", "a CA" },
		{ "#c.issuer.organizational_unit", "0" },
		{ "c.san.dns_names[1]", "c.test" },
		{ "c.san.uris[1]", "spiffe://a.test/pay" },
		{ "#c.san.email_addresses + #c.san.ip_addresses", "0" },
		{ "c.serial_number", "0a" },
		{ "c.validity.not_before", "1700000000" },
		{ "c.validity.not_after - c.validity.not_before", "100000000" },
		{ "c.fingerprint_sha256", "ab12" },
		{ "c.signature_algorithm", "ecdsa-with-SHA256" },
		{ "c.pem", "-----BEGIN CERTIFICATE-----" },
		{ "c == conn.tls.client", "true" },
		{ "c.key", "nil" },
	};
	struct peer p = client();
	char expression[400];

	bench.peer = &p;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		snprintf(expression, sizeof(expression),
		    "(function(c) return %s end)(tls.client)",
		    cases[i].expression);
		ck_assert_str_eq(value_after(expression), cases[i].value);
	}
	/* Made when it is read, once. */
	ck_assert_uint_eq(bench.peer_reads, ARRAY_COUNT(cases));
	p.subject.common_name = span_of(NULL, 0);
	ck_assert_str_eq(value_after("tls.client.subject.common_name"), "nil");
}
END_TEST

START_TEST(a_huge_certificate_meets_the_runs_memory)
{
	static uint8_t huge[2 * 1024 * 1024];
	static struct span many[60000];
	struct peer p = client();
	struct policy_outcome *o;

	memset(huge, 'x', sizeof(huge));
	bench.peer = &p;
	/* As large as a handshake lets through. */
	p.pem = p.subject.common_name = span_of(huge, 100 * 1024);
	ck_assert_str_eq(value_after("#tls.client.subject.common_name + "
				     "#tls.client.pem"),
	    "204800");
	p.pem = span_of(huge, sizeof(huge));
	must_wait("local tls = conn:terminate() return { reason = #tls.client "
		  "}");
	o = policy_bench_shake_hands(&bench);
	ck_assert_int_eq(o->state, POLICY_FAILED);
	ck_assert_int_eq(o->fault, POLICY_FAULT_MEMORY);
	p.pem = span_of(NULL, 0);
	for (size_t i = 0; i < ARRAY_COUNT(many); i++) {
		memcpy(&huge[i * 32], &i, sizeof(i)); /* all different */
		many[i] = span_of(&huge[i * 32], 32);
	}
	p.dns_names = (struct peer_list){ many, ARRAY_COUNT(many) };
	must_wait("local tls = conn:terminate() return { reason = 'got ' .. "
		  "#tls.client.san.dns_names }");
	o = policy_bench_shake_hands(&bench);
	ck_assert_int_eq(o->state, POLICY_FAILED);
	ck_assert_int_ne(o->fault, POLICY_FAULT_ERROR);
	/* The next run is not harmed. */
	bench.peer = NULL;
	ck_assert_str_eq(value_after("tls.client"), "nil");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_was_agreed_is_known);
	tcase_add_test(tcase, before_it_nothing_is_known_and_nothing_kept);
	tcase_add_test(tcase, of_the_hello_stays_what_was_read);
	tcase_add_test(tcase, the_clients_certificate_is_a_table);
	tcase_add_test(tcase, a_huge_certificate_meets_the_runs_memory);
}

UNIT_MAIN("policy_client", add_tests)
