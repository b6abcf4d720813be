/*
 * lunette.log.*: lines in the log with the connection's id. base/log escapes
 * and bounds every value, so a name from a stranger cannot forge a line.
 */
#include "policy/library.h"

#include <stdio.h>

#define LOG_MAX_MESSAGE 1024
#define LOG_MAX_FIELDS 16
#define LOG_MAX_KEY 32
#define LOG_MAX_VALUE 512

struct log_line {
	struct log_field fields[LOG_MAX_FIELDS + 1];
	size_t count;
};

static bool
is_key(const char *key, size_t len)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
				      "0123456789";

	return len > 0 && len <= LOG_MAX_KEY && strspn(key, letters) == len &&
	       !(key[0] >= '0' && key[0] <= '9');
}

/* The ones that every line has. */
static bool
is_reserved(const char *key)
{
	static const char *const reserved[] = { "time", "level", "msg",
		"conn" };

	for (size_t i = 0; i < ARRAY_COUNT(reserved); i++)
		if (!strcmp(key, reserved[i]))
			return true;
	return false;
}

/* Key and value are on top; the value becomes a string that lives as long as
 * its place on the stack, where it stays. */
static struct span
field_value(lua_State *L, const char *key)
{
	struct span s;

	switch (lua_type(L, -1)) {
	case LUA_TBOOLEAN:
		return span_text(lua_toboolean(L, -1) ? "true" : "false");
	case LUA_TNUMBER: /* made a string here on the stack, not in the table
			   */
	case LUA_TSTRING:
		s.data = (const uint8_t *)lua_tolstring(L, -1, &s.len);
		if (s.len > LOG_MAX_VALUE)
			s.len = LOG_MAX_VALUE;
		return s;
	default:
		state_raise(L,
		    "log: the value of '%s' must be a string, a number or a "
		    "boolean",
		    key);
	}
}

static const char *
field_key(lua_State *L)
{
	size_t len;
	const char *key;

	if (lua_type(L, -2) != LUA_TSTRING)
		state_raise(L, "log: the name of a field must be a string");
	key = lua_tolstring(L, -2, &len);
	if (!is_key(key, len))
		state_raise(L,
		    "log: the name of a field must be letters, digits and "
		    "'_', at most %d",
		    LOG_MAX_KEY);
	if (is_reserved(key))
		state_raise(L, "log: the field '%s' is Lunette's own", key);
	return key;
}

/* Leaves the values on the stack, where they stay alive. */
static void
read_fields(lua_State *L, int at, struct log_line *line)
{
	lua_pushnil(L);
	while (lua_next(L, at) != 0) {
		const char *key = field_key(L);

		if (line->count > LOG_MAX_FIELDS)
			state_raise(
			    L, "log: at most %d fields", LOG_MAX_FIELDS);
		line->fields[line->count++] =
		    LOG_SPAN(key, field_value(L, key));
		lua_pushvalue(L, -2);
	}
}

static int
write_line(lua_State *L, enum log_level level)
{
	struct span message = arg_span(L, 1, POLICY_MAX_TEXT);
	const struct policy *p = state_of(L);
	char shown[LOG_MAX_MESSAGE];
	struct log_line line = { .count = 0 };

	luaL_checkstack(L, 2 * LOG_MAX_FIELDS + 8, "log");
	lua_settop(L, 2);
	if (p->conn != NULL)
		line.fields[line.count++] = LOG_TEXT("conn", p->conn->id);
	else
		line.fields[line.count++] = LOG_TEXT("conn", "-");
	if (!lua_isnil(L, 2)) {
		arg_table(L, 2);
		read_fields(L, 2, &line);
	}
	snprintf(shown, sizeof(shown), "%.*s", (int)message.len,
	    (const char *)message.data);
	if (log_enabled(level))
		log_write(level, shown, line.fields, line.count);
	return 0;
}

int
lua_log_debug(lua_State *L)
{
	return write_line(L, LOG_LEVEL_DEBUG);
}

int
lua_log_info(lua_State *L)
{
	return write_line(L, LOG_LEVEL_INFO);
}

int
lua_log_warn(lua_State *L)
{
	return write_line(L, LOG_LEVEL_WARN);
}

int
lua_log_error(lua_State *L)
{
	return write_line(L, LOG_LEVEL_ERROR);
}
