#include "unit.h"

#include "base/compiler.h"
#include "base/json.h"

static char storage[4096];
static struct text out;
static struct json j;

static void
begin(void)
{
	text_init(&out, storage, sizeof(storage));
	json_init(&j, &out);
}

START_TEST(commas_and_quotes_are_placed)
{
	begin();
	json_open(&j, NULL);
	json_text(&j, "a", "x");
	json_open(&j, "b");
	json_int(&j, "n", INT64_MIN);
	json_int(&j, "m", INT64_MAX);
	json_close(&j);
	json_open_list(&j, "c");
	json_bool(&j, NULL, true);
	json_bool(&j, NULL, false);
	json_null(&j, NULL);
	json_open(&j, NULL);
	json_close(&j);
	json_open_list(&j, NULL);
	json_close_list(&j);
	json_close_list(&j);
	json_key_span(&j, span_text("d\"e"));
	json_int(&j, NULL, 1);
	json_key_span(&j, span_text("f"));
	json_open(&j, NULL);
	json_close(&j);
	json_raw(&j, "g", span_text("{\"h\":[1]}"));
	json_text(&j, "i", NULL);
	json_close(&j);
	ck_assert_str_eq(storage,
	    "{\"a\":\"x\",\"b\":{\"n\":-9223372036854775808,"
	    "\"m\":9223372036854775807},"
	    "\"c\":[true,false,null,{},[]],\"d\\\"e\":1,\"f\":{},"
	    "\"g\":{\"h\":[1]},\"i\":\"\"}");
	ck_assert(!out.truncated);
}
END_TEST

#define FFFD "\xef\xbf\xbd"

/* The samples of the Unicode standard, tables 3-8 to 3-11, and more. */
static const struct {
	const char *in, *out;
} strings[] = {
	{ "plain", "plain" },
	{ "\"\\/", "\\\"\\\\/" },
	{ "\x01\n\r\t\x1f\x7f", "\\u0001\\u000a\\u000d\\u0009\\u001f\\u007f" },
	{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x99",
	    "\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x99" },
	{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },
	{ "\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD },
	{ "\xf5\x80\x80\x80", FFFD FFFD FFFD FFFD },
	{ "\xff\xfe", FFFD FFFD },
	{ "\xc0\xaf", FFFD FFFD },
	{ "\xc1\xbf", FFFD FFFD },
	{ "\xe0\x80\xaf", FFFD FFFD FFFD },
	{ "\xe0\x9f\xbf", FFFD FFFD FFFD },
	{ "\xe0\xa0\x80", "\xe0\xa0\x80" },
	{ "\xed\xa0\x80", FFFD FFFD FFFD },
	{ "\xed\x9f\xbf", "\xed\x9f\xbf" },
	{ "\xf0\x8f\xbf\xbf", FFFD FFFD FFFD FFFD },
	{ "\xf0\x90\x80\x80", "\xf0\x90\x80\x80" },
	{ "\x80", FFFD },
	{ "a\xc3", "a" FFFD },
	{ "\xe2\x82", FFFD FFFD },
	{ "\xe2\x82\"", FFFD FFFD "\\\"" },
	{ "\xc3\xc3\xa9", FFFD "\xc3\xa9" },
	{ "\xf0\x9f\x8c", FFFD FFFD FFFD },
};

START_TEST(strings_are_valid_utf8)
{
	char expected[128];
	struct text t;
	size_t len = strlen(strings[_i].in);
	char *exact = malloc(len);

	memcpy(exact, strings[_i].in, len);
	text_init(&t, expected, sizeof(expected));
	text_addf(&t, "\"%s\"", strings[_i].out);
	begin();
	json_string(&j, NULL, span_of(exact, len));
	ck_assert_str_eq(storage, expected);
	free(exact);
}
END_TEST

START_TEST(a_nul_is_a_character)
{
	begin();
	json_string(&j, NULL, span_of("a\0b", 3));
	ck_assert_str_eq(storage, "\"a\\u0000b\"");
}
END_TEST

START_TEST(milliseconds_have_three_decimals)
{
	begin();
	json_open_list(&j, NULL);
	json_ms(&j, NULL, 0);
	json_ms(&j, NULL, 7);
	json_ms(&j, NULL, 12345678);
	json_ms(&j, NULL, -1500);
	json_ms(&j, NULL, INT64_MIN);
	json_close_list(&j);
	ck_assert_str_eq(
	    storage, "[0.000,0.007,12345.678,-1.500,-9223372036854775.808]");
}
END_TEST

START_TEST(times_are_rfc3339)
{
	begin();
	json_open_list(&j, NULL);
	json_time(&j, NULL, 0);
	json_time(&j, NULL, 1795405529123456);
	json_time(&j, NULL, -1);
	json_time(&j, NULL, 951782400000000);
	json_close_list(&j);
	ck_assert_str_eq(storage, "[\"1970-01-01T00:00:00.000000Z\","
				  "\"2026-11-23T03:45:29.123456Z\","
				  "\"1969-12-31T23:59:59.999999Z\","
				  "\"2000-02-29T00:00:00.000000Z\"]");
}
END_TEST

START_TEST(what_does_not_fit_is_told)
{
	char small[16];

	for (size_t size = 1; size <= sizeof(small); size++) {
		text_init(&out, small, size);
		json_init(&j, &out);
		json_open(&j, NULL);
		json_text(&j, "key", "\n\n\xff");
		json_close(&j);
		ck_assert(out.truncated);
		ck_assert_uint_lt(out.len, size);
	}
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, commas_and_quotes_are_placed);
	tcase_add_loop_test(
	    tcase, strings_are_valid_utf8, 0, ARRAY_COUNT(strings));
	tcase_add_test(tcase, a_nul_is_a_character);
	tcase_add_test(tcase, milliseconds_have_three_decimals);
	tcase_add_test(tcase, times_are_rfc3339);
	tcase_add_test(tcase, what_does_not_fit_is_told);
}

UNIT_MAIN_TOGETHER("json", add_tests)
