#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "bytes.h"
#include "tunnel/stream_header.h"

static char error_storage[MESSAGE_ERROR_SIZE];
static struct text error;
static struct stream_header_reader reader;
static struct stream_header header, sample;

static void
setup(void)
{
	text_init(&error, error_storage, sizeof(error_storage));
	sample = (struct stream_header){
		.id = message_lend("ep_1"),
		.client_addr = message_lend("192.0.2.7:4711"),
		.proto = message_lend("tls"),
		.edge_type = message_lend(STREAM_EDGE_AGENT),
		.passthrough_tls = true,
	};
}

/* What is read comes out of memory of exactly its size. */
static enum parse
feed(struct span bytes, size_t *used)
{
	uint8_t *copy = exact_copy(bytes);
	enum parse parse = stream_header_feed(
	    &reader, span_of(copy, bytes.len), used, &header, &error);

	ck_assert_uint_le(*used, bytes.len);
	free(copy);
	return parse;
}

static void
check_sample(void)
{
	ck_assert_str_eq(header.id, "ep_1");
	ck_assert_str_eq(header.client_addr, "192.0.2.7:4711");
	ck_assert_str_eq(header.proto, "tls");
	ck_assert_str_eq(header.edge_type, "0");
	ck_assert(header.passthrough_tls);
	ck_assert_ptr_null(header.open.data);
}

#define SAMPLE_JSON                                                     \
	"{\"Id\":\"ep_1\",\"ClientAddr\":\"192.0.2.7:4711\",\"Proto\":" \
	"\"tls\",\"EdgeType\":\"0\",\"PassthroughTLS\":true}"

START_TEST(it_is_a_length_and_json)
{
	struct span out;

	ck_assert_int_eq(stream_header_write(&sample, &out), 0);
	ck_assert_uint_eq(out.len, 8 + strlen(SAMPLE_JSON));
	ck_assert_mem_eq(out.data, "\x5e\0\0\0\0\0\0\0", 8);
	ck_assert_mem_eq(out.data + 8, SAMPLE_JSON, strlen(SAMPLE_JSON));
	message_wipe(&out);
}
END_TEST

/* What follows the header is left alone. */
START_TEST(it_may_come_in_any_two_pieces)
{
	struct bytes b = { .len = 0 };
	struct span header_bytes;
	size_t used, rest;

	ck_assert_int_eq(stream_header_write(&sample, &header_bytes), 0);
	add_span(&b, header_bytes);
	add_span(&b, BYTES("client's\0bytes"));
	for (size_t len = 0; len <= b.len; len++) {
		enum parse parse = feed(span_of(b.data, len), &used);

		if (len < header_bytes.len) {
			ck_assert_int_eq(parse, PARSE_MORE);
			ck_assert_uint_eq(used, len);
			parse = feed(span_of(b.data + len, b.len - len), &rest);
			used += rest;
		}
		ck_assert_int_eq(parse, PARSE_OK);
		ck_assert_uint_eq(used, header_bytes.len);
		check_sample();
		stream_header_fini(&header);
		reader = (struct stream_header_reader){ 0 };
	}
	message_wipe(&header_bytes);
}
END_TEST

START_TEST(it_may_come_byte_by_byte)
{
	struct span bytes;
	size_t used;

	ck_assert_int_eq(stream_header_write(&sample, &bytes), 0);
	for (size_t at = 0; at < bytes.len; at++) {
		ck_assert_int_eq(feed(span_of(NULL, 0), &used), PARSE_MORE);
		ck_assert_int_eq(feed(span_of(bytes.data + at, 1), &used),
		    at + 1 < bytes.len ? PARSE_MORE : PARSE_OK);
		ck_assert_uint_eq(used, 1);
	}
	check_sample();
	stream_header_fini(&header);
	message_wipe(&bytes);
}
END_TEST

/* Left in the middle, it holds nothing after fini. */
START_TEST(it_may_be_given_up)
{
	struct span bytes;
	size_t used;

	ck_assert_int_eq(stream_header_write(&sample, &bytes), 0);
	for (size_t len = 0; len < bytes.len; len++) {
		ck_assert_int_eq(
		    feed(span_of(bytes.data, len), &used), PARSE_MORE);
		stream_header_reader_fini(&reader);
	}
	message_wipe(&bytes);
}
END_TEST

