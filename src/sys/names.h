/*
 * The resolver's memory: host names with what is known of them and who waits
 * for it. A table of bounded size; the least recently asked name that nobody
 * needs makes room for a new one.
 *
 * Nothing here locks: resolver.c calls it under its lock.
 */
#ifndef SYS_NAMES_H
#define SYS_NAMES_H

#include "base/list.h"
#include "sys/resolver.h"

/*
 * A name is `flying` while c-ares holds a pointer to it or is about to: it is
 * off the list of recent names then, and cannot be forgotten. Those who wait
 * get -ETIMEDOUT at the deadline; the question flies on, and its answer still
 * comes into the table.
 */
struct name {
	struct resolver *resolver;
	struct name *next; /* in the bucket */
	uint64_t hash;
	struct host host;

	struct list recent; /* on names.recent when not flying */
	struct list todo;   /* on the resolver's list of those to be asked */
	struct list waited; /* on the resolver's list of those with askers */
	bool flying;
	uint64_t deadline_ms; /* of those who wait */
	struct mail *waiting, **waiting_last;

	uint64_t expires_ms; /* of what follows; 0: nothing is known */
	int error;
	size_t addr_count;
	struct addr *addrs;
};

struct names {
	struct name **buckets;
	size_t count;
	struct list recent; /* least recently asked first */
};

int names_init(struct names *t) MUST_CHECK; /* 0 or -ENOMEM */
void names_fini(struct names *t);

/* The name's entry, a new one if need be. NULL when the table is full of names
 * in flight, or without memory. */
struct name *names_find(
    struct names *t, struct resolver *r, const struct host *host);
void names_expire_all(struct names *t);

/* Takes off and puts back on the list of those that may be forgotten. */
void name_set_flying(struct names *t, struct name *n, bool flying);
void name_touch(struct names *t, struct name *n);

/* What is known from now on. Without memory an answer becomes -EIO. */
void name_set_failure(struct name *n, int error, uint64_t expires_ms);
void name_set_addrs(struct name *n, const struct addr *addrs, size_t count,
    uint64_t expires_ms);

void name_answer(const struct name *n, struct resolver_answer *out);

#endif
