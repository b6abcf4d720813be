/* Lets each allocation of reading and writing fail in turn, jansson's too. */
#include "message_bench.h"

#include <errno.h>

#include "allocations.h"
#include "tunnel/stream_header.h"

static int
read_failing(const struct message_kind *kind, struct span json, unsigned at)
{
	int result;

	memset(&message, 0xee, sizeof(message));
	text_init(&error, error_storage, sizeof(error_storage));
	allocations_begin(at);
	result = kind->read(json, &message, &error);
	allocations_end();
	return result;
}

START_TEST(any_allocation_of_reading_may_fail)
{
	const struct message_kind *kind = kind_of(message_samples[_i].kind);
	struct span json = span_text(message_samples[_i].json);
	unsigned total;

	ck_assert_int_eq(read_failing(kind, json, 0), 0);
	total = allocation_count;
	ck_assert_uint_gt(total, 0);
	kind->fini(&message);
	for (unsigned n = 1; n <= total; n++)
		ck_assert_int_eq(read_failing(kind, json, n), -ENOMEM);
}
END_TEST

START_TEST(any_allocation_of_writing_may_fail)
{
	const struct message_kind *kind = kind_of(message_samples[_i].kind);
	struct span out;
	unsigned total;
	int result;

	ck_assert_int_eq(
	    read_failing(kind, span_text(message_samples[_i].json), 0), 0);
	allocations_begin(0);
	result = kind->write(&message, &out);
	total = allocations_end();
	ck_assert_int_eq(result, 0);
	message_wipe(&out);
	for (unsigned n = 1; n <= total; n++) {
		allocations_begin(n);
		result = kind->write(&message, &out);
		allocations_end();
		ck_assert_int_eq(result, -ENOMEM);
		ck_assert_ptr_null(out.data);
	}
	kind->fini(&message);
}
END_TEST

/* `count` times the same between two others. */
static char *
repeat(const char *before, const char *item, size_t count, const char *after)
{
	size_t len = strlen(item);
	char *json = malloc(strlen(before) + count * len + strlen(after) + 1);
	char *at = stpcpy(json, before);

	for (size_t i = 0; i < count; i++)
		at = stpcpy(at, item);
	strcpy(at, after);
	return json;
}

static const struct {
	const char *before, *item, *after;
	size_t count;
} greedy[] = {
	{ "{\"x\":[{}", ",{}", "]}", 8190 },
	{ "{\"x\":[[]", ",[]", "]}", 8190 },
	{ "{\"x\":[1.5", ",1.5", "]}", 16380 },
	{ "{\"x\":[\"\"", ",\"\"", "]}", 16380 },
	{ "{\"x\":[{\"a\":1}", ",{\"a\":1}", "]}", 8190 },
	{ "{\"x\":[{\"a\":{\"a\":{}}}", ",{\"a\":{\"a\":{}}}", "]}", 4090 },
	{ "{\"x\":\"", "y", "\"}", 1048000 },
	{ "{\"x\":\"", "\\u20ac", "\"}", 170000 },
	{ "{\"", "y", "\":1}", 1048000 },
	{ "{\"x\":0.", "1", "}", 500000 },
	{ "{\"x\":0", " ", "}", 1048000 },
};

/* What jansson takes for the worst messages fits into the block. */
START_TEST(jansson_allocates_nothing_by_itself)
{
	char *json = repeat(greedy[_i].before, greedy[_i].item,
	    greedy[_i].count, greedy[_i].after);
	unsigned total;
	int result;

	text_init(&error, error_storage, sizeof(error_storage));
	allocations_begin(0);
	result = message_read_empty(span_text(json), &error);
	total = allocations_end();
	ck_assert_msg(result == 0, "%s", error_storage);
	ck_assert_uint_eq(total, 1);
	free(json);
}
END_TEST

START_TEST(as_many_different_keys_as_may_be)
{
	char *json = malloc(MESSAGE_MAX_BYTES), *at = json;
	unsigned total;
	int result;

	at += sprintf(at, "{\"x\":1");
	for (unsigned i = 0; i < MESSAGE_MAX_VALUES - 2; i++)
		at += sprintf(at, ",\"%u\":{}", i);
	strcpy(at, "}");
	text_init(&error, error_storage, sizeof(error_storage));
	allocations_begin(0);
	result = message_read_empty(span_text(json), &error);
	total = allocations_end();
	ck_assert_int_eq(result, -EPROTO); /* each object counts as well */
	ck_assert_uint_eq(total, 0);
	at = json + sprintf(json, "{\"x\":1");
	for (unsigned i = 0; i < MESSAGE_MAX_VALUES - 2; i++)
		at += sprintf(at, ",\"%u\":0", i);
	strcpy(at, "}");
	allocations_begin(0);
	result = message_read_empty(span_text(json), &error);
	total = allocations_end();
	ck_assert_int_eq(result, 0);
	ck_assert_uint_eq(total, 1);
	free(json);
}
END_TEST

static enum parse
feed_failing(struct span bytes, unsigned at)
{
	struct stream_header_reader r = { 0 };
	struct stream_header out;
	enum parse parse;
	size_t used;

	text_init(&error, error_storage, sizeof(error_storage));
	allocations_begin(at);
	parse = stream_header_feed(&r, bytes, &used, &out, &error);
	allocations_end();
	stream_header_fini(&out);
	stream_header_reader_fini(&r);
	return parse;
}

START_TEST(any_allocation_of_a_stream_header_may_fail)
{
	struct stream_header h = { .id = message_lend("i") };
	struct span bytes;
	unsigned total;
	int result;

	allocations_begin(0);
	result = stream_header_write(&h, &bytes);
	total = allocations_end();
	ck_assert_int_eq(result, 0);
	for (unsigned n = 1; n <= total; n++) {
		struct span none;

		allocations_begin(n);
		result = stream_header_write(&h, &none);
		allocations_end();
		ck_assert_int_eq(result, -ENOMEM);
		ck_assert_ptr_null(none.data);
	}
	ck_assert_int_eq(feed_failing(bytes, 0), PARSE_OK);
	total = allocation_count;
	for (unsigned n = 1; n <= total; n++) {
		ck_assert_int_eq(feed_failing(bytes, n), PARSE_BAD);
		ck_assert_str_eq(error_storage, "out of memory");
	}
	message_wipe(&bytes);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, any_allocation_of_reading_may_fail, 0,
	    ARRAY_COUNT(message_samples));
	tcase_add_loop_test(tcase, any_allocation_of_writing_may_fail, 0,
	    ARRAY_COUNT(message_samples));
	tcase_add_loop_test(
	    tcase, jansson_allocates_nothing_by_itself, 0, ARRAY_COUNT(greedy));
	tcase_add_test(tcase, as_many_different_keys_as_may_be);
	tcase_add_test(tcase, any_allocation_of_a_stream_header_may_fail);
}

UNIT_MAIN_TOGETHER("message_memory", add_tests)
