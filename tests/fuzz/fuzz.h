/*
 * What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput
 * and lines in its first comment for tests/fuzz/run: "Sources:" (folders of
 * src/, or files such as config/tree.c), "Options:" (of libFuzzer) and, if it
 * needs any, "Packages:" (for pkg-config). A broken invariant is an ASSERT,
 * which aborts.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline bool
is_inside(struct span part, struct span whole)
{
	return part.len == 0 ||
	       (part.data >= whole.data && part.len <= whole.len &&
		   (size_t)(part.data - whole.data) <= whole.len - part.len);
}

/* Prefix lengths to try: all of a short input, about 64 of a long one. */
static inline size_t
next_prefix(size_t len, size_t size)
{
	return len + 1 + (len < 96 ? 0 : size / 64);
}

#endif
