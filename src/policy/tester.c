#include "policy/tester.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "policy/library.h"
#include "policy/simulation.h"

#define TEST_CPU_MS 60000 /* of one test script, its policies included */
#define MAX_NAME 200
#define MAX_DEPTH 16 /* of tables that are compared or shown */

struct tester {
	struct simulator simulator; /* first: the host's functions see this */
	struct policy_settings settings;
	struct policy *own;    /* runs the test script */
	struct policy *policy; /* what it tests; NULL until policy "file" */
	struct text *out;
	const char *path;
	struct policy_test_result result;
};

static void
simulation_close(void *body)
{
	struct simulation *s = body;

	decision_fini(&s->outcome.decision);
	peer_free(s->client);
}

static const struct object_type simulation_object = {
	.name = "decision",
	.magic = 0x6c6e5405,
	.close = simulation_close,
};

static struct tester *
tester_of(lua_State *L)
{
	return state_of(L)->settings.host_data;
}

/* ---- policy "file.lua" ---- */

static int
lua_policy(lua_State *L)
{
	struct span name = arg_span(L, 1, POLICY_PATH_SIZE - 1);
	struct tester *t = tester_of(L);
	struct policy_settings settings = t->settings;
	char path[POLICY_PATH_SIZE];
	char *scripts[] = { path };
	char message[512];
	struct text error;

	state_resolve_path(L, name, path);
	policy_free(t->policy);
	settings.scripts = scripts;
	settings.script_count = 1;
	text_init(&error, message, sizeof(message));
	t->policy = policy_new(&settings, &error);
	if (t->policy == NULL)
		state_raise(L, "policy: %s", message);
	return 0;
}

/* ---- decide{...} ---- */

static const char *
optional_text(lua_State *L, int at, const char *key, const char *missing)
{
	const char *text = missing;

	lua_getfield(L, at, key);
	if (lua_type(L, -1) == LUA_TSTRING)
		text = lua_tostring(L, -1); /* the table keeps it */
	lua_pop(L, 1);
	return text;
}

static double
optional_number(lua_State *L, int at, const char *key, double missing)
{
	double n = missing;

	lua_getfield(L, at, key);
	if (lua_isnumber(L, -1))
		n = lua_tonumber(L, -1);
	lua_pop(L, 1);
	return n;
}

/* decide{failure = {...}}: the retry function. */
static bool
read_failure(lua_State *L, struct policy_failure *out)
{
	lua_getfield(L, 1, "failure");
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return false;
	}
	arg_table(L, lua_gettop(L));
	out->reason =
	    optional_text(L, lua_gettop(L), "reason", "upstream_unreachable");
	out->attempt =
	    (unsigned)optional_number(L, lua_gettop(L), "attempt", 1);
	out->upstream = optional_text(L, lua_gettop(L), "upstream", "");
	lua_pop(L, 1);
	return true;
}

/* decide{summary = {...}}: the close function. */
static bool
read_summary(lua_State *L, struct policy_summary *out)
{
	int at;

	lua_getfield(L, 1, "summary");
	at = lua_gettop(L);
	if (lua_isnil(L, at)) {
		lua_pop(L, 1);
		return false;
	}
	arg_table(L, at);
	out->reason = optional_text(L, at, "reason", "done");
	out->detail = optional_text(L, at, "detail", NULL);
	out->endpoint = optional_text(L, at, "endpoint", NULL);
	out->upstream = optional_text(L, at, "upstream", NULL);
	out->bytes_in = (uint64_t)optional_number(L, at, "bytes_in", 0);
	out->bytes_out = (uint64_t)optional_number(L, at, "bytes_out", 0);
	out->duration_us =
	    (int64_t)(optional_number(L, at, "duration", 0) * 1e6);
	lua_pop(L, 1);
	return true;
}

static void
run_close(struct tester *t, struct simulation *s,
    const struct policy_summary *summary)
{
	t->simulator.current = s;
	policy_close(t->policy, 0, &s->conn, summary);
	t->simulator.current = NULL;
	s->outcome.state = POLICY_DECIDED;
}

