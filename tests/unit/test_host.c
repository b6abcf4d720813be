#include "unit.h"

#include <errno.h>

#include "bytes.h"
#include "wire/host.h"

#define X63 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
	const char *text, *expected; /* NULL: refused */
} hosts[] = {
	{ "a", "a" },
	{ "a.test", "a.test" },
	{ "A.TEST", "a.test" },
	{ "a.test.", "a.test" },
	{ "xn--mller-kva.test", "xn--mller-kva.test" },
	{ "_acme-challenge.a.test", "_acme-challenge.a.test" },
	{ "1.2.3.4.test", "1.2.3.4.test" },
	{ "4chan.org", "4chan.org" },
	{ "a.0xtest", "a.0xtest" },
	{ "a.1b", "a.1b" },
	{ X63 ".test", X63 ".test" },
	{ "x" X63 ".test", NULL },
	{ "", NULL },
	{ ".", NULL },
	{ "a.test..", NULL },
	{ ".a.test", NULL },
	{ "a..test", NULL },
	{ "*", NULL },
	{ "*.a.test", NULL },
	{ "a b", NULL },
	{ "a/b", NULL },
	{ "a:443", NULL },
	{ "a\n", NULL },
	{ "m\xc3\xbcller.test", NULL },
	{ "192.0.2.1", NULL },
	{ "192.0.2.1.", NULL },
	{ "192.0.2", NULL },
	{ "1", NULL },
	{ "0x7f.1", NULL },
	{ "a.0x1F", NULL },
	{ "a.0x", NULL },
	{ "::1", NULL },
	{ "[::1]", NULL },
};

START_TEST(hosts_are_folded_or_refused)
{
	struct host host;
	const char *why = NULL;
	int err = host_parse(span_text(hosts[_i].text), &host, &why);

	if (hosts[_i].expected) {
		ck_assert_int_eq(err, 0);
		ck_assert_str_eq(host.text, hosts[_i].expected);
		ck_assert_uint_eq(host.len, strlen(hosts[_i].expected));
	} else {
		ck_assert_int_eq(err, -EINVAL);
		ck_assert_uint_eq(host.len, 0);
		ck_assert_str_eq(host.text, "");
		ck_assert_ptr_nonnull(why);
	}
}
END_TEST

START_TEST(each_byte_is_a_letter_of_names_or_not)
{
	const char *letters = "abcdefghijklmnopqrstuvwxyz"
			      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

	for (unsigned c = 0; c < 256; c++) {
		char text[] = { 'a', (char)c, 'b' };
		struct host host;
		int expected =
		    c == '.' || (c && strchr(letters, (int)c)) ? 0 : -EINVAL;

		ck_assert_int_eq(
		    host_parse(span_of(text, 3), &host, NULL), expected);
	}
}
END_TEST

START_TEST(lengths_at_the_limit)
{
	char text[300];
	struct host host;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 2 ? '.' : 'a';
	ck_assert_int_eq(host_parse(span_of(text, 253), &host, NULL), 0);
	ck_assert_uint_eq(host.len, 253);
	ck_assert_int_eq(host_parse(span_of(text, 254), &host, NULL), 0);
	ck_assert_int_eq(host_parse(span_of(text, 255), &host, NULL), -EINVAL);
	ck_assert_int_eq(
	    host_parse_pattern(span_of(text, 253), &host, NULL), 0);
	memcpy(text, "*.", 2);
	ck_assert_int_eq(
	    host_parse_pattern(span_of(text, 253), &host, NULL), 0);
	ck_assert_uint_eq(host.len, 253);
	ck_assert_int_eq(
	    host_parse_pattern(span_of(text, 255), &host, NULL), -EINVAL);
}
END_TEST

static const struct {
	const char *text, *expected;
	bool is_wildcard;
} patterns[] = {
	{ "a.test", "a.test", false },
	{ "*.A.test.", "*.a.test", true },
	{ "*.test", "*.test", true },
	{ "*", NULL, false },
	{ "*.", NULL, false },
	{ "*a.test", NULL, false },
	{ "a.*.test", NULL, false },
	{ "*.*.test", NULL, false },
	{ "**.test", NULL, false },
	{ "*.192.0.2.1", NULL, false },
	{ "*..test", NULL, false },
};

START_TEST(patterns_have_one_star_in_front)
{
	struct host host;
	int err = host_parse_pattern(span_text(patterns[_i].text), &host, NULL);

	ck_assert_int_eq(err, patterns[_i].expected ? 0 : -EINVAL);
	ck_assert_str_eq(
	    host.text, patterns[_i].expected ? patterns[_i].expected : "");
	ck_assert_int_eq(host_is_wildcard(&host), patterns[_i].is_wildcard);
}
END_TEST

static const struct {
	const char *text, *expected;
} urls[] = {
	{ "tls://a.test", "a.test" },
	{ "tls://*.A.test:443", "*.a.test" },
	{ "a.test", "a.test" },
	{ "a.test:443", "a.test" },
	{ "https://a.test", NULL },
	{ "://a.test", NULL },
	{ "tls://", NULL },
	{ "tls://a.test:8443", NULL },
	{ "tls://a.test:", NULL },
	{ "tls://a.test:443:443", NULL },
	{ "tls://a.test/", NULL },
	{ "tls://tls://a.test", NULL },
	{ "tls://192.0.2.1", NULL },
	{ "tls://[::1]:443", NULL },
	{ "", NULL },
};

START_TEST(urls_of_endpoints)
{
	struct host host;
	const char *why = NULL;
	int err = host_parse_url(span_text(urls[_i].text), &host, &why);

	ck_assert_int_eq(err, urls[_i].expected ? 0 : -EINVAL);
	ck_assert_str_eq(host.text, urls[_i].expected ? urls[_i].expected : "");
	ck_assert_int_eq(why == NULL, err == 0);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, hosts_are_folded_or_refused, 0, ARRAY_COUNT(hosts));
	tcase_add_test(tcase, each_byte_is_a_letter_of_names_or_not);
	tcase_add_test(tcase, lengths_at_the_limit);
	tcase_add_loop_test(
	    tcase, patterns_have_one_star_in_front, 0, ARRAY_COUNT(patterns));
	tcase_add_loop_test(tcase, urls_of_endpoints, 0, ARRAY_COUNT(urls));
}

UNIT_MAIN_TOGETHER("host", add_tests)
