/*
 * The string library of scripts. What takes patterns is our own, since the
 * original can search for hours where no hook sees it; what makes long strings
 * is the original behind a limit.
 */
#include "policy/pattern.h"
#include "policy/state.h"

#include <stdlib.h>

/* Taken as they are: their work is bounded by strings that exist. */
static const char *const kept[] = { "byte", "char", "len", "sub" };
/* Taken behind lua_charged: long strings count as work. */
static const char *const charged[] = { "lower", "upper", "reverse", "format" };

/* ---- matching ---- */

static void
check_result(lua_State *L, struct pattern *m, enum pattern_result r)
{
	state_spend(L, POLICY_MAX_STEPS - m->steps_left);
	m->steps_left = POLICY_MAX_STEPS;
	if (r == PATTERN_TOO_LONG)
		state_raise_fault(L, POLICY_FAULT_TIMEOUT);
	if (r == PATTERN_MALFORMED)
		state_raise(L, "malformed pattern: %s", m->why);
}

static void
push_capture(lua_State *L, const struct pattern *m, size_t i)
{
	const struct capture *c = &m->captures[i];

	if (c->kind == CAPTURE_POSITION)
		lua_pushinteger(L, c->start - m->subject.data + 1);
	else
		lua_pushlstring(L, (const char *)c->start, c->len);
}

/* All captures, or the whole match from `at` to `end` when there are none. */
static int
push_captures(lua_State *L, const struct pattern *m, size_t at, size_t end)
{
	luaL_checkstack(L, PATTERN_MAX_CAPTURES, "too many captures");
	if (m->level == 0) {
		push_span(L, span_of(m->subject.data + at, end - at));
		return 1;
	}
	for (size_t i = 0; i < m->level; i++)
		push_capture(L, m, i);
	return (int)m->level;
}

/* A text argument; unlike arg_span it takes numbers, as the original does. */
static struct span
text_argument(lua_State *L, int at)
{
	size_t len;
	const char *text = luaL_checklstring(L, at, &len);

	return span_of(text, len);
}

/* The start position (from 1, negative from the end) as an offset that may be
 * one behind the end; false when it is beyond. */
static bool
start_argument(lua_State *L, int at, size_t len, size_t *out)
{
	double n = luaL_optnumber(L, at, 1);

	if (n < 0)
		n += (double)len + 1;
	if (!(n >= 1))
		n = 1;
	if (n > (double)len + 1)
		return false;
	*out = (size_t)n - 1;
	return true;
}

static int
find_plain(lua_State *L, struct span subject, struct span text, size_t from)
{
	const uint8_t *found;

	state_spend(L, (subject.len - from) / 8);
	found = memmem(
	    subject.data + from, subject.len - from, text.data, text.len);
	if (!found) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, found - subject.data + 1);
	lua_pushinteger(L, found - subject.data + (ptrdiff_t)text.len);
	return 2;
}

/* Takes a '^' off the front. */
static bool
take_anchor(struct span *text)
{
	if (text->len == 0 || text->data[0] != '^')
		return false;
	text->data++;
	text->len--;
	return true;
}

static int
search(lua_State *L, bool is_find)
{
	struct span subject = text_argument(L, 1);
	struct span text = text_argument(L, 2);
	struct pattern m;
	size_t at, end = 0;
	enum pattern_result r;
	bool anchored;

	if (!start_argument(L, 3, subject.len, &at)) {
		lua_pushnil(L);
		return 1;
	}
	state_spend(L, text.len); /* looking at it, plain or not */
	if (is_find && (lua_toboolean(L, 4) || pattern_is_plain(text)))
		return find_plain(L, subject, text, at);
	anchored = take_anchor(&text);
	pattern_init(&m, subject, text, POLICY_MAX_STEPS);
	r = pattern_search(&m, anchored, &at, &end);
	check_result(L, &m, r);
	if (r == PATTERN_MISS) {
		lua_pushnil(L);
		return 1;
	}
	if (!is_find)
		return push_captures(L, &m, at, end);
	lua_pushinteger(L, (lua_Integer)at + 1);
	lua_pushinteger(L, (lua_Integer)end);
	return m.level == 0 ? 2 : 2 + push_captures(L, &m, at, end);
}

