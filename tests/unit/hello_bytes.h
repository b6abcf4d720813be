/*
 * ClientHellos for tests: a description with a sane default for every field,
 * and what turns it into a message and into records.
 */
#ifndef TESTS_HELLO_BYTES_H
#define TESTS_HELLO_BYTES_H

#include "bytes.h"

struct hello_spec {
	uint16_t version;
	size_t session_id_bytes;
	struct span ciphers;
	struct span compression;
	struct span extensions;
	bool has_extensions;
};

static inline struct hello_spec
hello_spec_of(struct span extensions)
{
	return (struct hello_spec){
		.version = 0x0303,
		.session_id_bytes = 32,
		.ciphers = BYTES("\x13\x01\x13\x02\xc0\x2f"),
		.compression = BYTES("\0"),
		.extensions = extensions,
		.has_extensions = true,
	};
}

static inline void
add_message(struct bytes *out, const struct hello_spec *spec)
{
	size_t start = out->len;
	size_t len;

	add_u8(out, 1);
	add_u24(out, 0);
	add_u16(out, spec->version);
	add_zeros(out, 32);
	add_u8(out, spec->session_id_bytes);
	add_zeros(out, spec->session_id_bytes);
	add_u16(out, spec->ciphers.len);
	add_span(out, spec->ciphers);
	add_u8(out, spec->compression.len);
	add_span(out, spec->compression);
	if (spec->has_extensions) {
		add_u16(out, spec->extensions.len);
		add_span(out, spec->extensions);
	}
	len = out->len - start - 4;
	out->data[start + 1] = (uint8_t)(len >> 16);
	out->data[start + 2] = (uint8_t)(len >> 8);
	out->data[start + 3] = (uint8_t)len;
}

static inline void
add_record(struct bytes *out, uint8_t type, struct span payload)
{
	add_u8(out, type);
	add_u16(out, 0x0301);
	add_u16(out, payload.len);
	add_span(out, payload);
}

/* The message cut into records of at most `size` bytes. */
static inline void
add_records(struct bytes *out, struct span message, size_t size)
{
	while (message.len > 0) {
		size_t len = message.len < size ? message.len : size;

		add_record(out, 22, span_of(message.data, len));
		message.data += len;
		message.len -= len;
	}
}

static inline void
add_extension(struct bytes *out, size_t type, struct span body)
{
	add_u16(out, type);
	add_u16(out, body.len);
	add_span(out, body);
}

static inline void
add_name(struct bytes *out, struct span name)
{
	add_u16(out, 0);
	add_u16(out, name.len + 5);
	add_u16(out, name.len + 3);
	add_u8(out, 0);
	add_u16(out, name.len);
	add_span(out, name);
}

/* One hello in records of at most `size` bytes. */
static inline void
add_hello(struct bytes *out, const struct hello_spec *spec, size_t size)
{
	static struct bytes message;

	message.len = 0;
	add_message(&message, spec);
	add_records(out, bytes_span(&message), size);
}

#endif
