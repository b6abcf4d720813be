/*
 * `lunette policy check`: the script is loaded as an edge would load it, then
 * its source is held against the sandbox and the library that it was loaded
 * into.
 */
#include "policy/decision_read.h"
#include "policy/library.h"
#include "policy/lint.h"
#include "policy/simulation.h"
#include "policy/tester.h"

#define CHECK_CPU_MS 2000

struct question {
	struct policy *policy;
	const struct span *path;
	size_t count;
	bool library;
	bool known;
};

struct checker {
	struct policy *policy;
	const char *path;
	struct text *out;
	size_t findings;
};

/* Pushes the table that the path starts in. */
static void
push_root(lua_State *L, const struct question *q)
{
	if (q->library) {
		lua_pushcfunction(L, lua_require);
		lua_pushstring(L, "lunette");
		lua_call(L, 1, 1);
	} else {
		lua_rawgeti(L, LUA_REGISTRYINDEX, q->policy->globals);
	}
}

static int
lua_answer(lua_State *L)
{
	struct question *q = lua_touserdata(L, 1);

	push_root(L, q);
	for (size_t i = 0; i < q->count; i++) {
		/* A member of something that is no table of ours. */
		q->known = true;
		if (!lua_istable(L, -1))
			return 0;
		push_span(L, q->path[i]);
		lua_gettable(L, -2);
		q->known = !lua_isnil(L, -1);
	}
	return 0;
}

static bool
ask(struct checker *c, const struct span *path, size_t count, bool library)
{
	struct question q = { .policy = c->policy,
		.path = path,
		.count = count,
		.library = library };
	int status;

	state_enter(c->policy, LOADING, CHECK_CPU_MS);
	status = state_protected(c->policy, lua_answer, &q, NULL);
	state_leave(c->policy);
	return status != 0 || q.known;
}

static bool
knows(void *data, const struct span *path, size_t count)
{
	return ask(data, path, count, false);
}

static bool
knows_library(void *data, const struct span *path, size_t count)
{
	return ask(data, path, count, true);
}

static bool
knows_key(void *data, struct span within, struct span key)
{
	(void)data;
	return decision_knows_key(within, key);
}

struct file {
	const char *path;
	struct span source;
	struct checker *checker;
};

static int
lua_lint(lua_State *L)
{
	struct file *f = lua_touserdata(L, 1);

	f->source = push_file(L, f->path, POLICY_MAX_SOURCE);
	/* Keeps the bytes while lint_source asks the same state. */
	luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

static void
lint(struct checker *c)
{
	const struct lint_world world = { .knows = knows,
		.knows_library = knows_library,
		.knows_key = knows_key,
		.data = c };
	struct file f = { .path = c->path };
	int status;

	state_enter(c->policy, LOADING, CHECK_CPU_MS);
	status = state_protected(c->policy, lua_lint, &f, c->out);
	state_leave(c->policy);
	if (status != 0 ||
	    lint_source(f.source, c->path, &world, c->out, &c->findings) < 0) {
		text_addf(c->out, "%s: cannot be examined\n", c->path);
		c->findings++;
	}
}

size_t
policy_check(
    const struct policy_settings *settings, const char *path, struct text *out)
{
	struct checker c = { .path = path, .out = out };
	struct simulator simulator = { .current = NULL };
	struct policy_settings own = *settings;
	char *scripts[] = { (char *)(uintptr_t)path };
	struct policy_shared *shared = policy_shared_new();

	own.scripts = scripts;
	own.script_count = 1;
	own.host = simulation_host();
	own.host_data = &simulator;
	own.resolver = NULL;
	own.shared = shared;
	c.policy = policy_new(&own, out);
	if (c.policy == NULL) {
		text_add(out, "\n");
		c.findings = 1;
	} else {
		lint(&c);
		policy_free(c.policy);
	}
	policy_shared_free(shared);
	return c.findings;
}