START_TEST(lunettes_agent_gets_open)
{
	static uint8_t open[4200];
	struct stream_header h = sample;
	struct span bytes;
	size_t used;

	memset(open, 0xa5, sizeof(open));
	h.open = (struct message_bytes){ open, sizeof(open) };
	ck_assert_int_eq(stream_header_write(&h, &bytes), 0);
	ck_assert_int_eq(feed(bytes, &used), PARSE_OK);
	ck_assert_uint_eq(header.open.len, sizeof(open));
	ck_assert_mem_eq(header.open.data, open, sizeof(open));
	stream_header_fini(&header);
	message_wipe(&bytes);
}
END_TEST

static uint8_t large[STREAM_HEADER_MAX_BYTES];

START_TEST(it_has_a_limit)
{
	struct stream_header h = sample;
	struct span bytes;

	memset(large, 1, sizeof(large));
	h.open = (struct message_bytes){ large, sizeof(large) };
	ck_assert_int_eq(stream_header_write(&h, &bytes), -EMSGSIZE);
	ck_assert_ptr_null(bytes.data);
}
END_TEST

static const struct {
	const char *prefix; /* of 8 bytes */
	const char *json, *error;
} bad[] = {
	{ "\0\0\0\0\0\0\0\0", "",
	    "the stream's header has a length that is not possible" },
	{ "\x01\x40\0\0\0\0\0\0", "",
	    "the stream's header has a length that is not possible" },
	{ "\0\0\0\0\0\0\0\x80", "",
	    "the stream's header has a length that is not possible" },
	{ "\xff\xff\xff\xff\xff\xff\xff\xff", "",
	    "the stream's header has a length that is not possible" },
	/* As if it were big endian. */
	{ "\0\0\0\0\0\0\0\2", "{}",
	    "the stream's header has a length that is not possible" },
	{ "\1\0\0\0\0\0\0\0", "{", "the JSON ends too early, near byte 1" },
	{ "\2\0\0\0\0\0\0\0", "[]", "the message is not a JSON object" },
	{ "\x08\0\0\0\0\0\0\0", "{\"Id\":1}", "Id must be a text" },
	{ "\x0e\0\0\0\0\0\0\0", "{\"EdgeType\":0}", "EdgeType must be a text" },
	{ "\x0c\0\0\0\0\0\0\0", "{\"Open\":\"x\"}",
	    "Open must be a text in base64" },
};

START_TEST(what_is_wrong_is_told)
{
	struct bytes b = { .len = 0 };
	size_t used;

	add_span(&b, span_of(bad[_i].prefix, 8));
	add_span(&b, span_text(bad[_i].json));
	ck_assert_int_eq(feed(bytes_span(&b), &used), PARSE_BAD);
	ck_assert_str_eq(error_storage, bad[_i].error);
	ck_assert_ptr_null(header.id);
	ck_assert_ptr_null(reader.json);
}
END_TEST

/* The largest length is a good one. */
START_TEST(the_largest_is_taken)
{
	struct bytes b = { .len = 0 };
	size_t used;

	add_span(&b, BYTES("\0\x40\0\0\0\0\0\0"));
	add_span(&b, BYTES("{}"));
	while (b.len < 8 + STREAM_HEADER_MAX_BYTES)
		add_u8(&b, ' ');
	ck_assert_int_eq(feed(bytes_span(&b), &used), PARSE_OK);
	ck_assert_uint_eq(used, b.len);
	ck_assert_str_eq(header.id, "");
	stream_header_fini(&header);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, it_is_a_length_and_json);
	tcase_add_test(tcase, it_may_come_in_any_two_pieces);
	tcase_add_test(tcase, it_may_come_byte_by_byte);
	tcase_add_test(tcase, it_may_be_given_up);
	tcase_add_test(tcase, lunettes_agent_gets_open);
	tcase_add_test(tcase, it_has_a_limit);
	tcase_add_loop_test(tcase, what_is_wrong_is_told, 0, ARRAY_COUNT(bad));
	tcase_add_test(tcase, the_largest_is_taken);
}

UNIT_MAIN("stream_header", add_tests)
