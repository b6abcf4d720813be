/*
 * What waits: lunette.resolve and lunette.sleep. The engine does the waiting.
 */
#include "policy/library.h"

#include <errno.h>
#include <math.h>

#define MAX_SLEEP_SECONDS 3600.0 /* the wall limit of a run ends it before */

int
lua_sleep(lua_State *L)
{
	double seconds = arg_number(L, 1, 0, MAX_SLEEP_SECONDS);

	return state_wait_sleep(L, (uint64_t)ceil(seconds * 1e3));
}

/* Waits and gives nothing, or has the answer at once: an address, or false and
 * why not. */
int
lua_resolve_ask(lua_State *L)
{
	struct span text = arg_span(L, 1, POLICY_MAX_TEXT);
	const char *why = NULL;
	struct host name;
	struct addr a;

	if (addr_parse(text, &a) == 0) {
		push_ip(L, &a);
		return 1;
	}
	if (host_parse(text, &name, &why) == 0)
		return state_wait_resolve(L, &name);
	lua_pushboolean(L, false);
	lua_pushstring(L, why);
	return 2;
}

static const char *
error_word(int error)
{
	switch (error) {
	case -ENOENT:
		return "no such name";
	case -ETIMEDOUT:
		return "timeout";
	default:
		return "failed";
	}
}

static int
push_failure(lua_State *L, const char *why)
{
	lua_pushnil(L);
	lua_pushstring(L, why);
	return 2;
}

static int
push_answer(lua_State *L, const struct resolver_answer *answer)
{
	if (answer == NULL)
		return push_failure(L, error_word(-EIO));
	if (answer->error < 0)
		return push_failure(L, error_word(answer->error));
	lua_createtable(L, (int)answer->count, 0);
	for (size_t i = 0; i < answer->count; i++) {
		push_ip(L, &answer->addrs[i]);
		lua_rawseti(L, -2, (int)i + 1);
	}
	return 1;
}

/* Makes the result of lunette.resolve of what lua_resolve_ask has given. */
int
lua_resolve_result(lua_State *L)
{
	if (lua_gettop(L) == 0)
		return push_answer(L, state_answer(L));
	if (lua_isboolean(L, 1))
		return push_failure(L, lua_tostring(L, 2));
	lua_settop(L, 1);
	lua_createtable(L, 1, 0);
	lua_insert(L, 1);
	lua_rawseti(L, 1, 1);
	return 1;
}
