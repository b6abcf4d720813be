/* Every way out of the sandbox that is known, and what must still work. */
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

/* Runs `body`; it must come back with allow = false and reason "ok". */
static void
must_hold(const char *body)
{
	struct policy_outcome *o = policy_bench_body(&bench, body);

	ck_assert_msg(
	    o->state == POLICY_DECIDED, "%s\nfailed: %s", body, o->message);
	ck_assert_msg(o->decided && o->decision.reason, "%s", body);
	ck_assert_msg(!strcmp(o->decision.reason, "ok"), "%s: %s", body,
	    o->decision.reason);
}

/* Runs `body`; it must fail with an error that has `message`. */
static void
must_fail(const char *body, const char *message)
{
	struct policy_outcome *o = policy_bench_body(&bench, body);

	ck_assert_msg(o->state == POLICY_FAILED, "did not fail: %s", body);
	ck_assert_msg(
	    o->fault == POLICY_FAULT_ERROR, "%s: %s", body, o->message);
	ck_assert_msg(strstr(o->message, message), "%s: %s", body, o->message);
}

START_TEST(what_is_gone_is_gone)
{
	static const char *const names[] = { "getfenv", "setfenv", "load",
		"loadstring", "loadfile", "dofile", "ffi", "jit", "debug", "io",
		"os", "package", "module", "newproxy", "collectgarbage",
		"coroutine", "print", "_G", "gcinfo", "_VERSION", "arg",
		"LUA_PATH", "anything" };

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		char body[128];

		snprintf(
		    body, sizeof(body), "return { reason = %s }", names[i]);
		must_fail(body, "policy.lua:3:");
	}
	must_fail("print('x')", "use lunette.log.info");
	must_fail("undefined_function()", "is not defined");
}
END_TEST

START_TEST(members_that_are_gone_are_nil)
{
	static const char *const names[] = { "string.dump", "string.gfind",
		"string.buffer", "math.randomseed", "table.foreach",
		"table.foreachi", "table.getn", "table.maxn", "table.move",
		"table.new", "('').dump", "require('lunette').mark_line",
		"require('lunette').resolve_ask" };

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		char text[256];

		snprintf(text, sizeof(text),
		    "local gone = %s == nil\n"
		    "return function() return { allow = false, "
		    "reason = gone and 'ok' or 'there' } end",
		    names[i]);
		ck_assert_str_eq(
		    policy_bench_try(&bench, text)->decision.reason, "ok");
	}
}
END_TEST

START_TEST(library_tables_cannot_be_changed)
{
	static const char *const bodies[] = { "string.format = nil",
		"math.pi = 3", "table.x = 1", "bit.band = 1",
		"lunette.deny = nil", "lunette.log.info = nil",
		"rawset(string, 'format', 1)", "rawset(lunette, 'deny', 1)",
		"table.insert(string, 1)", "table.insert(string, 1, 1)",
		"table.remove(lunette)", "table.sort(lunette)",
		"setmetatable(string, {})", "setmetatable(lunette, nil)",
		"setmetatable(lunette.log, nil)",
		"getmetatable('').__index = {}", "getmetatable(string).x = 1",
		"getmetatable(conn).__index = nil", "conn.sni = 'x'",
		"conn.tls.sni = 'x'", "setmetatable(conn, {})",
		"rawset(conn, 'sni', 'x')" };

	for (size_t i = 0; i < ARRAY_COUNT(bodies); i++)
		must_fail(bodies[i], "policy.lua:3:");
	must_hold("local ok = getmetatable('') == false and "
		  "getmetatable(string) == false and "
		  "getmetatable(conn) == false and next(string) == nil and "
		  "rawget(string, 'format') == nil\n"
		  "return lunette.deny(ok and 'ok' or 'leaks')");
}
END_TEST

