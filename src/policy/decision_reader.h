/*
 * Reading a script's table without trust: what decision_read.c (decisions) and
 * decision_tls.c (termination and upstream TLS) share. Nothing here raises or
 * allocates in Lua, so it needs no protection.
 *
 * A read function finds its value on top of the stack and the key below it. It
 * returns false after it has said why not.
 */
#ifndef POLICY_DECISION_READER_H
#define POLICY_DECISION_READER_H

#include "policy/state.h"

/* Everything a decision can hold, with escapes and NULs. */
#define READER_ARENA_SIZE 24576
#define READER_MAX_WORD 256 /* bytes of a label, or of a closed set's word */
#define READER_MAX_KEYS 24  /* of one table of keys */

struct reader {
	lua_State *L; /* the value to read is on top */
	struct policy *policy;
	struct policy_conn *conn;
	struct decision *d;
	struct text *why;
	const char *subject; /* "decision": begins every complaint */
	const char *within;  /* "timeouts" while its keys are read */
	bool says_how_to_deny;
	size_t used;
	char arena[READER_ARENA_SIZE];
};

typedef bool read_function(struct reader *r, const char *key);

struct key {
	const char *name;
	read_function *read;
};

struct key_table {
	const struct key *keys;
	size_t count; /* at most READER_MAX_KEYS */
};

/* Not an initialiser: that would clear the arena. */
void decision_reader_init(struct reader *r, lua_State *L, struct policy *p,
    struct policy_conn *c, struct decision *d, struct text *why);

/* Says why and returns false. */
bool decision_refuse(struct reader *r, const char *key, const char *format, ...)
    PRINTF_LIKE(3, 4);
bool decision_refuse_type(
    struct reader *r, const char *key, const char *wanted);

bool decision_boolean(struct reader *r, const char *key, bool *out);
bool decision_number(
    struct reader *r, const char *key, double min, double max, double *out);
bool decision_whole(
    struct reader *r, const char *key, int64_t min, int64_t max, int64_t *out);
bool decision_bytes(
    struct reader *r, const char *key, size_t max, struct span *out);

/* Copies, with a NUL; lives in the arena until decision_settle. */
char *decision_keep(struct reader *r, struct span s);

/* Calls `read` for each pair of the table on top, which has no metatable. */
bool decision_each(struct reader *r, const char *key, read_function *read);
/* The pair on the stack by a table of keys. */
bool decision_pair(struct reader *r, const struct key_table *t);
/* The table on top as the part `key` of a decision; `read` is for its pairs. */
bool decision_part(struct reader *r, const char *key, read_function *read);

const struct key *decision_find_key(
    const struct key_table *t, struct span name);

/* Moves what the decision's strings point at from the reader to the heap. */
bool decision_settle(struct reader *r);

#endif
