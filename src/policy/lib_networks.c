/*
 * lunette.cidrs and lunette.cidrs_file: sets of networks, each with a value.
 *
 * The tree is base/netset; it maps a network to an index into the table of
 * values, which is the object's environment. Index 0 stands for `true`.
 */
#include "policy/library.h"

#include "base/netset.h"

#define NETWORKS_MAX_FILE ((size_t)64 << 20)
#define NETWORKS_MAX_LINE 512
#define NETWORK_STEPS 50 /* what adding one costs, for the CPU budget */

struct networks {
	uint32_t magic;
	struct netset *set;
	uint32_t value_count;
};

static void
networks_close(void *body)
{
	struct networks *n = body;

	netset_free(n->set);
}

/* Pushes an empty set. */
static struct networks *
push_networks(lua_State *L)
{
	struct networks *n = state_new_object(L, &cidrs_object, sizeof(*n));

	lua_newtable(L);
	lua_setfenv(L, -2);
	n->set = netset_new();
	if (n->set == NULL)
		state_raise_fault(L, POLICY_FAULT_MEMORY);
	return n;
}

/* Keeps the value on top, which it pops, in the set at `at`. */
static uint32_t
keep_value(lua_State *L, int at, struct networks *n)
{
	if (lua_isboolean(L, -1) && lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		return 0;
	}
	lua_getfenv(L, at);
	lua_insert(L, -2);
	lua_rawseti(L, -2, (int)++n->value_count);
	lua_pop(L, 1);
	return n->value_count;
}

static void
add_network(lua_State *L, struct networks *n, const struct network *network,
    uint32_t value)
{
	state_spend(L, NETWORK_STEPS);
	if (netset_add(n->set, network, value) < 0)
		state_raise_fault(L, POLICY_FAULT_MEMORY);
}

static void
check_value(lua_State *L, int at, const char *name)
{
	int type = lua_type(L, at);

	if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN)
		state_raise(L,
		    "cidrs: the value of '%s' must be a string, a number or a "
		    "boolean",
		    name);
}

/* A pair of the table at 1 is on top: network and value, or place and network.
 * Pops the value. */
static void
add_pair(lua_State *L, int set, struct networks *n)
{
	bool listed = lua_type(L, -2) == LUA_TNUMBER;
	int at = lua_gettop(L) - (listed ? 0 : 1);
	struct network network;
	const char *why = "no string";
	struct span text = span_of(NULL, 0);

	if (lua_type(L, at) == LUA_TSTRING)
		text.data = (const uint8_t *)lua_tolstring(L, at, &text.len);
	if (text.data == NULL || network_parse(text, &network, &why) < 0)
		state_raise(L, "cidrs: '%s': %s",
		    text.data ? (const char *)text.data : "?", why);
	if (listed) {
		lua_pop(L, 1);
		lua_pushboolean(L, true);
	} else {
		check_value(L, -1, (const char *)text.data);
	}
	add_network(L, n, &network, keep_value(L, set, n));
}

int
lua_cidrs(lua_State *L)
{
	struct networks *n;

	arg_table(L, 1);
	lua_settop(L, 1);
	n = push_networks(L);
	lua_pushnil(L);
	while (lua_next(L, 1) != 0)
		add_pair(L, 2, n);
	return 1;
}

/* Files: one network a line. */

static struct span
next_line(struct span *rest)
{
	struct span line = *rest;
	const uint8_t *end =
	    rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;

	if (end != NULL)
		line.len = (size_t)(end - rest->data);
	rest->data += line.len;
	rest->len -= line.len;
	if (end != NULL) {
		rest->data++;
		rest->len--;
	}
	return line;
}

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span
trim(struct span s)
{
	while (s.len > 0 && is_blank(s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len > 0 && is_blank(s.data[s.len - 1]))
		s.len--;
	return s;
}

static struct span
without_comment(struct span line)
{
	const uint8_t *hash =
	    line.len > 0 ? memchr(line.data, '#', line.len) : NULL;

	if (hash != NULL)
		line.len = (size_t)(hash - line.data);
	return trim(line);
}

/* Cuts the first word off. */
static struct span
take_word(struct span *rest)
{
	struct span word = *rest;

	word.len = 0;
	while (word.len < rest->len && !is_blank(rest->data[word.len]))
		word.len++;
	rest->data += word.len;
	rest->len -= word.len;
	*rest = trim(*rest);
	return word;
}

static NORETURN void
raise_in_file(lua_State *L, const char *path, unsigned number, struct span line,
    const char *why)
{
	char storage[128];
	struct text shown;

	text_init(&shown, storage, sizeof(storage));
	text_add_escaped(&shown, line, 60);
	state_raise(L, "%s:%u: '%s': %s", path, number, shown.data, why);
}

static void
add_line(lua_State *L, int set, struct networks *n, const char *path,
    unsigned number, struct span line)
{
	struct span value = line;
	struct span word = take_word(&value);
	const char *why = NULL;
	struct network network;

	if (line.len > NETWORKS_MAX_LINE)
		raise_in_file(L, path, number, line, "the line is too long");
	if (network_parse(word, &network, &why) < 0)
		raise_in_file(L, path, number, line, why);
	if (value.len > 0)
		push_span(L, value);
	else
		lua_pushboolean(L, true);
	add_network(L, n, &network, keep_value(L, set, n));
}

int
lua_cidrs_file(lua_State *L)
{
	struct span name = arg_span(L, 1, POLICY_PATH_SIZE - 1);
	char path[POLICY_PATH_SIZE];
	struct span content;
	struct networks *n;

	state_resolve_path(L, name, path);
	lua_settop(L, 1);
	n = push_networks(L);
	content = push_file(L, path, NETWORKS_MAX_FILE);
	state_add_to_version(L, content);
	for (unsigned number = 1; content.len > 0; number++) {
		struct span line = without_comment(next_line(&content));

		if (line.len > 0)
			add_line(L, 2, n, path, number, line);
	}
	lua_settop(L, 2);
	return 1;
}

/* An address that is none must not read as "not in the set": a list of
 * addresses to refuse would let it pass. */
static bool
look_up(lua_State *L, uint32_t *value)
{
	const struct networks *n = state_object(L, 1, &cidrs_object);
	struct span text = arg_span(L, 2, ADDR_TEXT_SIZE);
	struct addr a;

	if (addr_parse(text, &a) < 0)
		arg_refuse(L, 2, "an IP address expected");
	return netset_lookup(n->set, &a, value);
}

static int
lua_networks_contains(lua_State *L)
{
	lua_pushboolean(L, look_up(L, NULL));
	return 1;
}

static int
lua_networks_lookup(lua_State *L)
{
	uint32_t value;

	if (!look_up(L, &value)) {
		lua_pushnil(L);
	} else if (value == 0) {
		lua_pushboolean(L, true);
	} else {
		lua_getfenv(L, 1);
		lua_rawgeti(L, -1, (int)value);
	}
	return 1;
}

static const luaL_Reg methods[] = {
	{ "contains", lua_networks_contains },
	{ "lookup", lua_networks_lookup },
	{ NULL, NULL },
};

const struct object_type cidrs_object = {
	.name = "cidrs",
	.magic = 0x6c6e4301,
	.methods = methods,
	.close = networks_close,
};
