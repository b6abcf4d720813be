/*
 * Messages of a session: the first byte says which, the rest is its JSON. What
 * is taken is written, read and written again, the same; and as the header of a
 * stream it may be cut anywhere.
 *
 * Sources: base tunnel/fields.c tunnel/fields_write.c tunnel/json_input.c
 * Sources: tunnel/message.c tunnel/message_auth.c tunnel/message_bind.c
 * Sources: tunnel/message_data.c tunnel/stream_header.c tunnel/ngrok_error.c
 * Packages: jansson
 * Options: -max_len=4096 -only_ascii=0
 */
#include "fuzz.h"

#include <errno.h>

#include "message_kinds.h"
#include "tunnel/ngrok_error.h"
#include "tunnel/stream_header.h"

static char storage[MESSAGE_ERROR_SIZE];
static struct text error;

static void
check_error(int result)
{
	ASSERT(result == 0 || result == -EPROTO);
	ASSERT((result == 0) == (error.len == 0));
	ASSERT(!error.truncated);
	for (size_t i = 0; i < error.len; i++)
		ASSERT(storage[i] >= 0x20 && storage[i] < 0x7f);
}

static bool
is_zero(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len > 0 && *at == 0)
		at++, len--;
	return len == 0;
}

static int
read_kind(
    const struct message_kind *kind, struct span json, union any_message *out)
{
	int result;

	memset(out, 0, sizeof(*out));
	text_init(&error, storage, sizeof(storage));
	result = kind->read(json, out, &error);
	check_error(result);
	ASSERT(result == 0 || is_zero(out, sizeof(*out)));
	return result;
}

/* What has no default to be written is left out, so the first JSON may be
 * shorter than what was read; from then on nothing changes. */
static void
check_kind(const struct message_kind *kind, struct span json)
{
	struct span first, second;
	union any_message m;

	if (read_kind(kind, json, &m) != 0)
		return;
	ASSERT(kind->write(&m, &first) == 0);
	kind->fini(&m);
	ASSERT(read_kind(kind, first, &m) == 0);
	ASSERT(kind->write(&m, &second) == 0);
	kind->fini(&m);
	ASSERT(span_equal(first, second));
	message_wipe(&first);
	message_wipe(&second);
}

static enum parse
feed(struct stream_header_reader *r, struct span bytes, size_t *used,
    struct stream_header *out)
{
	uint8_t *copy = exact_copy(bytes);
	enum parse parse;

	text_init(&error, storage, sizeof(storage));
	parse =
	    stream_header_feed(r, span_of(copy, bytes.len), used, out, &error);
	free(copy);
	ASSERT(*used <= bytes.len);
	ASSERT(parse != PARSE_MORE || *used == bytes.len);
	check_error(parse == PARSE_BAD ? -EPROTO : 0);
	return parse;
}

/* In one piece and in two, it is the same header. */
static void
check_stream_header(struct span bytes, size_t cut)
{
	struct stream_header_reader r = { 0 };
	struct stream_header whole, parts;
	size_t used, first, rest = 0;
	enum parse parse = feed(&r, bytes, &used, &whole);
	enum parse again;

	stream_header_reader_fini(&r);
	again = feed(&r, span_of(bytes.data, cut), &first, &parts);
	if (again == PARSE_MORE)
		again = feed(&r, span_of(bytes.data + cut, bytes.len - cut),
		    &rest, &parts);
	stream_header_reader_fini(&r);
	ASSERT(again == parse);
	ASSERT(first + rest == used);
	if (parse == PARSE_OK) {
		ASSERT(!strcmp(whole.id, parts.id));
		ASSERT(span_equal(
		    message_span(&whole.open), message_span(&parts.open)));
	}
	stream_header_fini(&whole);
	stream_header_fini(&parts);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest;
	uint8_t *copy;

	if (size == 0)
		return 0;
	rest = span_of(data + 1, size - 1);
	if (data[0] < 'a' || data[0] >= 'a' + (int)ARRAY_COUNT(message_kinds)) {
		check_stream_header(rest, rest.len * data[0] / 256);
		ngrok_error_find(rest);
		return 0;
	}
	copy = exact_copy(rest);
	check_kind(&message_kinds[data[0] - 'a'], span_of(copy, rest.len));
	free(copy);
	return 0;
}
