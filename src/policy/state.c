#include "policy/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

/* C frames between an entry into Lua and its deepest callback may take so much
 * stack; a worker's thread has far more. */
#define MAX_C_STACK (192 * 1024)

/* Steps between two looks at the clock; some 200 us. */
#define STEPS_A_LOOK 50000
/* Instructions between two looks, and while there are slow blocks: see
 * memory.c. The hook itself costs nothing more when it comes often. */
#define OFTEN 10
#define NORMALLY 100
/* The CPU clock is a system call, the other one is not; this much has to pass
 * by that one before this one is asked. */
#define MIN_LOOK_US 200

struct policy *
state_of(lua_State *L)
{
	void *owner;

	(void)lua_getallocf(L, &owner);
	return owner;
}

/* ---- raising ---- */

void
state_raise(lua_State *L, const char *format, ...)
{
	char message[512];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	luaL_where(L, 1);
	lua_pushstring(L, message);
	lua_concat(L, 2);
	lua_error(L);
	assert_failed("lua_error came back", __FILE__, __LINE__);
}

static void on_count(lua_State *L, lua_Debug *ar);

static void
arm(struct policy *p, int instructions)
{
	if (p->hook_every == instructions)
		return;
	p->hook_every = instructions;
	lua_sethook(p->lua, on_count, LUA_MASKCOUNT, instructions);
}

void
state_raise_fault(lua_State *L, enum policy_fault fault)
{
	struct policy *p = state_of(L);

	if (!p->faulted) {
		p->faulted = true;
		p->fault = fault;
	}
	/* From here on every instruction raises again, so that no pcall of the
	 * script can go on. */
	arm(p, 1);
	/* Made beforehand: there may be no memory left for a message. */
	lua_rawgeti(L, LUA_REGISTRYINDEX,
	    p->fault == POLICY_FAULT_MEMORY ? p->memory_text : p->timeout_text);
	lua_error(L);
	assert_failed("lua_error came back", __FILE__, __LINE__);
}

/* ---- limits ---- */

static bool
is_over_budget(struct policy *p)
{
	uint64_t now = clock_thread_cpu_ns();

	p->steps = 0;
	/* The clock costs a system call, so an entry that ends before the
	 * first look never pays for it. */
	if (p->cpu_deadline_ns == 0)
		p->cpu_deadline_ns = now + p->cpu_ms * 1000000;
	return now >= p->cpu_deadline_ns;
}

/* Whether so little time has passed that the CPU clock can wait. */
static bool
is_early(struct policy *p)
{
	int64_t now = clock_us();

	if (now - p->looked_us < MIN_LOOK_US)
		return true;
	p->looked_us = now;
	return false;
}

static void
on_count(lua_State *L, lua_Debug *ar)
{
	struct policy *p = state_of(L);

	(void)ar;
	if (p->phase == 0)
		return;
	if (p->faulted)
		state_raise_fault(L, p->fault);
	if (!is_early(p) && is_over_budget(p))
		state_raise_fault(L, POLICY_FAULT_TIMEOUT);
}

void
state_look_often(struct policy *p)
{
	if (p->hook_every > OFTEN)
		arm(p, OFTEN);
	/* Sets the deadline, if that is not done yet. */
	(void)is_over_budget(p);
}

void
state_spend(lua_State *L, size_t steps)
{
	struct policy *p = state_of(L);

	p->steps += steps;
	if (p->steps < STEPS_A_LOOK)
		return;
	if (p->faulted)
		state_raise_fault(L, p->fault);
	if (is_over_budget(p))
		state_raise_fault(L, POLICY_FAULT_TIMEOUT);
}

void
state_check_stack(lua_State *L)
{
	struct policy *p = state_of(L);
	const char *here = __builtin_frame_address(0);
	size_t depth = here < p->stack_base ? (size_t)(p->stack_base - here)
					    : (size_t)(here - p->stack_base);

	if (depth > MAX_C_STACK)
		state_raise(L, "stack overflow: calls nest too deeply");
}

/* ---- objects ---- */

static void
push_metatable_key(lua_State *L, const struct object_type *type)
{
	lua_pushlightuserdata(L, (void *)(uintptr_t)type);
}

void *
state_new_object(lua_State *L, const struct object_type *type, size_t size)
{
	void *body = lua_newuserdata(L, size);

	memset(body, 0, size);
	memcpy(body, &type->magic, sizeof(type->magic));
	push_metatable_key(L, type);
	lua_rawget(L, LUA_REGISTRYINDEX);
	lua_setmetatable(L, -2);
	return body;
}

static bool
has_magic(const void *body, const struct object_type *type)
{
	return !memcmp(body, &type->magic, sizeof(type->magic));
}

