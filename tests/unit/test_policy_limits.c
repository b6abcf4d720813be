/* Bombs: scripts that would take the processor, the memory or the stack. */
#include "unit.h"

#include <stdio.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "faults.h"
#include "policy_support.h"

FAULT(mprotect);
int __real_mprotect(void *start, size_t len, int flags);
int __wrap_mprotect(void *start, size_t len, int flags);

int
__wrap_mprotect(void *start, size_t len, int flags)
{
	if (fault_hits(&mprotect_fault))
		return -1;
	return __real_mprotect(start, len, flags);
}

static struct bench bench;

/* What is to meet another limit must not meet this one first. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define CPU_MS 200
#else
#define CPU_MS 20
#endif

static void
setup(void)
{
	policy_bench_init(&bench);
	bench.settings.cpu_ms = CPU_MS;
}

static void
teardown(void)
{
	policy_bench_fini(&bench);
}

/* The budget, one look late, on a slow machine with a sanitizer. */
#define MAX_CPU_MS 1500

static const char harmless[] =
    "if conn.listener == 'harmless' then return lunette.deny 'fine' end\n";

/* Runs `body`, which must end by this fault; then the state must still serve
 * others. `first` is run while the script loads. */
static void
must_stop_after(const char *first, const char *body, enum policy_fault fault)
{
	char text[2048];
	uint64_t before;
	struct policy_outcome *o;

	snprintf(text, sizeof(text),
	    "local lunette = require 'lunette'\n%s\nreturn function(conn)\n%s"
	    "do %s end\n"
	    "return lunette.deny 'went on' end\n",
	    first, harmless, body);
	ck_assert_msg(policy_bench_load(&bench, text), "%s", bench.error.data);
	bench.conn.listener = "bomb";
	before = clock_thread_cpu_ns();
	o = policy_bench_run(&bench);
	ck_assert_msg(clock_thread_cpu_ns() - before < MAX_CPU_MS * 1000000ull,
	    "too slow: %s", body);
	ck_assert_msg(o->state == POLICY_FAILED, "went on: %s", body);
	ck_assert_msg(o->fault == fault, "%s: %s", body, o->message);
	bench.conn.listener = "harmless";
	o = policy_bench_run(&bench);
	ck_assert_msg(
	    o->state == POLICY_DECIDED, "after %s: %s", body, o->message);
	ck_assert_str_eq(o->decision.reason, "fine");
}

static void
must_stop(const char *body, enum policy_fault fault)
{
	must_stop_after("", body, fault);
}

START_TEST(endless_loops_stop)
{
	static const char *const bodies[] = {
		"while true do end",
		"repeat until false",
		"for i = 1, 1e18 do end",
		"local function f() return f() end f()",
		"while true do pcall(function() while true do end end) end",
		"pcall(function() pcall(function() while true do end end) "
		"while "
		"true do end end) while true do end",
		"while true do pcall(error) end",
		"while true do xpcall(error, function() while true do end end) "
		"end",
		"xpcall(function() error 'x' end, function() while true do end "
		"end)",
		"xpcall(function() while true do end end, function() while "
		"true "
		"do end end)",
		"xpcall(function() while true do end end, function() return 1 "
		"end) while true do end",
		"local t = setmetatable({}, { __index = function(t, k) while "
		"true do end end }) return t.x",
		"local t = setmetatable({}, { __newindex = function() while "
		"true do end end }) t.x = 1",
		"local t = setmetatable({}, { __concat = function() while true "
		"do end end }) return t .. 'x'",
		"local t = setmetatable({}, { __tostring = function() while "
		"true do end end }) return tostring(t)",
		"local t = setmetatable({}, { __tostring = function() while "
		"true do end end }) return ('%s'):format(t)",
		"local m = { __lt = function() while true do end end } local t "
		"= { setmetatable({}, m), setmetatable({}, m) } table.sort(t)",
		"local m = { __eq = function() while true do end end } return "
		"setmetatable({}, m) == setmetatable({}, m)",
		"local m = { __call = function() while true do end end } "
		"return "
		"setmetatable({}, m)()",
		"table.sort({ 1, 2, 3 }, function() while true do end end)",
		"('x'):gsub('x', function() while true do end end)",
		"for _ in function() return 1 end do end",
		"local t = {} for k in pairs { 1 } do while true do t[1] = k "
		"end end",
		"local t = setmetatable({}, { __gc = function() while true do "
		"end end }) t = nil while true do end",
		/* The chain of __index would be followed in C. */
		"local t = setmetatable({}, {}) getmetatable(t).__index = "
		"function(_, k) return t[k .. ''] end while true do pcall("
		"function() return t.x end) end",
	};

	for (size_t i = 0; i < ARRAY_COUNT(bodies); i++)
		must_stop(bodies[i], POLICY_FAULT_TIMEOUT);
}
END_TEST

