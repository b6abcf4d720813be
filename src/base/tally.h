/*
 * A tally: counts by key, shared by all threads (live connections of a client
 * address, of a policy key). Sharded by hash, a mutex a shard; a key exists
 * only while its count is above zero, so memory follows what is live.
 */
#ifndef BASE_TALLY_H
#define BASE_TALLY_H

#include "base/span.h"

struct tally;
struct tally_key; /* a held count; give it back exactly once */

struct tally *tally_new(void);	  /* NULL without memory */
void tally_free(struct tally *t); /* every key must have been given back */

/* Counts one more. Returns the handle to give back, NULL without memory; the
 * new count through `count` if not NULL. */
struct tally_key *tally_hold(struct tally *t, struct span key, uint32_t *count);
void tally_release(struct tally *t, struct tally_key *key);

uint32_t tally_count(struct tally *t, struct span key);

#endif
