/*
 * One Lua state, as the files of policy/ share it.
 *
 * Everything is reached from a lua_State: state_of() gives the policy that owns
 * it, through the allocator's argument, for any coroutine. A state is in one
 * phase at a time; outside of them (0) no script code runs.
 *
 * Rules for a C function that Lua calls: check arguments with arg_*; hold no
 * memory, lock or descriptor while anything may raise (nearly every lua_*
 * function allocates and may): put what is needed into a userdata first; charge
 * loops that a script can make long with state_spend; call state_check_stack
 * before calling back into Lua. Every raise goes through lua_error and ends at
 * the protected call in run.c or policy.c.
 */
#ifndef POLICY_STATE_H
#define POLICY_STATE_H

#include <lauxlib.h>
#include <lua.h>

#include "base/list.h"
#include "base/log.h"
#include "policy/policy.h"
#include "tls/digest.h"

enum policy_phase {
	LOADING = 1,
	RUNNING = 2,
	CLOSING = 4, /* in a close hook: no wait, no hello */
	ANYTIME = 7,
};

#define POLICY_MAGIC 0x706f6c69u
#define POLICY_RUN_MAGIC 0x72756e21u
#define POLICY_MAX_SUSPENDED 1000
/* In conn:terminate it is strangers who decide how long a run waits: those must
 * not use up what the waits of other runs need. */
#define POLICY_MAX_TERMINATING 10000
#define POLICY_LOAD_CPU_MS 2000
#define POLICY_MAX_ELEMENTS 10000	/* of a table in one library call */
#define POLICY_MAX_TEXT (1024 * 1024)	/* bytes in one library call */
#define POLICY_MAX_SOURCE (1024 * 1024) /* bytes of one script */
#define POLICY_PATH_SIZE 4096
#define POLICY_MAX_STEPS 1000000 /* of one pattern match */
#define POLICY_MAX_STRING (4 * 1024 * 1024)
#define POLICY_SPARE_CLASSES 16

enum hook { HOOK_CONNECT, HOOK_RETRY, HOOK_CLOSE, HOOK_COUNT };

struct policy_script {
	int entry[HOOK_COUNT]; /* registry references; LUA_NOREF: none */
	int line[HOOK_COUNT];  /* where the function is defined */
};

struct error_seen { /* for "once per distinct line per second" */
	uint64_t hash, until_ms;
	unsigned held_back;
};

#define POLICY_ERRORS_SEEN 32

/* Scripts name the same few upstreams again and again. */
struct known_upstream {
	size_t len; /* 0: none */
	char text[48], canonical[64];
};

#define POLICY_KNOWN_UPSTREAMS 64

struct spare { /* a block that nobody uses */
	struct spare *next;
};

struct policy {
	uint32_t magic;
	lua_State *lua;
	/* A deep copy: strings are the policy's own. */
	struct policy_settings settings;
	struct policy_script *scripts;
	size_t loaded; /* how many of them */
	char version[SHA256_HEX_SIZE];
	char version_text[POLICY_VERSION_SIZE]; /* its beginning */

	enum policy_phase phase;  /* 0: no script code runs */
	struct policy_run *run;	  /* the current one, or NULL */
	struct policy_conn *conn; /* of the run or the close hook, or NULL */
	const struct policy_summary *summary; /* in a close hook */

	/* Limits of the present entry into Lua. */
	uint64_t cpu_ms;
	uint64_t cpu_deadline_ns; /* 0: the first look at the clock sets it */
	size_t steps;		  /* charged since the last look */
	const char *stack_base;	  /* C stack at the entry */
	bool faulted;
	enum policy_fault fault;
	int hook_every;	   /* instructions; 0: not armed yet */
	int64_t looked_us; /* when the hook last asked the CPU clock */

	/* Memory. */
	size_t used;  /* by the state */
	size_t gross; /* taken by this entry, frees not subtracted */
	/* Which cap refused. */
	bool state_is_full, run_is_full, string_is_long;
	bool reads_file;      /* a long block is no string now */
	unsigned slow_blocks; /* alive: see memory.c */
	struct spare *spares[POLICY_SPARE_CLASSES];
	size_t spare_bytes;
	bool was_full; /* the state's cap refused since the last collection */
	bool is_spent; /* ... and that collection did not help */
	size_t collect_at;     /* start a collection at this `used` */
	size_t collect_all_at; /* and finish one at this, before a run */
	bool collecting;

