#include "unit.h"

#include <stdio.h>

#include "config/snapshot.h"
#include "policy_support.h"
#include "tls/stream.h"
#include "tls_support.h"

static struct bench bench;

static void
setup(void)
{
	struct made *ca = make((struct recipe){ .ca = true });

	policy_bench_init(&bench);
	policy_bench_write(&bench, "ca.pem", ca->crt);
}

static void
teardown(void)
{
	policy_bench_fini(&bench);
}

/* The body of a connect function that has `cas` and `other`. */
static struct policy_outcome *
run(const char *body)
{
	char text[4096];

	snprintf(text, sizeof(text),
	    "local lunette = require 'lunette'\n"
	    "local cas, other = lunette.cas 'ca.pem', lunette.cas 'ca.pem'\n"
	    "return function(conn)\n%s\nend\n",
	    body);
	return policy_bench_try(&bench, text);
}

static struct policy_outcome *
decide(const char *expression)
{
	char body[2048];

	snprintf(body, sizeof(body), "return %s", expression);
	return run(body);
}

static struct decision *
must_decide(const char *expression)
{
	struct policy_outcome *o = decide(expression);

	ck_assert_msg(o->state == POLICY_DECIDED && o->decided, "%s: %s",
	    expression, o->message);
	return &o->decision;
}

static void
expect_refusal(struct policy_outcome *o, const char *what, const char *message)
{
	ck_assert_msg(o->state == POLICY_FAILED, "%s", what);
	ck_assert_int_eq(o->fault, POLICY_FAULT_ERROR);
	ck_assert_msg(strstr(o->message, message), "%s: %s", what, o->message);
}

/* ---- decisions ---- */

START_TEST(every_key_about_tls_is_read)
{
	struct decision *d = must_decide(
	    "{ terminate_at = 'edge', certificate = 'app', min_version = "
	    "'1.2', max_version = 1.3, alpn = { 'h2', 'http/1.1' }, mutual_tls "
	    "= { cas = cas, mode = 'request' }, upstream_tls = { verify = "
	    "true, cas = other, server_name = 'DB.Example.com.', certificate = "
	    "'app' } }");

	ck_assert_int_eq(d->terminate_at, TERMINATE_EDGE);
	ck_assert_str_eq(d->termination.certificate, "app");
	ck_assert_uint_eq(d->termination.min_version, TLS_VERSION_1_2);
	ck_assert_uint_eq(d->termination.max_version, TLS_VERSION_1_3);
	ck_assert(d->termination.has_alpn);
	ck_assert(
	    span_equal(d->termination.alpn, span_of("\2h2\10http/1.1", 12)));
	ck_assert_int_eq(d->termination.auth, CLIENT_AUTH_REQUEST);
	ck_assert_ptr_nonnull(d->termination.trust);
	ck_assert_int_eq(d->upstream_tls.verify, 1);
	ck_assert_ptr_nonnull(d->upstream_tls.trust);
	ck_assert_ptr_ne(d->upstream_tls.trust, d->termination.trust);
	ck_assert_str_eq(d->upstream_tls.server_name, "db.example.com");
	ck_assert_str_eq(d->upstream_tls.certificate, "app");
}
END_TEST

START_TEST(what_is_not_said_has_its_default)
{
	struct decision *d = must_decide("{ mutual_tls = { cas = cas } }");

	ck_assert_int_eq(d->termination.auth, CLIENT_AUTH_REQUIRE);
	d = must_decide("{ mutual_tls = { mode = 'none' } }");
	ck_assert_int_eq(d->termination.auth, CLIENT_AUTH_NONE);
	ck_assert_ptr_null(d->termination.trust);
	d = must_decide("{ alpn = {} }");
	ck_assert(d->termination.has_alpn);
	ck_assert_uint_eq(d->termination.alpn.len, 0);
	d = must_decide("{ min_version = 1.2, max_version = '1.2' }");
	ck_assert_uint_eq(d->termination.min_version, TLS_VERSION_1_2);
	ck_assert_uint_eq(d->termination.max_version, TLS_VERSION_1_2);
	d = must_decide("{ upstream_tls = {} }");
	ck_assert_int_eq(d->upstream_tls.verify, -1);
	d = must_decide("{ upstream_tls = { verify = false } }");
	ck_assert_int_eq(d->upstream_tls.verify, 0);
	d = must_decide("{ upstream_tls = { cas = cas } }");
	ck_assert_int_eq(d->upstream_tls.verify, 1);
	d = must_decide("{ upstream_tls = { server_name = '2001:DB8::1' } }");
	ck_assert_str_eq(d->upstream_tls.server_name, "2001:db8::1");
}
END_TEST