void *
state_object_or_null(lua_State *L, int at, const struct object_type *type)
{
	void *body = NULL;

	if (lua_type(L, at) == LUA_TUSERDATA)
		body = lua_touserdata(L, at);
	if (!body || lua_objlen(L, at) < sizeof(type->magic) ||
	    !has_magic(body, type))
		return NULL;
	return body;
}

void *
state_object(lua_State *L, int at, const struct object_type *type)
{
	void *body = state_object_or_null(L, at, type);

	if (!body)
		luaL_typerror(L, at, type->name);
	return body;
}

static int
lua_object_gc(lua_State *L)
{
	const struct object_type *type = lua_touserdata(L, lua_upvalueindex(1));
	void *body = lua_touserdata(L, 1);

	if (body && has_magic(body, type)) {
		type->close(body);
		memset(body, 0, sizeof(type->magic));
	}
	return 0;
}

static int
lua_object_name(lua_State *L)
{
	const struct object_type *type = lua_touserdata(L, lua_upvalueindex(1));

	lua_pushstring(L, type->name);
	return 1;
}

static void
set_closure(lua_State *L, const struct object_type *type, const char *key,
    lua_CFunction f)
{
	push_metatable_key(L, type);
	lua_pushcclosure(L, f, 1);
	lua_setfield(L, -2, key);
}

static void
push_methods(lua_State *L, const struct object_type *type)
{
	if (!type->methods) {
		lua_pushnil(L);
		return;
	}
	lua_newtable(L);
	for (const luaL_Reg *m = type->methods; m->name; m++) {
		lua_pushcfunction(L, m->func);
		lua_setfield(L, -2, m->name);
	}
}

void
state_register_object(lua_State *L, const struct object_type *type)
{
	push_metatable_key(L, type);
	lua_newtable(L);
	push_methods(L, type);
	if (type->index)
		lua_pushcclosure(L, type->index, 1);
	lua_setfield(L, -2, "__index");
	if (type->close)
		set_closure(L, type, "__gc", lua_object_gc);
	set_closure(L, type, "__tostring", lua_object_name);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_rawset(L, LUA_REGISTRYINDEX);
}

/* ---- waiting ---- */

void
state_check_wait(lua_State *L)
{
	struct policy *p = state_of(L);

	if (p->phase != RUNNING)
		state_raise(L, "a call that waits is not possible here");
	/* Checked here as well: an error can be caught, an outcome not. */
	if (lua_status(L) != 0 || !p->run || p->run->thread != L)
		state_raise(L, "a call that waits is not possible here");
}

static struct policy_outcome *
begin_wait(lua_State *L, enum policy_wait wait)
{
	struct policy *p = state_of(L);

	state_check_wait(L);
	p->run->outcome.state = POLICY_WAITING;
	p->run->outcome.wait = wait;
	return &p->run->outcome;
}

int
state_wait_sleep(lua_State *L, uint64_t ms)
{
	begin_wait(L, POLICY_WAIT_SLEEP)->sleep_ms = ms;
	return lua_yield(L, 0);
}

int
state_wait_resolve(lua_State *L, const struct host *name)
{
	begin_wait(L, POLICY_WAIT_RESOLVE)->resolve_name = *name;
	return lua_yield(L, 0);
}

int
state_wait_terminate(lua_State *L, struct decision *said)
{
	struct policy_run *run = state_of(L)->run;

	/* There is one if an earlier yield was not possible, and the script has
	 * caught that. */
	policy_run_drop_termination(run);
	run->outcome.termination = said->termination;
	run->termination_storage = said->storage;
	begin_wait(L, POLICY_WAIT_TERMINATE);
	return lua_yield(L, 1);
}

const struct resolver_answer *
state_answer(lua_State *L)
{
	struct policy_run *run = state_of(L)->run;

	return run ? run->answer : NULL;
}

/* ---- entries ---- */

void
state_enter(struct policy *p, enum policy_phase phase, uint64_t cpu_ms)
{
	ASSERT(p->phase == 0);
	arm(p, p->slow_blocks > 0 ? OFTEN : NORMALLY);
	p->cpu_ms = cpu_ms;
	p->cpu_deadline_ns = 0;
	p->steps = 0;
	p->stack_base = __builtin_frame_address(0);
	p->faulted = p->state_is_full = p->run_is_full = false;
	p->string_is_long = p->reads_file = false;
	p->gross = 0;
	p->phase = phase;
	if (p->slow_blocks > 0)
		state_look_often(p);
}

void
state_leave(struct policy *p)
{
	p->phase = 0;
	p->run = NULL;
	p->conn = NULL;
	p->summary = NULL;
}

void
state_add_printable(struct text *out, struct span s, bool keep_utf8)
{
	for (size_t i = 0; i < s.len && !out->truncated; i++) {
		uint8_t c = s.data[i];

		if (c < 0x20 || c == 0x7f || (c >= 0x80 && !keep_utf8))
			text_addf(out, "\\x%02x", c);
		else
			text_add_char(out, (char)c);
	}
}

