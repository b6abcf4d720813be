/*
 * Random programs from a small grammar (LU-05), and memory that fails at every
 * point of making a policy and of starting a run.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "policy_support.h"

/* LU-05 asks for 10,000 with a sanitizer; $LUNETTE_RANDOM_PROGRAMS says
 * otherwise. */
#ifdef __SANITIZE_ADDRESS__
#define PROGRAMS 10000
#else
#define PROGRAMS 1500
#endif
#define MAX_DEPTH 4

static struct bench bench;

/* ---- malloc that fails at the n-th call ---- */

static long fail_after = -1; /* -1: never */

static bool
fails_now(void)
{
	if (fail_after < 0)
		return false;
	if (fail_after == 0)
		return true;
	fail_after--;
	return false;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);

void *
__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	return fails_now() ? NULL : __real_realloc(old, size);
}

char *
__wrap_strdup(const char *s)
{
	return fails_now() ? NULL : __real_strdup(s);
}

static void
setup(void)
{
	policy_bench_init(&bench);
}

static void
teardown(void)
{
	fail_after = -1;
	policy_bench_fini(&bench);
}

START_TEST(a_policy_without_memory_is_refused)
{
	char path[256];
	char *scripts[1] = { path };
	struct policy *p = NULL;
	long n;

	policy_bench_write(&bench, "policy.lua",
	    "local lunette = require 'lunette'\n"
	    "local office = lunette.cidrs { '10.0.0.0/8' }\n"
	    "return { connect = function(conn) end, close = function() end }");
	snprintf(path, sizeof(path), "%s/policy.lua", bench.folder);
	bench.settings.scripts = scripts;
	bench.settings.script_count = 1;
	for (n = 0; !p && n < 20000; n += n < 100 ? 1 : 7) {
		text_clear(&bench.error);
		fail_after = n;
		p = policy_new(&bench.settings, &bench.error);
		fail_after = -1;
		ck_assert(p || bench.error.len > 0);
	}
	ck_assert_int_gt(n, 100);
	ck_assert_ptr_nonnull(p);
	policy_free(p);
}
END_TEST

START_TEST(a_run_without_memory_is_denied)
{
	bool decided = false;
	long n;

	for (n = 0; !decided && n < 1000; n++) {
		struct policy_run *run;

		/* A policy without a run to use again. */
		ck_assert(policy_bench_load(&bench,
		    "local lunette = require 'lunette'\n"
		    "return function(conn)\n"
		    "local t = { conn.sni, conn.tls.hello.groups }\n"
		    "return lunette.deny(conn.client_ip .. #t)\n"
		    "end"));
		fail_after = n;
		run = policy_start(bench.policy, 0, &bench.conn, NULL);
		fail_after = -1;
		if (!run)
			continue;
		decided = policy_outcome(run)->state == POLICY_DECIDED;
		ck_assert(
		    decided || policy_outcome(run)->state == POLICY_FAILED);
		ck_assert(!decided || !policy_outcome(run)->decision.allow);
		policy_finish(run);
		policy_bench_run(&bench);
		ck_assert_int_eq(
		    policy_outcome(bench.run)->state, POLICY_DECIDED);
	}
	ck_assert_int_gt(n, 3);
	ck_assert(decided);
}
END_TEST

START_TEST(a_failing_collection_harms_nothing)
{
	policy_bench_body(
	    &bench, "local t = {} for i = 1, 100 do t[i] = conn.sni .. i end");
	for (int i = 0; i < 300; i++) {
		policy_bench_run(&bench);
		fail_after = i % 3;
		policy_collect(bench.policy);
		fail_after = -1;
	}
	ck_assert_int_eq(policy_bench_run(&bench)->state, POLICY_DECIDED);
}
END_TEST

/* ---- random programs ---- */

struct generator {
	uint32_t state;
	struct text out;
};

static uint32_t
pick(struct generator *g, uint32_t count)
{
	g->state = g->state * 1664525u + 1013904223u;
	return (g->state >> 8) % count;
}

#define PICK(g, list) list[pick(g, ARRAY_COUNT(list))]

static void add_expression(struct generator *g, int depth);

static const char *const atoms[] = { "1", "-1", "0", "nil", "true", "false",
	"''", "'x'", "'a.b%d'", "('x'):rep(99)", "1e308", "0/0", "2^53", "{}",
	"{ 1, 2, 3 }", "{ a = 1 }", "a", "b", "c", "conn", "conn.sni",
	"conn.client_ip", "conn.tls", "conn.tls.hello", "conn.tls.hello.groups",
	"conn.tls.client", "conn.tls.version", "conn:terminate()",
	"{ certificate = 'app', alpn = { 'h2' } }", "{ alpn = {} }",
	"{ mutual_tls = { mode = 'none' } }", "{ mutual_tls = a }",
	"{ upstream_tls = { server_name = 'x' } }", "conn.geo", "conn.endpoint",
	"lunette", "string", "function() end", "function(...) return ... end",
	"(function(...) return a end)" };
static const char *const operators[] = { " + ", " - ", " * ", " / ", " .. ",
	" == ", " < ", " and ", " or ", " ~= ", " % ", " ^ " };
