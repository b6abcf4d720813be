/*
 * lunette.pool: upstreams to choose from. The engine does the choosing and the
 * health checks; here is only the way to it.
 */
#include "policy/conn.h"
#include "policy/library.h"

#define POOL_MAX_UPSTREAMS 256
#define POOL_MAX_WEIGHT 1000
#define POOL_MAX_KEY 1024
#define POOL_MAX_EVERY_SECONDS 86400.0
#define POOL_MAX_COUNT 100

struct pool {
	uint32_t magic;
	void *handle;
	const struct policy_host *host;
	void *host_data;
};

struct pool_lists {
	struct span addresses[POOL_MAX_UPSTREAMS];
	unsigned weights[POOL_MAX_UPSTREAMS];
};

static void
pool_close(void *body)
{
	struct pool *p = body;

	if (p->handle != NULL)
		p->host->pool_close(p->host_data, p->handle);
}

/* A field of the table itself: what __index makes up would be nobody's, and
 * might be gone while its text is still needed. */
static void
push_own_field(lua_State *L, int at, const char *key)
{
	lua_pushstring(L, key);
	lua_rawget(L, at);
}

/* The string at the top of the stack, which stays alive in its table. */
static struct span
take_string(lua_State *L, const char *what)
{
	struct span s;

	if (lua_type(L, -1) != LUA_TSTRING)
		state_raise(L, "pool: %s must be a string", what);
	s.data = (const uint8_t *)lua_tolstring(L, -1, &s.len);
	lua_pop(L, 1);
	return s;
}

static double
take_number(lua_State *L, const char *what, double min, double max)
{
	double n = lua_tonumber(L, -1);

	if (lua_type(L, -1) != LUA_TNUMBER || !(n >= min && n <= max))
		state_raise(L, "pool: %s must be a number from %g to %g", what,
		    min, max);
	lua_pop(L, 1);
	return n;
}

/* Refuses keys that are not in `known`, so that a slip is not ignored. */
static void
check_keys(lua_State *L, int at, const char *what, const char *const known[])
{
	lua_pushnil(L);
	while (lua_next(L, at) != 0) {
		bool found = lua_type(L, -2) == LUA_TNUMBER;

		for (size_t i = 0; known[i] && !found; i++)
			found = lua_type(L, -2) == LUA_TSTRING &&
				!strcmp(lua_tostring(L, -2), known[i]);
		if (!found)
			state_raise(L, "pool: unknown key '%s' of %s",
			    lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2)
							   : "?",
			    what);
		lua_pop(L, 1);
	}
}

/* {address = "...", weight = n} is on top; pops it. */
static void
read_member(lua_State *L, struct pool_lists *lists, size_t i)
{
	static const char *const known[] = { "address", "weight", NULL };
	int at = lua_gettop(L);

	check_keys(L, at, "an upstream", known);
	push_own_field(L, at, "address");
	lists->addresses[i] = take_string(L, "address");
	push_own_field(L, at, "weight");
	if (!lua_isnil(L, -1))
		lists->weights[i] =
		    (unsigned)take_number(L, "weight", 1, POOL_MAX_WEIGHT);
	lua_settop(L, at - 1);
}

static size_t
read_members(lua_State *L, struct pool_lists *lists)
{
	size_t count = lua_objlen(L, 1);

	if (count == 0 || count > POOL_MAX_UPSTREAMS)
		state_raise(
		    L, "pool: 1 to %d upstreams expected", POOL_MAX_UPSTREAMS);
	for (size_t i = 0; i < count; i++) {
		lists->weights[i] = 1;
		lua_rawgeti(L, 1, (int)i + 1);
		if (lua_istable(L, -1))
			read_member(L, lists, i);
		else
			lists->addresses[i] = take_string(L, "an upstream");
	}
	return count;
}

static void
read_health(lua_State *L, struct policy_pool_settings *s)
{
	static const char *const known[] = { "every", "fall", "rise", NULL };
	int at = lua_gettop(L) + 1;

	push_own_field(L, 1, "health");
	if (!lua_isnil(L, -1)) {
		arg_table(L, at);
		check_keys(L, at, "health", known);
		push_own_field(L, at, "every");
		s->health_every_ms =
		    (uint64_t)(1e3 * take_number(L, "health.every (seconds)",
					 0.1, POOL_MAX_EVERY_SECONDS));
		push_own_field(L, at, "fall");
		if (!lua_isnil(L, -1))
			s->fall = (unsigned)take_number(
			    L, "health.fall", 1, POOL_MAX_COUNT);
		lua_settop(L, at);
		push_own_field(L, at, "rise");
		if (!lua_isnil(L, -1))
			s->rise = (unsigned)take_number(
			    L, "health.rise", 1, POOL_MAX_COUNT);
	}
	lua_settop(L, at - 1);
}

static void
open_pool(lua_State *L, struct pool *p, const struct policy_pool_settings *s)
{
	char message[256];
	struct text error;

	text_init(&error, message, sizeof(message));
	p->handle = p->host->pool_open(p->host_data, s, &error);
	if (p->handle == NULL)
		state_raise(L, "pool: %s", message);
}

int
lua_pool(lua_State *L)
{
	static const char *const known[] = { "balance", "health", NULL };
	const struct policy_settings *settings = &state_of(L)->settings;
	struct policy_pool_settings s = {
		.balance = "round_robin", .fall = 3, .rise = 2
	};
	struct pool_lists *lists;
	struct pool *p;

	arg_table(L, 1);
	lua_settop(L, 1);
	check_keys(L, 1, "a pool", known);
	lists = lua_newuserdata(L, sizeof(*lists));
	s.addresses = lists->addresses;
	s.weights = lists->weights;
	s.count = read_members(L, lists);
	push_own_field(L, 1, "balance");
	if (!lua_isnil(L, -1))
		s.balance = (const char *)take_string(L, "balance").data;
	read_health(L, &s);
	p = state_new_object(L, &pool_object, sizeof(*p));
	p->host = settings->host;
	p->host_data = settings->host_data;
	open_pool(L, p, &s);
	return 1;
}

/* The connection whose handle is at `at`; raises for an old one. */
static const struct policy_conn *
arg_conn(lua_State *L, int at)
{
	const struct policy_conn *conn;

	lua_pushvalue(L, at);
	lua_insert(L, 1);
	conn = conn_of(L);
	lua_remove(L, 1);
	return conn;
}

/* pool:pick(conn [, key]): an address, or nil when no upstream is up. */
static int
lua_pool_pick(lua_State *L)
{
	struct pool *p = state_object(L, 1, &pool_object);
	const struct policy_conn *conn = arg_conn(L, 2);
	struct span key = arg_span_or(L, 3, POOL_MAX_KEY, span_of(NULL, 0));
	char address[UPSTREAM_ADDRESS_SIZE];

	if (p->host->pool_pick(p->handle, &conn->client, key, address))
		lua_pushstring(L, address);
	else
		lua_pushnil(L);
	return 1;
}

static const luaL_Reg methods[] = {
	{ "pick", lua_pool_pick },
	{ NULL, NULL },
};

const struct object_type pool_object = {
	.name = "pool",
	.magic = 0x6c6e5004,
	.methods = methods,
	.close = pool_close,
};