void
state_error_text(lua_State *L, int at, struct text *out)
{
	int type = lua_type(L, at);
	size_t len;
	const char *text;

	/* A table's __tostring would be the script's code again. */
	if (type != LUA_TSTRING) {
		text_addf(out, "the error is no text but a %s",
		    lua_typename(L, type));
		return;
	}
	text = lua_tolstring(L, at, &len);
	if (len == 0)
		text_add(out, "an error without a message");
	state_add_printable(out, span_of(text, len), false);
}

int
state_protected(
    struct policy *p, lua_CFunction f, void *argument, struct text *error)
{
	int status = lua_cpcall(p->lua, f, argument);

	if (status != 0) {
		if (error)
			state_error_text(p->lua, -1, error);
		lua_pop(p->lua, 1);
	}
	return status;
}

/* ---- birth and death ---- */

static char **
copy_list(char *const *from, size_t count)
{
	char **copy = calloc(count + 1, sizeof(*copy));

	for (size_t i = 0; copy && i < count; i++) {
		copy[i] = strdup(from[i]);
		if (!copy[i]) {
			while (i-- > 0)
				free(copy[i]);
			free(copy);
			return NULL;
		}
	}
	return copy;
}

static void
free_list(char *const *list, size_t count)
{
	for (size_t i = 0; list && i < count; i++)
		free(list[i]);
	free((void *)(uintptr_t)list);
}

static bool
copy_settings(struct policy_settings *to, const struct policy_settings *from)
{
	*to = *from;
	to->scripts = copy_list(from->scripts, from->script_count);
	to->path = copy_list(from->path, from->path_count);
	if (to->cpu_ms == 0)
		to->cpu_ms = 50;
	if (to->memory_bytes == 0)
		to->memory_bytes = 64 * 1024 * 1024;
	if (to->run_memory_bytes == 0)
		to->run_memory_bytes = 1024 * 1024;
	return to->scripts && to->path;
}

static int
on_panic(lua_State *L)
{
	(void)L;
	assert_failed(
	    "an error in Lua outside of any protection", __FILE__, __LINE__);
}

static int
reference_text(lua_State *L, const char *text)
{
	lua_pushstring(L, text);
	return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int
lua_build_state(lua_State *L)
{
	struct policy *p = state_of(L);

	p->timeout_text = reference_text(L, "policy timeout");
	p->memory_text = reference_text(L, "policy out of memory");
	/* The free list of references exists from now on, so that giving one
	 * back needs no memory. */
	luaL_unref(L, LUA_REGISTRYINDEX, reference_text(L, ""));
	lua_newtable(L);
	p->frozen = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_newtable(L);
	p->modules = luaL_ref(L, LUA_REGISTRYINDEX);
	sandbox_open(L);
	return 0;
}

static bool
open_state(struct policy *p)
{
	if (!memory_open_reserve(p))
		return false;
	p->lua = lua_newstate(memory_allocate, p);
	if (p->lua && p->reserve_used > 0) {
		lua_close(p->lua);
		p->lua = NULL;
	}
	memory_close_reserve(p);
	return p->lua != NULL;
}

struct policy *
state_new(const struct policy_settings *settings, struct text *error)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (!p)
		goto no_memory;
	p->magic = POLICY_MAGIC;
	list_init(&p->idle);
	list_init(&p->all);
	p->collect_at = SIZE_MAX;
	if (!copy_settings(&p->settings, settings))
		goto no_memory;
	if (settings->jit && !memory_may_become_code()) {
		text_add(error,
		    "edge.policy.jit: this process may not make memory "
		    "executable; turn it off, or MemoryDenyWriteExecute= of "
		    "the service");
		goto fail;
	}
	if (!open_state(p))
		goto no_memory;
	lua_atpanic(p->lua, on_panic);
	if (state_protected(p, lua_build_state, NULL, error) != 0)
		goto fail;
	return p;

no_memory:
	text_add(error, "out of memory");
fail:
	state_free(p);
	return NULL;
}

static void
free_runs(struct policy *p)
{
	struct list *node;

	while ((node = list_shift(&p->all))) {
		struct policy_run *run =
		    LIST_ENTRY(node, struct policy_run, all_node);

		policy_run_drop_termination(run);
		decision_fini(&run->outcome.decision);
		free(run);
	}
}

void
state_free(struct policy *p)
{
	if (!p)
		return;
	ASSERT(p->phase == 0);
	if (p->lua)
		lua_close(p->lua);
	memory_free_spares(p);
	free_runs(p);
	free_list(p->settings.scripts, p->settings.script_count);
	free_list(p->settings.path, p->settings.path_count);
	free(p->scripts);
	p->magic = 0;
	free(p);
}