START_TEST(globals_are_frozen_after_load)
{
	struct policy_outcome *o =
	    policy_bench_try(&bench, "counter = 0\n"
				     "function help() return counter end\n"
				     "return function(conn)\n"
				     "counter = help() + 1\n"
				     "end\n");

	ck_assert_int_eq(o->state, POLICY_FAILED);
	ck_assert_int_eq(o->line, 4);
	ck_assert_ptr_nonnull(strstr(o->message, "\"counter\" is assigned"));
	must_hold("local ok = pcall(function() string = nil end)\n"
		  "return lunette.deny(ok and 'changed' or 'ok')");
}
END_TEST

START_TEST(scripts_do_not_share_globals)
{
	policy_bench_write(&bench, "part.lua", "leak = 5 return {}");
	ck_assert(policy_bench_load(&bench,
	    "require 'part'\n"
	    "local ok = pcall(function() return leak end)\n"
	    "return function() return { allow = false, "
	    "reason = ok and 'leaks' or 'ok' } end"));
	ck_assert_str_eq(policy_bench_run(&bench)->decision.reason, "ok");
}
END_TEST

START_TEST(require_stays_in_its_folders)
{
	static const char *const names[] = { "../secret", "..secret", "a..b",
		"/etc/passwd", "etc/passwd", ".part", "part.", "", "ffi", "jit",
		"os", "string.buffer", "table.new", "jit.util", "a\\0b",
		"part.lua", "C:part" };

	policy_bench_write(&bench, "part.lua", "return { n = 'ok' }");
	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		char text[128];

		snprintf(text, sizeof(text), "require '%s'", names[i]);
		ck_assert_msg(!policy_bench_load(&bench, text), "%s", names[i]);
		ck_assert_msg(strstr(bench.error.data, "require:"), "%s: %s",
		    names[i], bench.error.data);
	}
	ck_assert(policy_bench_load(&bench,
	    "local a, b = require 'part', require 'part'\n"
	    "return function() return { allow = false, reason = a == b and "
	    "a.n } end"));
	ck_assert_str_eq(policy_bench_run(&bench)->decision.reason, "ok");
	must_fail("require 'part'", "only while the script loads");
}
END_TEST

START_TEST(a_file_beside_the_script_is_not_the_library)
{
	policy_bench_write(&bench, "lunette.lua", "return { deny = 'mine' }");
	must_hold("return lunette.deny(type(lunette.deny) == 'function' and "
		  "'ok' or 'fake')");
}
END_TEST

START_TEST(a_module_that_requires_itself_is_refused)
{
	policy_bench_write(&bench, "loop.lua", "return require 'loop'");
	ck_assert(!policy_bench_load(&bench, "require 'loop'"));
	ck_assert_ptr_nonnull(strstr(bench.error.data, "requires itself"));
}
END_TEST

START_TEST(bytecode_is_never_loaded)
{
	policy_bench_write(&bench, "code.lua", "\x1bLJ\x02");
	ck_assert(!policy_bench_load(&bench, "require 'code'"));
	ck_assert_ptr_nonnull(strstr(bench.error.data, "bytecode"));
}
END_TEST

