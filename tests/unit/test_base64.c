#include "base/base64.h"

#include <errno.h>

#include "unit.h"

/* RFC 4648 section 10, and what has every digit. */
static const struct {
	const char *bytes, *text;
} good[] = {
	{ "", "" },
	{ "f", "Zg==" },
	{ "fo", "Zm8=" },
	{ "foo", "Zm9v" },
	{ "foob", "Zm9vYg==" },
	{ "fooba", "Zm9vYmE=" },
	{ "foobar", "Zm9vYmFy" },
	{ "\xfb\xef\xbe\xff\xff\xff", "++++////" },
};

START_TEST(both_ways)
{
	char text[BASE64_SIZE(64)];
	uint8_t bytes[64];
	size_t len;

	for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
		ck_assert_uint_eq(base64_encode(span_text(good[i].bytes), text),
		    strlen(good[i].text));
		ck_assert_str_eq(text, good[i].text);
		ck_assert_int_eq(
		    base64_decode(span_text(good[i].text), bytes, &len), 0);
		ck_assert(
		    span_equal(span_of(bytes, len), span_text(good[i].bytes)));
	}
}
END_TEST

START_TEST(all_lengths)
{
	uint8_t bytes[100], back[BASE64_BYTES(BASE64_SIZE(100))];
	char text[BASE64_SIZE(100)];
	size_t len;

	for (size_t n = 0; n <= sizeof(bytes); n++) {
		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)(i * 37 + n);
		len = base64_encode(span_of(bytes, n), text);
		ck_assert_uint_eq(len + 1, BASE64_SIZE(n));
		ck_assert_int_eq(base64_decode(span_text(text), back, &len), 0);
		ck_assert(span_equal(span_of(back, len), span_of(bytes, n)));
	}
}
END_TEST

static const char *const bad[] = { "Z", "Zg", "Zg=", "Zg=g",
	"=Zg=", "Zh==", "Zm9=", "Zm 9", "Zm9v\n", "Z===", "====", "Zm9-",
	"Zm9_", "Zm9vYg=" };

START_TEST(refused)
{
	uint8_t bytes[64];
	size_t len;

	ck_assert_int_eq(
	    base64_decode(span_text(bad[_i]), bytes, &len), -EINVAL);
}
END_TEST

static void
add_tests(TCase *t)
{
	tcase_add_test(t, both_ways);
	tcase_add_test(t, all_lengths);
	tcase_add_loop_test(t, refused, 0, ARRAY_COUNT(bad));
}

UNIT_MAIN("base64", add_tests)
