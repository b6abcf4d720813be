#include "unit.h"

#include <stdio.h>

#include "policy/lexer.h"
#include "policy/lint.h"

static bool
is_one_of(struct span s, const char *const words[])
{
	for (; *words != NULL; words++)
		if (span_is(s, *words))
			return true;
	return false;
}

static bool
knows(void *data, const struct span *path, size_t count)
{
	static const char *const globals[] = { "require", "string", "pairs",
		"ipairs", "print_it", NULL };
	static const char *const strings[] = { "find", "rep", NULL };

	(void)data;
	if (!is_one_of(path[0], globals))
		return false;
	return count == 1 || !span_is(path[0], "string") ||
	       is_one_of(path[1], strings);
}

static bool
knows_library(void *data, const struct span *path, size_t count)
{
	static const char *const names[] = { "forward", "deny", "log", "cidrs",
		NULL };
	static const char *const levels[] = { "info", "warn", NULL };

	(void)data;
	if (!is_one_of(path[0], names))
		return false;
	return count == 1 || !span_is(path[0], "log") ||
	       is_one_of(path[1], levels);
}

static bool
knows_key(void *data, struct span within, struct span key)
{
	static const char *const keys[] = { "upstream", "tags", "timeouts",
		"reason", NULL };
	static const char *const timeouts[] = { "connect", "idle", NULL };
	static const char *const mutual[] = { "cas", "mode", NULL };
	static const char *const terminate[] = { "certificate", "alpn",
		"mutual_tls", NULL };

	(void)data;
	if (within.len == 0)
		return is_one_of(key, keys);
	if (span_is(within, "conn:terminate"))
		return is_one_of(key, terminate);
	if (span_is(within, "mutual_tls"))
		return is_one_of(key, mutual);
	return span_is(within, "timeouts") && is_one_of(key, timeouts);
}

static const struct lint_world world = { knows, knows_library, knows_key,
	NULL };

static size_t
lint(const char *source, char *out, size_t size)
{
	struct text t;
	size_t count = 0;

	text_init(&t, out, size);
	ck_assert_int_eq(
	    lint_source(span_text(source), "x.lua", &world, &t, &count), 0);
	return count;
}

static void
expect(const char *source, const char *findings)
{
	char out[1024];

	lint(source, out, sizeof(out));
	ck_assert_msg(!strcmp(out, findings), "%s\ngave: %s\nnot: %s", source,
	    out, findings);
}

static void
expect_clean(const char *source)
{
	expect(source, "");
}

#define HEAD "local lunette = require 'lunette'\n"

START_TEST(names_that_nobody_defines_are_found)
{
	expect("return unknown", "x.lua:1: unknown global 'unknown'\n");
	expect("local a\nb = a\nreturn c(a)", "x.lua:3: unknown global 'c'\n");
	expect("local function f()\n  counter = 1\nend",
	    "x.lua:2: assignment to a global in a function, 'counter'\n");
	expect("return { [key] = 1, value, k = v }",
	    "x.lua:1: unknown global 'key'\n"
	    "x.lua:1: unknown global 'value'\n"
	    "x.lua:1: unknown key of a script, 'k'\n"
	    "x.lua:1: unknown global 'v'\n");
	expect("local x = x", "x.lua:1: unknown global 'x'\n");
	expect("for i = 1, n do end", "x.lua:1: unknown global 'n'\n");
	expect("do local y = 1 end return y", "x.lua:1: unknown global 'y'\n");
	expect("x.y.z = 1", "x.lua:1: unknown global 'x'\n");
	expect("return -a .. #b",
	    "x.lua:1: unknown global 'a'\nx.lua:1: unknown global 'b'\n");
}
END_TEST

START_TEST(scopes_are_those_of_the_language)
{
	expect_clean("local a, b = 1 return a + b");
	expect_clean("local function f(x, ...) return x, f, ... end return f");
	expect_clean("for k, v in pairs({}) do local z = k .. v end");
	expect_clean("repeat local done = true until done");
	expect_clean("function helper() return helper2() end\n"
		     "function helper2() end");
	expect_clean("local t = {} function t.a.b:c(x) return self, x end");
	expect_clean("goto out do local a = 1 end ::out:: return 1");
	expect_clean("local goto_ = 1 return goto_");
	expect_clean("while true do break end if nil then elseif 1 then end");
	expect_clean("local s = ('x'):rep(3) return s:find('x'), #s");
	expect_clean("local f = function(a) return function() return a end "
		     "end return f");
	expect_clean("local string = {} return string.anything");
	expect_clean("-- unknown\n--[==[ unknown ]] ]==] local a = [[unknown]] "
		     "return 'unknown \\' unknown', \"x\", 0x1Fp4, 1e-5, 3..4");
	expect_clean("#!/usr/bin/lua unknown\nreturn 1");
	expect_clean("");
}
END_TEST

START_TEST(library_names_are_checked)
{
	expect(HEAD "return lunette.cidr {}",
	    "x.lua:2: unknown library name 'lunette.cidr'\n");
	expect(HEAD "lunette.log.inform 'x'",
	    "x.lua:2: unknown library name 'lunette.log.inform'\n");
	expect("require('lunette').nothing()",
	    "x.lua:1: unknown library name 'lunette.nothing'\n");
	expect(HEAD "local deny = lunette.denied\nreturn deny, deny",
	    "x.lua:2: unknown library name 'lunette.denied'\n");
	expect("return string.dump",
	    "x.lua:1: unknown library name 'string.dump'\n");
	expect_clean(HEAD "lunette.log.info('x') return lunette.cidrs {}");
	expect_clean("local other = require 'other' return other.anything");
	expect_clean(HEAD "lunette = other_table_maybe and nil or pairs\n"
			  "other_table_maybe = 1");
}
END_TEST

