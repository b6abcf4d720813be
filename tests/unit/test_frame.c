#include "unit.h"

#include "bytes.h"
#include "wire/frame.h"

static struct frame frame;
static size_t needed;
static const char *why;

static enum parse
parse(struct span s)
{
	uint8_t *copy = exact_copy(s);
	enum parse result;

	memset(&frame, 0xee, sizeof(frame));
	needed = 0;
	why = NULL;
	result = frame_parse(span_of(copy, s.len), &frame, &needed, &why);
	/* The text would point into the copy that is gone. */
	if (result == PARSE_OK && frame.text.len > 0)
		frame.text.data = s.data + (frame.text.data - copy);
	free(copy);
	return result;
}

/* Each prefix asks for more, never too much; what follows is not looked at. */
static void
check_good(struct span s, size_t bytes)
{
	static struct bytes longer;

	for (size_t len = 0; len < bytes; len++) {
		ck_assert_int_eq(parse(span_of(s.data, len)), PARSE_MORE);
		ck_assert_uint_gt(needed, len);
		ck_assert_uint_le(needed, bytes);
	}
	longer.len = 0;
	add_span(&longer, s);
	add_span(&longer, BYTES("\xff\xff\xff\xff"));
	ck_assert_int_eq(parse(bytes_span(&longer)), PARSE_OK);
	ck_assert_uint_eq(frame.bytes, bytes);
	ck_assert_int_eq(parse(s), PARSE_OK);
	ck_assert_uint_eq(frame.bytes, bytes);
}

/* Refused with its header alone or with its last byte, never taken. */
static void
check_bad(struct span s, size_t at)
{
	for (size_t len = 0; len <= s.len; len++) {
		ck_assert_int_eq(parse(span_of(s.data, len)),
		    len < at ? PARSE_MORE : PARSE_BAD);
		ck_assert(len < at ? needed > len : why != NULL);
	}
}

START_TEST(data_is_known_by_its_header)
{
	struct span wire = BYTES("\0\0\3\x13\0\0\0\5abc");

	ck_assert_int_eq(parse(wire), PARSE_OK);
	ck_assert_int_eq(frame.type, FRAME_DATA);
	ck_assert_uint_eq(frame.flags, FRAME_FIN | FRAME_SYN);
	ck_assert_uint_eq(frame.stream, 5);
	ck_assert_uint_eq(frame.length, 3);
	check_good(wire, FRAME_HEADER_BYTES);
	check_good(BYTES("\xff\xff\xff\x10\x7f\xff\xff\xff"), 8);
	ck_assert_uint_eq(frame.length, FRAME_MAX_LENGTH);
	ck_assert_uint_eq(frame.stream, FRAME_MAX_STREAM);
	ck_assert_uint_eq(frame.flags, 0);
	check_good(BYTES("\0\0\0\x1f\0\0\0\1"), 8);
	ck_assert_uint_eq(frame.flags, FRAME_FIN | FRAME_SYN);
}
END_TEST

START_TEST(small_frames_are_read_whole)
{
	check_good(BYTES("\0\0\4\0\0\0\0\7\1\2\3\4"), 12);
	ck_assert_int_eq(frame.type, FRAME_RST);
	ck_assert_uint_eq(frame.error, 0x01020304);
	check_good(BYTES("\0\0\4\x2f\0\0\0\7\x7f\xff\xff\xff"), 12);
	ck_assert_int_eq(frame.type, FRAME_WNDINC);
	ck_assert_uint_eq(frame.increment, FRAME_MAX_WINDOW);
	ck_assert_uint_eq(frame.flags, 0);
	check_good(BYTES("\0\0\x0b\x30\0\0\0\0\0\0\0\6\0\0\0\2bye"), 19);
	ck_assert_int_eq(frame.type, FRAME_GOAWAY);
	ck_assert_uint_eq(frame.last_stream, 6);
	ck_assert_uint_eq(frame.error, FRAME_ERROR_INTERNAL);
	ck_assert(span_is(frame.text, "bye"));
	check_good(BYTES("\0\0\x08\x30\0\0\0\0\0\0\0\6\0\0\0\2"), 16);
	ck_assert_uint_eq(frame.text.len, 0);
}
END_TEST

