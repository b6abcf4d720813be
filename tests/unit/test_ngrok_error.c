#include "unit.h"

#include <ctype.h>
#include <stdio.h>

#include "tunnel/ngrok_error.h"

static char storage[NGROK_ERROR_SIZE];
static struct text out;

static const char *
text_of(enum ngrok_error e, const char *subject)
{
	text_init(&out, storage, sizeof(storage));
	ngrok_error_text(&out, e, span_text(subject));
	ck_assert(!out.truncated);
	return storage;
}

START_TEST(the_number_has_a_line_of_its_own)
{
	ck_assert_str_eq(text_of(NGROK_PROTO_UNSUPPORTED, "http"),
	    "The protocol http is not supported; this edge has endpoints of "
	    "tls only.\n\nERR_NGROK_332");
	ck_assert_str_eq(text_of(NGROK_TOKEN_MISSING, "unused"),
	    "This edge needs an authtoken.\n\nERR_NGROK_4018");
	ck_assert_str_eq(
	    text_of(NGROK_NO_MEMORY, NULL), "The edge is out of memory.");
}
END_TEST

/* What an agent sent goes into the text, and can forge no number. */
START_TEST(the_subject_is_escaped)
{
	const char *text = text_of(NGROK_NAME_INVALID, "x\nERR_NGROK_1\"\xff");

	ck_assert_str_eq(text,
	    "The name cannot be used: x\\x0aERR_NGROK_1\\\"\\xff."
	    "\n\nERR_NGROK_326");
}
END_TEST

static const struct {
	const char *name;
	unsigned number;
} table[] = {
#define X(name, number, before, after) { #name, number },
	NGROK_ERROR_TABLE(X)
#undef X
};

START_TEST(every_text_fits_and_says_its_number)
{
	char subject[4096];
	const char *text;

	memset(subject, '\xff', sizeof(subject) - 1);
	subject[sizeof(subject) - 1] = '\0';
	text_init(&out, storage, sizeof(storage));
	ck_assert_uint_eq(
	    ngrok_error_number((enum ngrok_error)_i), table[_i].number);
	text = text_of((enum ngrok_error)_i, "it");
	ck_assert(isupper((unsigned char)text[0]));
	ck_assert_uint_eq(ngrok_error_find(text_span(&out)), table[_i].number);
	ck_assert_int_eq(
	    strstr(text, "ERR_NGROK_") != NULL, table[_i].number != 0);
	text_init(&out, storage, sizeof(storage));
	ngrok_error_text(&out, (enum ngrok_error)_i, span_text(subject));
	for (size_t i = 0; table[_i].number != 0 && i < (size_t)_i; i++)
		ck_assert_uint_ne(table[i].number, table[_i].number);
}
END_TEST

static const struct {
	const char *text;
	unsigned number;
} texts[] = {
	{ "", 0 },
	{ "no", 0 },
	{ "ERR_NGROK_", 0 },
	{ "ERR_NGROK_x", 0 },
	{ "ERR_NGROK_105", 105 },
	{ "no.\n\nERR_NGROK_334\n", 334 },
	{ "ERR_NGROK_108\r\nERR_NGROK_109", 108 },
	{ "ERR_NGROK_999999", 999999 },
	{ "ERR_NGROK_1000000", 0 },
	{ "ERR_NGROK", 0 },
};

START_TEST(numbers_are_found)
{
	ck_assert_uint_eq(
	    ngrok_error_find(span_text(texts[_i].text)), texts[_i].number);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, the_number_has_a_line_of_its_own);
	tcase_add_test(tcase, the_subject_is_escaped);
	tcase_add_loop_test(
	    tcase, every_text_fits_and_says_its_number, 0, ARRAY_COUNT(table));
	tcase_add_loop_test(tcase, numbers_are_found, 0, ARRAY_COUNT(texts));
}

UNIT_MAIN_TOGETHER("ngrok_error", add_tests)