static int
lua_decide(lua_State *L)
{
	struct tester *t = tester_of(L);
	struct policy_failure failure = { .reason = NULL };
	struct policy_summary summary = { .reason = NULL };
	struct simulation *s;
	bool retry, close;

	arg_table(L, 1);
	lua_settop(L, 1);
	if (t->policy == NULL)
		state_raise(L, "decide: write policy \"FILE\" first");
	s = state_new_object(L, &simulation_object, sizeof(*s));
	simulation_read(L, s);
	retry = read_failure(L, &failure);
	close = read_summary(L, &summary);
	if (retry && !policy_has_retry(t->policy, 0))
		state_raise(L, "decide: the policy has no retry function");
	if (close && !policy_has_close(t->policy, 0))
		state_raise(L, "decide: the policy has no close function");
	if (close)
		run_close(t, s, &summary);
	else
		simulation_run(
		    &t->simulator, t->policy, s, retry ? &failure : NULL);
	simulation_push_result(L, s);
	return 1;
}

/* ---- test(name, function) ---- */

static void
report(lua_State *L, struct tester *t, const char *name)
{
	t->result.failed++;
	state_error_text(L, -1, t->out);
	text_add(t->out, " [");
	text_add_escaped(t->out, span_text(name), MAX_NAME);
	text_add(t->out, "]\n");
}

static int
lua_test(lua_State *L)
{
	const char *name = (const char *)arg_span(L, 1, MAX_NAME).data;
	struct tester *t = tester_of(L);

	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	state_check_stack(L);
	if (lua_pcall(L, 0, 0, 0) == 0) {
		t->result.passed++;
		return 0;
	}
	/* Out of time or memory: the whole script ends. */
	if (state_of(L)->faulted)
		state_raise_fault(L, state_of(L)->fault);
	report(L, t, name);
	return 0;
}

/* ---- assertions ---- */

static void
show(lua_State *L, int at, struct text *out)
{
	switch (lua_type(L, at)) {
	case LUA_TSTRING:
		text_add(out, "\"");
		text_add_escaped(out, span_text(lua_tostring(L, at)), 160);
		text_add(out, "\"");
		break;
	case LUA_TNUMBER:
		text_addf(out, "%.14g", lua_tonumber(L, at));
		break;
	case LUA_TBOOLEAN:
		text_add(out, lua_toboolean(L, at) ? "true" : "false");
		break;
	default:
		text_addf(out, "a %s", lua_typename(L, lua_type(L, at)));
	}
}

static bool same(lua_State *L, int a, int b, int depth);

/* Every pair of the table at `a` is in the one at `b`. */
static bool
within(lua_State *L, int a, int b, int depth)
{
	lua_pushnil(L);
	while (lua_next(L, a) != 0) {
		lua_pushvalue(L, -2);
		lua_rawget(L, b);
		if (!same(L, lua_gettop(L) - 1, lua_gettop(L), depth + 1)) {
			lua_pop(L, 3);
			return false;
		}
		lua_pop(L, 2);
	}
	return true;
}

static bool
same(lua_State *L, int a, int b, int depth)
{
	if (lua_rawequal(L, a, b))
		return true;
	if (!lua_istable(L, a) || !lua_istable(L, b))
		return false;
	if (depth == MAX_DEPTH)
		state_raise(L, "assert_equal: the tables are too deep");
	luaL_checkstack(L, 6, "assert_equal");
	return within(L, a, b, depth) && within(L, b, a, depth);
}

static const char *
note(lua_State *L, int at)
{
	return lua_isnoneornil(L, at)
		   ? ""
		   : (const char *)arg_span(L, at, MAX_NAME).data;
}

static int
lua_assert_equal(lua_State *L)
{
	char message[480];
	struct text t;

	lua_settop(L, 3);
	if (same(L, 1, 2, 0))
		return 0;
	text_init(&t, message, sizeof(message));
	text_add(&t, "got ");
	show(L, 1, &t);
	text_add(&t, ", expected ");
	show(L, 2, &t);
	state_raise(L, "%s%s%s", note(L, 3), *note(L, 3) ? ": " : "", message);
}

static int
lua_assert_true(lua_State *L)
{
	lua_settop(L, 2);
	if (lua_toboolean(L, 1))
		return 0;
	state_raise(L, "%s%sexpected something true", note(L, 2),
	    *note(L, 2) ? ": " : "");
}

static int
lua_assert_false(lua_State *L)
{
	lua_settop(L, 2);
	if (!lua_toboolean(L, 1))
		return 0;
	state_raise(L, "%s%sexpected false or nil", note(L, 2),
	    *note(L, 2) ? ": " : "");
}