START_TEST(long_work_in_c_stops)
{
	static const char *const bodies[] = {
		"('x'):rep(300000):find(('.-'):rep(3) .. 'b')",
		"('a'):rep(5000):match(('a?'):rep(100) .. ('a'):rep(100) .. "
		"'b')",
		"('a'):rep(300000):find('(.-)(.-)%1%2b')",
		"('('):rep(100000):find('%b()%b()x')",
		"for _ in ('x'):rep(300000):gmatch('.-.-.-b') do end",
		"('x'):rep(300000):gsub('.-.-.-b', '')",
		"while true do ('x'):rep(100000):find('.-.-b') end",
		"local s = ('x'):rep(200000) while true do pcall(string.find, "
		"s, "
		"'x-x-y') end",
		"local s = ('x'):rep(400000) while true do s:find('y', 1, "
		"true) "
		"end",
		"local s = ('x'):rep(200000) while true do s:upper() end",
		"local t = {} for i = 1, 9000 do t[i] = -i end while true do "
		"table.sort(t) end",
		"local t = {} for i = 1, 9000 do t[i] = 'x' end while true do "
		"table.concat(t, '', 1, 1) end",
		"local t = {} for i = 1, 5000 do t[i] = i end while true do "
		"table.insert(t, 1, 0) table.remove(t, 1) end",
		"local t = {} for i = 1, 7000 do t[i] = i end while true do "
		"unpack(t) end",
	};

	for (size_t i = 0; i < ARRAY_COUNT(bodies); i++)
		must_stop(bodies[i], POLICY_FAULT_TIMEOUT);
}
END_TEST

/* One instruction, or one call of a library function, may take long when the
 * values are large; the hook counts it as one. */
START_TEST(slow_instructions_stop)
{
	static const struct {
		const char *first, *body;
	} cases[] = {
		{ "local a = ('1'):rep(1e6) a = a .. a a = a .. a",
		    "while true do local x = a + 0 end" },
		{ "local a = ('1'):rep(1e6) a = a .. a a = a .. a",
		    "while true do for i = a, 0 do end end" },
		{ "local a = ('x'):rep(1e6) a = a .. a local b = a .. 'b' "
		  "a = a .. 'a'",
		    "while true do local x = a < b end" },
		{ "local t = {} for i = 1, 2e6 do t[i] = 1 end "
		  "for i = 1, 2e6 do t[i] = nil end",
		    "while true do next(t) end" },
		{ "", "local a = ('1'):rep(2e5) while true do local x = -a "
		      "end" },
		{ "", "local a, b = ('x'):rep(1e5), ('y'):rep(5e4) while true "
		      "do local x = a .. b end" },
		{ "local a = ('x'):rep(1e6) a = a .. a local b = a .. 'b' "
		  "a = a .. 'a'",
		    "local t = {} for i = 1, 9000 do t[i] = i % 2 == 0 and a "
		    "or b end table.sort(t)" },
		{ "", "('x'):rep(5000):gsub('(y-)', ('%1'):rep(1e5))" },
		{ "", "local s = ('x'):rep(4e5) while true do ('y'):find(s) "
		      "end" },
		{ "", "local s = ('x'):rep(1e5) while true do "
		      "s:match(('('):rep(31) .. '.*' .. (')'):rep(31)) end" },
	};

	bench.settings.memory_bytes = 64 * 1024 * 1024;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		must_stop_after(
		    cases[i].first, cases[i].body, POLICY_FAULT_TIMEOUT);
}
END_TEST

START_TEST(what_is_large_is_refused_early)
{
	static const char *const bodies[] = {
		"local f, l = {}, {} for i = 1, 2e4 do f[i] = next end for i = "
		"1, 2e3 do l[i] = f end conn:log { l = l, m = l, n = l, o = l "
		"}",
		"return { proxy_tlvs = many }",
	};

	bench.settings.cpu_ms = 1000;
	bench.settings.memory_bytes = 64 * 1024 * 1024;
	for (size_t i = 0; i < ARRAY_COUNT(bodies); i++)
		must_stop_after(
		    "local many = {} for i = 1, 1e6 do many[i] = 'alpn' end",
		    bodies[i], POLICY_FAULT_ERROR);
}
END_TEST

