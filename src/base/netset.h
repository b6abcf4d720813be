/*
 * A set of IPv4 and IPv6 networks, each with a value: a radix tree (two, one a
 * family) with path compression. A lookup costs at most the prefix length in
 * steps, however many networks there are.
 *
 * Life: netset_new, netset_add while loading, then read-only and free to be
 * read by any number of threads; netset_free.
 */
#ifndef BASE_NETSET_H
#define BASE_NETSET_H

#include "base/addr.h"

struct netset;

struct netset *netset_new(void); /* NULL without memory */
void netset_free(struct netset *set);

/* Adds or replaces. Returns 0 or -ENOMEM; the set stays as it was then. */
int netset_add(
    struct netset *set, const struct network *net, uint32_t value) MUST_CHECK;

/* The longest match, its value through `value` if that is not NULL. */
bool netset_lookup(
    const struct netset *set, const struct addr *a, uint32_t *value);

/* Each network, in the order of their addresses, IPv4 first. `visit` returns
 * false to stop; then this does, too. */
bool netset_walk(const struct netset *set,
    bool (*visit)(const struct network *net, void *arg), void *arg);

/* The same networks, whatever their values and the order they came in. */
bool netset_same(const struct netset *a, const struct netset *b);

size_t netset_count(const struct netset *set);

/* Bytes of heap that the set holds. */
size_t netset_bytes(const struct netset *set);

#endif
