#include "unit.h"

#include "bytes.h"
#include "wire/json_scan.h"

static size_t used;

static enum parse
scan(struct span s)
{
	struct json_scan j = { 0 };

	return json_scan(&j, s, &used);
}

static const struct {
	const char *text;
	size_t len;
} whole[] = {
	{ "{}", 2 },
	{ "[]", 2 },
	{ " \r\n\t{} ", 6 },
	{ "{\"a\": [1, {\"b\": null}], \"c\": -1e5}\n", 34 },
	{ "{}{}", 2 },
	{ "[[[]]]]", 6 },
	{ "{\"}]{[\": \"\\\"}\"}x", 15 },
	{ "{\"\\\\\": \"\\\\\"}\"", 12 },
	{ "{\"\\u007d\": 1}", 13 },
};

/* In one piece, and in two that are cut at each byte. */
START_TEST(a_value_ends_where_it_ends)
{
	struct span text = span_text(whole[_i].text);
	size_t len = whole[_i].len;

	ck_assert_int_eq(scan(text), PARSE_OK);
	ck_assert_uint_eq(used, len);
	for (size_t cut = 0; cut < len; cut++) {
		struct json_scan j = { 0 };
		uint8_t *first = exact_copy(span_of(text.data, cut));

		ck_assert_int_eq(
		    json_scan(&j, span_of(first, cut), &used), PARSE_MORE);
		ck_assert_uint_eq(used, cut);
		free(first);
		ck_assert_int_eq(
		    json_scan(
			&j, span_of(text.data + cut, text.len - cut), &used),
		    PARSE_OK);
		ck_assert_uint_eq(cut + used, len);
	}
}
END_TEST

static const char *const bad[] = { "1", "\"a\"", "null", "}", "]", "{]", "[}",
	"x{}", " ,{}", "[{]}", "{\"a\": [}" };

START_TEST(what_is_no_object_or_array)
{
	ck_assert_int_eq(scan(span_text(bad[_i])), PARSE_BAD);
}
END_TEST

START_TEST(what_has_no_end)
{
	static const char *const open[] = { "", " ", "{", "{\"", "{\"}", "[{}",
		"{\"\\\"}", "[[[]]" };

	for (size_t i = 0; i < ARRAY_COUNT(open); i++)
		ck_assert_int_eq(scan(span_text(open[i])), PARSE_MORE);
}
END_TEST

START_TEST(nesting_has_a_limit)
{
	char text[3 * JSON_SCAN_MAX_DEPTH];

	memset(text, '[', JSON_SCAN_MAX_DEPTH);
	memset(text + JSON_SCAN_MAX_DEPTH, ']', JSON_SCAN_MAX_DEPTH);
	ck_assert_int_eq(
	    scan(span_of(text, 2 * JSON_SCAN_MAX_DEPTH)), PARSE_OK);
	memset(text, '{', JSON_SCAN_MAX_DEPTH + 1);
	ck_assert_int_eq(scan(span_of(text, JSON_SCAN_MAX_DEPTH)), PARSE_MORE);
	ck_assert_int_eq(
	    scan(span_of(text, JSON_SCAN_MAX_DEPTH + 1)), PARSE_BAD);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, a_value_ends_where_it_ends, 0, ARRAY_COUNT(whole));
	tcase_add_loop_test(
	    tcase, what_is_no_object_or_array, 0, ARRAY_COUNT(bad));
	tcase_add_test(tcase, what_has_no_end);
	tcase_add_test(tcase, nesting_has_a_limit);
}

UNIT_MAIN_TOGETHER("json_scan", add_tests)
