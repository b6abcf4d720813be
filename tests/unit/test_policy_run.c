#include "unit.h"

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

START_TEST(a_decision_comes_back)
{
	struct policy_outcome *o = policy_bench_body(&bench,
	    "if conn.sni ~= 'app.example.com' then return lunette.deny() end\n"
	    "return lunette.forward { upstream = '10.0.0.5:8080' }");

	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
	ck_assert(o->decided);
	ck_assert(o->decision.allow);
	ck_assert_str_eq(o->decision.upstream, "10.0.0.5:8080");
	ck_assert_int_eq(o->decision.line, 2);
}
END_TEST

START_TEST(returning_nothing_decides_nothing)
{
	struct policy_outcome *o = policy_bench_body(&bench, "");

	ck_assert_int_eq(o->state, POLICY_DECIDED);
	ck_assert(!o->decided);
}
END_TEST

START_TEST(a_run_waits_and_goes_on)
{
	struct policy_outcome *o =
	    policy_bench_body(&bench, "local before = conn.client_ip\n"
				      "lunette.sleep(0.25)\n"
				      "return lunette.deny(before)");

	ck_assert_int_eq(o->state, POLICY_WAITING);
	ck_assert_int_eq(o->wait, POLICY_WAIT_SLEEP);
	ck_assert_uint_eq(o->sleep_ms, 250);
	policy_resume(bench.run, NULL);
	ck_assert_int_eq(o->state, POLICY_DECIDED);
	ck_assert_str_eq(o->decision.reason, "192.0.2.7");
	ck_assert(!o->decision.allow);
}
END_TEST

START_TEST(a_wait_inside_pcall_goes_on)
{
	struct policy_outcome *o = policy_bench_body(&bench,
	    "local ok, why = pcall(function() lunette.sleep(1) error('x', 0) "
	    "end)\n"
	    "return lunette.deny(tostring(ok) .. why)");

	ck_assert_int_eq(o->state, POLICY_WAITING);
	policy_resume(bench.run, NULL);
	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
	ck_assert_str_eq(o->decision.reason, "falsex");
}
END_TEST

START_TEST(a_name_is_resolved)
{
	struct resolver_answer answer = { .count = 1 };
	struct policy_outcome *o = policy_bench_body(&bench,
	    "local list, why = lunette.resolve('db.example.com')\n"
	    "return lunette.deny(list and list[1] or why)");

	ck_assert_int_eq(o->state, POLICY_WAITING);
	ck_assert_int_eq(o->wait, POLICY_WAIT_RESOLVE);
	ck_assert_str_eq(o->resolve_name.text, "db.example.com");
	ck_assert_int_eq(
	    addr_parse(span_text("198.51.100.1"), &answer.addrs[0]), 0);
	policy_resume(bench.run, &answer);
	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
	ck_assert_str_eq(o->decision.reason, "198.51.100.1");
}
END_TEST

START_TEST(an_error_denies_with_its_line)
{
	struct policy_outcome *o = policy_bench_body(&bench, "\nlocal x = nil\n"
							     "return x.y");

	ck_assert_int_eq(o->state, POLICY_FAILED);
	ck_assert_int_eq(o->fault, POLICY_FAULT_ERROR);
	ck_assert_int_eq(o->line, 5);
	ck_assert_ptr_nonnull(strstr(o->message, "policy.lua:5:"));
	/* The state and the run are usable afterwards. */
	o = policy_bench_run(&bench);
	ck_assert_int_eq(o->state, POLICY_FAILED);
	o = policy_bench_body(&bench, "error('', 0)");
	ck_assert_str_eq(o->message, "an error without a message");
}
END_TEST

START_TEST(retry_gets_the_failure)
{
	struct policy_failure failure = { "upstream_refused", 2, "10.0.0.5:1" };
	struct policy_outcome *o = policy_bench_try(&bench,
	    "return { retry = function(conn, f) return { allow = false,\n"
	    "reason = f.reason .. f.attempt .. f.upstream .. conn.sni } end }");

	ck_assert(!o->decided);
	ck_assert(policy_has_retry(bench.policy, 0));
	ck_assert(!policy_has_close(bench.policy, 0));
	policy_finish(bench.run);
	bench.run = policy_start(bench.policy, 0, &bench.conn, &failure);
	o = policy_outcome(bench.run);
	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
	ck_assert_str_eq(
	    o->decision.reason, "upstream_refused210.0.0.5:1app.example.com");
}
END_TEST

START_TEST(close_gets_the_summary_and_may_not_wait)
{
	struct policy_summary summary = { .reason = "client_closed",
		.bytes_in = 5,
		.bytes_out = 7,
		.duration_us = 1500000 };

	policy_bench_try(&bench,
	    "local lunette = require 'lunette'\n"
	    "return { close = function(conn, s)\n"
	    "local ok = pcall(lunette.sleep, 1)\n"
	    "conn:log { reason = s.reason, sum = s.bytes_in + s.bytes_out,\n"
	    "waited = ok } end }");
	ck_assert(policy_has_close(bench.policy, 0));
	bench.has_hello = false;
	policy_close(bench.policy, 0, &bench.conn, &summary);
	ck_assert_uint_eq(bench.log_count, 1);
	ck_assert_ptr_nonnull(strstr(bench.log[0], "\"sum\":12"));
	ck_assert_ptr_nonnull(strstr(bench.log[0], "\"client_closed\""));
	ck_assert_ptr_nonnull(strstr(bench.log[0], "\"waited\":false"));
}
END_TEST

