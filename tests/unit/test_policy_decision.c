#include "unit.h"

#include <stdio.h>

#include "config/snapshot.h"
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

/* A script that returns this expression from line 3. */
static struct policy_outcome *
decide(const char *expression)
{
	char body[2048];

	snprintf(body, sizeof(body), "return %s", expression);
	return policy_bench_body(&bench, body);
}

static struct decision *
must_decide(const char *expression)
{
	struct policy_outcome *o = decide(expression);

	ck_assert_msg(o->state == POLICY_DECIDED && o->decided, "%s: %s",
	    expression, o->message);
	return &o->decision;
}

START_TEST(defaults_override_nothing)
{
	struct decision *d = must_decide("{}");

	ck_assert(d->allow);
	ck_assert_int_eq(d->close, DENY_ALERT);
	ck_assert_int_eq(d->alert, 49);
	ck_assert_ptr_null(d->reason);
	ck_assert_ptr_null(d->endpoint);
	ck_assert_ptr_null(d->upstream);
	ck_assert_int_eq(d->terminate_at, -1);
	ck_assert_int_eq(d->proxy_proto, -1);
	ck_assert_int_eq(d->proxy_tlvs, -1);
	ck_assert_ptr_null(d->termination.certificate);
	ck_assert_uint_eq(d->termination.min_version, 0);
	ck_assert_uint_eq(d->termination.max_version, 0);
	ck_assert(!d->termination.has_alpn);
	ck_assert_int_eq(d->termination.auth, -1);
	ck_assert_ptr_null(d->termination.trust);
	ck_assert_int_eq(d->upstream_tls.verify, -1);
	ck_assert_ptr_null(d->upstream_tls.trust);
	ck_assert_ptr_null(d->upstream_tls.server_name);
	ck_assert_ptr_null(d->upstream_tls.certificate);
	ck_assert_uint_eq(d->tlv_count, 0);
	ck_assert_uint_eq(d->tag_count, 0);
	ck_assert_int_eq(d->connect_ms, -1);
	ck_assert_int_eq(d->idle_ms, -1);
	ck_assert_int_eq(d->bytes_per_second, -1);
	ck_assert_ptr_null(d->storage);
}
END_TEST

START_TEST(every_key_is_read)
{
	struct decision *d = must_decide(
	    "{ allow = true, reason = 'r', endpoint = "
	    "'tls://known.example.com', upstream = 'tcp://db.example.com:5432',"
	    " terminate_at = 'upstream', proxy_proto = 2, proxy_tlvs = "
	    "{ 'authority', 'crc32c', 'ssl', 'client_certificate' }, tlvs = { "
	    "[0xE0] = 'a\\0b', [0xEF] = '' "
	    "}, tags = { team = 'payments' }, timeouts = { connect = 2.5, idle "
	    "= 60 }, bytes_per_second = 1000000 }");

	ck_assert_str_eq(d->reason, "r");
	ck_assert_str_eq(d->endpoint, "tls://known.example.com");
	ck_assert_str_eq(d->upstream, "db.example.com:5432");
	ck_assert_int_eq(d->terminate_at, TERMINATE_UPSTREAM);
	ck_assert_int_eq(d->proxy_proto, 2);
	ck_assert_int_eq(d->proxy_tlvs, PROXY_SEND_AUTHORITY |
					    PROXY_SEND_CRC32C | PROXY_SEND_SSL |
					    PROXY_SEND_CLIENT_CERTIFICATE);
	ck_assert_uint_eq(d->tlv_count, 2);
	for (size_t i = 0; i < 2; i++) {
		bool first = d->tlvs[i].type == 0xE0;

		ck_assert_uint_eq(d->tlvs[i].value.len, first ? 3 : 0);
		ck_assert(!first || !memcmp(d->tlvs[i].value.data, "a\0b", 3));
	}
	ck_assert_uint_eq(d->tag_count, 1);
	ck_assert_str_eq(d->tags[0].name, "team");
	ck_assert_str_eq(d->tags[0].value, "payments");
	ck_assert_int_eq(d->connect_ms, 2500);
	ck_assert_int_eq(d->idle_ms, 60000);
	ck_assert_int_eq(d->bytes_per_second, 1000000);
}
END_TEST

