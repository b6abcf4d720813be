#include "unit.h"

#include "base/compiler.h"
#include "base/nearest.h"

static const char *const words[] = { "listen", "upstream", "policy", "on",
	"hide_names", "a_word_that_is_far_longer_than_any_key_of_the_file" };

static const char *
near(const char *word)
{
	return nearest_word(span_text(word), words, ARRAY_COUNT(words));
}

START_TEST(a_slip_is_recognised)
{
	ck_assert_str_eq(near("lisen"), "listen");
	ck_assert_str_eq(near("listne"), "listen");
	ck_assert_str_eq(near("listenn"), "listen");
	ck_assert_str_eq(near("Listen"), "listen");
	ck_assert_str_eq(near("upsteram"), "upstream");
	ck_assert_str_eq(near("uppstrem"), "upstream");
	ck_assert_str_eq(near("hide-names"), "hide_names");
	ck_assert_str_eq(near("listen"), "listen");
}
END_TEST

START_TEST(what_is_far_off_gets_no_answer)
{
	ck_assert_ptr_null(near(""));
	ck_assert_ptr_null(near("x"));
	ck_assert_ptr_null(near("banana"));
	ck_assert_ptr_null(near("streaming"));
	ck_assert_ptr_null(
	    near("a_word_that_is_far_longer_than_any_key_of_the_files"));
	ck_assert_ptr_null(nearest_word(span_text("listen"), NULL, 0));
}
END_TEST

START_TEST(foreign_bytes_are_only_bytes)
{
	ck_assert_ptr_null(nearest_word(span_of("\0\0\xff\xff", 4), words, 4));
	ck_assert_ptr_nonnull(nearest_word(span_of("list\xff"
						   "en",
					       7),
	    words, 4));
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_slip_is_recognised);
	tcase_add_test(tcase, what_is_far_off_gets_no_answer);
	tcase_add_test(tcase, foreign_bytes_are_only_bytes);
}

UNIT_MAIN("nearest", add_tests)