START_TEST(a_trust_outlives_the_policy_in_a_decision)
{
	struct decision mine = *must_decide("{ mutual_tls = { cas = cas } }");
	struct trust *trust = mine.termination.trust;

	decision_init(&policy_outcome(bench.run)->decision);
	policy_finish(bench.run);
	bench.run = NULL;
	policy_free(bench.policy);
	bench.policy = NULL;
	ck_assert_uint_eq(trust_ca_count(trust), 1);
	decision_fini(&mine);
	ck_assert_ptr_null(mine.termination.trust);
}
END_TEST

/* Whatever conn:terminate and a decision both refuse. */
static const struct refusal {
	const char *fields, *message;
} refusals[] = {
	{ "certificate = 'nope'", "certificate: there is no certificate "
				  "\"nope\"" },
	{ "certificate = 'app\\0'", "certificate: there is no certificate" },
	{ "certificate = 5", "certificate: must be a string, not a number" },
	{ "certificate = ('x'):rep(300)", "certificate: is over 256 bytes" },
	{ "min_version = '1.1'", "min_version: must be 1.2 or 1.3" },
	{ "min_version = 1.25", "min_version: must be 1.2 or 1.3" },
	{ "max_version = 'TLSv1.3'", "max_version: must be 1.2 or 1.3" },
	{ "max_version = true", "max_version: must be a string" },
	{ "min_version = 1.3, max_version = 1.2", "min_version: is above" },
	{ "alpn = 'h2'", "alpn: must be a table" },
	{ "alpn = { 5 }", "alpn: must be a string" },
	{ "alpn = { '' }", "alpn: a name must not be empty" },
	{ "alpn = { ('x'):rep(256) }", "alpn: is over 255 bytes" },
	{ "alpn = { h2 = true }", "alpn: must be a list" },
	{ "alpn = { 'h2', [1.5] = 'x' }", "alpn: must be a list" },
	{ "alpn = setmetatable({}, {})", "alpn: must be a table without" },
	{ "alpn = { ('a'):rep(255), ('b'):rep(255), ('c'):rep(255), "
	  "('d'):rep(255), ('e'):rep(255) }",
	    "alpn: is over 1024 bytes" },
	{ "alpn = (function() local t = {} for i = 1, 33 do t[i] = 'x' end "
	  "return t end)()",
	    "alpn: lists over 32" },
	{ "mutual_tls = cas", "mutual_tls: must be a table" },
	{ "mutual_tls = {}", "mutual_tls: needs cas" },
	{ "mutual_tls = { mode = 'request' }", "mutual_tls: needs cas" },
	{ "mutual_tls = { cas = 'ca.pem' }",
	    "mutual_tls.cas: must be what lunette.cas gives, not a string" },
	{ "mutual_tls = { cas = conn }", "mutual_tls.cas: must be what" },
	{ "mutual_tls = { cas = cas, mode = 'on' }",
	    "mutual_tls.mode: must be require, request or none" },
	{ "mutual_tls = { cas = cas, mode = true }",
	    "mutual_tls.mode: must be a string" },
	{ "mutual_tls = { cas = cas, mode = 'none' }", "takes no cas" },
	{ "mutual_tls = { cas = cas, mod = 'none' }",
	    "unknown key \"mod\" in mutual_tls (did you mean \"mode\"?)" },
	{ "mutual_tls = setmetatable({}, { __index = { cas = cas } })",
	    ": mutual_tls: must be a table without" },
	{ "['certi\\nficate'] = 1", "unknown key \"certi\\x0aficate\"" },
	{ "'app'", "a key is a number" },
};

