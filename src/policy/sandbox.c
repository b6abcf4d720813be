/*
 * The globals that scripts get. An environment alone is no sandbox (getfenv and
 * loadstring lead out of it), so the libraries are opened by hand, what is
 * wanted is copied out by name, and the rest is forgotten.
 */
#include "policy/library.h"

#include <luajit.h>
#include <lualib.h>

#include "base/hash.h"

/* What is taken from the base library as it is. Each either does a bounded
 * amount of work or runs script code that the instruction hook sees. */
#define BASE_TABLE(X)   \
	X(assert)       \
	X(error)        \
	X(getmetatable) \
	X(ipairs)       \
	X(next)         \
	X(pairs)        \
	X(rawequal)     \
	X(rawget)       \
	X(select)       \
	X(setmetatable) \
	X(tostring)     \
	X(type)

#define MATH_TABLE(X) \
	X(abs)        \
	X(acos)       \
	X(asin)       \
	X(atan)       \
	X(atan2)      \
	X(ceil)       \
	X(cos)        \
	X(cosh)       \
	X(deg)        \
	X(exp)        \
	X(floor)      \
	X(fmod)       \
	X(frexp)      \
	X(huge)       \
	X(ldexp)      \
	X(log)        \
	X(log10)      \
	X(max)        \
	X(min)        \
	X(modf)       \
	X(pi)         \
	X(pow)        \
	X(rad)        \
	X(random)     \
	X(sin)        \
	X(sinh)       \
	X(sqrt)       \
	X(tan)        \
	X(tanh)

#define BIT_TABLE(X) \
	X(arshift)   \
	X(band)      \
	X(bnot)      \
	X(bor)       \
	X(bswap)     \
	X(bxor)      \
	X(lshift)    \
	X(rol)       \
	X(ror)       \
	X(rshift)    \
	X(tobit)     \
	X(tohex)

/* Gone, and what to use instead: for the message. */
#define ABSENT_TABLE(X)                                                    \
	X("print", "use lunette.log.info")                                 \
	X("_G", "there is no table of globals")                            \
	X("os", "scripts do not reach the system")                         \
	X("io", "scripts do not reach files")                              \
	X("debug", "it would lead out of the sandbox")                     \
	X("ffi", "it would lead out of the sandbox")                       \
	X("jit", "see edge.policy.jit")                                    \
	X("package", "use require")                                        \
	X("module", "return a table from the file instead")                \
	X("coroutine", "calls that wait suspend the script by themselves") \
	X("load", "scripts are files")                                     \
	X("loadstring", "scripts are files")                               \
	X("loadfile", "use require")                                       \
	X("dofile", "use require")                                         \
	X("getfenv", "it would lead out of the sandbox")                   \
	X("setfenv", "it would lead out of the sandbox")                   \
	X("newproxy", "use setmetatable")                                  \
	X("collectgarbage", "the collector runs by itself")                \
	X("lunette", "write: local lunette = require \"lunette\"")

#define NAME_ENTRY(name) #name,
static const char *const base_names[] = { BASE_TABLE(NAME_ENTRY) };
static const char *const math_names[] = { MATH_TABLE(NAME_ENTRY) };
static const char *const bit_names[] = { BIT_TABLE(NAME_ENTRY) };
#undef NAME_ENTRY

static const struct {
	const char *name, *advice;
} absent[] = {
#define ABSENT_ENTRY(name, advice) { name, advice },
	ABSENT_TABLE(ABSENT_ENTRY)
#undef ABSENT_ENTRY
};

/*
 * pcall and xpcall are Lua functions, so that a script can wait inside them;
 * `check` (below) raises a fault of the budget or of memory again. The handler
 * of xpcall runs after the error, not inside it, where no hook would see it.
 */
static const char prelude[] = "local pcall, check = ...\n"
			      "local function handled(handler, ok, ...)\n"
			      "	if ok then return ok, ... end\n"
			      "	return ok, handler(...)\n"
			      "end\n"
			      "return function(f, ...)\n"
			      "	return check(pcall(f, ...))\n"
			      "end, function(f, handler, ...)\n"
			      "	return handled(handler, check(pcall(f, ...)))\n"
			      "end\n";