START_TEST(what_is_kept_works)
{
	must_hold(
	    "local t = { 3, 1, 2 }\n"
	    "table.sort(t)\n"
	    "assert(table.concat(t, ',') == '1,2,3')\n"
	    "table.sort(t, function(a, b) return a > b end)\n"
	    "assert(table.concat(t, '', 2, 3) == '21')\n"
	    "table.insert(t, 1, 9) table.insert(t, 8)\n"
	    "assert(table.remove(t, 1) == 9 and table.remove(t) == 8)\n"
	    "assert(select('#', unpack(t)) == 3 and #t == 3)\n"
	    "assert(select(2, unpack({ 1, 2, 3 }, 2, 3)) == 3)\n"
	    "assert(tonumber('0x10') == 16 and tonumber('z', 36) == 35)\n"
	    "assert(tonumber('x') == nil and tonumber(5) == 5)\n"
	    "assert(string.format('%5.2f|%s|%d', 1.5, 'x', 7) == ' 1.50|x|7')\n"
	    "assert(('ab'):rep(3) == 'ababab' and ('a'):rep(0) == '')\n"
	    "assert(('a'):rep(3, '-') == 'a-a-a' and ('a'):rep(-1) == '')\n"
	    "assert(('AbC'):lower() == 'abc' and ('abc'):upper() == 'ABC')\n"
	    "assert(('abc'):reverse() == 'cba' and ('abc'):sub(-2) == 'bc')\n"
	    "assert(bit.band(6, 3) == 2 and math.floor(1.5) == 1)\n"
	    "local ok, why = xpcall(function(a) error(a, 0) end, "
	    "function(e) return e .. '!' end, 'x')\n"
	    "assert(ok == false and why == 'x!')\n"
	    "assert(select(2, xpcall(function() return 5 end, error)) == 5)\n"
	    "local ok, e = pcall(error, { code = 7 })\n"
	    "assert(not ok and e.code == 7)\n"
	    "local n = 0\n"
	    "for k, v in pairs { a = 1, b = 2 } do n = n + v end\n"
	    "for i, v in ipairs { 5, 6 } do n = n + v end\n"
	    "assert(n == 14)\n"
	    "assert(tostring(setmetatable({}, { __tostring = function() "
	    "return 'me' end })) == 'me')\n"
	    "return lunette.deny('ok')");
}
END_TEST

START_TEST(patterns_are_lua_patterns)
{
	must_hold(
	    "local function is(got, want) if got ~= want then "
	    "error(tostring(got) .. ' is not ' .. tostring(want), 2) end end\n"
	    "is(('hello world'):find('o w'), 5)\n"
	    "is(('hello'):find('l+'), 3) is(select(2, ('hello'):find('l+')), "
	    "4)\n"
	    "is(('hello'):find('xyz'), nil) is(('a.b'):find('.', 1, true), 2)\n"
	    "is(('hello'):find(''), 1) is(('hello'):find('', 10), nil)\n"
	    "is(('hello'):find('h', -5), 1) is(('hello'):find('h', -1), nil)\n"
	    "is(('key = value'):match('^(%w+)%s*=%s*(%w+)$'), 'key')\n"
	    "is(select(2, ('key = value'):match('^(%w+)%s*=%s*(%w+)$')), "
	    "'value')\n"
	    "is(('hello'):match('()ll()'), 3)\n"
	    "is(('[[x]]'):match('%[(%b[])%]'), '[x]')\n"
	    "is(('THE (quick) fox'):find('%((%a+)%)'), 5)\n"
	    "is(('aXb'):match('%u'), 'X') is(('ab12'):match('%d-$'), '12')\n"
	    "is(('hello'):match('.-(l+)'), 'll') is(('x'):match('y?x'), 'x')\n"
	    "is(('abcabc'):match('(abc)%1'), 'abc')\n"
	    "is(('THE (quick)'):match('%f[%a]%a+%f[%A]'), 'THE')\n"
	    "is(('a]b'):match('[]]'), ']') is(('a-b'):match('[a%-]+'), 'a-')\n"
	    "is(('a-b'):match('[^a]+'), '-b') is(('m'):match('[a-z]'), 'm')\n"
	    "is(('a$b'):match('a$b'), 'a$b') is(('a\\0b'):match('%z'), '\\0')\n"
	    "is(('é'):match('^[%z\\1-\\127\\194-\\244]'), '\\195')\n"
	    "is(('hello'):gsub('l', 'L'), 'heLLo')\n"
	    "is(select(2, ('hello'):gsub('', '-')), 6)\n"
	    "is(('abc'):gsub('', '-'), '-a-b-c-')\n"
	    "is(('hello world'):gsub('(%w+)', '<%1>'), '<hello> <world>')\n"
	    "is(('hello'):gsub('l', '%%'), 'he%%o')\n"
	    "is(('hello'):gsub('l', { l = 'r' }), 'herro')\n"
	    "is(('hello'):gsub('l', function() end), 'hello')\n"
	    "is(('hello'):gsub('l', 'x', 1), 'hexlo')\n"
	    "is(('hello'):gsub('^h', 'j'), 'jello')\n"
	    "is(('abc'):gsub('%w', '%0%0'), 'aabbcc')\n"
	    "local parts = {}\n"
	    "for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do "
	    "parts[#parts + 1] = k .. v end\n"
	    "is(table.concat(parts), 'a1b2')\n"
	    "local n = 0 for _ in ('abc'):gmatch('') do n = n + 1 end is(n, "
	    "4)\n"
	    "return lunette.deny('ok')");
}
END_TEST

