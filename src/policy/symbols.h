/*
 * Names and scopes in a Lua source, for lint.c: which local or global a name
 * is, what is known of its value, and whether what is used exists.
 */
#ifndef POLICY_SYMBOLS_H
#define POLICY_SYMBOLS_H

#include "policy/lint.h"

enum root { ROOT_NONE, ROOT_GLOBAL, ROOT_LIBRARY, ROOT_CONN };

/* What is known of an expression's value: a path from a global, from
 * require "lunette" or from a hook's connection, or nothing. `checked` members
 * have been judged already. */
struct known {
	enum root root;
	struct span path[LINT_MAX_PATH];
	size_t count, checked;
	int line;
};

struct local {
	struct span name;
	struct known value;
};

struct defined {
	struct span name;
	struct defined *next;
};

struct symbols {
	const struct lint_world *world;
	const char *file;
	struct text *out;
	size_t findings;
	bool collecting; /* first pass: only note the globals that are set */
	bool no_memory;
	struct local *locals;
	size_t local_count, local_size;
	struct defined *defined;
	int function_depth;
};

void symbols_fini(struct symbols *n);

/* Adds "file:line: what 'name'", but not while collecting. */
void symbols_finding(
    struct symbols *n, int line, const char *what, struct span name);

/* Opens a local; setting local_count back closes it. */
void symbols_declare(
    struct symbols *n, struct span name, const struct known *value);
struct local *symbols_find_local(struct symbols *n, struct span name);

void symbols_set_global(struct symbols *n, struct span name, int line);

/* What a name stands for here. */
struct known symbols_resolve(struct symbols *n, struct span name, int line);
/* That, and ".name". */
void symbols_add_member(struct symbols *n, struct known *k, struct span name);

/* The value is used: reports what does not exist, once. */
void symbols_use(struct symbols *n, struct known *k);

#endif
