#include "wire/frame.h"

#define TYPE_SHIFT 4
#define FLAGS_MASK 0x0f
#define NUMBER_BYTES 4
#define GOAWAY_FIXED_BYTES 8

static uint32_t
load_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static void
store_u32(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 24);
	p[1] = (uint8_t)(value >> 16);
	p[2] = (uint8_t)(value >> 8);
	p[3] = (uint8_t)value;
}

static enum parse
bad(const char **why, const char *message)
{
	*why = message;
	return PARSE_BAD;
}

static enum parse
more(size_t *needed, size_t count)
{
	*needed = count;
	return PARSE_MORE;
}

/* What is wrong with the header, or NULL. */
static const char *
header_fault(unsigned type, uint32_t stream, uint32_t length)
{
	if (type > FRAME_GOAWAY)
		return "a frame of an unknown type";
	if (stream > FRAME_MAX_STREAM)
		return "a stream id over 31 bits";
	if (type == FRAME_GOAWAY && stream != 0)
		return "a GOAWAY for one stream";
	if (type != FRAME_GOAWAY && stream == 0)
		return "a frame for stream 0";
	if (type == FRAME_RST && length != NUMBER_BYTES)
		return "an RST that is not of 4 bytes";
	if (type == FRAME_WNDINC && length != NUMBER_BYTES)
		return "a WNDINC that is not of 4 bytes";
	if (type == FRAME_GOAWAY && length < GOAWAY_FIXED_BYTES)
		return "a GOAWAY of less than 8 bytes";
	if (type == FRAME_GOAWAY &&
	    length > GOAWAY_FIXED_BYTES + FRAME_MAX_TEXT_BYTES)
		return "a GOAWAY whose text is too long";
	return NULL;
}

static enum parse
read_payload(const uint8_t *payload, struct frame *out, const char **why)
{
	switch (out->type) {
	case FRAME_RST:
		out->error = load_u32(payload);
		return PARSE_OK;
	case FRAME_WNDINC:
		out->increment = load_u32(payload);
		if (out->increment > FRAME_MAX_WINDOW)
			return bad(why, "an increment over 31 bits");
		return PARSE_OK;
	case FRAME_GOAWAY:
		out->last_stream = load_u32(payload);
		out->error = load_u32(payload + NUMBER_BYTES);
		out->text = span_of(payload + GOAWAY_FIXED_BYTES,
		    out->length - GOAWAY_FIXED_BYTES);
		return PARSE_OK;
	case FRAME_DATA:
		break;
	}
	return PARSE_OK;
}

enum parse
frame_parse(
    struct span wire, struct frame *out, size_t *needed, const char **why)
{
	uint32_t word, stream;
	unsigned type;
	const char *fault;

	if (wire.len < FRAME_HEADER_BYTES)
		return more(needed, FRAME_HEADER_BYTES);
	word = load_u32(wire.data);
	stream = load_u32(wire.data + NUMBER_BYTES);
	type = (word & 0xff) >> TYPE_SHIFT;
	fault = header_fault(type, stream, word >> 8);
	if (fault)
		return bad(why, fault);
	*out = (struct frame){
		.type = (enum frame_type)type,
		.stream = stream,
		.length = word >> 8,
		.bytes = FRAME_HEADER_BYTES,
	};
	if (type == FRAME_DATA) {
		out->flags = word & FLAGS_MASK & (FRAME_FIN | FRAME_SYN);
		return PARSE_OK;
	}
	out->bytes += out->length;
	if (wire.len < out->bytes)
		return more(needed, out->bytes);
	return read_payload(wire.data + FRAME_HEADER_BYTES, out, why);
}

static size_t
write_header(uint8_t *out, enum frame_type type, unsigned flags, size_t length,
    uint32_t stream)
{
	ASSERT(length <= FRAME_MAX_LENGTH && stream <= FRAME_MAX_STREAM);
	store_u32(
	    out, (uint32_t)length << 8 | (uint32_t)type << TYPE_SHIFT | flags);
	store_u32(out + NUMBER_BYTES, stream);
	return FRAME_HEADER_BYTES;
}

size_t
frame_write_data(uint8_t *out, uint32_t stream, size_t length, unsigned flags)
{
	return write_header(out, FRAME_DATA, flags, length, stream);
}

static size_t
write_number(
    uint8_t *out, enum frame_type type, uint32_t stream, uint32_t number)
{
	size_t len = write_header(out, type, 0, NUMBER_BYTES, stream);

	store_u32(out + len, number);
	return len + NUMBER_BYTES;
}

size_t
frame_write_rst(uint8_t *out, uint32_t stream, uint32_t error)
{
	return write_number(out, FRAME_RST, stream, error);
}

size_t
frame_write_wndinc(uint8_t *out, uint32_t stream, uint32_t increment)
{
	ASSERT(increment <= FRAME_MAX_WINDOW);
	return write_number(out, FRAME_WNDINC, stream, increment);
}

size_t
frame_write_goaway(
    uint8_t *out, uint32_t last_stream, uint32_t error, struct span text)
{
	size_t len;

	if (text.len > FRAME_MAX_TEXT_BYTES)
		text.len = FRAME_MAX_TEXT_BYTES;
	len = write_header(
	    out, FRAME_GOAWAY, 0, GOAWAY_FIXED_BYTES + text.len, 0);
	store_u32(out + len, last_stream);
	store_u32(out + len + NUMBER_BYTES, error);
	len += GOAWAY_FIXED_BYTES;
	if (text.len > 0)
		memcpy(out + len, text.data, text.len);
	return len + text.len;
}
