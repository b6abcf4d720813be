#include "wire/hello.h"

/* Bytes appended to the caller's storage; what does not fit sets `overflow`. */
struct builder {
	uint8_t *data;
	size_t len, size;
	bool overflow;
};

static void
put(struct builder *b, struct span s)
{
	if (b->overflow || s.len > b->size - b->len) {
		b->overflow = true;
		return;
	}
	if (s.len > 0)
		memcpy(b->data + b->len, s.data, s.len);
	b->len += s.len;
}

static void
put_u8(struct builder *b, uint8_t value)
{
	put(b, span_of(&value, 1));
}

static void
put_u16(struct builder *b, size_t value)
{
	uint8_t bytes[] = { (uint8_t)(value >> 8), (uint8_t)value };

	put(b, span_of(bytes, sizeof(bytes)));
}

/* Leaves room for a length of two bytes; the result is for close_u16. */
static size_t
open_u16(struct builder *b)
{
	put_u16(b, 0);
	return b->len;
}

static void
close_u16(struct builder *b, size_t start)
{
	size_t len = b->len - start;

	if (b->overflow || len > UINT16_MAX) {
		b->overflow = true;
		return;
	}
	b->data[start - 2] = (uint8_t)(len >> 8);
	b->data[start - 1] = (uint8_t)len;
}

/* Bytes that only have to be there: random values and a key share. */
static void
put_filler(struct builder *b, uint8_t first, size_t count)
{
	for (size_t i = 0; i < count; i++)
		put_u8(b, (uint8_t)(first + i));
}

static void
put_server_name(struct builder *b, struct span name)
{
	size_t extension, list;

	put_u16(b, 0);
	extension = open_u16(b);
	list = open_u16(b);
	put_u8(b, 0);
	put_u16(b, name.len);
	put(b, name);
	close_u16(b, list);
	close_u16(b, extension);
	if (name.len > UINT16_MAX)
		b->overflow = true;
}

static void
put_alpn(struct builder *b, const char *const alpn[], size_t count)
{
	size_t extension, list;

	put_u16(b, 16);
	extension = open_u16(b);
	list = open_u16(b);
	for (size_t i = 0; i < count; i++) {
		struct span name = span_text(alpn[i]);

		if (name.len == 0 || name.len > UINT8_MAX)
			b->overflow = true;
		put_u8(b, (uint8_t)name.len);
		put(b, name);
	}
	close_u16(b, list);
	close_u16(b, extension);
}

static void
put_extensions(struct builder *b)
{
	static const uint8_t fixed[] = {
		/* supported_groups: x25519, secp256r1 */
		0, 10, 0, 6, 0, 4, 0, 29, 0, 23,
		/* ec_point_formats: uncompressed */
		0, 11, 0, 2, 1, 0,
		/* signature_algorithms */
		0, 13, 0, 14, 0, 12, 4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1,
		/* extended_master_secret */
		0, 23, 0, 0,
		/* supported_versions: 1.3, 1.2 */
		0, 43, 0, 5, 4, 3, 4, 3, 3,
		/* psk_key_exchange_modes: with (EC)DHE */
		0, 45, 0, 2, 1, 1,
		/* key_share: x25519, whose 32 bytes follow */
		0, 51, 0, 38, 0, 36, 0, 29, 0, 32
	};

	put(b, span_of(fixed, sizeof(fixed)));
	put_filler(b, 9, 32);
}

static void
put_body(struct builder *b, struct span server_name, const char *const alpn[],
    size_t alpn_count)
{
	static const uint8_t ciphers[] = { 0x13, 0x01, 0x13, 0x02, 0x13, 0x03,
		0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30 };
	size_t block;

	put_u16(b, 0x0303);
	put_filler(b, 0x40, 32);
	put_u8(b, 32);
	put_filler(b, 0x80, 32);
	put_u16(b, sizeof(ciphers));
	put(b, span_of(ciphers, sizeof(ciphers)));
	put_u8(b, 1);
	put_u8(b, 0);
	block = open_u16(b);
	if (server_name.len > 0)
		put_server_name(b, server_name);
	if (alpn_count > 0)
		put_alpn(b, alpn, alpn_count);
	put_extensions(b);
	close_u16(b, block);
}

size_t
hello_build(uint8_t *out, size_t size, struct span server_name,
    const char *const alpn[], size_t alpn_count)
{
	static const uint8_t head[] = { 22, 3, 1 };
	struct builder b = { .data = out, .size = size };
	size_t record, message;

	put(&b, span_of(head, sizeof(head)));
	record = open_u16(&b);
	put_u8(&b, 1); /* client_hello, and the first of three length bytes */
	put_u8(&b, 0);
	message = open_u16(&b);
	put_body(&b, server_name, alpn, alpn_count);
	close_u16(&b, message);
	close_u16(&b, record);
	/* One record only: RFC 8446 section 5.1 allows it 16,384 bytes. */
	if (b.len - record > 16384)
		b.overflow = true;
	return b.overflow ? 0 : b.len;
}