static int
lua_find(lua_State *L)
{
	return search(L, true);
}

static int
lua_match(lua_State *L)
{
	return search(L, false);
}

/* ---- gmatch ---- */

/* Upvalues: subject, pattern, where to go on. */
static int
lua_gmatch_next(lua_State *L)
{
	struct span subject = text_argument(L, lua_upvalueindex(1));
	struct span text = text_argument(L, lua_upvalueindex(2));
	size_t at = (size_t)lua_tointeger(L, lua_upvalueindex(3)), end = 0;
	struct pattern m;
	enum pattern_result r;

	pattern_init(&m, subject, text, POLICY_MAX_STEPS);
	r = pattern_search(&m, false, &at, &end);
	check_result(L, &m, r);
	if (r == PATTERN_MISS)
		return 0;
	/* An empty match must not be found for ever. */
	lua_pushinteger(L, (lua_Integer)(end == at ? end + 1 : end));
	lua_replace(L, lua_upvalueindex(3));
	return push_captures(L, &m, at, end);
}

static int
lua_gmatch(lua_State *L)
{
	luaL_checkstring(L, 1);
	luaL_checkstring(L, 2);
	lua_settop(L, 2);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, lua_gmatch_next, 3);
	return 1;
}

/* ---- gsub ---- */

/* Copies the replacement text with its %0 to %9 and %%. */
static void
add_text(lua_State *L, luaL_Buffer *b, const struct pattern *m, size_t at,
    size_t end)
{
	size_t len;
	const char *text = lua_tolstring(L, 3, &len);

	state_spend(L, 4 * len);
	for (size_t i = 0; i < len; i++) {
		size_t n;

		if (text[i] != '%' || i + 1 == len) {
			luaL_addchar(b, text[i]);
			continue;
		}
		n = (size_t)(uint8_t)text[++i] - '0';
		if (n > 9) {
			luaL_addchar(b, text[i]);
		} else if (n == 0 || (n == 1 && m->level == 0)) {
			luaL_addlstring(
			    b, (const char *)m->subject.data + at, end - at);
		} else {
			if (n > m->level)
				state_raise(L, "gsub: no such capture");
			push_capture(L, m, n - 1);
			luaL_addvalue(b);
		}
	}
}

/* Asks the function or table for the replacement and adds it. */
static void
add_answer(lua_State *L, luaL_Buffer *b, const struct pattern *m, size_t at,
    size_t end)
{
	if (lua_isfunction(L, 3)) {
		int count;

		lua_pushvalue(L, 3);
		count = push_captures(L, m, at, end);
		lua_call(L, count, 1);
	} else {
		push_captures(L, m, at, end);
		lua_settop(
		    L, lua_gettop(L) - (m->level ? (int)m->level - 1 : 0));
		lua_gettable(L, 3);
	}
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		push_span(L, span_of(m->subject.data + at, end - at));
	} else if (!lua_isstring(L, -1)) {
		state_raise(
		    L, "gsub: the replacement is a %s", luaL_typename(L, -1));
	}
	luaL_addvalue(b);
}

static int
replace_all(lua_State *L, struct pattern *m, bool anchored, size_t max)
{
	luaL_Buffer b;
	size_t at = 0, count = 0;

	luaL_buffinit(L, &b);
	while (count < max) {
		size_t end = at;
		enum pattern_result r = pattern_match_at(m, at, &end);

		check_result(L, m, r);
		if (r == PATTERN_HIT) {
			count++;
			if (lua_type(L, 3) == LUA_TSTRING)
				add_text(L, &b, m, at, end);
			else
				add_answer(L, &b, m, at, end);
		}
		if (r == PATTERN_HIT && end > at)
			at = end;
		else if (at < m->subject.len)
			luaL_addchar(&b, (char)m->subject.data[at++]);
		else
			break;
		if (anchored)
			break;
	}
	if (at < m->subject.len)
		luaL_addlstring(&b, (const char *)m->subject.data + at,
		    m->subject.len - at);
	luaL_pushresult(&b);
	lua_pushinteger(L, (lua_Integer)count);
	return 2;
}

