/*
 * A span: bytes that somebody else owns.
 *
 * Text from the wire is a span, never a C string: it may hold NULs. A span is
 * passed by value and lives no longer than the bytes it points at.
 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *data;
	size_t len;
};

static inline struct span
span_of(const void *data, size_t len)
{
	return (struct span){ data, len };
}

/* The bytes of a C string, without its NUL; empty for NULL. */
static inline struct span
span_text(const char *text)
{
	return (struct span){ (const uint8_t *)text, text ? strlen(text) : 0 };
}

static inline bool
span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || !memcmp(a.data, b.data, a.len));
}

static inline bool
span_is(struct span a, const char *text)
{
	return span_equal(a, span_text(text));
}

/* For printf("%.*s", SPAN_ARG(s)); only for text known to be printable. */
#define SPAN_ARG(s) (int)(s).len, (const char *)(s).data

#endif
