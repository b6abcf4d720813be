/*
 * An index: from names to numbers, to find duplicates among many names in
 * linear time. Names are borrowed and must outlive the index. One thread at a
 * time.
 */
#ifndef CONFIG_INDEX_H
#define CONFIG_INDEX_H

#include "base/compiler.h"
#include "base/span.h"

struct index_entry {
	struct span name;
	size_t value;
	bool used;
};

/* The caller's storage; all zero is an empty index. */
struct index {
	struct index_entry *entries;
	size_t count, size; /* size: 0 or a power of two */
};

void index_fini(struct index *x);

/* Returns 0; -EEXIST with the value that the name has already in `*known`; or
 * -ENOMEM. */
int index_add(
    struct index *x, struct span name, size_t value, size_t *known) MUST_CHECK;

/* The value of a name, if it has one. */
bool index_find(const struct index *x, struct span name, size_t *value);

#endif