static const char *const functions[] = { "tostring", "tonumber", "type",
	"pcall", "xpcall", "select", "unpack", "next", "setmetatable",
	"getmetatable", "rawset", "rawget", "rawequal", "string.find",
	"string.match", "string.gsub", "string.format", "string.rep",
	"string.gmatch", "string.byte", "string.char", "string.sub",
	"table.insert", "table.remove", "table.concat", "table.sort", "ipairs",
	"error", "assert", "lunette.deny", "lunette.forward", "conn.log",
	"conn.track", "conn.terminate", "math.floor", "bit.band", "a", "b",
	"lunette.cidrs", "lunette.shared", "lunette.rate", "lunette.sleep" };
static const char *const names[] = { "a", "b", "c", "a.x", "b[1]", "d",
	"conn.sni", "a[b]", "string.x" };

static void
add_call(struct generator *g, int depth)
{
	uint32_t count = pick(g, 4);

	text_add(&g->out, PICK(g, functions));
	text_add(&g->out, "(");
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0)
			text_add(&g->out, ", ");
		add_expression(g, depth + 1);
	}
	text_add(&g->out, ")");
}

static void
add_expression(struct generator *g, int depth)
{
	uint32_t kind = depth >= MAX_DEPTH ? 0 : pick(g, 6);

	if (kind < 2) {
		text_add(&g->out, PICK(g, atoms));
	} else if (kind < 4) {
		add_call(g, depth);
	} else if (kind == 4) {
		text_add(&g->out, "(");
		add_expression(g, depth + 1);
		text_add(&g->out, PICK(g, operators));
		add_expression(g, depth + 1);
		text_add(&g->out, ")");
	} else {
		text_add(&g->out, "{ ");
		add_expression(g, depth + 1);
		text_add(&g->out, ", x = ");
		add_expression(g, depth + 1);
		text_add(&g->out, " }");
	}
}

static void add_block(struct generator *g, int depth);

static void
add_statement(struct generator *g, int depth)
{
	switch (depth >= MAX_DEPTH ? pick(g, 3) : pick(g, 8)) {
	case 0:
	case 1:
		text_addf(&g->out, "%s = ", PICK(g, names));
		add_expression(g, depth);
		break;
	case 2:
		text_add(&g->out, "pcall(");
		text_add(&g->out, PICK(g, functions));
		text_add(&g->out, ", ");
		add_expression(g, depth);
		text_add(&g->out, ")");
		break;
	case 3:
		text_add(&g->out, "if ");
		add_expression(g, depth);
		text_add(&g->out, " then\n");
		add_block(g, depth + 1);
		text_add(&g->out, "end");
		break;
	case 4:
		text_add(&g->out, "for i = 1, 20 do\n");
		add_block(g, depth + 1);
		text_add(&g->out, "end");
		break;
	case 5:
		text_add(&g->out, "pcall(function(...)\n");
		add_block(g, depth + 1);
		text_add(&g->out, "end, ");
		add_expression(g, depth);
		text_add(&g->out, ")");
		break;
	case 6:
		text_add(&g->out, "while ");
		add_expression(g, depth);
		text_add(&g->out, " do\n");
		add_block(g, depth + 1);
		text_add(&g->out, "end");
		break;
	default:
		text_add(&g->out, "a = setmetatable({}, { __index = ");
		add_expression(g, depth);
		text_add(&g->out, ", __tostring = b, __lt = c, __concat = ");
		add_expression(g, depth);
		text_add(&g->out, " })");
	}
	text_add(&g->out, "\n");
}

static void
add_block(struct generator *g, int depth)
{
	for (uint32_t i = pick(g, 4) + 1; i > 0; i--)
		add_statement(g, depth);
}

static void
make_program(struct generator *g, uint32_t seed)
{
	g->state = seed;
	text_clear(&g->out);
	text_add(&g->out,
	    "local lunette = require 'lunette'\n"
	    "return function(conn)\n"
	    "local a, b, c = {}, function(...) return ... end, 'x'\n");
	add_block(g, 0);
	text_add(&g->out, "do return ");
	add_expression(g, 2);
	text_add(&g->out, " end\nend\n");
}

static void
run_to_the_end(const char *program)
{
	struct policy_outcome *o;

	bench.conn.terminated = false;
	bench.has_hello = true;
	o = policy_bench_run(&bench);
	for (int i = 0; i < 5 && o->state == POLICY_WAITING; i++) {
		if (o->wait == POLICY_WAIT_TERMINATE) {
			o = policy_bench_shake_hands(&bench);
			continue;
		}
		policy_resume(bench.run, NULL);
		o = policy_outcome(bench.run);
	}
	ck_assert_msg(
	    o->state != POLICY_FAILED || o->message[0], "%s", program);
	policy_collect(bench.policy);
}

static uint32_t
program_count(void)
{
	const char *wanted = getenv("LUNETTE_RANDOM_PROGRAMS");

	return wanted ? (uint32_t)strtoul(wanted, NULL, 10) : PROGRAMS;
}

START_TEST(random_programs_end)
{
	uint32_t count = program_count();
	static char program[65536];
	struct generator g;
	unsigned loaded = 0;

	text_init(&g.out, program, sizeof(program));
	bench.settings.cpu_ms = 1;
	for (uint32_t seed = 1; seed <= count; seed++) {
		make_program(&g, seed);
		if (!policy_bench_load(&bench, program))
			continue;
		loaded++;
		run_to_the_end(program);
		run_to_the_end(program);
	}
	ck_assert_uint_gt(loaded, count / 2);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_policy_without_memory_is_refused);
	tcase_add_test(tcase, a_run_without_memory_is_denied);
	tcase_add_test(tcase, a_failing_collection_harms_nothing);
	tcase_add_test(tcase, random_programs_end);
}

UNIT_MAIN("policy_random", add_tests)