START_TEST(a_decision_about_tls_is_read_strictly)
{
	static const struct refusal more[] = {
		{ "terminate_at = 'upstream', mutual_tls = { cas = cas }",
		    "mutual_tls: needs termination" },
		{ "terminate_at = 'upstream', certificate = 'app'",
		    "certificate: needs termination" },
		{ "terminate_at = 'upstream', alpn = {}",
		    "alpn: needs termination" },
		{ "terminate_at = 'upstream', min_version = 1.3",
		    "min_version: needs termination" },
		{ "terminate_at = 'upstream', max_version = 1.3",
		    "max_version: needs termination" },
		{ "upstream_tls = true", "upstream_tls: must be a table" },
		{ "upstream_tls = { verify = 'no' }",
		    "upstream_tls.verify: must be a boolean" },
		{ "upstream_tls = { cas = 'system' }",
		    "upstream_tls.cas: must be what lunette.cas gives" },
		{ "upstream_tls = { verify = false, cas = cas }",
		    "verify is false, but there is cas" },
		{ "upstream_tls = { server_name = 'a b' }",
		    "upstream_tls.server_name: " },
		{ "upstream_tls = { server_name = 'a\\0b' }",
		    "upstream_tls.server_name: " },
		{ "upstream_tls = { server_name = 5 }",
		    "upstream_tls.server_name: must be a string" },
		{ "upstream_tls = { certificate = 'nope' }",
		    "upstream_tls.certificate: there is no certificate" },
		{ "upstream_tls = { server_nam = 'a' }",
		    "did you mean \"server_name\"" },
	};
	char text[512];

	for (size_t i = 0; i < ARRAY_COUNT(refusals) + ARRAY_COUNT(more); i++) {
		const struct refusal *c =
		    i < ARRAY_COUNT(refusals)
			? &refusals[i]
			: &more[i - ARRAY_COUNT(refusals)];
		struct policy_outcome *o;

		/* With something counted and something kept beside it. */
		snprintf(text, sizeof(text),
		    "{ reason = 'r', %s, tags = { a = 'b' } }", c->fields);
		o = decide(text);
		expect_refusal(o, c->fields, c->message);
		ck_assert_ptr_null(o->decision.termination.trust);
		ck_assert_ptr_null(o->decision.upstream_tls.trust);
		ck_assert_ptr_null(o->decision.storage);
	}
}
END_TEST

START_TEST(after_termination_a_decision_says_nothing_about_it)
{
	static const struct refusal cases[] = {
		{ "certificate = 'app'", "certificate: comes after" },
		{ "min_version = 1.2", "min_version: comes after" },
		{ "max_version = 1.3", "max_version: comes after" },
		{ "alpn = { 'h2' }", "alpn: comes after" },
		{ "mutual_tls = { cas = cas }", "mutual_tls: comes after" },
		{ "mutual_tls = { mode = 'none' }", "mutual_tls: comes after" },
		{ "terminate_at = 'upstream'", "terminate_at: the client's" },
	};
	char text[256];

	bench.conn.terminated = true;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		snprintf(text, sizeof(text), "{ %s }", cases[i].fields);
		expect_refusal(decide(text), text, cases[i].message);
	}
	ck_assert_int_eq(must_decide("{ terminate_at = 'edge', upstream_tls = "
				     "{ verify = true } }")
			     ->upstream_tls.verify,
	    1);
}
END_TEST

START_TEST(without_a_keyring_no_certificate_is_known)
{
	bench.host.knows_certificate = NULL;
	expect_refusal(decide("{ certificate = 'app' }"), "app",
	    "there is no certificate");
}
END_TEST

/* ---- lunette.cas ---- */

