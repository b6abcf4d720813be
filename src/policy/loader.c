/*
 * Files into functions: a policy's scripts, and what they require. Everything
 * that is loaded is text, runs in an environment of its own and counts for the
 * version.
 */
#include "policy/library.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define OWN_MODULE "lunette"
#define MAX_MODULE_NAME 100

/* Chained, so that neither the order nor the number of files is lost. */
void
state_add_to_version(lua_State *L, struct span content)
{
	struct policy *p = state_of(L);
	char chain[2 * SHA256_HEX_SIZE];
	struct text t;
	char hex[SHA256_HEX_SIZE];

	if (sha256_hex(content, hex) < 0)
		state_raise(L, "out of memory");
	text_init(&t, chain, sizeof(chain));
	text_add(&t, p->version);
	text_add(&t, hex);
	if (sha256_hex(text_span(&t), p->version) < 0)
		state_raise(L, "out of memory");
	memcpy(p->version_text, p->version, POLICY_VERSION_SIZE - 1);
}

void
loader_push_file(lua_State *L, const char *path)
{
	struct span source = push_file(L, path, POLICY_MAX_SOURCE);

	if (source.len > 0 && source.data[0] == LUA_SIGNATURE[0])
		state_raise(L, "%s: is bytecode, not text", path);
	state_add_to_version(L, source);
	lua_pushfstring(L, "@%s", path);
	if (luaL_loadbufferx(L, (const char *)source.data, source.len,
		lua_tostring(L, -1), "t") != 0)
		lua_error(L);
	sandbox_push_environment(L);
	lua_setfenv(L, -2);
	lua_replace(L, -3);
	lua_pop(L, 1);
}

static void
set_folder(lua_State *L, const char *path)
{
	struct policy *p = state_of(L);
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 1;

	if (len == 0 || len >= sizeof(p->folder))
		len = len == 0 ? 1 : sizeof(p->folder) - 1;
	memcpy(p->folder, slash ? path : ".", len);
	p->folder[len] = '\0';
}

void
loader_run_file(lua_State *L, const char *path, int argument_count)
{
	struct policy *p = state_of(L);
	int first = lua_gettop(L) - argument_count + 1;
	int status;

	state_check_stack(L);
	if (strlen(path) >= POLICY_PATH_SIZE)
		state_raise(L, "%.64s...: the path is too long", path);
	lua_pushstring(L, p->folder); /* to come back to */
	lua_insert(L, first);
	loader_push_file(L, path);
	lua_insert(L, first + 1);
	set_folder(L, path);
	/* Protected, so that the folder is right again for a script that goes
	 * on after a failed require. */
	status = lua_pcall(L, argument_count, 1, 0);
	snprintf(p->folder, sizeof(p->folder), "%s", lua_tostring(L, first));
	lua_remove(L, first);
	if (status != 0)
		lua_error(L);
}

void
state_resolve_path(lua_State *L, struct span path, char out[POLICY_PATH_SIZE])
{
	struct policy *p = state_of(L);
	struct text t;

	if (p->phase != LOADING)
		state_raise(L, "files are opened only while the script loads");
	if (path.len == 0 || memchr(path.data, '\0', path.len))
		state_raise(L, "this is no path");
	text_init(&t, out, POLICY_PATH_SIZE);
	if (path.data[0] != '/')
		text_addf(&t, "%s/", p->folder);
	text_add_span(&t, path);
	if (t.truncated)
		state_raise(L, "the path is too long");
}

/* ---- require ---- */

/* Letters, digits, '_', '-', and single dots between: no way out of the
 * folder. */
static bool
is_module_name(struct span name)
{
	uint8_t before = '.';

	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.data[i];

		if (c == '.' ? before == '.'
			     : !isalnum(c) && c != '_' && c != '-')
			return false;
		before = c;
	}
	return name.len > 0 && before != '.';
}

static bool
module_path(const char *folder, struct span name, struct text *out)
{
	struct stat st;

	text_clear(out);
	text_addf(out, "%s/", folder);
	for (size_t i = 0; i < name.len; i++)
		text_add_char(
		    out, name.data[i] == '.' ? '/' : (char)name.data[i]);
	text_add(out, ".lua");
	return !out->truncated && stat(out->data, &st) == 0 &&
	       S_ISREG(st.st_mode);
}

/* The library's own name cannot be taken by a file beside the script. */
static bool
is_own_module(struct span name)
{
	size_t len = sizeof(OWN_MODULE) - 1;

	return name.len >= len && !memcmp(name.data, OWN_MODULE, len) &&
	       (name.len == len || name.data[len] == '.');
}

static bool
find_own_module(struct policy *p, struct span name, struct text *out)
{
	for (size_t i = p->settings.path_count; i-- > 0;)
		if (module_path(p->settings.path[i], name, out))
			return true;
	return module_path(LUA_FOLDER, name, out);
}

static bool
find_module(struct policy *p, struct span name, struct text *out)
{
	if (is_own_module(name))
		return find_own_module(p, name, out);
	if (module_path(p->folder, name, out))
		return true;
	for (size_t i = 0; i < p->settings.path_count; i++)
		if (module_path(p->settings.path[i], name, out))
			return true;
	return false;
}

static void
freeze_members(lua_State *L)
{
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		if (lua_istable(L, -1)) {
			state_freeze(L);
			lua_pushvalue(L, -2);
			lua_insert(L, -2);
			lua_rawset(L, -4);
		} else {
			lua_pop(L, 1);
		}
	}
}

/* Runs the file and leaves what it returns. */
static void
run_module(lua_State *L, struct span name, const char *path)
{
	push_span(L, name);
	if (!is_own_module(name)) {
		loader_run_file(L, path, 1);
		return;
	}
	library_push(L);
	loader_run_file(L, path, 2);
	if (!lua_istable(L, -1))
		return;
	freeze_members(L);
	state_freeze(L);
}

/* Keeps `false` for a module that is being loaded, then its value. */
static void
remember_module(lua_State *L, const char *path)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, state_of(L)->modules);
	lua_insert(L, -2);
	lua_setfield(L, -2, path);
	lua_pop(L, 1);
}

static void
push_remembered(lua_State *L, const char *path)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, state_of(L)->modules);
	lua_getfield(L, -1, path);
	lua_remove(L, -2);
}

int
lua_require(lua_State *L)
{
	struct policy *p = state_of(L);
	struct span name = arg_span(L, 1, MAX_MODULE_NAME);
	char path[POLICY_PATH_SIZE];
	struct text t;

	if (p->phase != LOADING)
		state_raise(L, "require: only while the script loads");
	if (!is_module_name(name))
		state_raise(L, "require: not a module's name");
	text_init(&t, path, sizeof(path));
	if (!find_module(p, name, &t))
		state_raise(L,
		    is_own_module(name)
			? "require: \"%.*s\" is not in the installed library "
			  "(LUNETTE_LUA may say where that is)"
			: "require: there is no module \"%.*s\" beside "
			  "the script or in edge.policy.path",
		    SPAN_ARG(name));
	lua_settop(L, 1);
	push_remembered(L, path);
	if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
		state_raise(
		    L, "require: \"%.*s\" requires itself", SPAN_ARG(name));
	if (!lua_isnil(L, -1))
		return 1;
	lua_pushboolean(L, 0);
	remember_module(L, path);
	run_module(L, name, path);
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		lua_pushboolean(L, 1);
	}
	lua_pushvalue(L, -1);
	remember_module(L, path);
	return 1;
}