/* assert_error(function [, text]): it raises, and the message has the text. */
static int
lua_assert_error(lua_State *L)
{
	struct span wanted = arg_span_or(L, 2, MAX_NAME, span_of(NULL, 0));
	char storage[512];
	struct text message;

	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 2);
	lua_pushvalue(L, 1);
	state_check_stack(L);
	if (lua_pcall(L, 0, 0, 0) == 0)
		state_raise(L, "expected an error");
	if (state_of(L)->faulted)
		state_raise_fault(L, state_of(L)->fault);
	text_init(&message, storage, sizeof(storage));
	if (wanted.len == 0)
		return 0;
	if (lua_type(L, -1) == LUA_TSTRING &&
	    strstr(lua_tostring(L, -1), lua_tostring(L, 2)) != NULL)
		return 0;
	state_error_text(L, -1, &message);
	state_raise(L, "expected an error with \"%s\", got: %s",
	    lua_tostring(L, 2), message.data);
}

/* assert_allow(result): also shows why not. */
static int
lua_assert_allow(lua_State *L)
{
	arg_table(L, 1);
	lua_getfield(L, 1, "allow");
	if (lua_toboolean(L, -1))
		return 0;
	lua_getfield(L, 1, "error");
	lua_getfield(L, 1, "reason");
	state_raise(L, "expected allow, got deny: %s",
	    lua_isstring(L, -2)	  ? lua_tostring(L, -2)
	    : lua_isstring(L, -1) ? lua_tostring(L, -1)
				  : "no reason");
}

/* assert_deny(result [, reason]): denied by the script, not by an error. */
static int
lua_assert_deny(lua_State *L)
{
	arg_table(L, 1);
	lua_settop(L, 2);
	lua_getfield(L, 1, "error");
	if (lua_isstring(L, -1))
		state_raise(
		    L, "expected deny, got the error: %s", lua_tostring(L, -1));
	lua_getfield(L, 1, "allow");
	if (lua_toboolean(L, -1))
		state_raise(L, "expected deny, got allow");
	lua_getfield(L, 1, "reason");
	if (!lua_isnil(L, 2) && !lua_rawequal(L, 2, -1))
		state_raise(L, "denied, but for another reason: %s",
		    lua_isstring(L, -1) ? lua_tostring(L, -1) : "none");
	return 0;
}

static const luaL_Reg globals[] = {
	{ "policy", lua_policy },
	{ "decide", lua_decide },
	{ "test", lua_test },
	{ "assert_equal", lua_assert_equal },
	{ "assert_true", lua_assert_true },
	{ "assert_false", lua_assert_false },
	{ "assert_error", lua_assert_error },
	{ "assert_allow", lua_assert_allow },
	{ "assert_deny", lua_assert_deny },
};

/* ---- running a test script ---- */

static int
lua_open_tester(lua_State *L)
{
	state_register_object(L, &simulation_object);
	for (size_t i = 0; i < ARRAY_COUNT(globals); i++) {
		lua_pushcfunction(L, globals[i].func);
		sandbox_add_global(L, globals[i].name);
	}
	return 0;
}

static int
lua_run_tests(lua_State *L)
{
	const struct tester *t = lua_touserdata(L, 1);

	loader_run_file(L, t->path, 0);
	return 0;
}

static void
run_script(struct tester *t)
{
	char message[512];
	struct text error;
	int status;

	text_init(&error, message, sizeof(message));
	t->own = state_new(&t->settings, &error);
	if (t->own != NULL &&
	    state_protected(t->own, lua_open_tester, NULL, &error) == 0) {
		state_enter(t->own, LOADING, TEST_CPU_MS);
		status = state_protected(t->own, lua_run_tests, t, &error);
		state_leave(t->own);
		if (status == 0)
			return;
	}
	t->result.failed++;
	text_addf(t->out, "%s: %s\n", t->path, message);
}

struct policy_test_result
policy_test(
    const struct policy_settings *settings, const char *path, struct text *out)
{
	struct tester t = { .settings = *settings, .out = out, .path = path };

	t.settings.scripts = NULL;
	t.settings.script_count = 0;
	t.settings.host = simulation_host();
	t.settings.host_data = &t;
	/* The test looks at them, and many a test expects one. */
	t.settings.silent = true;
	t.settings.resolver = NULL;
	t.settings.shared = policy_shared_new();
	if (t.settings.shared == NULL) {
		text_addf(out, "%s: no memory\n", path);
		return (struct policy_test_result){ .failed = 1 };
	}
	run_script(&t);
	policy_free(t.policy);
	state_free(t.own);
	policy_shared_free(t.settings.shared);
	if (t.result.passed + t.result.failed == 0) {
		text_addf(out, "%s: holds no test\n", path);
		t.result.failed = 1;
	}
	return t.result;
}
