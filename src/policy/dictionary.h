/*
 * A dictionary that all workers share: lunette.shared(name).
 *
 * Strings, numbers and booleans by key, each with an optional end of life. It
 * holds at most so many bytes; then it takes nothing new, so that keys made
 * from what strangers send cannot eat the memory. Sharded by the key's hash, a
 * mutex a shard; any thread. Time is an argument (monotonic milliseconds), so
 * that one caller sees one time.
 */
#ifndef POLICY_DICTIONARY_H
#define POLICY_DICTIONARY_H

#include "base/compiler.h"
#include "base/span.h"

#define DICTIONARY_MAX_BYTES ((size_t)16 << 20)
#define DICTIONARY_MAX_KEY 1024
#define DICTIONARY_MAX_VALUE 65536

struct dictionary;

enum value_kind { VALUE_NONE, VALUE_STRING, VALUE_NUMBER, VALUE_BOOLEAN };

struct value {
	enum value_kind kind;
	struct span string;
	double number;
	bool boolean;
};

/* NULL without memory. */
struct dictionary *dictionary_new(size_t max_bytes);
void dictionary_free(struct dictionary *d);

/*
 * Reads a key: VALUE_NONE when there is none or its life is over. A string is
 * copied into `buffer` and `out->string` points there. -ENOBUFS when it is
 * larger than `size`: then `out->string.len` tells how much it needs.
 */
int dictionary_get(struct dictionary *d, struct span key, uint64_t now_ms,
    struct value *out, char *buffer, size_t size) MUST_CHECK;

/*
 * Stores a copy, for `ttl_ms` milliseconds (0: without end). VALUE_NONE
 * deletes. Returns 0, -ENOSPC when the dictionary is full, -E2BIG for a key or
 * value over its limit, -ENOMEM; after an error the old value is still there.
 */
int dictionary_set(struct dictionary *d, struct span key,
    const struct value *value, uint64_t ttl_ms, uint64_t now_ms) MUST_CHECK;

/*
 * Adds to a number in one step; a missing key counts as 0 and then gets
 * `ttl_ms`, a present one keeps its end of life. `out` gets the sum. Errors as
 * dictionary_set, and -EINVAL when the value is no number.
 */
int dictionary_add(struct dictionary *d, struct span key, double by,
    uint64_t ttl_ms, uint64_t now_ms, double *out) MUST_CHECK;

/* True if the key was there. */
bool dictionary_delete(struct dictionary *d, struct span key, uint64_t now_ms);

/* What it holds now, for tests and metrics. */
size_t dictionary_bytes(const struct dictionary *d);

#endif
