/*
 * What the keys of a table mean by the table's place, for lint.c.
 */
#ifndef POLICY_LINT_ROLES_H
#define POLICY_LINT_ROLES_H

#include "policy/symbols.h"

/* What a table or a function that stands here is for. */
enum role {
	ROLE_ANY,
	ROLE_SCRIPT, /* what the script returns */
	ROLE_LOOK,   /* a function whose result is a decision */
	ROLE_DECISION,
	ROLE_TERMINATION,   /* what conn:terminate takes */
	ROLE_DECISION_PART, /* a table inside those two; `within` names it */
	ROLE_OPEN_PART,	    /* such a table with keys of the author's choice */
};

/* Judges a key and says what its value is. */
enum role lint_judge_key(struct symbols *n, enum role role, struct span within,
    struct span key, int line);

#endif
