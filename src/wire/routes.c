#include "wire/routes.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"

#define FIRST_SIZE 64 /* a power of two, as every size */

struct route {
	uint64_t hash;
	void *value;
	bool is_wildcard;
	uint8_t len;
	char text[]; /* a wildcard's is without "*." */
};

/* Open addressing with linear steps, at most half full. */
struct routes {
	struct route **slots;
	size_t size, count;
	size_t wildcard_count;
};

struct routes *
routes_new(void)
{
	struct routes *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->size = FIRST_SIZE;
	r->slots = calloc(r->size, sizeof(struct route *));
	if (!r->slots) {
		free(r);
		return NULL;
	}
	return r;
}

void
routes_free(struct routes *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->size; i++)
		free(r->slots[i]);
	free(r->slots);
	free(r);
}

static bool
is_route(const struct route *route, struct span text, bool is_wildcard)
{
	return route->is_wildcard == is_wildcard &&
	       span_equal(span_of(route->text, route->len), text);
}

/* The slot that holds the route, or the free one where it belongs. */
static size_t
slot_of(
    const struct routes *r, struct span text, bool is_wildcard, uint64_t hash)
{
	size_t i = hash & (r->size - 1);

	while (r->slots[i] && !(r->slots[i]->hash == hash &&
				  is_route(r->slots[i], text, is_wildcard)))
		i = (i + 1) & (r->size - 1);
	return i;
}

static int
grow(struct routes *r)
{
	struct routes bigger = { .size = r->size * 2 };

	bigger.slots = calloc(bigger.size, sizeof(struct route *));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < r->size; i++) {
		struct route *route = r->slots[i];

		if (route)
			bigger.slots[slot_of(&bigger,
			    span_of(route->text, route->len),
			    route->is_wildcard, route->hash)] = route;
	}
	free(r->slots);
	r->slots = bigger.slots;
	r->size = bigger.size;
	return 0;
}

/* The text that is hashed and kept: a wildcard's without its star. */
static struct span
base_of(const struct host *pattern)
{
	struct span text = host_span(pattern);

	if (host_is_wildcard(pattern))
		return span_of(text.data + 2, text.len - 2);
	return text;
}

static struct route *
route_new(const struct host *pattern, uint64_t hash, void *value)
{
	struct span text = base_of(pattern);
	struct route *route = malloc(sizeof(*route) + text.len);

	if (!route)
		return NULL;
	route->hash = hash;
	route->value = value;
	route->is_wildcard = host_is_wildcard(pattern);
	route->len = (uint8_t)text.len;
	memcpy(route->text, text.data, text.len);
	return route;
}

int
routes_add(struct routes *r, const struct host *pattern, void *value)
{
	uint64_t hash = hash_bytes(base_of(pattern));
	bool is_wildcard = host_is_wildcard(pattern);
	struct route *route;
	size_t slot = slot_of(r, base_of(pattern), is_wildcard, hash);

	ASSERT(value);
	if (r->slots[slot])
		return -EEXIST;
	if ((r->count + 1) * 2 > r->size) {
		if (grow(r) != 0)
			return -ENOMEM;
		slot = slot_of(r, base_of(pattern), is_wildcard, hash);
	}
	route = route_new(pattern, hash, value);
	if (!route)
		return -ENOMEM;
	r->slots[slot] = route;
	r->count++;
	r->wildcard_count += is_wildcard;
	return 0;
}

/*
 * Closes the gap: whoever stands behind it in the same run and would be found
 * from it or before it moves up (Knuth, The Art of Computer Programming, volume
 * 3, section 6.4, algorithm R).
 */
static void
close_gap(struct routes *r, size_t gap)
{
	size_t mask = r->size - 1;

	for (size_t i = (gap + 1) & mask; r->slots[i]; i = (i + 1) & mask) {
		size_t home = r->slots[i]->hash & mask;

		if (((i - home) & mask) < ((i - gap) & mask))
			continue;
		r->slots[gap] = r->slots[i];
		r->slots[i] = NULL;
		gap = i;
	}
}

void *
routes_remove(struct routes *r, const struct host *pattern)
{
	bool is_wildcard = host_is_wildcard(pattern);
	size_t slot = slot_of(
	    r, base_of(pattern), is_wildcard, hash_bytes(base_of(pattern)));
	struct route *route = r->slots[slot];
	void *value;

	if (!route)
		return NULL;
	value = route->value;
	free(route);
	r->slots[slot] = NULL;
	r->count--;
	r->wildcard_count -= is_wildcard;
	close_gap(r, slot);
	return value;
}

static void *
probe(const struct routes *r, struct span text, bool is_wildcard)
{
	size_t slot = slot_of(r, text, is_wildcard, hash_bytes(text));

	return r->slots[slot] ? r->slots[slot]->value : NULL;
}

/* Takes the first label and its dot off; false if it was the last one. */
static bool
drop_label(struct span *name)
{
	const uint8_t *dot =
	    name->len > 0 ? memchr(name->data, '.', name->len) : NULL;

	if (!dot)
		return false;
	name->len -= (size_t)(dot + 1 - name->data);
	name->data = dot + 1;
	return true;
}

void *
routes_find(const struct routes *r, struct span name)
{
	void *value = probe(r, name, false);

	if (r->wildcard_count == 0)
		return value;
	while (!value && drop_label(&name))
		value = probe(r, name, true);
	return value;
}

void *
routes_get(const struct routes *r, const struct host *pattern)
{
	return probe(r, base_of(pattern), host_is_wildcard(pattern));
}

size_t
routes_count(const struct routes *r)
{
	return r->count;
}
