/*
 * Bytes for tests of wire formats: a buffer that messages are put together in,
 * byte by byte, so that a test can say exactly what is wrong with them.
 */
#ifndef TESTS_BYTES_H
#define TESTS_BYTES_H

#include <stdlib.h>

#include "base/compiler.h"
#include "base/span.h"

/* A span of a string literal that may hold NULs. */
#define BYTES(literal) span_of(literal, sizeof(literal) - 1)

struct bytes {
	uint8_t data[160 * 1024];
	size_t len;
};

static inline struct span
bytes_span(const struct bytes *b)
{
	return span_of(b->data, b->len);
}

static inline void
add_span(struct bytes *b, struct span s)
{
	ASSERT(s.len <= sizeof(b->data) - b->len);
	if (s.len > 0)
		memcpy(b->data + b->len, s.data, s.len);
	b->len += s.len;
}

static inline void
add_u8(struct bytes *b, size_t value)
{
	uint8_t byte = (uint8_t)value;

	add_span(b, span_of(&byte, 1));
}

static inline void
add_u16(struct bytes *b, size_t value)
{
	add_u8(b, value >> 8);
	add_u8(b, value);
}

static inline void
add_u24(struct bytes *b, size_t value)
{
	add_u8(b, value >> 16);
	add_u16(b, value);
}

static inline void
add_zeros(struct bytes *b, size_t count)
{
	while (count-- > 0)
		add_u8(b, 0);
}

/* A copy on the heap of exactly this size, so that the address sanitizer sees
 * a read of the byte after it. The caller frees it. */
static inline uint8_t *
exact_copy(struct span s)
{
	uint8_t *copy = malloc(s.len > 0 ? s.len : 1);

	ASSERT(copy);
	if (s.len > 0)
		memcpy(copy, s.data, s.len);
	return copy;
}

#endif
