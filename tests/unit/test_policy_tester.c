#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "policy/tester.h"

static char folder[] = "/tmp/test_policy_tester.XXXXXX";
static char storage[65536];
static struct text out;

static void
set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	text_init(&out, storage, sizeof(storage));
}

static const char *
file(const char *name)
{
	static char paths[8][512];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static const char *
write_file(const char *name, const char *content)
{
	const char *path = file(name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(content, f);
	ck_assert_int_eq(fclose(f), 0);
	return path;
}

static void
tear_down(void)
{
	static const char *const names[] = { "a.lua", "b.lua", "a_test.lua",
		"nets.txt" };

	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		(void)unlink(file(names[i]));
	(void)rmdir(folder);
}

static struct policy_settings
settings(void)
{
	static char library[] = TOP_SRCDIR "/lua";
	static char *path[] = { library };

	return (struct policy_settings){ .path = path, .path_count = 1 };
}

static size_t
check(const char *source)
{
	const struct policy_settings s = settings();

	text_clear(&out);
	return policy_check(&s, write_file("a.lua", source), &out);
}

static struct policy_test_result
run(const char *source)
{
	const struct policy_settings s = settings();

	text_clear(&out);
	return policy_test(&s, write_file("a_test.lua", source), &out);
}

static void
expect_text(const char *text)
{
	ck_assert_msg(
	    strstr(out.data, text) != NULL, "no '%s' in: %s", text, out.data);
}

#define HEAD "local lunette = require 'lunette'\n"

START_TEST(a_sound_script_gives_no_finding)
{
	ck_assert_uint_eq(
	    check(
		HEAD "local s = lunette.cidrs { '10.0.0.0/8' }\n"
		     "local p = lunette.pool { '10.0.0.1:443' }\n"
		     "return function(conn)\n"
		     "  if s:contains(conn.client_ip) then\n"
		     "    lunette.log.info('x', { a = 1 })\n"
		     "    return lunette.deny { reason = 'x' }\n"
		     "  end\n"
		     "  return { upstream = p:pick(conn), tags = { a = 'b' },\n"
		     "    timeouts = { connect = 1 } }\n"
		     "end\n"),
	    0);
	ck_assert_str_eq(out.data, "");
}
END_TEST

START_TEST(each_kind_of_finding_has_its_line)
{
	ck_assert_uint_eq(
	    check(HEAD "return function(conn)\n"
		       "  local x = undefined_name\n"
		       "  lunette.cidr {}\n"
		       "  lunette.log.inform 'x'\n"
		       "  string.dump(x)\n"
		       "  stray = 1\n"
		       "  if x then\n"
		       "    return lunette.deny { resaon = 'x' }\n"
		       "  end\n"
		       "  return { timeouts = { idel = 1 } }\n"
		       "end\n"),
	    7);
	expect_text("a.lua:3: unknown global 'undefined_name'\n");
	expect_text("a.lua:4: unknown library name 'lunette.cidr'\n");
	expect_text("a.lua:5: unknown library name 'lunette.log.inform'\n");
	expect_text("a.lua:6: unknown library name 'string.dump'\n");
	expect_text("a.lua:7: assignment to a global in a function, 'stray'\n");
	expect_text("a.lua:9: unknown decision key 'resaon'\n");
	expect_text("a.lua:11: unknown decision key 'idel'\n");
}
END_TEST

START_TEST(a_script_that_does_not_load_is_one_finding)
{
	ck_assert_uint_eq(check("return function( end"), 1);
	expect_text("a.lua:1: ");
	ck_assert_uint_eq(check("error 'at load'"), 1);
	expect_text("a.lua:1: at load");
	ck_assert_uint_eq(check("return 5"), 1);
	ck_assert_uint_eq(check("\033LJ bytecode"), 1);
	ck_assert_uint_eq(check("while true do end"), 1);
	ck_assert_uint_eq(check(HEAD "lunette.cas 'x.pem'"), 1);
	expect_text("x.pem");
}
END_TEST

START_TEST(a_file_that_is_missing_is_a_finding)
{
	const struct policy_settings s = settings();

	text_clear(&out);
	ck_assert_uint_eq(policy_check(&s, file("none.lua"), &out), 1);
	expect_text("none.lua");
	text_clear(&out);
	ck_assert_uint_eq(policy_test(&s, file("none.lua"), &out).failed, 1);
}
END_TEST

START_TEST(tests_pass_and_fail_with_file_and_line)
{
	struct policy_test_result r;

	write_file("a.lua",
	    HEAD "return function(conn)\n"
		 "  return lunette.forward { upstream = '10.0.0.1:443' }\n"
		 "end\n");
	r = run("policy 'a.lua'\n"
		"test('good', function() assert_allow(decide {}) end)\n"
		"test('bad', function()\n"
		"  assert_equal(decide({}).upstream, 'x')\n"
		"end)\n"
		"test('deny', function() assert_deny(decide {}) end)\n"
		"test('true', function() assert_true(nil, 'note') end)\n"
		"test('false', function() assert_false(1) end)\n"
		"test('error', function()\n"
		"  assert_error(function() end)\n"
		"end)\n"
		"test('other error', function()\n"
		"  assert_error(function() error 'x' end, 'zzz')\n"
		"end)\n"
		"test('tables', function() assert_equal({1}, {1, 2}) end)\n"
		"test('good again', function()\n"
		"  assert_equal({ a = { 1 } }, { a = { 1 } })\n"
		"  assert_error(function() error 'xyz' end, 'y')\n"
		"end)\n");
	ck_assert_uint_eq(r.passed, 2);
	ck_assert_uint_eq(r.failed, 7);
	expect_text("a_test.lua:4: ");
	expect_text("10.0.0.1:443");
	expect_text("[bad]\n");
	expect_text("a_test.lua:6: expected deny, got allow [deny]\n");
	expect_text("a_test.lua:7: note: expected something true [true]\n");
	expect_text("a_test.lua:8: expected false or nil [false]\n");
	expect_text("a_test.lua:10: expected an error [error]\n");
	expect_text("[tables]\n");
}
END_TEST

START_TEST(an_error_of_the_policy_is_neither_allow_nor_deny)
{
	struct policy_test_result r;

	write_file("a.lua", "return function(conn) error 'broken' end\n");
	r = run("policy 'a.lua'\n"
		"test('allow', function() assert_allow(decide {}) end)\n"
		"test('deny', function() assert_deny(decide {}) end)\n");
	ck_assert_uint_eq(r.failed, 2);
	expect_text("a.lua:1: broken");
}
END_TEST

START_TEST(a_script_that_tests_nothing_has_failed)
{
	ck_assert_uint_eq(run("local a = 1").failed, 1);
	expect_text("holds no test");
	ck_assert_uint_eq(run("policy 'none.lua'").failed, 1);
	expect_text("none.lua");
	ck_assert_uint_eq(run("decide {}").failed, 1);
	expect_text("write policy");
	ck_assert_uint_eq(
	    run("test('x', function() end) error 'end'").failed, 1);
	ck_assert_uint_eq(run("return function( end").failed, 1);
	ck_assert_uint_eq(run("test('x', 5)").failed, 1);
}
END_TEST

START_TEST(the_tests_run_in_the_sandbox)
{
	struct policy_test_result r =
	    run("test('io', function() io.open 'x' end)\n"
		"test('os', function() os.exit() end)\n"
		"test('good', function() end)\n");

	ck_assert_uint_eq(r.passed, 1);
	ck_assert_uint_eq(r.failed, 2);
}
END_TEST

START_TEST(a_policy_may_be_changed_between_tests)
{
	struct policy_test_result r;

	write_file("a.lua", "return function() return { reason = 'a' } end\n");
	write_file("b.lua",
	    HEAD "local hits = lunette.shared 'h'\n"
		 "return function() hits:incr 'n' lunette.sleep(1)\n"
		 "  return { reason = 'b' .. hits:get 'n' } end\n");
	r = run(
	    "policy 'a.lua'\n"
	    "test('a', function() assert_equal(decide({}).reason, 'a') end)\n"
	    "policy 'b.lua'\n"
	    "test('b', function()\n"
	    "  assert_equal(decide({}).reason, 'b1')\n"
	    "  assert_equal(decide({}).reason, 'b2')\n"
	    "end)\n");
	ck_assert_msg(r.failed == 0, "%s", out.data);
	ck_assert_uint_eq(r.passed, 2);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, a_sound_script_gives_no_finding);
	tcase_add_test(tcase, each_kind_of_finding_has_its_line);
	tcase_add_test(tcase, a_script_that_does_not_load_is_one_finding);
	tcase_add_test(tcase, a_file_that_is_missing_is_a_finding);
	tcase_add_test(tcase, tests_pass_and_fail_with_file_and_line);
	tcase_add_test(tcase, an_error_of_the_policy_is_neither_allow_nor_deny);
	tcase_add_test(tcase, a_script_that_tests_nothing_has_failed);
	tcase_add_test(tcase, the_tests_run_in_the_sandbox);
	tcase_add_test(tcase, a_policy_may_be_changed_between_tests);
}

UNIT_MAIN("policy_tester", add_tests)
