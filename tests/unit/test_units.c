#include "unit.h"

#include <errno.h>

#include "base/units.h"

#define BAD UINT64_MAX

static const struct {
	const char *text;
	uint64_t expected;
} durations[] = {
	{ "0", 0 },
	{ "0s", 0 },
	{ "250ms", 250 },
	{ "3s", 3000 },
	{ "5m", 300000 },
	{ "12h", 43200000 },
	{ "1d", 86400000 },
	{ "9223372036854775807ms", INT64_MAX },
	{ "", BAD },
	{ "5", BAD },
	{ "s", BAD },
	{ "-1s", BAD },
	{ "+1s", BAD },
	{ "1 s", BAD },
	{ " 1s", BAD },
	{ "1s ", BAD },
	{ "1.5s", BAD },
	{ "1S", BAD },
	{ "1m30s", BAD },
	{ "1us", BAD },
	{ "9223372036854775808ms", BAD },
	{ "18446744073709551616ms", BAD },
	{ "99999999999999999999d", BAD },
	{ "213503982335d", BAD },
};

START_TEST(durations_are_read)
{
	uint64_t ms = BAD;
	const char *why = NULL;
	int err = duration_parse(span_text(durations[_i].text), &ms, &why);

	if (durations[_i].expected == BAD) {
		ck_assert_msg(err == -EINVAL, "%s", durations[_i].text);
		ck_assert_ptr_nonnull(why);
		return;
	}
	ck_assert_msg(err == 0, "%s", durations[_i].text);
	ck_assert_uint_eq(ms, durations[_i].expected);
}
END_TEST

static const struct {
	const char *text;
	uint64_t expected;
} sizes[] = {
	{ "0", 0 },
	{ "512", 512 },
	{ "512B", 512 },
	{ "64KiB", 65536 },
	{ "1MiB", 1048576 },
	{ "2GiB", 2147483648 },
	{ "3kB", 3000 },
	{ "3MB", 3000000 },
	{ "3GB", 3000000000 },
	{ "9223372036854775807", INT64_MAX },
	{ "9223372036854775808", BAD },
	{ "8589934592GiB", BAD },
	{ "17179869184GiB", BAD },
	{ "", BAD },
	{ "KiB", BAD },
	{ "1KB", BAD },
	{ "1kib", BAD },
	{ "1 KiB", BAD },
	{ "-1", BAD },
	{ "0x10", BAD },
	{ "1e3", BAD },
};

START_TEST(sizes_are_read)
{
	uint64_t bytes = BAD;
	const char *why = NULL;
	int err = size_parse(span_text(sizes[_i].text), &bytes, &why);

	if (sizes[_i].expected == BAD) {
		ck_assert_msg(err == -EINVAL, "%s", sizes[_i].text);
		ck_assert_ptr_nonnull(why);
		return;
	}
	ck_assert_msg(err == 0, "%s", sizes[_i].text);
	ck_assert_uint_eq(bytes, sizes[_i].expected);
}
END_TEST

START_TEST(numbers_keep_to_their_range)
{
	uint64_t n;

	ck_assert_int_eq(number_parse(span_text("1"), 1, 65535, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(number_parse(span_text("65535"), 1, 65535, &n), 0);
	ck_assert_uint_eq(n, 65535);
	ck_assert_int_lt(number_parse(span_text("0"), 1, 65535, &n), 0);
	ck_assert_int_lt(number_parse(span_text("65536"), 1, 65535, &n), 0);
	ck_assert_int_lt(number_parse(span_text(""), 0, 9, &n), 0);
	ck_assert_int_lt(number_parse(span_text("1x"), 0, 9, &n), 0);
	ck_assert_int_lt(number_parse(span_text("x1"), 0, 9, &n), 0);
	ck_assert_int_lt(number_parse(span_of("1\0", 2), 0, 9, &n), 0);
	ck_assert_int_eq(
	    number_parse(span_text("18446744073709551615"), 0, UINT64_MAX, &n),
	    0);
	ck_assert_int_lt(
	    number_parse(span_text("18446744073709551616"), 0, UINT64_MAX, &n),
	    0);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, durations_are_read, 0, ARRAY_COUNT(durations));
	tcase_add_loop_test(tcase, sizes_are_read, 0, ARRAY_COUNT(sizes));
	tcase_add_test(tcase, numbers_keep_to_their_range);
}

UNIT_MAIN_TOGETHER("units", add_tests)