START_TEST(what_may_not_be_is_told_by_the_header)
{
	static const struct {
		const char *header;
	} cases[] = {
		{ "\0\0\4\x40\0\0\0\1" }, /* types that there are not */
		{ "\0\0\4\xf0\0\0\0\1" },
		{ "\0\0\0\x10\0\0\0\0" }, /* streams */
		{ "\0\0\0\x10\x80\0\0\1" },
		{ "\0\0\4\0\0\0\0\0" },
		{ "\0\0\4\x20\0\0\0\0" },
		{ "\0\0\x08\x30\0\0\0\1" },
		{ "\0\0\3\0\0\0\0\1" }, /* sizes */
		{ "\0\0\5\0\0\0\0\1" },
		{ "\0\0\0\x20\0\0\0\1" },
		{ "\0\1\4\x20\0\0\0\1" },
		{ "\xff\xff\xff\x20\0\0\0\1" },
		{ "\0\0\7\x30\0\0\0\0" },
		{ "\0\x10\x09\x30\0\0\0\0" },
	};

	check_bad(span_of(cases[_i].header, 8), 8);
}
END_TEST

START_TEST(an_increment_has_31_bits)
{
	check_bad(BYTES("\0\0\4\x20\0\0\0\7\x80\0\0\0"), 12);
}
END_TEST

START_TEST(the_longest_text)
{
	static struct bytes wire;

	wire.len = 0;
	add_u24(&wire, 8 + FRAME_MAX_TEXT_BYTES);
	add_span(&wire, BYTES("\x30\0\0\0\0\0\0\0\1\0\0\0\2"));
	add_zeros(&wire, FRAME_MAX_TEXT_BYTES);
	check_good(bytes_span(&wire), FRAME_MAX_CONTROL_BYTES);
	ck_assert_uint_eq(frame.text.len, FRAME_MAX_TEXT_BYTES);
}
END_TEST

START_TEST(what_is_written_is_read)
{
	static uint8_t out[FRAME_MAX_CONTROL_BYTES];
	static uint8_t text[FRAME_MAX_TEXT_BYTES + 1];
	size_t len;

	len = frame_write_data(out, 9, 70000, FRAME_SYN);
	ck_assert_int_eq(parse(span_of(out, len)), PARSE_OK);
	ck_assert_uint_eq(frame.length, 70000);
	ck_assert_uint_eq(frame.flags, FRAME_SYN);
	ck_assert_uint_eq(frame.stream, 9);
	len = frame_write_rst(out, 10, 0x108);
	check_good(span_of(out, len), len);
	ck_assert_uint_eq(frame.error, 0x108);
	len = frame_write_wndinc(out, FRAME_MAX_STREAM, 1);
	check_good(span_of(out, len), len);
	ck_assert_uint_eq(frame.increment, 1);
	ck_assert_uint_eq(frame.stream, FRAME_MAX_STREAM);
	len = frame_write_goaway(out, 4, 1, span_text("why not"));
	check_good(span_of(out, len), len);
	ck_assert(span_is(frame.text, "why not"));
	len = frame_write_goaway(out, 4, 1, span_of(text, sizeof(text)));
	ck_assert_uint_eq(len, FRAME_MAX_CONTROL_BYTES);
	ck_assert_int_eq(parse(span_of(out, len)), PARSE_OK);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, data_is_known_by_its_header);
	tcase_add_test(tcase, small_frames_are_read_whole);
	tcase_add_loop_test(
	    tcase, what_may_not_be_is_told_by_the_header, 0, 14);
	tcase_add_test(tcase, an_increment_has_31_bits);
	tcase_add_test(tcase, the_longest_text);
	tcase_add_test(tcase, what_is_written_is_read);
}

UNIT_MAIN_TOGETHER("frame", add_tests)
