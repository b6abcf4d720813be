/*
 * From the table that a script returns to a decision. Nothing is taken on
 * trust: an unknown key, a wrong type or a value out of range is refused, and
 * the caller denies.
 */
#ifndef POLICY_DECISION_READ_H
#define POLICY_DECISION_READ_H

#include "policy/state.h"

/*
 * Reads the table at 1 of L. Neither raises nor allocates in Lua, so it needs
 * no protection; metatables are not looked at. False with the reason in `why`;
 * then `d` is as decision_init left it, but for the line.
 */
bool decision_read(lua_State *L, struct policy *p, struct policy_conn *c,
    struct decision *d, struct text *why);

/*
 * The same for what conn:terminate takes: the table on top of L. Of the
 * decision only `termination` and `storage` are used.
 */
bool decision_read_termination(lua_State *L, struct policy *p,
    struct policy_conn *c, struct decision *d, struct text *why);

/* Whether a decision has this key; `within`: the key whose table it is in
 * ("timeouts"), empty for the decision itself, "conn:terminate" for what that
 * takes. For policy_check. */
bool decision_knows_key(struct span within, struct span key);

#endif