static void
must_not_load(const char *text, const char *message)
{
	ck_assert(!policy_bench_load(&bench, text));
	ck_assert_msg(strstr(bench.error.data, message), "%s: %s", text,
	    bench.error.data);
}

START_TEST(cas_are_opened_while_the_script_loads)
{
	must_not_load("require 'lunette'.cas 'missing.pem'", "missing.pem");
	must_not_load("require 'lunette'.cas 'policy.lua'", "policy.lua");
	must_not_load("require 'lunette'.cas('a\\0b')", "this is no path");
	must_not_load("require 'lunette'.cas {}", "string expected");
	expect_refusal(run("lunette.cas 'ca.pem'"), "at run time",
	    "lunette.cas: not possible while the script runs");
	expect_refusal(
	    run("return { reason = tostring(cas.x) }"), "a field", "index");
}
END_TEST

START_TEST(other_cas_are_another_version)
{
	struct made *ca = make((struct recipe){ .ca = true });
	char before[POLICY_VERSION_SIZE];

	run("return {}");
	snprintf(before, sizeof(before), "%s", policy_version(bench.policy));
	run("return {}");
	ck_assert_str_eq(policy_version(bench.policy), before);
	policy_bench_write(&bench, "ca.pem", ca->crt);
	run("return {}");
	ck_assert_str_ne(policy_version(bench.policy), before);
}
END_TEST

/* ---- conn:terminate ---- */

static struct policy_outcome *
must_wait(const char *body)
{
	struct policy_outcome *o = run(body);

	ck_assert_msg(o->state == POLICY_WAITING, "%s: %s", body, o->message);
	ck_assert_int_eq(o->wait, POLICY_WAIT_TERMINATE);
	return o;
}

START_TEST(a_script_says_how_to_terminate)
{
	struct policy_outcome *o = must_wait(
	    "local tls = conn:terminate { certificate = 'app', min_version = "
	    "1.2, max_version = '1.3', alpn = { 'h2' }, mutual_tls = { cas = "
	    "cas } }\n"
	    "return { reason = tls.version }");
	struct decision_termination *t = &o->termination;

	ck_assert_str_eq(t->certificate, "app");
	ck_assert_uint_eq(t->min_version, TLS_VERSION_1_2);
	ck_assert_uint_eq(t->max_version, TLS_VERSION_1_3);
	ck_assert(t->has_alpn);
	ck_assert(span_equal(t->alpn, span_of("\2h2", 3)));
	ck_assert_int_eq(t->auth, CLIENT_AUTH_REQUIRE);
	ck_assert_uint_eq(trust_ca_count(t->trust), 1);
	o = policy_bench_shake_hands(&bench);
	ck_assert_int_eq(o->state, POLICY_DECIDED);
	ck_assert_str_eq(o->decision.reason, "1.3");
	ck_assert_ptr_null(o->termination.trust);
	ck_assert_ptr_null(o->termination.certificate);
}
END_TEST

START_TEST(without_an_argument_all_is_the_endpoints)
{
	static const char *const bodies[] = { "conn:terminate()",
		"conn:terminate(nil)", "conn:terminate {}",
		"pcall(conn.terminate, conn)" };

	for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
		struct policy_outcome *o = must_wait(bodies[i]);

		ck_assert_ptr_null(o->termination.certificate);
		ck_assert_uint_eq(o->termination.min_version, 0);
		ck_assert_uint_eq(o->termination.max_version, 0);
		ck_assert(!o->termination.has_alpn);
		ck_assert_int_eq(o->termination.auth, -1);
		ck_assert_ptr_null(o->termination.trust);
		ck_assert_int_eq(
		    policy_bench_shake_hands(&bench)->state, POLICY_DECIDED);
		bench.conn.terminated = false;
	}
}
END_TEST

