/*
 * Names and wildcards to values; the most specific match wins: the exact name,
 * then "*." patterns from the longest to the shortest. A wildcard does not
 * match its own base name. One hash probe a label at most, however many names.
 *
 * Life: routes_new, routes_add and routes_remove by one thread at a time while
 * nobody else looks, otherwise any thread; routes_free. Values are the
 * caller's, never freed here.
 */
#ifndef WIRE_ROUTES_H
#define WIRE_ROUTES_H

#include "wire/host.h"

struct routes;

struct routes *routes_new(void); /* NULL without memory */
void routes_free(struct routes *r);

/* `pattern` as host_parse_pattern made it. Returns 0, -EEXIST (the first value
 * stays) or -ENOMEM. */
int routes_add(
    struct routes *r, const struct host *pattern, void *value) MUST_CHECK;

/* Forgets this very pattern. Its value, or NULL when there is none. */
void *routes_remove(struct routes *r, const struct host *pattern);

/* NULL when nothing matches. */
void *routes_find(const struct routes *r, struct span name);

/* The value of this very pattern, without matching. */
void *routes_get(const struct routes *r, const struct host *pattern);

size_t routes_count(const struct routes *r);

#endif
