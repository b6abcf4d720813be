#include "unit.h"

#include "control/host_guard.h"
#include "faults.h"

FAULT(calloc);

void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);

void *
__wrap_calloc(size_t count, size_t size)
{
	return fault_hits(&calloc_fault) ? NULL : __real_calloc(count, size);
}

static struct addr
address(const char *text)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(span_text(text), &a), 0);
	return a;
}

static struct host_guard *
guard(const char *const *rules, size_t count)
{
	struct host_guard *g;
	size_t bad;

	ck_assert_int_eq(host_guard_new(rules, count, &g, &bad), 0);
	return g;
}

static void
check(const struct host_guard *g, const char *host, bool expected)
{
	struct addr local = address("192.0.2.7");

	ck_assert_msg(host_guard_allows(g, span_text(host), &local) == expected,
	    "\"%s\" should%s be allowed", host, expected ? "" : " not");
}

START_TEST(names_that_only_this_machine_has)
{
	static const char *const good[] = { "localhost", "LocalHost:4040",
		"localhost.", "localhost:", "box.localhost", "127.0.0.1:4040",
		"127.9.8.7", "[::1]:4040", "[::1]", "[::ffff:127.0.0.1]",
		"192.0.2.7", "192.0.2.7:65535", "[::ffff:192.0.2.7]:1" };
	struct host_guard *g = guard(NULL, 0);

	for (size_t i = 0; i < ARRAY_COUNT(good); i++)
		check(g, good[i], true);
	host_guard_free(g);
}
END_TEST

START_TEST(all_others)
{
	static const char *const bad[] = { "", ":", ":4040", "evil.example",
		"localhost.evil.example", "xlocalhost",
		"127.0.0.1.evil.example", "evil.example:4040", "192.0.2.8",
		"[2001:db8::1]", "[::1", "::1", "[::1]x", "[::1]:x", "[]",
		"[localhost]", "[127.0.0.1]", "localhost:65536",
		"localhost:40 40", "localhost:4040:4040",
		"localhost@evil.example", "localhost/", " localhost", "127.1",
		"0x7f.0.0.1", "2130706433", "127.0.0.01", "0.0.0.0",
		".localhost", "localhost,evil.example", "local\thost" };
	struct host_guard *g = guard(NULL, 0);
	struct addr local = address("192.0.2.7");

	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		check(g, bad[i], false);
	ck_assert(!host_guard_allows(g, span_of("localhost\0", 10), &local));
	ck_assert(!host_guard_allows(g, span_of(NULL, 0), &local));
	host_guard_free(g);
}
END_TEST

START_TEST(what_the_operator_lists)
{
	static const char *const rules[] = { "Box.Example", ".lan.example",
		"198.51.100.0/24", "2001:db8::5" };
	struct host_guard *g = guard(rules, ARRAY_COUNT(rules));

	check(g, "box.example:4040", true);
	check(g, "a.box.example", false);
	check(g, "a.lan.example", true);
	check(g, "a.b.lan.example:80", true);
	check(g, "lan.example", false);
	check(g, "xlan.example", false);
	check(g, "198.51.100.200", true);
	check(g, "198.51.101.1", false);
	check(g, "[2001:db8::5]:4040", true);
	check(g, "[2001:db8::6]", false);
	check(g, "localhost", true);
	host_guard_free(g);
}
END_TEST

START_TEST(rules_that_are_none_are_named)
{
	static const char *const rules[] = { "box.example", "*.example", "" };
	struct host_guard *g = NULL;
	size_t bad = 99;

	ck_assert_int_eq(host_guard_new(rules, 3, &g, &bad), -EINVAL);
	ck_assert_uint_eq(bad, 1);
	ck_assert_int_eq(host_guard_new(rules + 2, 1, &g, &bad), -EINVAL);
	ck_assert_uint_eq(bad, 0);
	fault_set(&calloc_fault, 1, ENOMEM);
	UNDER_FAULTS(
	    ck_assert_int_eq(host_guard_new(rules, 1, &g, &bad), -ENOMEM));
	ck_assert_ptr_null(g);
	host_guard_free(NULL);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, names_that_only_this_machine_has);
	tcase_add_test(tcase, all_others);
	tcase_add_test(tcase, what_the_operator_lists);
	tcase_add_test(tcase, rules_that_are_none_are_named);
}

UNIT_MAIN("host_guard", add_tests)