static int
lua_check(lua_State *L)
{
	struct policy *p = state_of(L);

	if (p->phase != 0 && p->faulted)
		state_raise_fault(L, p->fault);
	return lua_gettop(L);
}

/* ---- freezing ---- */

static int
lua_refuse_write(lua_State *L)
{
	const char *key =
	    lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";

	state_raise(L, "this table is read-only (key \"%.64s\")", key);
}

void
state_freeze(lua_State *L)
{
	struct policy *p = state_of(L);

	lua_newtable(L); /* the view stays empty, so that every write is seen */
	lua_createtable(L, 0, 3);
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, lua_refuse_write);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_remove(L, -2);

	lua_rawgeti(L, LUA_REGISTRYINDEX, p->frozen);
	lua_pushvalue(L, -2);
	lua_pushboolean(L, 1);
	lua_rawset(L, -3);
	lua_pop(L, 1);
}

void
state_check_writable(lua_State *L, int at)
{
	bool frozen;

	lua_rawgeti(L, LUA_REGISTRYINDEX, state_of(L)->frozen);
	lua_pushvalue(L, at);
	lua_rawget(L, -2);
	frozen = lua_toboolean(L, -1);
	lua_pop(L, 2);
	if (frozen)
		state_raise(L, "this table is read-only");
}

static int
lua_raw_set(lua_State *L)
{
	arg_table(L, 1);
	luaL_checkany(L, 2);
	luaL_checkany(L, 3);
	state_check_writable(L, 1);
	lua_settop(L, 3);
	lua_rawset(L, 1);
	return 1;
}

/* As the original, but not for texts so long that reading them takes time. */
static int
lua_to_number(lua_State *L)
{
	int base = (int)luaL_optinteger(L, 2, 10);

	luaL_checkany(L, 1);
	if (base < 2 || base > 36)
		arg_refuse(L, 2, "base out of range");
	if (lua_type(L, 1) == LUA_TSTRING && lua_objlen(L, 1) > 512) {
		lua_pushnil(L);
		return 1;
	}
	lua_settop(L, 2);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 2, 1);
	return 1;
}

/* ---- environments ---- */

static int
lua_undefined_global(lua_State *L)
{
	const char *name =
	    lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";

	for (size_t i = 0; i < ARRAY_COUNT(absent); i++)
		if (!strcmp(absent[i].name, name))
			state_raise(L, "%s is not available to policies: %s",
			    name, absent[i].advice);
	state_raise(L, "global \"%.64s\" is not defined", name);
}

static int
lua_global_write(lua_State *L)
{
	const char *name =
	    lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";

	if (state_of(L)->phase != LOADING)
		state_raise(L,
		    "global \"%.64s\" is assigned after the script has loaded; "
		    "write local, or keep it in lunette.shared",
		    name);
	lua_settop(L, 3);
	lua_rawset(L, lua_upvalueindex(1));
	return 0;
}

/* The file's own globals, beginning with a copy of everybody's. */
static void
push_global_store(lua_State *L)
{
	lua_newtable(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, state_of(L)->globals);
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, -5);
	}
	lua_pop(L, 1);
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, lua_undefined_global);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
}

void
sandbox_push_environment(lua_State *L)
{
	lua_newtable(L);
	lua_createtable(L, 0, 3);
	push_global_store(L);
	lua_pushvalue(L, -1);
	lua_pushcclosure(L, lua_global_write, 1);
	lua_setfield(L, -3, "__newindex");
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
}

void
sandbox_add_global(lua_State *L, const char *name)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, state_of(L)->globals);
	lua_insert(L, -2);
	lua_setfield(L, -2, name);
	lua_pop(L, 1);
}

/* ---- opening ---- */

static void
open_library(lua_State *L, lua_CFunction open, const char *name)
{
	lua_pushcfunction(L, open);
	lua_pushstring(L, name);
	lua_call(L, 1, 0);
}

/* Pushes a table with the named members of the table at `from`. */
static void
push_chosen(lua_State *L, int from, const char *const *names, size_t count)
{
	lua_newtable(L);
	for (size_t i = 0; i < count; i++) {
		lua_getfield(L, from, names[i]);
		ASSERT(!lua_isnil(L, -1));
		lua_setfield(L, -2, names[i]);
	}
}

