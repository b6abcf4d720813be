/*
 * The C functions and objects that the tables of functions.h name, declared
 * from those tables; and what the manual needs of them.
 */
#ifndef POLICY_LIBRARY_H
#define POLICY_LIBRARY_H

#include "policy/functions.h"
#include "policy/state.h"

#define DECLARE_FUNCTION(name, call, phases, waits, help) \
	int call(lua_State *L);
POLICY_FUNCTION_TABLE(DECLARE_FUNCTION)
#undef DECLARE_FUNCTION
#define DECLARE_INTERNAL(name, call, phases) int call(lua_State *L);
POLICY_INTERNAL_TABLE(DECLARE_INTERNAL)
#undef DECLARE_INTERNAL
#define DECLARE_OBJECT(type) extern const struct object_type type;
POLICY_OBJECT_TABLE(DECLARE_OBJECT)
#undef DECLARE_OBJECT

/* What lunette.cas made, lent; NULL for anything else. Never raises. */
struct trust *cas_trust(lua_State *L, int at);

#endif