START_TEST(no_string_is_longer_than_4_mib)
{
	bench.settings.cpu_ms = 1000;
	bench.settings.memory_bytes = 64 * 1024 * 1024;
	bench.settings.run_memory_bytes = 64 * 1024 * 1024;
	ck_assert(!policy_bench_load(
	    &bench, "local s = 'x' while true do s = s .. s .. 'y' end"));
	ck_assert_ptr_nonnull(strstr(bench.error.data, "a string of over"));
	must_stop("local s = 'x' while true do s = s .. s .. 'y' end",
	    POLICY_FAULT_MEMORY);
	/* Tables are not strings. */
	ck_assert(policy_bench_load(&bench,
	    "local t, u = {}, {} for i = 1, 1e6 do t[i] = i end\n"
	    "for i = 1, 3e5 do u['k' .. i] = i end\n"
	    "return function() end"));
	ck_assert_int_eq(policy_bench_run(&bench)->state, POLICY_DECIDED);
}
END_TEST

START_TEST(memory_bombs_stop)
{
	static const char *const bodies[] = {
		"local s = 'x' while true do s = s .. s end",
		"local t = {} while true do t[#t + 1] = {} end",
		"local t = {} for i = 1, 1e9 do t[i] = i end",
		"local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t "
		"end",
		"local i = 0 while true do i = i + 1 local s = "
		"('x'):rep(500000) .. i end",
		"local t = {} while true do t = { t } end",
		"local t = {} while true do pcall(function() t[#t + 1] = "
		"('x'):rep(10000) .. #t end) end",
		"local t = {} while true do xpcall(function() t[#t + 1] = {} "
		"end, function() t[#t + 1] = {} end) end",
		"local s = ('x'):rep(1000) while true do s = s:gsub('x', 'xx') "
		"end",
		"local f = function() end while true do local g = f f = "
		"function() return g end end",
	};

	bench.settings.cpu_ms = 1000;
	for (size_t i = 0; i < ARRAY_COUNT(bodies); i++)
		must_stop(bodies[i], POLICY_FAULT_MEMORY);
}
END_TEST

START_TEST(deep_calls_are_errors)
{
	/* Which limit is met first is not the point; that it is met is. */
	static const char *const bodies[] = {
		"local function f() return 1 + f() end f()",
		"local function f(...) return f(1, ...) end f()",
		"local function f() return (('x'):gsub('x', f)) end f()",
		"local function f() table.sort({ 1, 2 }, f) end f()",
		"local m = {} m.__tostring = function(t) return "
		"('%s'):format(setmetatable({}, m)) end tostring("
		"setmetatable({}, m))",
		"local t = {} for i = 1, 300 do t = setmetatable({}, { __index "
		"= t }) end return t.x.y",
		"local m = {} m.__index = function(t, k) return t[k .. 'x'] "
		"end "
		"return setmetatable({}, m).x",
		"local function f() pcall(f) error('x') end f()",
		"string.format(('%s'):rep(10000))",
		"local function f() local ok, e = pcall(f) return f() .. '' "
		"end f()",
	};

	for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
		char text[1024];
		struct policy_outcome *o;

		snprintf(text, sizeof(text),
		    "local lunette = require 'lunette'\n"
		    "return function(conn)\n%s%s end",
		    harmless, bodies[i]);
		ck_assert_msg(
		    policy_bench_load(&bench, text), "%s", bench.error.data);
		bench.conn.listener = "bomb";
		o = policy_bench_run(&bench);
		ck_assert_msg(o->state == POLICY_FAILED, "%s", bodies[i]);
		bench.conn.listener = "harmless";
		o = policy_bench_run(&bench);
		ck_assert_msg(o->state == POLICY_DECIDED, "after %s: %s",
		    bodies[i], o->message);
	}
}
END_TEST

START_TEST(deep_nesting_is_refused_at_load)
{
	char text[8192];

	strcpy(text, "return ");
	for (int i = 0; i < 2000; i++)
		strcat(text, "(");
	ck_assert(!policy_bench_load(&bench, text));
	strcpy(text, "return ");
	for (int i = 0; i < 2000; i++)
		strcat(text, "{");
	ck_assert(!policy_bench_load(&bench, text));
}
END_TEST

