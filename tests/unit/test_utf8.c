#include "unit.h"

#include "base/utf8.h"

#define R UTF8_REPLACEMENT

static void
check_len(const char *text, size_t expected)
{
	size_t len = strlen(text);

	ck_assert_uint_eq(utf8_len(span_text(text)), expected);
	/* A character that ends too early is none. */
	for (size_t cut = 1; cut < len && expected == len; cut++)
		ck_assert_uint_eq(utf8_len(span_of(text, cut)), 0);
}

START_TEST(characters_have_their_length)
{
	check_len("a", 1);
	check_len("\x7f", 1);
	check_len("\xc2\x80", 2);
	check_len("\xdf\xbf", 2);
	check_len("\xe0\xa0\x80", 3);
	check_len("\xed\x9f\xbf", 3);
	check_len("\xef\xbf\xbf", 3);
	check_len("\xf0\x90\x80\x80", 4);
	check_len("\xf4\x8f\xbf\xbf", 4);
}
END_TEST

START_TEST(what_is_malformed_is_none)
{
	check_len("\x80", 0);
	check_len("\xbf", 0);
	check_len("\xc0\x80", 0);	  /* overlong */
	check_len("\xc1\xbf", 0);	  /* overlong */
	check_len("\xe0\x9f\xbf", 0);	  /* overlong */
	check_len("\xed\xa0\x80", 0);	  /* a surrogate */
	check_len("\xf0\x8f\xbf\xbf", 0); /* overlong */
	check_len("\xf4\x90\x80\x80", 0); /* above U+10FFFF */
	check_len("\xf5\x80\x80\x80", 0);
	check_len("\xff", 0);
	check_len("\xc2x", 0);
	check_len("\xe2\x82x", 0);
}
END_TEST

static void
check_text(struct span from, const char *expected)
{
	char storage[100];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	text_add_utf8(&t, from);
	ck_assert_str_eq(storage, expected);
	ck_assert(!t.truncated);
}

START_TEST(text_becomes_valid)
{
	check_text(span_text(""), "");
	check_text(span_text("plain \x01 text"), "plain \x01 text");
	check_text(span_text("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
	check_text(span_text("a\xffz"), "a" R "z");
	check_text(span_text("\xe2\x82"), R R);
	check_text(span_of("\xf0\x9f\x98\x80\xf0", 5), "\xf0\x9f\x98\x80" R);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, characters_have_their_length);
	tcase_add_test(tcase, what_is_malformed_is_none);
	tcase_add_test(tcase, text_becomes_valid);
}

UNIT_MAIN_TOGETHER("utf8", add_tests)