START_TEST(what_terminate_takes_is_read_strictly)
{
	static const struct refusal more[] = {
		{ "terminate_at = 'edge'", "unknown key \"terminate_at\"" },
		{ "upstream_tls = {}", "unknown key \"upstream_tls\"" },
	};
	char body[512];

	for (size_t i = 0; i < ARRAY_COUNT(refusals) + ARRAY_COUNT(more); i++) {
		const struct refusal *c =
		    i < ARRAY_COUNT(refusals)
			? &refusals[i]
			: &more[i - ARRAY_COUNT(refusals)];
		struct policy_outcome *o;

		snprintf(body, sizeof(body),
		    "conn:terminate { certificate = 'app', %s }", c->fields);
		o = run(body);
		if (!strncmp(c->fields, "certificate", 11))
			continue; /* stands twice in this table */
		expect_refusal(o, c->fields, c->message);
		ck_assert_ptr_nonnull(strstr(o->message, "conn:terminate: "));
		ck_assert_int_eq(o->line, 4);
		ck_assert_ptr_null(o->termination.trust);
	}
	expect_refusal(run("conn:terminate 'app'"), "a text",
	    "conn:terminate: must be a table, not a string");
	expect_refusal(run("conn:terminate(conn)"), "conn",
	    "conn:terminate: must be a table");
	expect_refusal(run("conn:terminate(setmetatable({}, {}))"), "metatable",
	    "without a metatable");
}
END_TEST

START_TEST(a_refused_call_may_be_caught)
{
	struct policy_outcome *o =
	    must_wait("local ok = pcall(conn.terminate, conn, { mutual_tls = { "
		      "cas = cas, mod = 1 } })\n"
		      "local tls = conn:terminate { mutual_tls = { cas = other "
		      "} }\n"
		      "return { reason = tostring(ok) .. tls.version }");

	ck_assert_ptr_nonnull(o->termination.trust);
	ck_assert_str_eq(
	    policy_bench_shake_hands(&bench)->decision.reason, "false1.3");
}
END_TEST

START_TEST(tls_is_terminated_once)
{
	must_wait("conn:terminate() conn:terminate()");
	expect_refusal(policy_bench_shake_hands(&bench), "twice",
	    "conn:terminate: the client's TLS is terminated already");
	/* In the endpoint's policy, after the edge's. */
	expect_refusal(run("conn:terminate()"), "again",
	    "conn:terminate: the client's TLS is terminated already");
}
END_TEST

START_TEST(after_a_first_upstream_it_is_too_late)
{
	const struct policy_failure failure = { "upstream_unreachable", 1,
		"10.0.0.1:1" };

	ck_assert_msg(policy_bench_load(&bench,
			  "return { retry = function(conn, failure)\n"
			  "conn:terminate() end }"),
	    "%s", bench.error.data);
	bench.run = policy_start(bench.policy, 0, &bench.conn, &failure);
	expect_refusal(policy_outcome(bench.run), "retry",
	    "conn:terminate: not possible in a retry function");
}
END_TEST

START_TEST(a_close_function_sees_what_was_agreed)
{
	const struct policy_summary summary = { .reason = "done" };

	ck_assert_msg(policy_bench_load(&bench,
			  "return { close = function(conn, summary)\n"
			  "local ok, why = pcall(conn.terminate, conn)\n"
			  "conn:log { version = conn.tls.version, why = why }\n"
			  "end }"),
	    "%s", bench.error.data);
	bench.conn.terminated = true;
	bench.tls.version = TLS_VERSION_1_2;
	policy_close(bench.policy, 0, &bench.conn, &summary);
	ck_assert_uint_eq(bench.log_count, 1);
	ck_assert_ptr_nonnull(strstr(bench.log[0], "\"version\":\"1.2\""));
	ck_assert_ptr_nonnull(
	    strstr(bench.log[0], "not possible in a close function"));
}
END_TEST