START_TEST(a_bomb_harms_no_waiting_run)
{
	struct policy_run *waiting;
	struct policy_outcome *o = policy_bench_body(&bench,
	    "if conn.listener == 'bomb' then local t = {} while true do "
	    "t[#t + 1] = ('x'):rep(9999) .. #t end end\n"
	    "if conn.listener == 'loop' then while true do end end\n"
	    "local before = ('y'):rep(1000)\n"
	    "lunette.sleep(1)\n"
	    "return lunette.deny(before:sub(1, 3) .. conn.sni)");

	ck_assert_int_eq(o->state, POLICY_WAITING);
	waiting = bench.run;
	bench.run = NULL;
	for (int i = 0; i < 50; i++) {
		bench.conn.listener = i % 10 ? "bomb" : "loop";
		o = policy_bench_run(&bench);
		ck_assert_int_eq(o->state, POLICY_FAILED);
		ck_assert_int_eq(o->fault,
		    i % 10 ? POLICY_FAULT_MEMORY : POLICY_FAULT_TIMEOUT);
		policy_collect(bench.policy);
	}
	policy_resume(waiting, NULL);
	o = policy_outcome(waiting);
	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
	ck_assert_str_eq(o->decision.reason, "yyyapp.example.com");
	policy_finish(waiting);
}
END_TEST

START_TEST(a_runs_memory_is_counted_over_its_waits)
{
	struct policy_outcome *o = policy_bench_body(&bench,
	    "local t = {}\n"
	    "while true do t[#t + 1] = ('x'):rep(1000) .. #t\n"
	    "if #t % 100 == 0 then lunette.sleep(1) end end");
	int waits = 0;

	while (o->state == POLICY_WAITING && waits < 100) {
		waits++;
		policy_resume(bench.run, NULL);
		o = policy_outcome(bench.run);
	}
	ck_assert_int_eq(o->state, POLICY_FAILED);
	ck_assert_int_eq(o->fault, POLICY_FAULT_MEMORY);
	ck_assert_int_gt(waits, 1);
	ck_assert_ptr_nonnull(strstr(o->message, "edge.policy.run_memory"));
}
END_TEST

START_TEST(a_full_state_recovers)
{
	struct policy_outcome *o;
	bool was_full = false;

	/* A leak over many runs fills the state, though no run is too large;
	 * when the script lets go, the state serves again. */
	bench.settings.memory_bytes = 4 * 1024 * 1024;
	o = policy_bench_try(&bench,
	    "local kept = {}\n"
	    "return function(conn)\n"
	    "if conn.listener == 'free' then kept = {} return {} end\n"
	    "kept[#kept + 1] = ('x'):rep(100000) .. #kept\n"
	    "return {} end");
	for (int i = 0; i < 200 && !was_full; i++) {
		o = policy_bench_run(&bench);
		was_full = o->state == POLICY_FAILED;
	}
	ck_assert(was_full);
	ck_assert_int_eq(o->fault, POLICY_FAULT_MEMORY);
	ck_assert_ptr_nonnull(strstr(o->message, "edge.policy.memory"));
	bench.conn.listener = "free";
	for (int i = 0; i < 10; i++)
		o = policy_bench_run(&bench);
	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
	bench.conn.listener = "other";
	for (int i = 0; i < 3; i++)
		o = policy_bench_run(&bench);
	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
}
END_TEST

START_TEST(a_state_that_stays_full_is_spent_and_renewed)
{
	struct policy *fresh;
	struct policy_outcome *o;
	bool was_full = false;

	bench.settings.memory_bytes = 4 * 1024 * 1024;
	o = policy_bench_try(&bench,
	    "local kept = {}\n"
	    "return function(conn)\n"
	    "kept[#kept + 1] = ('x'):rep(100000) .. #kept\n"
	    "return {} end");
	for (int i = 0; i < 200 && !was_full; i++) {
		ck_assert(!policy_is_spent(bench.policy));
		o = policy_bench_run(&bench);
		was_full = o->state == POLICY_FAILED;
	}
	ck_assert(was_full);
	policy_collect(bench.policy);
	ck_assert(policy_is_spent(bench.policy));
	fresh = policy_renew(bench.policy, &bench.error);
	ck_assert_msg(fresh, "%s", bench.error.data);
	ck_assert(!policy_is_spent(fresh));
	ck_assert_str_eq(policy_version(fresh), policy_version(bench.policy));
	policy_finish(bench.run);
	policy_free(bench.policy);
	bench.policy = fresh;
	bench.run = NULL;
	ck_assert_int_eq(policy_bench_run(&bench)->state, POLICY_DECIDED);
	/* What was not loaded by a reload is not loaded now. */
	policy_bench_write(
	    &bench, "policy.lua", "return function() return {} end");
	ck_assert_ptr_null(policy_renew(bench.policy, &bench.error));
	ck_assert_ptr_nonnull(strstr(bench.error.data, "have changed"));
}
END_TEST

