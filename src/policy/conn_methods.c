#include "policy/conn.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/json.h"

#define MAX_LOG_BYTES 4096
#define MAX_LOG_DEPTH 4
#define MAX_KEY_BYTES 256

/* Where a value goes and what has become of it; filled without raising on the
 * way, so that one check at the end is enough. */
struct fields {
	struct json json;
	const char *refused; /* a type that JSON has no word for, or NULL */
	bool too_deep;
};

static void add_table(
    lua_State *L, struct fields *f, const char *key, unsigned depth);

static void
add_number(struct fields *f, const char *key, double n)
{
	char text[40];

	if (!isfinite(n)) {
		json_null(&f->json, key);
		return;
	}
	snprintf(text, sizeof(text), "%.14g", n);
	json_raw(&f->json, key, span_text(text));
}

/* The value on top. */
static void
add_value(lua_State *L, struct fields *f, const char *key, unsigned depth)
{
	size_t len;
	const char *text;

	switch (lua_type(L, -1)) {
	case LUA_TSTRING:
		text = lua_tolstring(L, -1, &len);
		json_string(&f->json, key, span_of(text, len));
		return;
	case LUA_TNUMBER:
		add_number(f, key, lua_tonumber(L, -1));
		return;
	case LUA_TBOOLEAN:
		json_bool(&f->json, key, lua_toboolean(L, -1));
		return;
	case LUA_TTABLE:
		add_table(L, f, key, depth + 1);
		return;
	default:
		f->refused = luaL_typename(L, -1);
	}
}

static void
add_list(lua_State *L, struct fields *f, const char *key, unsigned depth)
{
	int count = (int)lua_objlen(L, -1);

	json_open_list(&f->json, key);
	for (int i = 1; i <= count && !f->json.out->truncated; i++) {
		lua_rawgeti(L, -1, i);
		if (lua_isnil(L, -1))
			json_null(&f->json, NULL);
		else
			add_value(L, f, NULL, depth);
		lua_pop(L, 1);
		if (f->refused || f->too_deep)
			break;
	}
	json_close_list(&f->json);
}

static void
add_members(lua_State *L, struct fields *f, unsigned depth)
{
	size_t len;
	const char *text;

	lua_pushnil(L);
	while (lua_next(L, -2)) {
		if (lua_type(L, -2) != LUA_TSTRING) {
			f->refused = "key that is no string";
		} else {
			text = lua_tolstring(L, -2, &len);
			json_key_span(&f->json, span_of(text, len));
			add_value(L, f, NULL, depth);
		}
		if (f->refused || f->too_deep || f->json.out->truncated) {
			lua_pop(L, 2);
			return;
		}
		lua_pop(L, 1);
	}
}

/* The table on top: a list when it has a first element, else an object. */
static void
add_table(lua_State *L, struct fields *f, const char *key, unsigned depth)
{
	if (depth > MAX_LOG_DEPTH) {
		f->too_deep = true;
		json_null(&f->json, key);
		return;
	}
	luaL_checkstack(L, 8, "too deep");
	if (lua_objlen(L, -1) > 0) {
		add_list(L, f, key, depth);
		return;
	}
	json_open(&f->json, key);
	add_members(L, f, depth);
	json_close(&f->json);
}

int
lua_conn_log(lua_State *L)
{
	const struct policy_host *host = state_of(L)->settings.host;
	struct policy_conn *c = conn_of(L);
	char storage[MAX_LOG_BYTES + 1];
	struct fields f = { .refused = NULL };
	struct text t;

	arg_table(L, 2);
	lua_settop(L, 2);
	if (lua_objlen(L, 2) > 0)
		state_raise(L, "conn:log: fields need names");
	text_init(&t, storage, sizeof(storage));
	json_init(&f.json, &t);
	add_table(L, &f, NULL, 1);
	if (f.refused)
		state_raise(L, "conn:log: cannot log a %s", f.refused);
	if (f.too_deep)
		state_raise(
		    L, "conn:log: more than %d tables deep", MAX_LOG_DEPTH);
	if (t.truncated)
		state_raise(L, "conn:log: over %d bytes", MAX_LOG_BYTES);
	host->log(c, text_span(&t));
	return 0;
}

int
lua_conn_track(lua_State *L)
{
	struct policy *p = state_of(L);
	struct policy_conn *c = conn_of(L);
	struct span key = arg_span(L, 2, MAX_KEY_BYTES);
	int error;

	if (p->phase != RUNNING)
		state_raise(L, "conn:track: not possible in a close function");
	error = p->settings.host->track(c, key);
	if (error)
		state_raise(L, "conn:track: %s",
		    error == -ENOMEM ? "out of memory" : "too many keys");
	return 0;
}