	char *reserve; /* while the state is made: see memory.c */
	size_t reserve_used;

	unsigned suspended, terminating; /* runs that wait */
	struct list idle;		 /* runs to use again */
	struct list all;		 /* every run, for policy_free */
	struct error_seen seen[POLICY_ERRORS_SEEN];
	struct known_upstream known[POLICY_KNOWN_UPSTREAMS];

	/* While loading. */
	char folder[POLICY_PATH_SIZE]; /* of the file that is being loaded */

	/* Registry references. */
	int globals; /* the table that each environment starts from */
	int modules; /* what require has loaded */
	int frozen;  /* tables that must not be written: table to true */
	int timeout_text, memory_text; /* error messages made beforehand */
};

/* One connection's coroutine. Kept for the policy's life and used again. */
struct policy_run {
	uint32_t magic;
	struct list idle_node, all_node;
	struct policy *policy;
	lua_State *thread; /* NULL: none yet */
	int thread_ref;
	uint64_t generation; /* odd while in use */
	unsigned script;
	enum hook hook;
	struct policy_conn *conn;
	const struct policy_failure *failure; /* during policy_start */
	const struct resolver_answer *answer; /* during policy_resume */
	size_t gross;
	char ip_text[3][ADDR_TEXT_SIZE]; /* client, peer, server; "": not yet */
	void
	    *termination_storage; /* where outcome.termination's strings live */
	struct policy_outcome outcome;
};

/* Gives up outcome.termination; harmless when there is none. */
void policy_run_drop_termination(struct policy_run *run);

/* The policy that owns a state or coroutine. */
struct policy *state_of(lua_State *L);

/* ---- raising ---- */

/* Raises "file:line: message". */
NORETURN void state_raise(lua_State *L, const char *format, ...)
    PRINTF_LIKE(2, 3);
/* Raises a fault that no pcall can hold up. */
NORETURN void state_raise_fault(lua_State *L, enum policy_fault fault);

/* ---- limits ---- */

/* Counts work that the instruction hook cannot see, in steps of a few
 * nanoseconds; looks at the CPU clock now and then and raises the timeout. */
void state_spend(lua_State *L, size_t steps);
/* From now on to the end of this entry; called by the allocator. */
void state_look_often(struct policy *p);
/* Raises when C calls nest too deeply. Before lua_call. */
void state_check_stack(lua_State *L);

/* ---- arguments: each raises when the argument does not fit ---- */

/* A string of at most `max` bytes. Numbers are not taken for strings. The span
 * lives as long as the value stays on the stack. */
struct span arg_span(lua_State *L, int at, size_t max);
struct span arg_span_or(lua_State *L, int at, size_t max, struct span missing);
/* A whole number within bounds. */
int64_t arg_integer(lua_State *L, int at, int64_t min, int64_t max);
/* Any finite number within bounds. */
double arg_number(lua_State *L, int at, double min, double max);
void arg_table(lua_State *L, int at);
/* Raises "bad argument #at: why". */
NORETURN void arg_refuse(lua_State *L, int at, const char *why);

/* ---- pushing ---- */

void push_span(lua_State *L, struct span s);
void push_ip(lua_State *L, const struct addr *a); /* text without the port */
/* The whole file at `path` as a userdata (so that a raise frees it). Returns
 * the bytes, which live as long as the userdata. Raises when it cannot be read
 * or is over `max` bytes. */
struct span push_file(lua_State *L, const char *path, size_t max);

/* ---- files, while loading ---- */

/* `path` relative to the file that is being loaded; raises outside of loading
 * and when it is too long. */
void state_resolve_path(
    lua_State *L, struct span path, char out[POLICY_PATH_SIZE]);
/* Adds content that decides how scripts behave to the version. Raises without
 * memory. */
void state_add_to_version(lua_State *L, struct span content);

/* ---- objects (userdata) ---- */

/*
 * The body of an object starts with `uint32_t magic`, which state_new_object
 * sets and state_object checks. `close` is called once when the object dies,
 * also at the end of the state; it must not raise.
 */
