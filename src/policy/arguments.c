/*
 * What passes between Lua and C functions: arguments checked, values pushed.
 */
#include "policy/state.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- arguments ---- */

void
arg_refuse(lua_State *L, int at, const char *why)
{
	luaL_argerror(L, at, why);
	assert_failed("luaL_argerror came back", __FILE__, __LINE__);
}

struct span
arg_span(lua_State *L, int at, size_t max)
{
	size_t len;
	const char *text;

	if (lua_type(L, at) != LUA_TSTRING)
		luaL_typerror(L, at, "string");
	text = lua_tolstring(L, at, &len);
	if (len > max)
		arg_refuse(L, at, "string is too long");
	return span_of(text, len);
}

struct span
arg_span_or(lua_State *L, int at, size_t max, struct span missing)
{
	return lua_isnoneornil(L, at) ? missing : arg_span(L, at, max);
}

double
arg_number(lua_State *L, int at, double min, double max)
{
	double n;

	if (lua_type(L, at) != LUA_TNUMBER)
		luaL_typerror(L, at, "number");
	n = lua_tonumber(L, at);
	if (!(n >= min && n <= max))
		arg_refuse(L, at, "number is out of range");
	return n;
}

int64_t
arg_integer(lua_State *L, int at, int64_t min, int64_t max)
{
	double n = arg_number(L, at, (double)min, (double)max);

	if (n != floor(n))
		arg_refuse(L, at, "number is not whole");
	return (int64_t)n;
}

void
arg_table(lua_State *L, int at)
{
	if (lua_type(L, at) != LUA_TTABLE)
		luaL_typerror(L, at, "table");
}

/* ---- pushing ---- */

void
push_span(lua_State *L, struct span s)
{
	lua_pushlstring(L, s.len ? (const char *)s.data : "", s.len);
}

void
push_ip(lua_State *L, const struct addr *a)
{
	char text[ADDR_TEXT_SIZE];

	addr_format_ip(a, text);
	lua_pushstring(L, text);
}

/* Reads all of an open file into `out`; its length, or a negative errno. */
static int
read_all(int fd, uint8_t *out, size_t size, size_t *len)
{
	*len = 0;
	while (*len < size) {
		ssize_t n = read(fd, out + *len, size - *len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		*len += (size_t)n;
	}
	return 0;
}

/* Its size, or -1 with errno. A folder or a pipe is no file. */
static off_t
file_size(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		return -1;
	}
	return st.st_size;
}

struct span
push_file(lua_State *L, const char *path, size_t max)
{
	off_t expected = file_size(path);
	size_t len = 0;
	uint8_t *data;
	int fd, error;

	if (expected < 0)
		state_raise(L, "%s: %s", path, strerror(errno));
	if ((uint64_t)expected > max)
		state_raise(L, "%s: over %zu bytes", path, max);
	/* One byte more shows whether the file grew meanwhile. */
	state_of(L)->reads_file = true;
	data = lua_newuserdata(L, (size_t)expected + 1);
	state_of(L)->reads_file = false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		state_raise(L, "%s: %s", path, strerror(errno));
	error = read_all(fd, data, (size_t)expected + 1, &len);
	close(fd);
	if (error)
		state_raise(L, "%s: %s", path, strerror(-error));
	if (len > (size_t)expected)
		state_raise(L, "%s: changed while it was read", path);
	return span_of(data, len);
}