START_TEST(malformed_patterns_are_errors)
{
	static const char *const patterns[] = { "[a", "[^", "[", "%", "(",
		"(()", ")", "%1", "%b", "%bx", "%f", "%fa", "[%", "[a-", "(a",
		"a)", "[]", "[^]", "%0" };

	for (size_t i = 0; i < ARRAY_COUNT(patterns); i++) {
		char body[128];

		snprintf(
		    body, sizeof(body), "('aaaa'):match('%s')", patterns[i]);
		must_fail(body, "malformed pattern");
	}
	must_fail("('x'):rep(50):match(('(x'):rep(40))", "malformed pattern");
	must_fail("('x'):gsub('x', '%2')", "no such capture");
	must_fail("('x'):gsub('x', function() return {} end)", "is a table");
	must_fail("('x'):gsub('x')", "bad argument");
}
END_TEST

START_TEST(every_library_function_survives_bad_arguments)
{
	/* Nothing to assert but that nothing crashes and no error gets out
	 * other than as one. */
	bench.settings.cpu_ms = 5000;
	bench.settings.memory_bytes = 128 * 1024 * 1024;
	bench.settings.run_memory_bytes = 64 * 1024 * 1024;
	must_hold(
	    "local values = { 1, -1, 0, 1e308, -1e308, 0/0, 1/0, '', 'x', "
	    "('y'):rep(300), true, false, {}, { 1, 2 }, function() end, conn,\n"
	    "conn.tls, 2^31, 2^53, -2^31 }\n"
	    "local function try(f)\n"
	    "pcall(f)\n"
	    "for i = 1, #values do pcall(f, values[i])\n"
	    "for j = 1, #values, 2 do pcall(f, values[i], values[j])\n"
	    "pcall(f, values[i], values[j], values[1 + (i + j) % #values])\n"
	    "end end end\n"
	    "for _, f in ipairs { string.find, string.match, string.gmatch, "
	    "string.gsub, string.rep, string.format, string.byte, string.char, "
	    "string.sub, string.lower, table.insert, table.remove, "
	    "table.concat, "
	    "table.sort, unpack, select, tonumber, tostring, rawset, rawget, "
	    "rawequal, setmetatable, getmetatable, next, pairs, ipairs, pcall, "
	    "xpcall, assert, error, type, require, math.random, math.ldexp, "
	    "bit.lshift, bit.tohex, conn.log, conn.track } do\n"
	    "try(f) end\n"
	    "return lunette.deny('ok')");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_is_gone_is_gone);
	tcase_add_test(tcase, members_that_are_gone_are_nil);
	tcase_add_test(tcase, library_tables_cannot_be_changed);
	tcase_add_test(tcase, globals_are_frozen_after_load);
	tcase_add_test(tcase, scripts_do_not_share_globals);
	tcase_add_test(tcase, require_stays_in_its_folders);
	tcase_add_test(tcase, a_file_beside_the_script_is_not_the_library);
	tcase_add_test(tcase, a_module_that_requires_itself_is_refused);
	tcase_add_test(tcase, bytecode_is_never_loaded);
	tcase_add_test(tcase, what_is_kept_works);
	tcase_add_test(tcase, patterns_are_lua_patterns);
	tcase_add_test(tcase, malformed_patterns_are_errors);
	tcase_add_test(tcase, every_library_function_survives_bad_arguments);
}

UNIT_MAIN("policy_sandbox", add_tests)