struct object_type {
	const char *name; /* for messages: "cidrs" */
	uint32_t magic;
	const luaL_Reg *methods; /* ended by a NULL name; may be NULL */
	/* Called for every field; the table of methods, or nil, is its first
	 * upvalue. NULL: there are methods only. */
	lua_CFunction index;
	void (*close)(void *body); /* may be NULL */
};

/* Pushes a new object with a zeroed body. */
void *state_new_object(
    lua_State *L, const struct object_type *type, size_t size);
/* The object at `at`; raises for anything else. */
void *state_object(lua_State *L, int at, const struct object_type *type);
/* The same with NULL instead of a raise. */
void *state_object_or_null(
    lua_State *L, int at, const struct object_type *type);
/* Makes the metatable; called for POLICY_OBJECT_TABLE at state creation. */
void state_register_object(lua_State *L, const struct object_type *type);

/* ---- waiting: `return state_wait_...;` from a C function ---- */

/*
 * The coroutine is suspended; the C function does not come back (Lua 5.1 has no
 * continuations). When the run goes on, the call returns nothing to its Lua
 * caller, so a function with a result is finished by a second C function that
 * lua/lunette.lua calls afterwards:
 *
 *	function lunette.resolve(name)
 *		return core.resolve_result(core.resolve_ask(name))
 *	end
 *
 * Raise when the phase is not RUNNING.
 */
int state_wait_sleep(lua_State *L, uint64_t ms);
int state_wait_resolve(lua_State *L, const struct host *name);
/* Takes what `said` holds; when the run goes on, the call returns the value on
 * top. Never raises but for a yield that is not possible: state_check_wait must
 * have been called before. */
int state_wait_terminate(lua_State *L, struct decision *said);
void state_check_wait(lua_State *L);
/* The answer that policy_resume was given; NULL when there is none. */
const struct resolver_answer *state_answer(lua_State *L);

/* ---- tables that scripts cannot write ---- */

/* Replaces the table on top by a read-only view of it. */
void state_freeze(lua_State *L);
/* Raises if the table at `at` is such a view. For functions that write raw. */
void state_check_writable(lua_State *L, int at);

/* ---- making a state (state.c, sandbox.c, loader.c) ---- */

/* A policy with an open, empty sandbox; NULL without memory. */
struct policy *state_new(
    const struct policy_settings *settings, struct text *error);
void state_free(struct policy *p);

/* Collects everything if the state is nearly full (policy.c). */
void policy_make_room(struct policy *p);

/* The lua_Alloc of all states; the owner is the policy. */
void *memory_allocate(void *owner, void *old, size_t old_size, size_t new_size);
void memory_free_spares(struct policy *p);
/* Around lua_newstate. */
bool memory_open_reserve(struct policy *p);
void memory_close_reserve(struct policy *p);
bool memory_may_become_code(void);

/* Begins and ends an entry into Lua: phase, limits, hook. */
void state_enter(struct policy *p, enum policy_phase phase, uint64_t cpu_ms);
void state_leave(struct policy *p);

/* Calls f(L) with `argument` as a light userdata, protected. Returns the Lua
 * status; the message of a failure goes into `error`, if not NULL. */
int state_protected(
    struct policy *p, lua_CFunction f, void *argument, struct text *error);

/* Opens the libraries and builds the table of globals. Raises. */
void sandbox_open(lua_State *L);
/* Adds the value on top to the globals of all files loaded from now on. */
void sandbox_add_global(lua_State *L, const char *name);
/* Pushes a fresh environment for one file. */
void sandbox_push_environment(lua_State *L);
void sandbox_open_strings(lua_State *L); /* lib_string.c: fills the table */
void sandbox_open_tables(lua_State *L);	 /* lib_table.c: on top */

/* Loads, in the sandbox, the file at `path` (text only) and pushes the
 * function. Raises with "file:line: what". */
void loader_push_file(lua_State *L, const char *path);
/* Runs a file and leaves one result. `folder` is set meanwhile. */
void loader_run_file(lua_State *L, const char *path, int argument_count);
int lua_require(lua_State *L);

/* Pushes the table of library functions (functions.h). */
void library_push(lua_State *L);

/* Adds text so that it stays on one line; unlike text_add_escaped it leaves
 * quotes alone, since the log and the events quote what they write. */
void state_add_printable(struct text *out, struct span s, bool keep_utf8);

/* The message of an error object as one printable line. Never raises. */
void state_error_text(lua_State *L, int at, struct text *out);

#endif
