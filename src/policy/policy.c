#include "policy/policy.h"

#include <stdlib.h>

#include "base/nearest.h"
#include "policy/conn.h"
#include "policy/fault.h"
#include "policy/library.h"

#define DEFAULT_GROWTH (512 * 1024) /* between two collections */
#define STEP_KIB 64
#define URGENT_STEP_KIB 1024

static const char *const hook_names[HOOK_COUNT] = { "connect", "retry",
	"close" };
static const lua_CFunction hook_arguments[HOOK_COUNT] = { lua_connect_arguments,
	lua_retry_arguments, lua_close_arguments };

/* Makes the function that a run starts: one that asks for its arguments inside
 * the protected call, and leaves no frame of its own. */
static const char binder[] = "local hook, arguments = ...\n"
			     "return function()\n"
			     "	return hook(arguments())\n"
			     "end\n";

/* ---- loading ---- */

/* Takes the function on top as a hook of the script. */
static void
bind_hook(lua_State *L, struct policy_script *script, enum hook hook)
{
	lua_Debug ar;

	lua_pushvalue(L, -1);
	lua_getinfo(L, ">S", &ar);
	script->line[hook] = ar.linedefined > 0 ? ar.linedefined : 0;
	if (luaL_loadbufferx(L, binder, sizeof(binder) - 1, "=lunette", "t") !=
	    0)
		lua_error(L);
	lua_insert(L, -2);
	lua_pushcfunction(L, hook_arguments[hook]);
	lua_call(L, 2, 1);
	script->entry[hook] = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int
find_hook(struct span name)
{
	for (int i = 0; i < HOOK_COUNT; i++)
		if (span_is(name, hook_names[i]))
			return i;
	return -1;
}

NORETURN static void
refuse_hook(lua_State *L, const char *path, struct span name)
{
	const char *near = nearest_word(name, hook_names, HOOK_COUNT);
	char shown[64];
	struct text t;

	text_init(&t, shown, sizeof(shown));
	text_add_escaped(&t, name, 32);
	state_raise(L, "%s: \"%s\" is none of connect, retry, close%s%s%s",
	    path, shown, near ? " (did you mean \"" : "", near ? near : "",
	    near ? "\"?)" : "");
}

/* The table of hooks on top. */
static void
bind_table(lua_State *L, struct policy_script *script, const char *path)
{
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		int hook;

		if (lua_type(L, -2) != LUA_TSTRING)
			state_raise(L,
			    "%s: returns a list, not functions by "
			    "name",
			    path);
		hook = find_hook(arg_span(L, lua_gettop(L) - 1, SIZE_MAX));
		if (hook < 0)
			refuse_hook(
			    L, path, arg_span(L, lua_gettop(L) - 1, SIZE_MAX));
		if (!lua_isfunction(L, -1))
			state_raise(L, "%s: %s is a %s, not a function", path,
			    hook_names[hook], luaL_typename(L, -1));
		bind_hook(L, script, (enum hook)hook);
	}
}

static void
load_script(lua_State *L, struct policy_script *script, const char *path)
{
	loader_run_file(L, path, 0);
	if (lua_isfunction(L, -1)) {
		bind_hook(L, script, HOOK_CONNECT);
		return;
	}
	if (!lua_istable(L, -1))
		state_raise(L,
		    "%s: must return a function or a table of functions, "
		    "not a %s",
		    path, luaL_typename(L, -1));
	bind_table(L, script, path);
	lua_pop(L, 1);
}

static int
lua_load_scripts(lua_State *L)
{
	struct policy *p = state_of(L);

	state_add_to_version(L, span_text("lunette policy"));
	for (; p->loaded < p->settings.script_count; p->loaded++)
		load_script(
		    L, &p->scripts[p->loaded], p->settings.scripts[p->loaded]);
	return 0;
}

static int
lua_collect_all(lua_State *L)
{
	lua_gc(L, LUA_GCCOLLECT, 0);
	lua_gc(L, LUA_GCSTOP, 0);
	return 0;
}

/* Whether the state's cap may stop a run that keeps to its own. */
static bool
lacks_room(const struct policy *p)
{
	const struct policy_settings *s = &p->settings;
	size_t needed = s->run_memory_bytes;

	/* With a cap for runs that is near the state's own, what lives is not
	 * to blame. */
	if (needed > s->memory_bytes / 4)
		needed = s->memory_bytes / 4;
	return p->used + needed > s->memory_bytes;
}