START_TEST(an_upstream_means_the_same_each_time)
{
	static const char *const texts[] = { "tcp://10.0.0.5:1", "10.0.0.5:1",
		"tls://db.example.com", "443", "unix:/run/x" };
	static const char *const means[] = { "10.0.0.5:1", "10.0.0.5:1",
		"tls://db.example.com:443", "localhost:443", "unix:/run/x" };

	policy_bench_body(&bench, "return { upstream = conn.listener }");
	for (size_t i = 0; i < 4 * ARRAY_COUNT(texts); i++) {
		size_t at = i % ARRAY_COUNT(texts);

		bench.conn.listener = texts[at];
		ck_assert_str_eq(
		    policy_bench_run(&bench)->decision.upstream, means[at]);
	}
	/* A long one is not remembered and still right. */
	for (int i = 0; i < 2; i++) {
		bench.conn.listener =
		    "a-long-label-of-a-name.another-long-label.example.com:1";
		ck_assert_str_eq(policy_bench_run(&bench)->decision.upstream,
		    bench.conn.listener);
	}
}
END_TEST

START_TEST(a_denial_says_how)
{
	struct decision *d = must_decide(
	    "lunette.deny { close = 'reset', alert = 'unrecognized_name' }");

	ck_assert(!d->allow);
	ck_assert_int_eq(d->close, DENY_RESET);
	ck_assert_int_eq(d->alert, 112);
	ck_assert_int_eq(
	    must_decide("{ allow = false, close = 'tarpit' }")->close,
	    DENY_TARPIT);
	ck_assert_int_eq(
	    must_decide("lunette.deny { close = 'close' }")->close, DENY_CLOSE);
	ck_assert_int_eq(
	    must_decide("lunette.deny { close = 'alert' }")->close, DENY_ALERT);
	ck_assert(!must_decide("lunette.deny()")->allow);
}
END_TEST

