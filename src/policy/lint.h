/*
 * The static checks of `lunette policy check`: names that nobody defines,
 * library members that do not exist, keys that no decision has. It reads the
 * source as LuaJIT's grammar does, with its scopes, and judges only what is
 * certain: it reports nothing that a running script could make right.
 *
 * It must be given text that LuaJIT has compiled: that bounds its recursion.
 */
#ifndef POLICY_LINT_H
#define POLICY_LINT_H

#include "base/text.h"

#define LINT_MAX_PATH 4

/* What the sandbox has; the caller asks the real one. */
struct lint_world {
	/* A path such as string.find. False when it ends in a member that its
	 * (existing, closed) table lacks, or in an unknown global. */
	bool (*knows)(void *data, const struct span *path, size_t count);
	/* The same inside require "lunette"; `path` starts below it. */
	bool (*knows_library)(
	    void *data, const struct span *path, size_t count);
	/* A key of a decision; `within` is empty, or the key that holds the
	 * table with this key, or "conn:terminate" for what that takes. */
	bool (*knows_key)(void *data, struct span within, struct span key);
	void *data;
};

/*
 * Adds a line "file:line: what" to `out` for each finding; returns how many.
 * -ENOMEM: the script has more nested names than memory.
 */
int lint_source(struct span source, const char *file,
    const struct lint_world *world, struct text *out, size_t *count) MUST_CHECK;

#endif
