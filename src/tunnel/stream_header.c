#include "tunnel/stream_header.h"

#include <errno.h>
#include <stdlib.h>

#include "tunnel/fields.h"

#define OPEN_MAX_BYTES 8192

static const struct field stream_header_table[] = {
	TEXT_FIELD("Id", stream_header, id, MESSAGE_ID_MAX),
	TEXT_FIELD("ClientAddr", stream_header, client_addr, MESSAGE_WORD_MAX),
	TEXT_FIELD("Proto", stream_header, proto, MESSAGE_WORD_MAX),
	TEXT_FIELD("EdgeType", stream_header, edge_type, MESSAGE_WORD_MAX),
	BOOL_FIELD("PassthroughTLS", stream_header, passthrough_tls),
	{
	    .name = "Open",
	    .kind = FIELD_BYTES,
	    .max = OPEN_MAX_BYTES,
	    .spare = true,
	    FIELD_AT(stream_header, open),
	},
};
static const struct fields stream_header_fields =
    FIELDS_OF(stream_header_table);

MESSAGE_FINI(stream_header)

/* --- writing --- */

static void
put_length(uint8_t out[8], uint64_t length)
{
	for (size_t i = 0; i < 8; i++)
		out[i] = (uint8_t)(length >> (8 * i));
}

int
stream_header_write(const struct stream_header *h, struct span *out)
{
	struct span json;
	uint8_t *bytes;
	int result = fields_write(
	    &stream_header_fields, h, STREAM_HEADER_MAX_BYTES, &json);

	*out = span_of(NULL, 0);
	if (result < 0)
		return result;
	bytes = malloc(STREAM_PREFIX_BYTES + json.len);
	if (bytes) {
		put_length(bytes, json.len);
		memcpy(bytes + STREAM_PREFIX_BYTES, json.data, json.len);
		*out = span_of(bytes, STREAM_PREFIX_BYTES + json.len);
	}
	message_wipe(&json);
	return bytes ? 0 : -ENOMEM;
}

/* --- reading --- */

void
stream_header_reader_fini(struct stream_header_reader *r)
{
	free(r->json);
	*r = (struct stream_header_reader){ 0 };
}

static uint64_t
get_length(const uint8_t prefix[8])
{
	uint64_t length = 0;

	for (size_t i = 8; i-- > 0;)
		length = length << 8 | prefix[i];
	return length;
}

/* Moves what still belongs there; how much. */
static size_t
move(uint8_t *to, size_t *len, size_t wanted, struct span from)
{
	size_t count = wanted - *len;

	if (count > from.len)
		count = from.len;
	if (count > 0)
		memcpy(to + *len, from.data, count);
	*len += count;
	return count;
}

/* The length is judged before anything of that size is allocated. */
static enum parse
take_prefix(
    struct stream_header_reader *r, struct span *bytes, struct text *error)
{
	size_t used =
	    move(r->prefix, &r->prefix_len, sizeof(r->prefix), *bytes);
	uint64_t length;

	*bytes = span_of(bytes->data + used, bytes->len - used);
	if (r->prefix_len < sizeof(r->prefix))
		return PARSE_MORE;
	length = get_length(r->prefix);
	if (length == 0 || length > STREAM_HEADER_MAX_BYTES) {
		text_add(error, "the stream's header has a length that is not "
				"possible");
		return PARSE_BAD;
	}
	r->wanted = (size_t)length;
	r->json = malloc(r->wanted);
	if (r->json)
		return PARSE_OK;
	text_add(error, "out of memory");
	return PARSE_BAD;
}

static enum parse
feed(struct stream_header_reader *r, struct span *bytes,
    struct stream_header *out, struct text *error)
{
	size_t used;
	int result;

	if (!r->json) {
		enum parse parse = take_prefix(r, bytes, error);

		if (parse != PARSE_OK)
			return parse;
	}
	used = move(r->json, &r->json_len, r->wanted, *bytes);
	*bytes = span_of(bytes->data + used, bytes->len - used);
	if (r->json_len < r->wanted)
		return PARSE_MORE;
	result =
	    fields_read(&stream_header_fields, span_of(r->json, r->json_len),
		STREAM_HEADER_MAX_BYTES, out, sizeof(*out), error);
	if (result == -ENOMEM)
		text_add(error, "out of memory");
	return result == 0 ? PARSE_OK : PARSE_BAD;
}

enum parse
stream_header_feed(struct stream_header_reader *r, struct span bytes,
    size_t *used, struct stream_header *out, struct text *error)
{
	struct span rest = bytes;
	enum parse parse;

	ASSERT(!r->done);
	memset(out, 0, sizeof(*out));
	*used = 0;
	if (bytes.len == 0)
		return PARSE_MORE;
	parse = feed(r, &rest, out, error);
	*used = bytes.len - rest.len;
	if (parse != PARSE_MORE) {
		stream_header_reader_fini(r);
		r->done = true;
	}
	return parse;
}
