#include "config/index.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"

#define FIRST_SIZE 16

void
index_fini(struct index *x)
{
	free(x->entries);
	*x = (struct index){ 0 };
}

/* The entry of the name, or the free one where it would go. */
static struct index_entry *
find(struct index_entry *entries, size_t size, struct span name)
{
	size_t at = (size_t)hash_bytes(name) & (size - 1);

	while (entries[at].used && !span_equal(entries[at].name, name))
		at = (at + 1) & (size - 1);
	return &entries[at];
}

static int
grow(struct index *x)
{
	size_t size = x->size ? 2 * x->size : FIRST_SIZE;
	struct index_entry *entries = calloc(size, sizeof(*entries));

	if (entries == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < x->size; i++)
		if (x->entries[i].used)
			*find(entries, size, x->entries[i].name) =
			    x->entries[i];
	free(x->entries);
	x->entries = entries;
	x->size = size;
	return 0;
}

int
index_add(struct index *x, struct span name, size_t value, size_t *known)
{
	struct index_entry *entry;

	/* At most half full, so that probes stay short. */
	if (2 * (x->count + 1) > x->size) {
		int err = grow(x);

		if (err < 0)
			return err;
	}
	entry = find(x->entries, x->size, name);
	if (entry->used) {
		*known = entry->value;
		return -EEXIST;
	}
	*entry = (struct index_entry){ name, value, true };
	x->count++;
	return 0;
}

bool
index_find(const struct index *x, struct span name, size_t *value)
{
	const struct index_entry *entry;

	if (x->size == 0)
		return false;
	entry = find(x->entries, x->size, name);
	if (entry->used)
		*value = entry->value;
	return entry->used;
}
