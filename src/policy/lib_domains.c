/*
 * lunette.domains: host names and wildcards to values of any kind.
 *
 * wire/routes maps a name to an index into the table of values, which is the
 * object's environment.
 */
#include "policy/library.h"

#include <errno.h>

#include "wire/routes.h"

#define DOMAIN_STEPS 50

struct domains {
	uint32_t magic;
	struct routes *routes;
	unsigned value_count;
};

static void
domains_close(void *body)
{
	struct domains *d = body;

	routes_free(d->routes);
}

static struct domains *
push_domains(lua_State *L)
{
	struct domains *d = state_new_object(L, &domains_object, sizeof(*d));

	lua_newtable(L);
	lua_setfenv(L, -2);
	d->routes = routes_new();
	if (d->routes == NULL)
		state_raise_fault(L, POLICY_FAULT_MEMORY);
	return d;
}

/* Pops the value on top into the table of values. */
static void *
keep_value(lua_State *L, int at, struct domains *d)
{
	lua_getfenv(L, at);
	lua_insert(L, -2);
	lua_rawseti(L, -2, (int)++d->value_count);
	lua_pop(L, 1);
	return (void *)(uintptr_t)d->value_count;
}

static void
add_name(lua_State *L, int at, struct domains *d, const char *name)
{
	const char *why = "written twice";
	struct host pattern;
	void *value;
	int error = host_parse_pattern(span_text(name), &pattern, &why);

	if (error == 0) {
		value = keep_value(L, at, d);
		state_spend(L, DOMAIN_STEPS);
		error = routes_add(d->routes, &pattern, value);
	}
	if (error == -ENOMEM)
		state_raise_fault(L, POLICY_FAULT_MEMORY);
	if (error < 0)
		state_raise(L, "domains: '%s': %s", name, why);
}

/* name = value, or a name alone in the list part, which stands for true. */
static void
add_pair(lua_State *L, struct domains *d)
{
	if (lua_type(L, -2) == LUA_TSTRING) {
		add_name(L, 2, d, lua_tostring(L, -2));
		return;
	}
	if (lua_type(L, -2) != LUA_TNUMBER || lua_type(L, -1) != LUA_TSTRING)
		state_raise(
		    L, "domains: a host name or a '*.' pattern expected");
	lua_pushboolean(L, true);
	add_name(L, 2, d, lua_tostring(L, -2));
	lua_pop(L, 1);
}

int
lua_domains(lua_State *L)
{
	struct domains *d;

	arg_table(L, 1);
	lua_settop(L, 1);
	d = push_domains(L);
	lua_pushnil(L);
	while (lua_next(L, 1) != 0)
		add_pair(L, d);
	return 1;
}

/* nil for a connection without a name, and for what is no host name. */
static int
lua_domains_lookup(lua_State *L)
{
	const struct domains *d = state_object(L, 1, &domains_object);
	void *value = NULL;
	struct host name;

	if (!lua_isnoneornil(L, 2) &&
	    host_parse(arg_span(L, 2, POLICY_MAX_TEXT), &name, NULL) == 0)
		value = routes_find(d->routes, host_span(&name));
	if (value == NULL) {
		lua_pushnil(L);
		return 1;
	}
	lua_getfenv(L, 1);
	lua_rawgeti(L, -1, (int)(uintptr_t)value);
	return 1;
}

static const luaL_Reg methods[] = {
	{ "lookup", lua_domains_lookup },
	{ NULL, NULL },
};

const struct object_type domains_object = {
	.name = "domains",
	.magic = 0x6c6e4402,
	.methods = methods,
	.close = domains_close,
};
