#include "unit.h"

#include <stdio.h>

#include "policy_support.h"
#include "tls/digest.h"

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

/* What tostring() makes of an expression over `conn`. */
static const char *
value_of(const char *expression)
{
	char body[1024];
	struct policy_outcome *o;

	snprintf(body, sizeof(body), "return lunette.deny(tostring(%s))",
	    expression);
	o = policy_bench_body(&bench, body);
	ck_assert_msg(
	    o->state == POLICY_DECIDED, "%s: %s", expression, o->message);
	return o->decision.reason;
}

static void
must_fail(const char *body, const char *message)
{
	struct policy_outcome *o = policy_bench_body(&bench, body);

	ck_assert_msg(o->state == POLICY_FAILED, "%s", body);
	ck_assert_msg(strstr(o->message, message), "%s: %s", body, o->message);
}

START_TEST(fields_have_their_values)
{
	static const struct {
		const char *expression, *value;
	} cases[] = {
		{ "conn.id", "conn_1" },
		{ "conn.client_ip", "192.0.2.7" },
		{ "conn.client_port", "40000" },
		{ "conn.peer_ip", "10.0.0.1" },
		{ "conn.peer_port", "40001" },
		{ "conn.server_ip", "2001:db8::1" },
		{ "conn.server_port", "443" },
		{ "conn.listener", "0.0.0.0:443" },
		{ "conn.ts.start", "1700000000.5" },
		{ "conn.proxy", "nil" },
		{ "conn.sni", "app.example.com" },
		{ "conn.tls.sni", "app.example.com" },
		{ "table.concat(conn.tls.alpn_protocols, ',')", "h2,http/1.1" },
		{ "conn.tls.version", "nil" },
		{ "conn.tls.client", "nil" },
		{ "conn.tls.negotiated_alpn", "nil" },
		{ "conn.tls.hello.version", "772" },
		{ "#conn.tls.hello.cipher_suites > 0", "true" },
		{ "#conn.tls.hello.groups > 0", "true" },
		{ "#conn.tls.hello.signature_algorithms > 0", "true" },
		{ "#conn.tls.hello.supported_versions > 0", "true" },
		{ "conn.tls.hello.extensions[1] ~= nil", "true" },
		{ "conn.tls.hello.ech", "false" },
		{ "conn.tls.hello.size > 50", "true" },
		{ "#conn.tls.hello.session_id % 2", "0" },
		{ "conn.endpoint.url", "tls://app.example.com" },
		{ "conn.endpoint.domain", "app.example.com" },
		{ "conn.endpoint.terminate_at", "upstream" },
		{ "conn.endpoint.online", "true" },
		{ "conn.endpoint.agents", "2" },
		{ "conn.endpoint.labels.team", "payments" },
		{ "conn.geo.country_code", "NL" },
		{ "conn.geo.city", "nil" },
		{ "conn.geo.latitude", "nil" },
		{ "conn.as.number", "64500" },
		{ "conn.as.organization", "nil" },
		{ "conn.tls == conn.tls", "true" },
		{ "conn.tls.hello.groups == conn.tls.hello.groups", "true" },
		{ "conn", "conn" },
		{ "type(conn)", "userdata" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		ck_assert_msg(
		    !strcmp(value_of(cases[i].expression), cases[i].value),
		    "%s is %s", cases[i].expression,
		    value_of(cases[i].expression));
}
END_TEST

START_TEST(the_fingerprint_is_that_of_the_hello)
{
	char text[JA4_TEXT_SIZE];

	ck_assert_int_eq(ja4_fingerprint(&bench.hello, text), 0);
	ck_assert_str_eq(value_of("conn.tls.ja4_fingerprint"), text);
	bench.conn.ja4 = "known";
	ck_assert_str_eq(value_of("conn.tls.ja4_fingerprint"), "known");
}
END_TEST

START_TEST(what_is_missing_is_nil)
{
	bench.conn.sni = span_of(NULL, 0);
	bench.has_hello = false;
	ck_assert_str_eq(value_of("conn.sni"), "nil");
	ck_assert_str_eq(value_of("conn.endpoint"), "nil");
	ck_assert_str_eq(value_of("conn.tls.hello"), "nil");
	ck_assert_str_eq(value_of("conn.tls.ja4_fingerprint"), "nil");
	ck_assert_str_eq(value_of("#conn.tls.alpn_protocols"), "0");
	bench.host.geo = NULL;
	ck_assert_str_eq(value_of("conn.geo.country_code"), "nil");
}
END_TEST

START_TEST(the_proxy_header_is_shown)
{
	/* Two TLVs: 0xE1 "x", 0x05 "id". */
	static const uint8_t tlvs[] = { 0xE1, 0, 1, 'x', 5, 0, 2, 'i', 'd' };
	struct proxy_header header = { .version = 2,
		.tlvs = span_of(tlvs, sizeof(tlvs)) };

	bench.conn.proxy = &header;
	ck_assert_str_eq(value_of("conn.proxy.version"), "2");
	ck_assert_str_eq(
	    value_of("conn.proxy.tlvs[0xE1] .. conn.proxy.tlvs[5]"), "xid");
}
END_TEST

START_TEST(an_unknown_field_is_an_error)
{
	must_fail("return { reason = conn.clientip }",
	    "conn has no field \"clientip\" (did you mean \"client_ip\"?)");
	must_fail("local x = conn.tls.snj", "conn.tls has no field");
	must_fail("local x = conn.tls.hello.nothing", "has no field");
	must_fail("local x = conn.geo.planet", "conn.geo has no field");
	must_fail("local x = conn[1]", "string expected");
	must_fail("local x = conn[{}]", "string expected");
	must_fail("local x = conn['a\\nb']", "\"a\\x0ab\"");
	must_fail("local x = conn.__gc", "has no field");
}
END_TEST

START_TEST(a_kept_connection_is_refused)
{
	struct policy_outcome *o = policy_bench_try(&bench,
	    "local lunette = require 'lunette'\n"
	    "local kept, kept_tls\n"
	    "return function(conn)\n"
	    "if not kept then kept, kept_tls = conn, conn.tls return {} end\n"
	    "local a, why = pcall(function() return kept.sni end)\n"
	    "local b = pcall(function() return kept_tls.sni end)\n"
	    "local c = pcall(function() kept:log { a = 1 } end)\n"
	    "local d = pcall(function() return kept.track(kept, 'x') end)\n"
	    "local e = kept == conn\n"
	    "return lunette.deny((a or b or c or d or e) and 'shown' or why)\n"
	    "end");

	ck_assert_int_eq(o->state, POLICY_DECIDED);
	o = policy_bench_run(&bench);
	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
	ck_assert_ptr_nonnull(
	    strstr(o->decision.reason, "belongs to another run"));
	ck_assert_uint_eq(bench.log_count, 0);
}
END_TEST

START_TEST(another_objects_methods_are_refused)
{
	must_fail("conn.log(conn.tls, {})", "conn expected");
	must_fail("conn.log({}, {})", "conn expected");
	must_fail("conn.log(nil, {})", "conn expected");
	must_fail("conn.track(lunette.shared, 'x')", "conn expected");
}
END_TEST

START_TEST(log_fields_become_json)
{
	policy_bench_body(&bench,
	    "conn:log { text = 'a\"b\\n', list = { 1, 2.5, true "
	    "}, part = { n = "
	    "-1 } }");
	ck_assert_uint_eq(bench.log_count, 1);
	ck_assert_ptr_nonnull(
	    strstr(bench.log[0], "\"text\":\"a\\\"b\\u000a\""));
	ck_assert_ptr_nonnull(strstr(bench.log[0], "\"list\":[1,2.5,true]"));
	ck_assert_ptr_nonnull(strstr(bench.log[0], "\"part\":{\"n\":-1}"));
	ck_assert_int_eq(bench.log[0][0], '{');
	bench.log_count = 0;
	policy_bench_body(&bench, "conn:log {} conn:log { x = 0/0 }");
	ck_assert_str_eq(bench.log[0], "{}");
	ck_assert_str_eq(bench.log[1], "{\"x\":null}");
}
END_TEST

START_TEST(log_fields_are_bounded)
{
	must_fail("conn:log 'text'", "table expected");
	must_fail("conn:log { 'a' }", "need names");
	must_fail("conn:log { a = print_ or function() end }", "not defined");
	must_fail("conn:log { a = function() end }", "cannot log a function");
	must_fail("conn:log { a = conn }", "cannot log a userdata");
	must_fail("conn:log { [1.5] = 1 }", "cannot log a key");
	must_fail("conn:log { a = ('x'):rep(4096) }", "over 4096 bytes");
	must_fail("conn:log { a = ('\\1'):rep(1000) }", "over 4096 bytes");
	must_fail("local t = {} t.t = t conn:log(t)", "tables deep");
	must_fail("local t = {} t[1] = t conn:log { t = t }", "tables deep");
	must_fail("local t = {} for i = 1, 5000 do t['k' .. i] = i end "
		  "conn:log(t)",
	    "over 4096 bytes");
	ck_assert_uint_eq(bench.log_count, 0);
}
END_TEST

START_TEST(keys_are_tracked)
{
	ck_assert_int_eq(
	    policy_bench_body(&bench, "conn:track('user-1')")->state,
	    POLICY_DECIDED);
	ck_assert_str_eq(bench.tracked, "user-1");
	must_fail("conn:track('full')", "too many keys");
	must_fail("conn:track(5)", "string expected");
	must_fail("conn:track(('x'):rep(257))", "too long");
}
END_TEST

START_TEST(odd_errors_make_one_line)
{
	static const char *const bodies[] = {
		"error({})",
		"error(setmetatable({}, { __tostring = function() error "
		"'again' "
		"end }))",
		"error(nil)",
		"error()",
		"error(conn)",
		"error('%s%n%d')",
		"error('a\\nlevel=error msg=forged\\r\\n\\27[2J')",
		"error(('x'):rep(100000))",
		"error(conn.sni, 0)",
	};

	bench.conn.sni = span_text("x\nlevel=info msg=\"forged\" %n");
	for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
		struct policy_outcome *o = policy_bench_body(&bench, bodies[i]);

		ck_assert_int_eq(o->state, POLICY_FAILED);
		ck_assert_int_eq(o->fault, POLICY_FAULT_ERROR);
		ck_assert_uint_gt(strlen(o->message), 0);
		for (const char *c = o->message; *c; c++)
			ck_assert_msg(
			    *c >= 0x20 && *c < 0x7f, "%s", o->message);
	}
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, fields_have_their_values);
	tcase_add_test(tcase, the_fingerprint_is_that_of_the_hello);
	tcase_add_test(tcase, what_is_missing_is_nil);
	tcase_add_test(tcase, the_proxy_header_is_shown);
	tcase_add_test(tcase, an_unknown_field_is_an_error);
	tcase_add_test(tcase, a_kept_connection_is_refused);
	tcase_add_test(tcase, another_objects_methods_are_refused);
	tcase_add_test(tcase, log_fields_become_json);
	tcase_add_test(tcase, log_fields_are_bounded);
	tcase_add_test(tcase, keys_are_tracked);
	tcase_add_test(tcase, odd_errors_make_one_line);
}

UNIT_MAIN("policy_conn", add_tests)
