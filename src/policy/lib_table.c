/*
 * The table library of scripts: our own, since a sort of a large table is a
 * second in which no hook is called, and since the original writes past
 * metatables.
 */
#include "policy/state.h"

/* Elements of the list at `at`, refused when a call could not be short. */
static int
bounded_length(lua_State *L, int at)
{
	size_t n;

	arg_table(L, at);
	n = lua_objlen(L, at);
	if (n > POLICY_MAX_ELEMENTS)
		state_raise(
		    L, "a table of more than %d elements", POLICY_MAX_ELEMENTS);
	return (int)n;
}

static void
move(lua_State *L, int from, int to)
{
	lua_rawgeti(L, 1, from);
	lua_rawseti(L, 1, to);
}

static int
lua_insert_element(lua_State *L)
{
	int length, at;

	arg_table(L, 1);
	state_check_writable(L, 1);
	length = (int)lua_objlen(L, 1);
	if (lua_gettop(L) == 2) {
		lua_rawseti(L, 1, length + 1);
		return 0;
	}
	if (lua_gettop(L) != 3)
		state_raise(L, "table.insert takes two or three arguments");
	length = bounded_length(L, 1);
	at = (int)arg_integer(L, 2, 1, length + 1);
	state_spend(L, (size_t)(length - at + 1));
	for (int i = length; i >= at; i--)
		move(L, i, i + 1);
	lua_rawseti(L, 1, at);
	return 0;
}

static int
lua_remove_element(lua_State *L)
{
	int length = bounded_length(L, 1);
	int at = length;

	state_check_writable(L, 1);
	if (!lua_isnoneornil(L, 2))
		at = (int)arg_integer(L, 2, 0, length + 1);
	if (at < 1 || at > length)
		return 0;
	state_spend(L, (size_t)(length - at));
	lua_rawgeti(L, 1, at);
	for (int i = at; i < length; i++)
		move(L, i + 1, i);
	lua_pushnil(L);
	lua_rawseti(L, 1, length);
	return 1;
}

static void
add_element(lua_State *L, luaL_Buffer *b, int i, size_t *total)
{
	lua_rawgeti(L, 1, i);
	if (!lua_isstring(L, -1))
		state_raise(L, "table.concat: element %d is a %s", i,
		    luaL_typename(L, -1));
	*total += lua_objlen(L, -1);
	if (*total > POLICY_MAX_TEXT)
		state_raise(L, "table.concat: over %d bytes", POLICY_MAX_TEXT);
	luaL_addvalue(b);
}

static int
lua_concat_elements(lua_State *L)
{
	struct span between = arg_span_or(L, 2, POLICY_MAX_TEXT, span_text(""));
	int length = bounded_length(L, 1);
	int first = (int)luaL_optinteger(L, 3, 1);
	int last = (int)luaL_optinteger(L, 4, length);
	size_t total = 0;
	luaL_Buffer b;

	if (first < 1 || last > length)
		state_raise(L, "table.concat: outside of the list");
	state_spend(L, (size_t)length);
	luaL_buffinit(L, &b);
	for (int i = first; i <= last; i++) {
		add_element(L, &b, i, &total);
		if (i == last)
			break;
		total += between.len;
		luaL_addlstring(&b, (const char *)between.data, between.len);
	}
	luaL_pushresult(&b);
	state_spend(L, total / 4);
	return 1;
}

static int
lua_unpack_elements(lua_State *L)
{
	int64_t first, last;

	arg_table(L, 1);
	first = lua_isnoneornil(L, 2) ? 1 : arg_integer(L, 2, -1e9, 1e9);
	last = lua_isnoneornil(L, 3) ? (int64_t)lua_objlen(L, 1)
				     : arg_integer(L, 3, -1e9, 1e9);
	if (first > last)
		return 0;
	if (last - first >= POLICY_MAX_ELEMENTS ||
	    !lua_checkstack(L, (int)(last - first + 1)))
		state_raise(L, "unpack: too many elements");
	state_spend(L, (size_t)(last - first + 1));
	for (int64_t i = first; i <= last; i++)
		lua_rawgeti(L, 1, (int)i);
	return (int)(last - first + 1);
}

/* ---- sort: a heap sort, whose time no comparison function can spoil ---- */

/* That of the two values on top, which may be long strings. */
static void
spend_comparison(lua_State *L)
{
	if (lua_type(L, -1) == LUA_TSTRING && lua_type(L, -2) == LUA_TSTRING)
		state_spend(L, (lua_objlen(L, -1) < lua_objlen(L, -2)
				       ? lua_objlen(L, -1)
				       : lua_objlen(L, -2)) /
				   16);
}

/* Whether element `a` sorts before element `b`. */
static bool
is_before(lua_State *L, int a, int b)
{
	bool answer;

	if (lua_isnil(L, 2)) {
		lua_rawgeti(L, 1, a);
		lua_rawgeti(L, 1, b);
		spend_comparison(L);
		answer = lua_lessthan(L, -2, -1);
		lua_pop(L, 2);
		return answer;
	}
	lua_pushvalue(L, 2);
	lua_rawgeti(L, 1, a);
	lua_rawgeti(L, 1, b);
	lua_call(L, 2, 1);
	answer = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return answer;
}

static void
swap(lua_State *L, int a, int b)
{
	lua_rawgeti(L, 1, a);
	lua_rawgeti(L, 1, b);
	lua_rawseti(L, 1, a);
	lua_rawseti(L, 1, b);
}

static void
sift_down(lua_State *L, int root, int length)
{
	for (;;) {
		int child = 2 * root;

		if (child > length)
			return;
		state_spend(L, 20);
		if (child < length && is_before(L, child, child + 1))
			child++;
		if (!is_before(L, root, child))
			return;
		swap(L, root, child);
		root = child;
	}
}

static int
lua_sort(lua_State *L)
{
	int length = bounded_length(L, 1);

	state_check_writable(L, 1);
	state_check_stack(L);
	if (!lua_isnoneornil(L, 2) && !lua_isfunction(L, 2))
		luaL_typerror(L, 2, "function");
	lua_settop(L, 2);
	for (int root = length / 2; root >= 1; root--)
		sift_down(L, root, length);
	for (int last = length; last > 1; last--) {
		swap(L, 1, last);
		sift_down(L, 1, last - 1);
	}
	return 0;
}

static const luaL_Reg functions[] = {
	{ "concat", lua_concat_elements },
	{ "insert", lua_insert_element },
	{ "remove", lua_remove_element },
	{ "sort", lua_sort },
	{ "unpack", lua_unpack_elements },
};

void
sandbox_open_tables(lua_State *L)
{
	for (size_t i = 0; i < ARRAY_COUNT(functions); i++) {
		lua_pushcfunction(L, functions[i].func);
		lua_setfield(L, -2, functions[i].name);
	}
}
