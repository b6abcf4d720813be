#include "unit.h"

#include "base/text.h"

START_TEST(text_never_writes_past_its_storage)
{
	char storage[8];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	text_add(&t, "abc");
	text_addf(&t, "%d", 12345);
	ck_assert_str_eq(t.data, "abc1234");
	ck_assert(t.truncated);
}
END_TEST

START_TEST(foreign_bytes_stay_on_one_line)
{
	char storage[64];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	text_add_escaped(&t, span_of("a\"\\\n\0\x7f\xffz", 8), 7);
	ck_assert_str_eq(storage, "a\\\"\\\\\\x0a\\x00\\x7f\\xff...");
	ck_assert(!t.truncated);
}
END_TEST

START_TEST(every_size_of_storage_is_kept_to)
{
	char storage[40];

	for (size_t size = 1; size <= sizeof(storage); size++) {
		char *exact = malloc(size);
		struct text t;

		text_init(&t, exact, size);
		text_add_time(&t, 0, 6);
		text_add_escaped(&t, span_of("\xff\n", 2), 2);
		text_add_char(&t, 'x');
		ck_assert_uint_lt(t.len, size);
		ck_assert_uint_eq(strlen(exact), t.len);
		ck_assert(t.truncated == (size < 27 + 8 + 1 + 1));
		free(exact);
	}
}
END_TEST

START_TEST(times_have_the_decimals_asked_for)
{
	char storage[64];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	text_add_time(&t, 1795405529123999, 3);
	ck_assert_str_eq(storage, "2026-11-23T03:45:29.123Z");
	text_clear(&t);
	text_add_time(&t, -1000001, 6);
	ck_assert_str_eq(storage, "1969-12-31T23:59:58.999999Z");
}
END_TEST

START_TEST(numbers_are_decimal)
{
	char storage[64];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	text_add_number(&t, 0);
	text_add_char(&t, ' ');
	text_add_number(&t, 65535);
	text_add_char(&t, ' ');
	text_add_number(&t, UINT64_MAX);
	ck_assert_str_eq(storage, "0 65535 18446744073709551615");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, numbers_are_decimal);
	tcase_add_test(tcase, text_never_writes_past_its_storage);
	tcase_add_test(tcase, foreign_bytes_stay_on_one_line);
	tcase_add_test(tcase, every_size_of_storage_is_kept_to);
	tcase_add_test(tcase, times_have_the_decimals_asked_for);
}

UNIT_MAIN_TOGETHER("text", add_tests)
