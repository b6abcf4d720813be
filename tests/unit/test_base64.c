#include "unit.h"

#include "base/base64.h"
#include "bytes.h"

/* RFC 4648 section 10, and every digit once. */
static const struct {
	const char *bytes, *base64, *base32;
} vectors[] = {
	{ "", "", "" },
	{ "f", "Zg==", "my" },
	{ "fo", "Zm8=", "mzxq" },
	{ "foo", "Zm9v", "mzxw6" },
	{ "foob", "Zm9vYg==", "mzxw6yq" },
	{ "fooba", "Zm9vYmE=", "mzxw6ytb" },
	{ "foobar", "Zm9vYmFy", "mzxw6ytboi" },
	{ "\xfb\xef\xbe\xff\xff\xff", "++++////", "7px3577774" },
};

START_TEST(texts_are_those_of_the_rfc)
{
	struct span bytes = span_text(vectors[_i].bytes);
	char out[32];

	base64_write(bytes, out);
	ck_assert_str_eq(out, vectors[_i].base64);
	ck_assert_uint_eq(strlen(out), BASE64_LEN(bytes.len));
	base32_write(bytes, out);
	ck_assert_str_eq(out, vectors[_i].base32);
	ck_assert_uint_eq(strlen(out), BASE32_LEN(bytes.len));
}
END_TEST

START_TEST(what_is_written_is_read)
{
	uint8_t bytes[200], *back;
	char text[BASE64_LEN(200) + 1];
	size_t len;

	for (size_t n = 0; n <= sizeof(bytes); n++) {
		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)(i * 37 + n);
		base64_write(span_of(bytes, n), text);
		back = malloc(strlen(text) / 4 * 3 + 1);
		ck_assert(base64_read(span_text(text), back, &len));
		ck_assert(span_equal(span_of(back, len), span_of(bytes, n)));
		free(back);
	}
}
END_TEST

static const char *const bad[] = { "Z", "Zg", "Zg=", "Zg=g",
	"=Zg=", "Zh==", "Zm9=", "Zm 9", "Zm9v\n", "Z===", "====", "Zm9-",
	"Zm9_", "Zm9vYg=", "Zg==Zg==", "Zm9\x80", "Zm9v====" };

START_TEST(what_is_not_base64_is_refused)
{
	uint8_t *text = exact_copy(span_text(bad[_i])), out[64];
	size_t len;

	ck_assert(!base64_read(span_of(text, strlen(bad[_i])), out, &len));
	free(text);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, texts_are_those_of_the_rfc, 0, ARRAY_COUNT(vectors));
	tcase_add_test(tcase, what_is_written_is_read);
	tcase_add_loop_test(
	    tcase, what_is_not_base64_is_refused, 0, ARRAY_COUNT(bad));
}

UNIT_MAIN_TOGETHER("base64", add_tests)