START_TEST(garbage_spends_no_state)
{
	bench.settings.memory_bytes = 4 * 1024 * 1024;
	policy_bench_try(&bench,
	    "return function(conn) local t = {} while true do "
	    "t[#t + 1] = ('x'):rep(9000) .. #t end end");
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(
		    policy_bench_run(&bench)->state, POLICY_FAILED);
		policy_collect(bench.policy);
		ck_assert(!policy_is_spent(bench.policy));
	}
}
END_TEST

START_TEST(without_executable_memory_there_is_no_jit_compiler)
{
	bool loaded;

	bench.settings.jit = true;
	fault_set(&mprotect_fault, 1, EACCES);
	UNDER_FAULTS(
	    loaded = policy_bench_load(&bench, "return function() end"));
	ck_assert(!loaded);
	ck_assert_uint_eq(mprotect_fault.hits, 1);
	ck_assert_msg(strstr(bench.error.data, "edge.policy.jit: "), "%s",
	    bench.error.data);
	bench.settings.jit = false;
	UNDER_FAULTS(
	    loaded = policy_bench_load(&bench, "return function() end"));
	ck_assert(loaded);
}
END_TEST

START_TEST(the_jit_compiler_works_and_gives_up_the_budget)
{
	struct policy_outcome *o;

	/* edge.policy.jit: a documented loss of protection, so nothing here
	 * loops for ever; memory is limited all the same. */
	bench.settings.jit = true;
	o = policy_bench_body(&bench,
	    "local n = 0 for i = 1, 1e5 do n = n + i % 7 end\n"
	    "return lunette.deny(conn.sni .. n)");
	ck_assert_msg(o->state == POLICY_DECIDED, "%s", o->message);
	ck_assert_str_eq(o->decision.reason, "app.example.com300000");
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(
		    policy_bench_run(&bench)->state, POLICY_DECIDED);
	o = policy_bench_body(
	    &bench, "local t = {} for i = 1, 1e7 do t[i] = { i } end");
	ck_assert_int_eq(o->state, POLICY_FAILED);
	ck_assert_int_eq(o->fault, POLICY_FAULT_MEMORY);
	o = policy_bench_body(&bench, "return lunette.deny(jit)");
	ck_assert_int_eq(o->state, POLICY_FAILED);
}
END_TEST

START_TEST(a_close_function_has_the_same_limits)
{
	struct policy_summary summary = { .reason = "client_closed" };

	policy_bench_try(&bench,
	    "return { close = function(conn) if conn.listener == 'loop' then "
	    "while true do end end local t = {} while true do t[#t + 1] = {} "
	    "end end }");
	bench.conn.listener = "loop";
	policy_close(bench.policy, 0, &bench.conn, &summary);
	bench.conn.listener = "memory";
	policy_close(bench.policy, 0, &bench.conn, &summary);
	ck_assert_int_eq(policy_bench_run(&bench)->state, POLICY_DECIDED);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, endless_loops_stop);
	tcase_add_test(tcase, long_work_in_c_stops);
	tcase_add_test(tcase, slow_instructions_stop);
	tcase_add_test(tcase, what_is_large_is_refused_early);
	tcase_add_test(tcase, no_string_is_longer_than_4_mib);
	tcase_add_test(tcase, memory_bombs_stop);
	tcase_add_test(tcase, deep_calls_are_errors);
	tcase_add_test(tcase, deep_nesting_is_refused_at_load);
	tcase_add_test(tcase, a_bomb_harms_no_waiting_run);
	tcase_add_test(tcase, a_runs_memory_is_counted_over_its_waits);
	tcase_add_test(tcase, a_full_state_recovers);
	tcase_add_test(tcase, a_state_that_stays_full_is_spent_and_renewed);
	tcase_add_test(tcase, garbage_spends_no_state);
	tcase_add_test(
	    tcase, without_executable_memory_there_is_no_jit_compiler);
	tcase_add_test(tcase, the_jit_compiler_works_and_gives_up_the_budget);
	tcase_add_test(tcase, a_close_function_has_the_same_limits);
}

UNIT_MAIN("policy_limits", add_tests)
