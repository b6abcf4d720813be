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
#define POLICY_FUNCTION_TABLE(X)                                              \
	X("active", lua_active, ANYTIME, false,                               \
	    "Counts the live connections that conn:track tagged with a key.") \
	X("cas", lua_cas, LOADING, false,                                     \
	    "Opens a bundle of CA certificates.")                             \
	X("cidrs", lua_cidrs, LOADING, false,                                 \
	    "Makes a set of networks, each with a value.")                    \
	X("cidrs_file", lua_cidrs_file, LOADING, false,                       \
	    "Makes a set of networks from a file.")                           \
	X("domains", lua_domains, LOADING, false,                             \
	    "Makes a table of host names and wildcards.")                     \
	X("log.debug", lua_log_debug, ANYTIME, false,                         \
	    "Writes a line to the log.")                                      \
	X("log.error", lua_log_error, ANYTIME, false,                         \
	    "Writes a line to the log.")                                      \
	X("log.info", lua_log_info, ANYTIME, false,                           \
	    "Writes a line to the log.")                                      \
	X("log.warn", lua_log_warn, ANYTIME, false,                           \
	    "Writes a line to the log.")                                      \
	X("pool", lua_pool, LOADING, false,                                   \
	    "Makes a pool of upstreams with balancing and health checks.")    \
	X("rate", lua_rate, ANYTIME, false,                                   \
	    "Takes a token from a bucket that all workers share.")            \
	X("shared", lua_shared, ANYTIME, false,                               \
	    "Opens a dictionary that all workers share.")                     \
	X("sleep", lua_sleep, RUNNING, true, "Waits.")

/* X(Lua name, C function, phases) */
#define POLICY_INTERNAL_TABLE(X)                   \
	X("mark_line", lua_mark_line, ANYTIME)     \
	X("resolve_ask", lua_resolve_ask, RUNNING) \
	X("resolve_result", lua_resolve_result, RUNNING)

/* Objects that library functions make: X(struct object_type variable). Their
 * metatables are registered when a state is made. */
#define POLICY_OBJECT_TABLE(X) \
	X(conn_object)         \
	X(tls_object)          \
	X(hello_object)        \
	X(geo_object)          \
	X(network_object)      \
	X(cas_object)          \
	X(cidrs_object)        \
	X(domains_object)      \
	X(pool_object)         \
	X(shared_object)

#endif