START_TEST(in_any_doubt_it_is_refused)
{
	static const struct {
		const char *expression, *message;
	} cases[] = {
		{ "{ upstrem = '10.0.0.1:1' }", "did you mean \"upstream\"" },
		{ "{ Allow = false }", "unknown key \"Allow\"" },
		{ "{ ['a\\nb'] = 1 }", "unknown key \"a\\x0ab\"" },
		{ "{ 'deny' }", "a key is a number" },
		{ "{ [true] = 1 }", "a key is a boolean" },
		{ "{ allow = 'no' }", "allow: must be a boolean" },
		{ "{ allow = 0 }", "allow: must be a boolean" },
		{ "{ reason = 5 }", "reason: must be a string" },
		{ "{ reason = ('x'):rep(257) }", "over 256 bytes" },
		{ "{ close = 'reset' }", "allow is true" },
		{ "{ alert = 'access_denied' }", "allow is true" },
		{ "{ allow = false, close = 'shut' }", "must be alert, close" },
		{ "{ allow = false, alert = 'nope' }", "is no alert" },
		{ "{ allow = false, alert = 49 }", "must be a string" },
		{ "{ endpoint = 'tls://other' }",
		    "no endpoint \"tls://other\"" },
		{ "{ endpoint = 'tls://known.example.com\\0' }",
		    "no endpoint" },
		{ "{ upstream = '10.0.0.5' }",
		    "upstream: the port is missing" },
		{ "{ upstream = 'a b:1' }", "upstream:" },
		{ "{ upstream = 8080 }", "upstream: must be a string" },
		{ "{ upstream = { '10.0.0.5:1' } }", "upstream: must be" },
		{ "{ terminate_at = 'here' }", "must be edge, agent" },
		{ "{ proxy_proto = 3 }", "must be from 0 to 2" },
		{ "{ proxy_proto = 1.5 }", "must be a whole number" },
		{ "{ proxy_proto = '2' }", "must be a number" },
		{ "{ proxy_proto = 0/0 }", "must be from 0 to 2" },
		{ "{ proxy_tlvs = { 'tls' } }", "may list" },
		{ "{ proxy_tlvs = { alpn = true } }", "must be a list" },
		{ "{ proxy_tlvs = 'alpn' }", "must be a table" },
		{ "{ tlvs = { [0xDF] = 'x' } }", "0xE0 to 0xEF" },
		{ "{ tlvs = { [0xF0] = 'x' } }", "0xE0 to 0xEF" },
		{ "{ tlvs = { [0xE0 + 0.5] = 'x' } }", "0xE0 to 0xEF" },
		{ "{ tlvs = { a = 'x' } }", "0xE0 to 0xEF" },
		{ "{ tlvs = { [0xE0] = 5 } }", "tlvs: must be a string" },
		{ "{ tlvs = { [0xE0] = ('x'):rep(4093) } }", "over 4096" },
		{ "{ tlvs = { [0xE0] = ('x'):rep(3000), [0xE1] = "
		  "('x'):rep(2000) } }",
		    "over 4096" },
		{ "{ tags = { 'x' } }", "must have names" },
		{ "{ tags = { a = 5 } }", "tags: must be a string" },
		{ "{ tags = { a = 'x\\0y' } }", "NUL" },
		{ "{ tags = { [''] = 'x' } }", "1 to 64 bytes" },
		{ "{ tags = { [('n'):rep(65)] = 'x' } }", "1 to 64 bytes" },
		{ "{ timeouts = { conect = 1 } }", "did you mean \"connect\"" },
		{ "{ timeouts = { connect = 0 } }", "timeouts.connect: must" },
		{ "{ timeouts = { idle = -1 } }", "timeouts.idle: must be" },
		{ "{ timeouts = { idle = 1/0 } }", "timeouts.idle: must be" },
		{ "{ timeouts = 5 }", "timeouts: must be a table" },
		{ "{ bytes_per_second = -1 }", "bytes_per_second: must be" },
		{ "false", "returns a table or nothing, not a boolean" },
		{ "true", "not a boolean" },
		{ "'10.0.0.5:1'", "not a string" },
		{ "5", "not a number" },
		{ "conn", "not a userdata" },
		{ "lunette.deny", "not a function" },
		{ "lunette.deny(5)", "reason: must be a string" },
		{ "lunette.forward { allow = false }", "with allow = false" },
		{ "lunette.deny { allow = true }", "with allow = true" },
		{ "lunette.forward('10.0.0.5:1')", "takes a table" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct policy_outcome *o = decide(cases[i].expression);

		ck_assert_msg(
		    o->state == POLICY_FAILED, "%s", cases[i].expression);
		ck_assert_int_eq(o->fault, POLICY_FAULT_ERROR);
		ck_assert_msg(strstr(o->message, cases[i].message), "%s: %s",
		    cases[i].expression, o->message);
		ck_assert_msg(o->line > 0, "%s", cases[i].expression);
		ck_assert_ptr_null(o->decision.storage);
		ck_assert_ptr_null(o->decision.reason);
	}
}
END_TEST

START_TEST(the_largest_decision_fits)
{
	struct policy_outcome *o = policy_bench_body(&bench,
	    "local tags, tlvs = {}, {}\n"
	    "for i = 1, 32 do tags[('n'):rep(62) .. (9 + i)] = ('v'):rep(256) "
	    "end\n"
	    "for i = 0, 15 do tlvs[0xE0 + i] = ('t'):rep(252) end\n"
	    "return { tags = tags, tlvs = tlvs, reason = ('\\1'):rep(256), "
	    "upstream = ('a'):rep(63) .. '.example.com:1' }");

	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
	ck_assert_uint_eq(o->decision.tag_count, 32);
	ck_assert_uint_eq(o->decision.tlv_count, 16);
	ck_assert_uint_eq(strlen(o->decision.reason), 4 * 256);
	ck_assert_uint_eq(strlen(o->decision.tags[31].value), 256);
	o = policy_bench_body(&bench,
	    "local tags = {} for i = 1, 33 do tags['n' .. i] = '' end\n"
	    "return { tags = tags }");
	ck_assert_int_eq(o->state, POLICY_FAILED);
}
END_TEST

START_TEST(a_decision_may_be_moved_out)
{
	struct decision *d = must_decide("{ reason = 'kept' }");
	struct decision mine = *d;

	decision_init(d);
	policy_finish(bench.run);
	bench.run = NULL;
	ck_assert_str_eq(mine.reason, "kept");
	decision_fini(&mine);
	ck_assert_ptr_null(mine.reason);
}
END_TEST

START_TEST(reasons_stay_on_one_line)
{
	struct decision *d =
	    must_decide("lunette.deny 'a\\nb\\27[1m\\0 \"quoted\" %s büro'");

	ck_assert_str_eq(d->reason, "a\\x0ab\\x1b[1m\\x00 \"quoted\" %s büro");
}
END_TEST

START_TEST(decisions_with_metatables_are_refused)
{
	static const char *const expressions[] = {
		"setmetatable({}, { __index = { allow = false } })",
		"setmetatable({ reason = 'mine' }, {})",
		"{ tags = setmetatable({}, { __index = { a = 'b' } }) }",
		"{ timeouts = setmetatable({}, { __index = { idle = 1 } }) }",
		"string", /* read-only views are empty to look at */
		"lunette",
	};

	for (size_t i = 0; i < ARRAY_COUNT(expressions); i++) {
		char body[256];
		struct policy_outcome *o;

		snprintf(body, sizeof(body), "return %s", expressions[i]);
		o = policy_bench_body(&bench, body);
		ck_assert_msg(o->state == POLICY_FAILED, "%s", expressions[i]);
		ck_assert_msg(strstr(o->message, "without a metatable"),
		    "%s: %s", expressions[i], o->message);
	}
}
END_TEST

START_TEST(the_line_is_the_calls_or_the_definitions)
{
	struct policy_outcome *o =
	    policy_bench_body(&bench, "local d\n"
				      "if conn.sni then\n"
				      "d = lunette.deny 'x'\n"
				      "end\n"
				      "return d");

	ck_assert_int_eq(o->decision.line, 5);
	ck_assert_int_eq(o->line, 5);
	o = policy_bench_body(&bench, "\n\nreturn lunette.deny 'x'");
	ck_assert_int_eq(o->decision.line, 2);
	/* An error in what comes back is at the same place. */
	o = policy_bench_body(&bench,
	    "\n\nlocal d = lunette.forward { upstream = 'nowhere' }\nreturn d");
	ck_assert_int_eq(o->state, POLICY_FAILED);
	ck_assert_int_eq(o->line, 5);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, defaults_override_nothing);
	tcase_add_test(tcase, every_key_is_read);
	tcase_add_test(tcase, an_upstream_means_the_same_each_time);
	tcase_add_test(tcase, a_denial_says_how);
	tcase_add_test(tcase, in_any_doubt_it_is_refused);
	tcase_add_test(tcase, the_largest_decision_fits);
	tcase_add_test(tcase, a_decision_may_be_moved_out);
	tcase_add_test(tcase, reasons_stay_on_one_line);
	tcase_add_test(tcase, decisions_with_metatables_are_refused);
	tcase_add_test(tcase, the_line_is_the_calls_or_the_definitions);
}

UNIT_MAIN("policy_decision", add_tests)
