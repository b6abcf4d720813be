/* Bytes in hex, as published test vectors are given. For one thread. */
#ifndef TESTS_HEX_H
#define TESTS_HEX_H

#include <stdio.h>

#include "base/compiler.h"
#include "base/span.h"

/* Valid until the eighth call from now. */
static inline struct span
from_hex(const char *hex)
{
	static uint8_t all[8][512];
	static unsigned next;
	uint8_t *out = all[next++ % ARRAY_COUNT(all)];
	size_t len = strlen(hex) / 2;

	ASSERT(len <= sizeof(all[0]) && strlen(hex) % 2 == 0);
	for (size_t i = 0; i < len; i++) {
		unsigned byte;

		ASSERT(sscanf(hex + 2 * i, "%2x", &byte) == 1);
		out[i] = (uint8_t)byte;
	}
	return span_of(out, len);
}

#define ASSERT_HEX(bytes, size, hex)                                    \
	do {                                                            \
		struct span expected_ = from_hex(hex);                  \
		ck_assert_uint_eq(size, expected_.len);                 \
		ck_assert_mem_eq(bytes, expected_.data, expected_.len); \
	} while (0)

#endif
