/*
 * What workers share: lunette.shared, lunette.rate, lunette.active.
 */
#include "policy/library.h"

#include <errno.h>
#include <math.h>

#include "base/clock.h"
#include "policy/shared.h"

#define STACK_VALUE 512
#define MAX_TTL_SECONDS 315360000.0 /* ten years */
#define MAX_RATE 1e9

struct shared_object {
	uint32_t magic;
	struct dictionary *dictionary;
};

static struct policy_shared *
shared_of(lua_State *L)
{
	struct policy_shared *s = state_of(L)->settings.shared;

	if (s == NULL)
		state_raise(L, "nothing is shared here");
	return s;
}

int
lua_shared(lua_State *L)
{
	struct span name = arg_span(L, 1, SHARED_MAX_NAME);
	struct policy_shared *s = shared_of(L);
	struct shared_object *object;
	const char *why = NULL;

	object = state_new_object(L, &shared_object, sizeof(*object));
	object->dictionary = shared_dictionary(s, name, &why);
	if (object->dictionary == NULL)
		arg_refuse(L, 1, why);
	return 1;
}

static struct dictionary *
arg_dictionary(lua_State *L)
{
	struct shared_object *object = state_object(L, 1, &shared_object);

	return object->dictionary;
}

static uint64_t
arg_ttl(lua_State *L, int at)
{
	if (lua_isnoneornil(L, at))
		return 0;
	return (uint64_t)ceil(arg_number(L, at, 0.001, MAX_TTL_SECONDS) * 1e3);
}

static void
push_value(lua_State *L, const struct value *v)
{
	switch (v->kind) {
	case VALUE_STRING:
		push_span(L, v->string);
		break;
	case VALUE_NUMBER:
		lua_pushnumber(L, v->number);
		break;
	case VALUE_BOOLEAN:
		lua_pushboolean(L, v->boolean);
		break;
	case VALUE_NONE:
		lua_pushnil(L);
		break;
	}
}

/* The value may have been replaced by a longer one between two looks. */
static int
get_long(lua_State *L, struct dictionary *d, struct span key, size_t size)
{
	struct value v = { .string.len = size };
	int error;

	do {
		size_t room = v.string.len;

		error = dictionary_get(
		    d, key, clock_ms(), &v, lua_newuserdata(L, room), room);
		if (error == 0)
			push_value(L, &v);
		else
			lua_pop(L, 1);
	} while (error == -ENOBUFS);
	return 1;
}

static int
lua_shared_get(lua_State *L)
{
	struct dictionary *d = arg_dictionary(L);
	struct span key = arg_span(L, 2, DICTIONARY_MAX_KEY);
	char buffer[STACK_VALUE];
	struct value v;

	if (dictionary_get(d, key, clock_ms(), &v, buffer, sizeof(buffer)) < 0)
		return get_long(L, d, key, v.string.len);
	push_value(L, &v);
	return 1;
}

static struct value
arg_value(lua_State *L, int at)
{
	struct value v = { .kind = VALUE_NONE };

	switch (lua_type(L, at)) {
	case LUA_TSTRING:
		v.kind = VALUE_STRING;
		v.string = arg_span(L, at, POLICY_MAX_TEXT);
		break;
	case LUA_TNUMBER:
		v.kind = VALUE_NUMBER;
		v.number = lua_tonumber(L, at);
		break;
	case LUA_TBOOLEAN:
		v.kind = VALUE_BOOLEAN;
		v.boolean = lua_toboolean(L, at);
		break;
	case LUA_TNIL:
		break;
	default:
		arg_refuse(
		    L, at, "a string, a number, a boolean or nil expected");
	}
	return v;
}

static int
lua_shared_set(lua_State *L)
{
	struct dictionary *d = arg_dictionary(L);
	struct span key = arg_span(L, 2, DICTIONARY_MAX_KEY);
	struct value v = arg_value(L, 3);
	uint64_t ttl_ms = arg_ttl(L, 4);

	lua_pushboolean(L, dictionary_set(d, key, &v, ttl_ms, clock_ms()) == 0);
	return 1;
}

static int
lua_shared_incr(lua_State *L)
{
	struct dictionary *d = arg_dictionary(L);
	struct span key = arg_span(L, 2, DICTIONARY_MAX_KEY);
	double by = lua_isnoneornil(L, 3) ? 1 : arg_number(L, 3, -1e15, 1e15);
	uint64_t ttl_ms = arg_ttl(L, 4);
	double sum = 0;
	int error = dictionary_add(d, key, by, ttl_ms, clock_ms(), &sum);

	if (error == -EINVAL)
		arg_refuse(L, 2, "the value of this key is no number");
	if (error < 0)
		lua_pushnil(L);
	else
		lua_pushnumber(L, sum);
	return 1;
}

static int
lua_shared_delete(lua_State *L)
{
	struct dictionary *d = arg_dictionary(L);
	struct span key = arg_span(L, 2, DICTIONARY_MAX_KEY);

	lua_pushboolean(L, dictionary_delete(d, key, clock_ms()));
	return 1;
}

static const luaL_Reg methods[] = {
	{ "get", lua_shared_get },
	{ "set", lua_shared_set },
	{ "incr", lua_shared_incr },
	{ "delete", lua_shared_delete },
	{ NULL, NULL },
};

const struct object_type shared_object = {
	.name = "shared",
	.magic = 0x6c6e5303,
	.methods = methods,
};

int
lua_rate(lua_State *L)
{
	struct span key = arg_span(L, 1, DICTIONARY_MAX_KEY);
	double per_second = arg_number(L, 2, 0, MAX_RATE);
	double burst = fmax(1, per_second);
	struct rates *rates = shared_rates(shared_of(L));

	if (!lua_isnoneornil(L, 3))
		burst = arg_number(L, 3, 1, MAX_RATE);
	lua_pushboolean(
	    L, rates_take(rates, key, per_second, burst, clock_us()));
	return 1;
}

int
lua_active(lua_State *L)
{
	struct span key = arg_span(L, 1, DICTIONARY_MAX_KEY);
	const struct policy_settings *s = &state_of(L)->settings;

	lua_pushnumber(L, s->host->active(s->host_data, key));
	return 1;
}