/* From here on the caller of policy_collect says when to collect. */
static void
collect_all(struct policy *p)
{
	size_t limit = p->settings.memory_bytes;

	(void)state_protected(p, lua_collect_all, NULL, NULL);
	p->collecting = false;
	p->collect_at = p->used + DEFAULT_GROWTH;
	/* When much is alive, the next full collection waits until there is
	 * something to gain. */
	p->collect_all_at = limit / 4 * 3;
	if (p->collect_all_at < p->used + limit / 16)
		p->collect_all_at = p->used + limit / 16;
	if (p->was_full)
		p->is_spent = lacks_room(p);
	p->was_full = false;
}

static bool
make_scripts(struct policy *p)
{
	size_t count = p->settings.script_count;

	p->scripts = calloc(count ? count : 1, sizeof(*p->scripts));
	if (!p->scripts)
		return false;
	for (size_t i = 0; i < count; i++)
		for (int hook = 0; hook < HOOK_COUNT; hook++)
			p->scripts[i].entry[hook] = LUA_NOREF;
	return true;
}

static bool
load_all(struct policy *p, struct text *error)
{
	struct text why;
	char storage[512];
	int status;

	text_init(&why, storage, sizeof(storage));
	state_enter(p, LOADING, POLICY_LOAD_CPU_MS);
	status = state_protected(p, lua_load_scripts, NULL, &why);
	if (p->faulted) {
		/* Its message names neither the file nor the limit. */
		status = -1;
		text_clear(&why);
		if (p->loaded < p->settings.script_count)
			text_addf(&why, "%s: ", p->settings.scripts[p->loaded]);
		text_add(&why, "cannot be loaded: ");
		fault_describe(p, p->fault, &why);
	}
	state_leave(p);
	text_add_span(error, text_span(&why));
	return status == 0;
}

struct policy *
policy_new(const struct policy_settings *settings, struct text *error)
{
	struct policy *p = state_new(settings, error);

	if (!p)
		return NULL;
	if (!make_scripts(p)) {
		text_add(error, "out of memory");
		goto fail;
	}
	if (!load_all(p, error))
		goto fail;
	collect_all(p);
	return p;

fail:
	state_free(p);
	return NULL;
}

void
policy_free(struct policy *p)
{
	if (!p)
		return;
	ASSERT(p->magic == POLICY_MAGIC);
	state_free(p);
}

const char *
policy_version(const struct policy *p)
{
	return p->version_text;
}

bool
policy_has_retry(const struct policy *p, unsigned script)
{
	return p->scripts[script].entry[HOOK_RETRY] != LUA_NOREF;
}

bool
policy_has_close(const struct policy *p, unsigned script)
{
	return p->scripts[script].entry[HOOK_CLOSE] != LUA_NOREF;
}

/* ---- collecting ---- */

struct collect_step {
	int kib;
	bool finished;
};

static int
lua_collect_step(lua_State *L)
{
	struct collect_step *step = lua_touserdata(L, 1);

	step->finished = lua_gc(L, LUA_GCSTEP, step->kib);
	lua_gc(L, LUA_GCSTOP, 0); /* a step starts the automatic one again */
	return 0;
}

void
policy_collect(struct policy *p)
{
	struct collect_step step = { STEP_KIB, false };

	if (p->was_full) {
		collect_all(p);
		return;
	}
	if (!p->collecting && p->used < p->collect_at)
		return;
	p->collecting = true;
	if (p->used > p->settings.memory_bytes / 2)
		step.kib = URGENT_STEP_KIB;
	if (state_protected(p, lua_collect_step, &step, NULL) != 0)
		return;
	if (step.finished) {
		p->collecting = false;
		p->collect_at = p->used + p->used / 2 + DEFAULT_GROWTH;
	}
}

void
policy_make_room(struct policy *p)
{
	if (p->was_full || p->used >= p->collect_all_at)
		collect_all(p);
}

bool
policy_is_spent(const struct policy *p)
{
	return p->is_spent;
}

struct policy *
policy_renew(const struct policy *p, struct text *error)
{
	struct policy *fresh = policy_new(&p->settings, error);

	if (!fresh)
		return NULL;
	if (strcmp(fresh->version, p->version) != 0) {
		text_add(
		    error, "the files have changed since they were loaded");
		policy_free(fresh);
		return NULL;
	}
	return fresh;
}