START_TEST(keys_of_decisions_are_checked)
{
	expect(HEAD "return function() return lunette.forward {\n"
		    "  upstrem = 1 } end",
	    "x.lua:3: unknown decision key 'upstrem'\n");
	expect(HEAD "local deny = lunette.deny return function()\n"
		    "return deny { raison = 1 } end",
	    "x.lua:3: unknown decision key 'raison'\n");
	expect("return function() return { ['reson'] = 1 } end",
	    "x.lua:1: unknown decision key 'reson'\n");
	expect("return function() return {timeouts = {idel = 1}} end",
	    "x.lua:1: unknown decision key 'idel'\n");
	expect("return { connect = function() return { a = 1 } end,\n"
	       "conect = 1 }",
	    "x.lua:1: unknown decision key 'a'\n"
	    "x.lua:2: unknown key of a script, 'conect'\n");
	expect("return function(c) return c and { a = 1 } or { b = 1 } end",
	    "x.lua:1: unknown decision key 'a'\n"
	    "x.lua:1: unknown decision key 'b'\n");
	expect_clean(
	    "return { connect = function() return { tags = { any = 1, "
	    "['thing'] = 2 }, timeouts = { idle = 1 } } end, retry = "
	    "function() end, close = function(c, s) return {x=1} end }");
	expect_clean("local function parts() return { a = 1 } end\n"
		     "return function() local f = function() return {b=1} end "
		     "return { reason = parts().a, ['up' .. 'x'] = 1 } end");
	expect_clean(HEAD "return function() return lunette.deny 'no' end");
}
END_TEST

START_TEST(any_text_ends)
{
	static const char text[] =
	    HEAD "local a = { [1] = function(x, ...) return x.y:z 'q' end } "
		 "for i = 1, 2 do repeat goto e ::e:: until a --[[ c ]] end "
		 "if a then return lunette.forward { timeouts = { idle = 1e+3, "
		 "[ [[k]] ] = [==[ v ]==] } } elseif b then end \"\\\"\"";
	char out[4096];
	char cut[sizeof(text)];

	for (size_t len = 0; len < sizeof(text); len++) {
		memcpy(cut, text, len);
		cut[len] = '\0';
		lint(cut, out, sizeof(out));
	}
	for (size_t at = 0; at + 1 < sizeof(text); at++) {
		for (const char *c = "\"[=-({,.:\\\n"; *c; c++) {
			memcpy(cut, text, sizeof(text));
			cut[at] = *c;
			lint(cut, out, sizeof(out));
		}
	}
}
END_TEST

START_TEST(what_is_shown_is_escaped)
{
	char out[256];

	ck_assert_uint_eq(lint("return n\xc3\xa4me", out, sizeof(out)), 1);
	ck_assert_str_eq(out, "x.lua:1: unknown global 'n\\xc3\\xa4me'\n");
}
END_TEST

START_TEST(what_terminate_takes_is_checked)
{
	expect("return function(c) c:terminate { certificat = 1 } end",
	    "x.lua:1: unknown key of conn:terminate, 'certificat'\n");
	expect("return function(c, x) local tls = c:terminate({\n"
	       "mutual_tls = { cas = x, modus = 'y' }, ['upstream'] = 1 }) end",
	    "x.lua:2: unknown decision key 'modus'\n"
	    "x.lua:2: unknown key of conn:terminate, 'upstream'\n");
	expect("return { connect = function(conn)\n"
	       "local same = conn\n"
	       "if conn.sni then same:terminate { reason = 'x' } end end }",
	    "x.lua:3: unknown key of conn:terminate, 'reason'\n");
	expect_clean("return function(conn) conn:terminate() conn:terminate { "
		     "alpn = { 'x', y = 1 }, mutual_tls = { cas = conn.x } } "
		     "end");
	/* What is no connection, or may be none. */
	expect_clean("return function(conn, other)\n"
		     "conn = { terminate = function() end }\n"
		     "conn:terminate { x = 1 } conn.tls:terminate { x = 1 }\n"
		     "other:terminate { x = 1 } conn:log { x = 1 }\n"
		     "end");
	expect_clean("local function f(conn) conn:terminate { x = 1 } end "
		     "return { close = function(conn) conn:terminate { x = 1 } "
		     "end, retry = f }");
	expect_clean("return function(conn) conn.a.b.c.d.e:terminate { x = 1 } "
		     "conn['x']:terminate { x = 1 } end");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, names_that_nobody_defines_are_found);
	tcase_add_test(tcase, what_terminate_takes_is_checked);
	tcase_add_test(tcase, scopes_are_those_of_the_language);
	tcase_add_test(tcase, library_names_are_checked);
	tcase_add_test(tcase, keys_of_decisions_are_checked);
	tcase_add_test(tcase, any_text_ends);
	tcase_add_test(tcase, what_is_shown_is_escaped);
}

UNIT_MAIN("policy_lint", add_tests)