static int
lua_gsub(lua_State *L)
{
	struct span subject = text_argument(L, 1);
	struct span text = text_argument(L, 2);
	double max = luaL_optnumber(L, 4, (double)subject.len + 1);
	bool anchored = take_anchor(&text);
	struct pattern m;

	state_check_stack(L);
	if (lua_type(L, 3) == LUA_TNUMBER)
		(void)lua_tostring(L, 3); /* becomes a string where it is */
	if (lua_type(L, 3) != LUA_TSTRING && !lua_istable(L, 3) &&
	    !lua_isfunction(L, 3))
		luaL_typerror(L, 3, "string, function or table");
	lua_settop(L, 3);
	pattern_init(&m, subject, text, POLICY_MAX_STEPS);
	return replace_all(L, &m, anchored,
	    max >= 1 ? (max < 1e9 ? (size_t)max : 1000000000) : 0);
}

/* ---- the originals behind limits ---- */

/* Calls the original (first upvalue) with all arguments. */
static int
call_original(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

static int
lua_charged(lua_State *L)
{
	size_t bytes = 0;

	state_check_stack(L); /* format calls __tostring */
	luaL_checkstack(L, 1, NULL);
	for (int i = 1; i <= lua_gettop(L); i++)
		if (lua_type(L, i) == LUA_TSTRING)
			bytes += lua_objlen(L, i);
	state_spend(L, bytes / 4);
	return call_original(L);
}

static int
lua_repeat(lua_State *L)
{
	struct span text = text_argument(L, 1);
	double count = luaL_checknumber(L, 2), bytes;

	if (!(count > 0))
		count = 0;
	/* The third argument, a separator, is LuaJIT's addition. */
	bytes =
	    count *
	    ((double)text.len +
		(lua_isnoneornil(L, 3) ? 0 : (double)text_argument(L, 3).len));
	if (bytes > POLICY_MAX_TEXT || count > POLICY_MAX_TEXT)
		state_raise(L, "string.rep: over %d bytes", POLICY_MAX_TEXT);
	state_spend(L, (size_t)bytes / 4);
	return call_original(L);
}

static const luaL_Reg own[] = {
	{ "find", lua_find },
	{ "match", lua_match },
	{ "gmatch", lua_gmatch },
	{ "gsub", lua_gsub },
};

static void
add_wrapped(lua_State *L, int originals, const char *name, lua_CFunction f)
{
	lua_getfield(L, originals, name);
	ASSERT(lua_isfunction(L, -1));
	lua_pushcclosure(L, f, 1);
	lua_setfield(L, -3, name);
}

void
sandbox_open_strings(lua_State *L)
{
	int originals;

	lua_getfield(L, LUA_GLOBALSINDEX, "string");
	originals = lua_gettop(L);
	for (size_t i = 0; i < ARRAY_COUNT(charged); i++)
		add_wrapped(L, originals, charged[i], lua_charged);
	add_wrapped(L, originals, "rep", lua_repeat);
	for (size_t i = 0; i < ARRAY_COUNT(kept); i++) {
		lua_getfield(L, originals, kept[i]);
		ASSERT(lua_isfunction(L, -1));
		lua_setfield(L, -3, kept[i]);
	}
	lua_pop(L, 1);
	for (size_t i = 0; i < ARRAY_COUNT(own); i++) {
		lua_pushcfunction(L, own[i].func);
		lua_setfield(L, -2, own[i].name);
	}
}
