/*
 * Hashes and randomness. hash_bytes is SipHash-1-3 keyed once per process, so
 * that nobody outside can build collisions for our tables; it is not the same
 * across processes. hash_stable is FNV-1a with a final mix, the same everywhere
 * and for ever: for consistent hashing, not for tables fed by strangers.
 * Any thread.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/span.h"

uint64_t hash_bytes(struct span s);
uint64_t hash_stable(struct span s);

/* From getrandom(2); asserts that the kernel gives it. */
void random_bytes(void *out, size_t len);

/* A quick pseudo-random number for load balancing, never for secrets. */
uint64_t random_quick(void);

#endif