START_TEST(at_most_a_thousand_runs_wait)
{
	static struct policy_run *runs[1001];
	struct policy_outcome *o = policy_bench_body(
	    &bench, "lunette.sleep(1) return lunette.deny(conn.sni)");

	ck_assert_int_eq(o->state, POLICY_WAITING);
	for (size_t i = 0; i < 1000; i++) {
		runs[i] = policy_start(bench.policy, 0, &bench.conn, NULL);
		o = policy_outcome(runs[i]);
		ck_assert_int_eq(
		    o->state, i < 999 ? POLICY_WAITING : POLICY_FAILED);
	}
	ck_assert_int_eq(o->fault, POLICY_FAULT_LIMIT);
	for (size_t i = 0; i < 999; i++) {
		policy_resume(runs[i], NULL);
		ck_assert_int_eq(
		    policy_outcome(runs[i])->state, POLICY_DECIDED);
	}
	for (size_t i = 0; i < 1000; i++)
		policy_finish(runs[i]);
	policy_finish(bench.run);
	bench.run = NULL;
	o = policy_bench_run(&bench);
	ck_assert_int_eq(o->state, POLICY_WAITING);
}
END_TEST

START_TEST(the_version_follows_scripts_and_modules)
{
	char first[POLICY_VERSION_SIZE];

	policy_bench_write(&bench, "part.lua", "return { n = 1 }");
	policy_bench_try(
	    &bench, "local p = require 'part' return function() end");
	ck_assert_uint_eq(strlen(policy_version(bench.policy)), 16);
	strcpy(first, policy_version(bench.policy));
	ck_assert(policy_bench_load(
	    &bench, "local p = require 'part' return function() end"));
	ck_assert_str_eq(policy_version(bench.policy), first);
	policy_bench_write(&bench, "part.lua", "return { n = 2 }");
	ck_assert(policy_bench_load(
	    &bench, "local p = require 'part' return function() end"));
	ck_assert_str_ne(policy_version(bench.policy), first);
}
END_TEST

START_TEST(a_bad_script_is_refused_with_file_and_line)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "return function( end", "policy.lua:1:" },
		{ "return 5", "must return a function or a table" },
		{ "return", "must return a function or a table" },
		{ "return { conect = function() end }", "did you mean" },
		{ "return { connect = 3 }", "is a number, not a function" },
		{ "return { function() end }", "not functions by name" },
		{ "\n\nerror('no')", "policy.lua:3: no" },
		{ "error({})", "no text but a table" },
		{ "while true do end", "edge.policy" },
		{ "while true do pcall(error) end", "edge.policy.cpu" },
		{ "local t = {} for i = 1, 1e9 do t[i] = i end",
		    "edge.policy.memory" },
		{ "local l = require 'lunette' l.sleep(1)", "not possible" },
		{ "require 'missing'", "there is no module" },
		{ "require 'lunette.missing'", "installed library" },
		{ "\x1bLJ\x02", "policy.lua" },
	};

	bench.settings.memory_bytes = 4 * 1024 * 1024;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		ck_assert_msg(!policy_bench_load(&bench, cases[i].text), "%s",
		    cases[i].text);
		ck_assert_msg(strstr(bench.error.data, cases[i].message),
		    "%s: %s", cases[i].text, bench.error.data);
	}
}
END_TEST

START_TEST(memory_stays_flat)
{
	policy_bench_body(&bench,
	    "local t = { conn.sni, conn.client_ip, conn.tls.sni }\n"
	    "return lunette.deny(t[1] .. t[2] .. tostring(t))");
	for (int i = 0; i < 100000; i++) {
		ck_assert_int_eq(
		    policy_bench_run(&bench)->state, POLICY_DECIDED);
		if (i % 64 == 0)
			policy_collect(bench.policy);
	}
	/* 16 MiB is the cap; without collection 100,000 runs would be over
	 * it several times. */
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_decision_comes_back);
	tcase_add_test(tcase, returning_nothing_decides_nothing);
	tcase_add_test(tcase, a_run_waits_and_goes_on);
	tcase_add_test(tcase, a_wait_inside_pcall_goes_on);
	tcase_add_test(tcase, a_name_is_resolved);
	tcase_add_test(tcase, an_error_denies_with_its_line);
	tcase_add_test(tcase, retry_gets_the_failure);
	tcase_add_test(tcase, close_gets_the_summary_and_may_not_wait);
	tcase_add_test(tcase, at_most_a_thousand_runs_wait);
	tcase_add_test(tcase, the_version_follows_scripts_and_modules);
	tcase_add_test(tcase, a_bad_script_is_refused_with_file_and_line);
	tcase_add_test(tcase, memory_stays_flat);
}

UNIT_MAIN("policy_run", add_tests)
