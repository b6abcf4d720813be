#include "unit.h"

#include <errno.h>

#include "bytes.h"
#include "wire/alert.h"

START_TEST(names_and_numbers_agree)
{
	for (size_t i = 0; i < alert_count(); i++) {
		uint8_t number = 255;

		ck_assert_int_eq(
		    alert_parse(span_text(alert_names[i]), &number), 0);
		ck_assert_str_eq(alert_name(number), alert_names[i]);
	}
	ck_assert_str_eq(alert_name(112), "unrecognized_name");
	ck_assert_str_eq(alert_name(0), "close_notify");
	ck_assert_ptr_null(alert_name(1));
	ck_assert_ptr_null(alert_name(255));
}
END_TEST

START_TEST(other_words_are_no_alerts)
{
	uint8_t number = 7;

	ck_assert_int_eq(alert_parse(BYTES(""), &number), -EINVAL);
	ck_assert_int_eq(alert_parse(BYTES("access_denie"), &number), -EINVAL);
	ck_assert_int_eq(
	    alert_parse(BYTES("access_denied\0"), &number), -EINVAL);
	ck_assert_int_eq(alert_parse(BYTES("49"), &number), -EINVAL);
	ck_assert_uint_eq(number, 7);
}
END_TEST

START_TEST(a_record_is_fatal_and_plain)
{
	uint8_t out[ALERT_RECORD_BYTES];

	alert_record(ALERT_ACCESS_DENIED, out);
	ck_assert(
	    span_equal(span_of(out, sizeof(out)), BYTES("\x15\3\1\0\2\2\x31")));
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, names_and_numbers_agree);
	tcase_add_test(tcase, other_words_are_no_alerts);
	tcase_add_test(tcase, a_record_is_fatal_and_plain);
}

UNIT_MAIN_TOGETHER("alert", add_tests)
