/*
 * What all workers and all configuration versions share: dictionaries by name
 * and token buckets. It lives as long as the process, so a reload changes
 * nothing in it. Any thread.
 */
#ifndef POLICY_SHARED_H
#define POLICY_SHARED_H

#include "policy/dictionary.h"
#include "policy/policy.h"
#include "policy/rates.h"

#define SHARED_MAX_DICTIONARIES 64
#define SHARED_MAX_NAME 64

/*
 * The dictionary of this name, made when first asked for. NULL with a literal
 * in `*why`: the name is empty or over 64 bytes, there are 64 already, no
 * memory. Lent; it lives as long as `s`.
 */
struct dictionary *shared_dictionary(
    struct policy_shared *s, struct span name, const char **why);

struct rates *shared_rates(struct policy_shared *s);

#endif