START_TEST(a_wait_that_is_given_up_frees_what_it_held)
{
	struct trust *trust;

	/* The handshake has failed. */
	must_wait("conn:terminate { mutual_tls = { cas = cas } }");
	trust = trust_get(
	    bench.run ? policy_outcome(bench.run)->termination.trust : NULL);
	policy_finish(bench.run);
	bench.run = NULL;
	ck_assert_uint_eq(trust_ca_count(trust), 1);
	trust_put(trust);
	/* The worker ends. */
	must_wait("conn:terminate { certificate = 'app', mutual_tls = { cas = "
		  "cas } }");
	policy_free(bench.policy);
	bench.policy = NULL;
	bench.run = NULL;
}
END_TEST

/* So many that a flood of clients that never finish their handshake leaves the
 * places of other waits alone. */
START_TEST(too_many_that_wait_are_refused)
{
	static struct policy_run *runs[10000];
	struct policy_outcome *o;

	o = run("lunette.sleep(1)\n"
		"conn:terminate { mutual_tls = { cas = cas } }");
	ck_assert_int_eq(o->wait, POLICY_WAIT_SLEEP);
	policy_resume(bench.run, NULL);
	ck_assert_int_eq(o->wait, POLICY_WAIT_TERMINATE);
	for (size_t i = 0; i < 9999; i++) {
		runs[i] = policy_start(bench.policy, 0, &bench.conn, NULL);
		ck_assert_int_eq(
		    policy_outcome(runs[i])->state, POLICY_WAITING);
		policy_resume(runs[i], NULL);
		o = policy_outcome(runs[i]);
		ck_assert_msg(o->state == POLICY_WAITING, "%s", o->message);
		ck_assert_int_eq(o->wait, POLICY_WAIT_TERMINATE);
	}
	runs[9999] = policy_start(bench.policy, 0, &bench.conn, NULL);
	o = policy_outcome(runs[9999]);
	ck_assert_int_eq(o->wait, POLICY_WAIT_SLEEP);
	policy_resume(runs[9999], NULL);
	ck_assert_int_eq(o->state, POLICY_FAILED);
	ck_assert_int_eq(o->fault, POLICY_FAULT_LIMIT);
	for (size_t i = 0; i < 10000; i++)
		policy_finish(runs[i]);
}
END_TEST

START_TEST(the_budget_begins_anew_after_the_handshake)
{
	struct policy_outcome *o;

	bench.settings.cpu_ms = 400;
	must_wait("local function work(n) for i = 1, n do end end\n"
		  "work(2e6) conn:terminate() work(2e6)\n"
		  "return { reason = 'done' }");
	o = policy_bench_shake_hands(&bench);
	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
	bench.conn.terminated = false;
	must_wait("conn:terminate() while true do end");
	o = policy_bench_shake_hands(&bench);
	ck_assert_int_eq(o->fault, POLICY_FAULT_TIMEOUT);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, every_key_about_tls_is_read);
	tcase_add_test(tcase, what_is_not_said_has_its_default);
	tcase_add_test(tcase, a_trust_outlives_the_policy_in_a_decision);
	tcase_add_test(tcase, a_decision_about_tls_is_read_strictly);
	tcase_add_test(
	    tcase, after_termination_a_decision_says_nothing_about_it);
	tcase_add_test(tcase, without_a_keyring_no_certificate_is_known);
	tcase_add_test(tcase, cas_are_opened_while_the_script_loads);
	tcase_add_test(tcase, other_cas_are_another_version);
	tcase_add_test(tcase, a_script_says_how_to_terminate);
	tcase_add_test(tcase, without_an_argument_all_is_the_endpoints);
	tcase_add_test(tcase, what_terminate_takes_is_read_strictly);
	tcase_add_test(tcase, a_refused_call_may_be_caught);
	tcase_add_test(tcase, tls_is_terminated_once);
	tcase_add_test(tcase, after_a_first_upstream_it_is_too_late);
	tcase_add_test(tcase, a_close_function_sees_what_was_agreed);
	tcase_add_test(tcase, a_wait_that_is_given_up_frees_what_it_held);
	tcase_add_test(tcase, too_many_that_wait_are_refused);
	tcase_add_test(tcase, the_budget_begins_anew_after_the_handshake);
}

UNIT_MAIN("policy_tls", add_tests)
