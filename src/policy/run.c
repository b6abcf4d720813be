/*
 * One connection's coroutine, from start to end. A run and its coroutine are
 * used again after a normal return; a coroutine that failed or was given up is
 * not.
 */
#include <stdio.h>
#include <stdlib.h>

#include "policy/decision_read.h"
#include "policy/fault.h"
#include "policy/state.h"

/* ---- runs and their coroutines ---- */

static struct policy_run *
new_run(struct policy *p)
{
	struct policy_run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	run->magic = POLICY_RUN_MAGIC;
	run->policy = p;
	list_init(&run->idle_node);
	list_init(&run->all_node);
	list_append(&p->all, &run->all_node);
	return run;
}

static struct policy_run *
take_run(
    struct policy *p, unsigned script, enum hook hook, struct policy_conn *conn)
{
	struct list *node = list_shift(&p->idle);
	struct policy_run *run =
	    node ? LIST_ENTRY(node, struct policy_run, idle_node) : new_run(p);

	if (!run)
		return NULL;
	run->generation++;
	run->script = script;
	run->hook = hook;
	run->conn = conn;
	run->failure = NULL;
	run->answer = NULL;
	run->gross = 0;
	for (size_t i = 0; i < ARRAY_COUNT(run->ip_text); i++)
		run->ip_text[i][0] = '\0';
	decision_init(&run->outcome.decision);
	run->outcome.state = POLICY_DECIDED;
	run->outcome.decided = false;
	run->outcome.line = 0;
	run->outcome.message[0] = '\0';
	return run;
}

static int
lua_make_thread(lua_State *L)
{
	struct policy_run *run = lua_touserdata(L, 1);
	lua_State *thread = lua_newthread(L);

	run->thread_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	run->thread = thread;
	return 0;
}

void
policy_run_drop_termination(struct policy_run *run)
{
	trust_put(run->outcome.termination.trust);
	free(run->termination_storage);
	run->outcome.termination = (struct decision_termination){ .auth = -1 };
	run->termination_storage = NULL;
}

static void
drop_thread(struct policy_run *run)
{
	if (!run->thread)
		return;
	/* Needs no memory: see lua_build_state. */
	luaL_unref(run->policy->lua, LUA_REGISTRYINDEX, run->thread_ref);
	run->thread = NULL;
}

static void
fail(struct policy_run *run, enum policy_fault fault, const char *why, int line)
{
	fault_report(run, fault, why, line);
	drop_thread(run);
}

static void
fail_by_limit(struct policy_run *run, enum policy_fault fault)
{
	char why[sizeof(run->outcome.message)];
	struct text t;

	text_init(&t, why, sizeof(why));
	fault_describe(run->policy, fault, &t);
	fail(run, fault, why, 0);
}

/* ---- outcomes ---- */

static int
definition_line(const struct policy_run *run)
{
	return run->policy->scripts[run->script].line[run->hook];
}

/* The script has returned; its results are on the coroutine's stack. */
static void
take_decision(struct policy_run *run)
{
	struct policy_outcome *o = &run->outcome;
	lua_State *L = run->thread;
	char why[sizeof(o->message)];
	struct text t;

	lua_settop(L, 1);
	o->state = POLICY_DECIDED;
	o->decided = lua_istable(L, 1);
	o->decision.line = definition_line(run);
	text_init(&t, why, sizeof(why));
	if (o->decided) {
		if (!decision_read(
			L, run->policy, run->conn, &o->decision, &t)) {
			fail(run, POLICY_FAULT_ERROR, why, o->decision.line);
			return;
		}
	} else if (!lua_isnil(L, 1)) {
		text_addf(&t, "a policy returns a table or nothing, not a %s",
		    luaL_typename(L, 1));
		fail(run, POLICY_FAULT_ERROR, why, o->decision.line);
		return;
	}
	o->line = o->decision.line;
	lua_settop(L, 0);
}

/* The count that a waiting run is part of, and how far it may go. */
static unsigned *
count_of(struct policy_run *run, unsigned *most)
{
	struct policy *p = run->policy;
	bool terminates = run->outcome.wait == POLICY_WAIT_TERMINATE;

	*most = terminates ? POLICY_MAX_TERMINATING : POLICY_MAX_SUSPENDED;
	return terminates ? &p->terminating : &p->suspended;
}

static void
leave_wait(struct policy_run *run)
{
	unsigned most;

	--*count_of(run, &most);
}