static void
add_library(
    lua_State *L, const char *name, const char *const *names, size_t count)
{
	lua_getfield(L, LUA_GLOBALSINDEX, name);
	push_chosen(L, lua_gettop(L), names, count);
	state_freeze(L);
	sandbox_add_global(L, name);
	lua_pop(L, 1);
}

static void
add_strings(lua_State *L)
{
	lua_newtable(L);
	sandbox_open_strings(L);
	/* "text":method() goes through the metatable of all strings. */
	lua_pushliteral(L, "");
	ASSERT(lua_getmetatable(L, -1));
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 2);
	state_freeze(L);
	sandbox_add_global(L, "string");
}

static void
add_tables(lua_State *L)
{
	lua_newtable(L);
	sandbox_open_tables(L);
	lua_getfield(L, -1, "unpack");
	sandbox_add_global(L, "unpack");
	state_freeze(L);
	sandbox_add_global(L, "table");
}

static void
add_own_functions(lua_State *L)
{
	lua_pushcfunction(L, lua_raw_set);
	sandbox_add_global(L, "rawset");
	lua_pushcfunction(L, lua_require);
	sandbox_add_global(L, "require");
	lua_getfield(L, LUA_GLOBALSINDEX, "tonumber");
	lua_pushcclosure(L, lua_to_number, 1);
	sandbox_add_global(L, "tonumber");

	if (luaL_loadbufferx(
		L, prelude, sizeof(prelude) - 1, "=lunette", "t") != 0)
		lua_error(L);
	lua_getfield(L, LUA_GLOBALSINDEX, "pcall");
	lua_pushcfunction(L, lua_check);
	lua_call(L, 2, 2);
	sandbox_add_global(L, "xpcall");
	sandbox_add_global(L, "pcall");
}

/* So that random upstreams differ between processes and workers. */
static void
seed_random(lua_State *L)
{
	uint32_t seed;

	random_bytes(&seed, sizeof(seed));
	lua_getfield(L, LUA_GLOBALSINDEX, "math");
	lua_getfield(L, -1, "randomseed");
	lua_pushnumber(L, seed);
	lua_call(L, 1, 0);
	lua_pop(L, 1);
}

/* Empties a table, so that nothing that was opened stays reachable by it. */
static void
forget(lua_State *L, int at)
{
	lua_pushnil(L);
	while (lua_next(L, at)) {
		lua_pop(L, 1);
		lua_pushvalue(L, -1);
		lua_pushnil(L);
		lua_rawset(L, at); /* clearing the present key is allowed */
	}
}

static void
forget_originals(lua_State *L)
{
	lua_pushvalue(L, LUA_GLOBALSINDEX);
	forget(L, lua_gettop(L));
	lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
	if (lua_istable(L, -1))
		forget(L, lua_gettop(L));
	lua_pop(L, 2);
}

static void
set_jit(lua_State *L, bool on)
{
	if (on)
		open_library(L, luaopen_jit, LUA_JITLIBNAME);
	luaJIT_setmode(
	    L, 0, LUAJIT_MODE_ENGINE | (on ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));
}

void
sandbox_open(lua_State *L)
{
	struct policy *p = state_of(L);

	lua_newtable(L);
	p->globals = luaL_ref(L, LUA_REGISTRYINDEX);
	set_jit(L, p->settings.jit);
	open_library(L, luaopen_base, "");
	open_library(L, luaopen_string, LUA_STRLIBNAME);
	open_library(L, luaopen_math, LUA_MATHLIBNAME);
	open_library(L, luaopen_bit, LUA_BITLIBNAME);
	for (size_t i = 0; i < ARRAY_COUNT(base_names); i++) {
		lua_getfield(L, LUA_GLOBALSINDEX, base_names[i]);
		ASSERT(!lua_isnil(L, -1));
		sandbox_add_global(L, base_names[i]);
	}
	seed_random(L);
	add_library(L, "math", math_names, ARRAY_COUNT(math_names));
	add_library(L, "bit", bit_names, ARRAY_COUNT(bit_names));
	add_strings(L);
	add_tables(L);
	add_own_functions(L);
	forget_originals(L);
#define REGISTER_OBJECT(type) state_register_object(L, &(type));
	POLICY_OBJECT_TABLE(REGISTER_OBJECT)
#undef REGISTER_OBJECT
}
