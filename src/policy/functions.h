/*
 * What Lua may call: one line a function. Registration, the sandbox test and
 * lunette-policy(7) derive from these tables.
 *
 * A dotted name ("log.info") makes a table inside. The C function is called
 * with the script's arguments, only in one of the phases given; elsewhere the
 * call raises "lunette.NAME: not while ...". It follows the rules of state.h:
 * it owns nothing while it may raise.
 *
 * Public functions land in the table that lua/lunette.lua gets as its second
 * argument and passes on (wrapped or as they are); internal ones are for that
 * file alone.
 */
#ifndef POLICY_FUNCTIONS_H
#define POLICY_FUNCTIONS_H

/* X(Lua name, C function, phases, may wait, help: one sentence) */
#define POLICY_FUNCTION_TABLE(X)

/* X(Lua name, C function, phases) */
#define POLICY_INTERNAL_TABLE(X) X("mark_line", lua_mark_line, ANYTIME)

/* Objects that library functions make: X(struct object_type variable). Their
 * metatables are registered when a state is made. */
#define POLICY_OBJECT_TABLE(X) \
	X(conn_object)         \
	X(tls_object)          \
	X(hello_object)        \
	X(geo_object)          \
	X(network_object)

#endif