static void
take_wait(struct policy_run *run)
{
	unsigned most, *count = count_of(run, &most);

	/* Only state_wait_* yields, and it has said for what. */
	ASSERT(run->outcome.state == POLICY_WAITING);
	if (*count == most) {
		fail_by_limit(run, POLICY_FAULT_LIMIT);
		return;
	}
	++*count;
}

static void
take_error(struct policy_run *run)
{
	char why[sizeof(run->outcome.message)];
	struct text t;

	text_init(&t, why, sizeof(why));
	state_error_text(run->thread, -1, &t);
	fail(run, POLICY_FAULT_ERROR, why, 0);
}

static void
take_outcome(struct policy_run *run, int status)
{
	struct policy *p = run->policy;

	/* Whatever the script made of it: a limit that was hit is a failure. */
	if (p->faulted)
		fail_by_limit(run, p->fault);
	else if (status == LUA_YIELD)
		take_wait(run);
	else if (status != 0)
		take_error(run);
	else if (run->hook != HOOK_CLOSE)
		take_decision(run);
	else
		lua_settop(run->thread, 0);
}

/* Runs the coroutine until it returns, waits or fails. The values on top of its
 * stack are what the call that waited returns. */
static void
go_on(struct policy_run *run, enum policy_phase phase, int results)
{
	struct policy *p = run->policy;

	policy_make_room(p);
	state_enter(p, phase, p->settings.cpu_ms);
	p->run = run;
	p->conn = run->conn;
	p->gross = run->gross;
	take_outcome(run, lua_resume(run->thread, results));
	run->gross = p->gross;
	p->was_full = p->was_full || p->state_is_full;
	state_leave(p);
}

/* Puts the hook's function on the run's coroutine and runs it. */
static void
begin(struct policy_run *run, enum policy_phase phase)
{
	struct policy *p = run->policy;
	int entry = p->scripts[run->script].entry[run->hook];

	if (entry == LUA_NOREF)
		return; /* nothing decided */
	if (!run->thread && state_protected(p, lua_make_thread, run, NULL)) {
		fail(run, POLICY_FAULT_MEMORY, "out of memory", 0);
		return;
	}
	/* An empty stack has room for this; nothing is allocated. */
	lua_rawgeti(run->thread, LUA_REGISTRYINDEX, entry);
	go_on(run, phase, 0);
}

/* ---- public ---- */

struct policy_run *
policy_start(struct policy *p, unsigned script, struct policy_conn *conn,
    const struct policy_failure *failure)
{
	struct policy_run *run;

	ASSERT(p->magic == POLICY_MAGIC && script < p->settings.script_count);
	run = take_run(p, script, failure ? HOOK_RETRY : HOOK_CONNECT, conn);
	if (!run)
		return NULL;
	run->failure = failure;
	begin(run, RUNNING);
	run->failure = NULL;
	return run;
}

struct policy_outcome *
policy_outcome(struct policy_run *run)
{
	return &run->outcome;
}

void
policy_resume(struct policy_run *run, const struct resolver_answer *answer)
{
	ASSERT(run->magic == POLICY_RUN_MAGIC);
	ASSERT(run->outcome.state == POLICY_WAITING);
	leave_wait(run);
	run->outcome.state = POLICY_DECIDED;
	run->answer = answer;
	policy_run_drop_termination(run);
	go_on(run, RUNNING, lua_gettop(run->thread));
	run->answer = NULL;
}

void
policy_finish(struct policy_run *run)
{
	struct policy *p = run->policy;

	ASSERT(run->magic == POLICY_RUN_MAGIC);
	if (run->outcome.state == POLICY_WAITING) {
		leave_wait(run);
		drop_thread(run);
	}
	policy_run_drop_termination(run);
	decision_fini(&run->outcome.decision);
	run->generation++;
	run->conn = NULL;
	list_append(&p->idle, &run->idle_node);
}

void
policy_close(struct policy *p, unsigned script, struct policy_conn *conn,
    const struct policy_summary *summary)
{
	struct policy_run *run;

	ASSERT(p->magic == POLICY_MAGIC && script < p->settings.script_count);
	if (!policy_has_close(p, script))
		return;
	run = take_run(p, script, HOOK_CLOSE, conn);
	if (!run) {
		LOG_LIMITED(LOG_LEVEL_WARN, "no memory for a close function",
		    LOG_TEXT("conn", conn->id));
		return;
	}
	p->summary = summary;
	begin(run, CLOSING);
	policy_finish(run);
}
