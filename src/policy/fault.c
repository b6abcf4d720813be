#include "policy/fault.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"

#define MAX_FRAMES 10
#define HOLD_MS 1000

void
fault_describe(
    const struct policy *p, enum policy_fault fault, struct text *out)
{
	const struct policy_settings *s = &p->settings;

	switch (fault) {
	case POLICY_FAULT_TIMEOUT:
		text_addf(out, "over %llu ms of CPU time (edge.policy.cpu)",
		    (unsigned long long)p->cpu_ms);
		return;
	case POLICY_FAULT_MEMORY:
		if (p->state_is_full)
			text_addf(out,
			    "the scripts hold over %llu bytes "
			    "(edge.policy.memory)",
			    (unsigned long long)s->memory_bytes);
		else if (p->run_is_full)
			text_addf(out,
			    "over %llu bytes in one run "
			    "(edge.policy.run_memory)",
			    (unsigned long long)s->run_memory_bytes);
		else if (p->string_is_long)
			text_addf(out, "a string of over %d bytes",
			    POLICY_MAX_STRING);
		else
			text_add(out, "out of memory");
		return;
	case POLICY_FAULT_LIMIT:
		text_add(out, "too many runs are waiting already");
		return;
	case POLICY_FAULT_ERROR:
		text_add(out, "error");
		return;
	}
}

/* The line in "file:line: what", if the message starts with that file; 0. */
static int
line_in_message(const char *message, const char *file)
{
	size_t len = strlen(file);
	char *end;
	long line;

	if (strncmp(message, file, len) != 0 || message[len] != ':')
		return 0;
	line = strtol(message + len + 1, &end, 10);
	return *end == ':' && line > 0 && line < INT_MAX ? (int)line : 0;
}

/*
 * Where the coroutine stands: "a.lua:3 in pick; a.lua:9". The line of the
 * innermost script frame goes into `line`. LuaJIT no longer knows it for a
 * frame in which an instruction failed, so the message is looked at first.
 */
static void
describe_stack(lua_State *L, const char *message, struct text *out, int *line)
{
	lua_Debug ar;

	for (int level = 0, shown = 0;
	     shown < MAX_FRAMES && lua_getstack(L, level, &ar); level++) {
		if (!lua_getinfo(L, "Sln", &ar) || ar.source[0] != '@')
			continue;
		if (shown == 0 && line_in_message(message, ar.short_src))
			ar.currentline = line_in_message(message, ar.short_src);
		if (shown++ > 0)
			text_add(out, "; ");
		text_add(out, ar.short_src);
		if (ar.currentline > 0)
			text_addf(out, ":%d", ar.currentline);
		if (ar.name)
			text_addf(out, " in %s", ar.name);
		if (*line == 0 && ar.currentline > 0)
			*line = ar.currentline;
	}
}

/* True if this may be logged now; `held` gets how many were not. */
static bool
may_log(struct policy *p, const struct policy_run *run, unsigned *held)
{
	struct {
		unsigned script, fault;
		int line;
	} place = { run->script, run->outcome.fault, run->outcome.line };
	uint64_t hash = hash_stable(span_of(&place, sizeof(place)));
	struct error_seen *seen = &p->seen[hash % POLICY_ERRORS_SEEN];
	uint64_t now = clock_ms();

	if (seen->hash == hash && now < seen->until_ms) {
		seen->held_back++;
		return false;
	}
	*held = seen->hash == hash ? seen->held_back : 0;
	*seen = (struct error_seen){ hash, now + HOLD_MS, 0 };
	return true;
}

static void
log_fault(struct policy_run *run, const struct text *traceback)
{
	struct policy *p = run->policy;
	const struct policy_outcome *o = &run->outcome;
	unsigned held;

	/* Of a close function nothing else would tell. */
	if (p->settings.silent && run->hook != HOOK_CLOSE)
		return;
	if (!may_log(p, run, &held))
		return;
	LOG_ERROR("policy failed",
	    LOG_TEXT("script", p->settings.scripts[run->script]),
	    LOG_INT("line", o->line), LOG_TEXT("error", o->message),
	    LOG_SPAN("traceback", text_span(traceback)),
	    LOG_TEXT("conn", run->conn->id), LOG_INT("held_back", held));
}

void
fault_report(
    struct policy_run *run, enum policy_fault fault, const char *why, int line)
{
	struct policy_outcome *o = &run->outcome;
	char storage[1024];
	struct text traceback;

	text_init(&traceback, storage, sizeof(storage));
	if (run->thread)
		describe_stack(run->thread, why, &traceback, &line);
	o->state = POLICY_FAILED;
	o->fault = fault;
	o->line = line;
	snprintf(o->message, sizeof(o->message), "%s", why);
	decision_fini(&o->decision);
	log_fault(run, &traceback);
}
