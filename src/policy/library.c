#include "policy/library.h"

struct library_entry {
	const char *name;
	lua_CFunction call;
	unsigned phases;
};

static const struct library_entry entries[] = {
#define FUNCTION_ENTRY(name, call, phases, waits, help) { name, call, phases },
	POLICY_FUNCTION_TABLE(FUNCTION_ENTRY)
#undef FUNCTION_ENTRY
#define INTERNAL_ENTRY(name, call, phases) { name, call, phases },
	    POLICY_INTERNAL_TABLE(INTERNAL_ENTRY)
#undef INTERNAL_ENTRY
};

static const char *
phase_text(enum policy_phase phase)
{
	switch (phase) {
	case LOADING:
		return "while the script loads";
	case CLOSING:
		return "in a close function";
	default:
		return "while the script runs";
	}
}

static int
lua_library_call(lua_State *L)
{
	const struct library_entry *e = lua_touserdata(L, lua_upvalueindex(1));
	enum policy_phase phase = state_of(L)->phase;

	if (!(e->phases & phase))
		state_raise(L, "lunette.%s: not possible %s", e->name,
		    phase_text(phase));
	return e->call(L);
}

/* Pushes the table inside the one at `at` that a dotted name is for, or that
 * one itself, and returns the last part of the name. */
static const char *
push_owner(lua_State *L, int at, const char *name)
{
	const char *dot = strchr(name, '.');

	if (!dot) {
		lua_pushvalue(L, at);
		return name;
	}
	lua_pushlstring(L, name, (size_t)(dot - name));
	lua_rawget(L, at);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushlstring(L, name, (size_t)(dot - name));
		lua_pushvalue(L, -2);
		lua_rawset(L, at);
	}
	return dot + 1;
}

void
library_push(lua_State *L)
{
	int table;

	lua_newtable(L);
	table = lua_gettop(L);
	for (size_t i = 0; i < ARRAY_COUNT(entries); i++) {
		const char *last = push_owner(L, table, entries[i].name);

		lua_pushlightuserdata(L, (void *)(uintptr_t)&entries[i]);
		lua_pushcclosure(L, lua_library_call, 1);
		lua_setfield(L, -2, last);
		lua_pop(L, 1);
	}
}
