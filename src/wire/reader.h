/*
 * Reading fields out of bytes from the network, big endian.
 *
 * A reader never goes past its bytes. The first field that does not fit sets
 * `failed`, and from then on every field is zero or empty, so that a parser may
 * read a whole structure and look once. No allocation, no state elsewhere.
 */
#ifndef WIRE_READER_H
#define WIRE_READER_H

#include "base/span.h"

struct reader {
	struct span rest;
	bool failed;
};

static inline struct reader
reader_of(struct span bytes)
{
	return (struct reader){ bytes, false };
}

static inline struct span
read_bytes(struct reader *r, size_t len)
{
	struct span taken = r->rest;

	if (r->failed || len > r->rest.len) {
		r->failed = true;
		r->rest.len = 0;
		taken.len = 0;
		return taken;
	}
	taken.len = len;
	if (len > 0)
		r->rest.data += len;
	r->rest.len -= len;
	return taken;
}

static inline uint8_t
read_u8(struct reader *r)
{
	struct span s = read_bytes(r, 1);

	return s.len == 1 ? s.data[0] : 0;
}

static inline uint16_t
read_u16(struct reader *r)
{
	struct span s = read_bytes(r, 2);

	if (s.len != 2)
		return 0;
	return (uint16_t)(s.data[0] << 8 | s.data[1]);
}

/* Bytes with their length in front, in one byte or two. */
static inline struct span
read_vector8(struct reader *r)
{
	return read_bytes(r, read_u8(r));
}

static inline struct span
read_vector16(struct reader *r)
{
	return read_bytes(r, read_u16(r));
}

/* True if all was read and nothing is left over. */
static inline bool
reader_done(const struct reader *r)
{
	return !r->failed && r->rest.len == 0;
}

#endif
