#include "cmd/commands.h"

#include <unistd.h>

#include "cmd/keylog.h"
#include "cmd/run_agent.h"
#include "cmd/run_edge.h"
#include "cmd/screen.h"
#include "cmd/tls_tree.h"

static struct snapshot *
load(void *context, struct problems *p)
{
	const struct tls_command *c = context;
	struct tree *t = tls_tree_new(c);
	struct snapshot *s;

	if (t == NULL) {
		problems_add_no_memory(p);
		return NULL;
	}
	s = snapshot_build(t, ".", p);
	tree_free(t);
	if (s == NULL || !c->through_edge || authtoken_use(&c->token, s, p))
		return s;
	snapshot_put(s);
	return NULL;
}

static bool
find_end(struct tls_command *c)
{
	bool own = flags_has(c->flags, "crt") || flags_has(c->flags, "key");
	struct span where =
	    flags_value(c->flags, "terminate-at", own ? "agent" : "upstream");

	if (span_is(where, "edge")) {
		c->end = TERMINATE_EDGE;
	} else if (span_is(where, "agent")) {
		c->end = TERMINATE_AGENT;
	} else if (span_is(where, "upstream")) {
		c->end = TERMINATE_UPSTREAM;
	} else {
		say_error("--terminate-at is edge, agent or upstream, not "
			  "%.*s",
		    SPAN_ARG(where));
		return false;
	}
	/* In this process alone the agent and the edge are the same. */
	c->ends_here = c->end == TERMINATE_AGENT ||
		       (c->end == TERMINATE_EDGE && !c->through_edge);
	return true;
}

/* Flags that are about how TLS ends. */
struct ending_flag {
	const char *name;
	bool for_policy; /* which may end TLS on its own */
	bool for_edge;	 /* told to it by an agent, or done after it */
};

static bool
has_use(const struct tls_command *c, const struct ending_flag *flag)
{
	if (c->ends_here)
		return true;
	if (flag->for_policy && flags_has(c->flags, "policy-file"))
		return true;
	return flag->for_edge && c->end == TERMINATE_EDGE;
}

/* What was asked for and would not happen is refused. */
static bool
check_termination(const struct tls_command *c)
{
	static const struct ending_flag flags[] = {
		{ "crt", true, true },
		{ "key", true, true },
		{ "mutual-tls-cas", false, true },
		{ "min-version", false, false },
		{ "max-version", false, false },
		{ "alpn", false, false },
		{ "upstream-tls-verify", true, true },
		{ "upstream-tls-verify-cas", true, true },
	};

	for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
		if (!flags_has(c->flags, flags[i].name) ||
		    has_use(c, &flags[i]))
			continue;
		say_error("--%s needs --terminate-at %s: without it TLS "
			  "does not end here",
		    flags[i].name, c->through_edge ? "agent" : "edge");
		return false;
	}
	if (flags_has(c->flags, "key") && !flags_has(c->flags, "crt")) {
		say_error("--key needs --crt, the certificate that it "
			  "belongs to");
		return false;
	}
	return true;
}

/* Each of them says that there is an edge somewhere else. */
static bool
check_own(const struct flags *f)
{
	static const char *const needing[] = { "authtoken", "authtoken-file",
		"connect-cas", "connections", "name", "pooling-enabled",
		"proxy-url", "web-addr", "data-encryption" };

	for (size_t i = 0; i < ARRAY_COUNT(needing); i++)
		if (flags_has(f, needing[i])) {
			say_error("--%s needs --edge: without it this process "
				  "is the edge",
			    needing[i]);
			return false;
		}
	return true;
}

static size_t
count_domains(const struct flags *f)
{
	size_t count = 0;

	for (size_t i = 0; i < f->given_count; i++) {
		const char *name = f->given[i].flag->name;
		struct span rest = f->given[i].value, item;

		if (strcmp(name, "domain") != 0 && strcmp(name, "url") != 0)
			continue;
		while (flags_next_item(&rest, &item))
			count++;
	}
	return count;
}

static bool
check_through_edge(const struct flags *f)
{
	const char *why = NULL;

	if (flags_has(f, "listen"))
		why = "--listen and --edge: one of them; with --edge clients "
		      "connect to that edge";
	else if (flags_has(f, "authtoken") && flags_has(f, "authtoken-file"))
		why = "--authtoken and --authtoken-file: one of them";
	else if (flags_has(f, "name") && count_domains(f) > 1)
		why = "--name is for one endpoint, and there are several "
		      "names to serve";
	if (why != NULL)
		say_error("%s", why);
	return why == NULL;
}

/* The schema says the same for files; here the advice names the flags. */
static bool
check_networks(const struct flags *f)
{
	if (!flags_has(f, "cidr-deny") || flags_has(f, "cidr-allow"))
		return true;
	say_error("--cidr-deny alone would refuse everybody, since only what "
		  "--cidr-allow has is allowed: add --cidr-allow "
		  "0.0.0.0/0,::/0 to allow all others");
	return false;
}

/* Only where nothing else writes to the terminal. */
static bool
wants_screen(const struct flags *f)
{
	struct span log = flags_value(f, "log", "false");

	for (size_t i = 0; i < f->given_count; i++) {
		if (strcmp(f->given[i].flag->name, "events") == 0 &&
		    span_is(f->given[i].value, "stdout"))
			return false;
	}
	return screen_possible() && !span_is(log, "stdout") &&
	       (!span_is(log, "stderr") || !isatty(STDERR_FILENO));
}

static bool
check_usage(struct tls_command *c)
{
	const struct flags *f = c->flags;

	if (!(c->through_edge ? check_through_edge : check_own)(f))
		return false;
	return find_end(c) && check_termination(c) && check_networks(f);
}

/* Before anything is sent, and whatever becomes of the log. */
static void
tell_of_key(const struct tls_command *c)
{
	struct span crt = flags_value(c->flags, "crt", "");
	struct span key = flags_value(c->flags, "key", (const char *)crt.data);

	if (crt.len == 0 || c->end != TERMINATE_EDGE)
		return;
	say_error("warning: the private key in %.*s will be sent to the edge: "
		  "whoever runs it can read the connections and answer in "
		  "your name",
	    SPAN_ARG(key));
}

static int
run_through_edge(struct tls_command *c, const struct run_source *source)
{
	int code = EXIT_FAILED;

	tell_of_key(c);
	if (authtoken_take(&c->token, c->flags))
		code = run_agent(source);
	else
		say_error("out of memory");
	authtoken_fini(&c->token);
	return code;
}

int
cmd_tls(const struct flags *f)
{
	struct tls_command c = { .flags = f,
		.through_edge = flags_has(f, "edge") };
	const char *keylog;

	if (!check_usage(&c) || !keylog_file(f, &keylog))
		return EXIT_USAGE;
	c.screen = wants_screen(f);
	struct run_source source = {
		.load = load,
		.context = &c,
		.problem_prefix = "lunette: ",
		.problem_code = EXIT_USAGE,
		.from_flags = true,
		.screen = c.screen,
		.keylog = keylog,
	};
	return c.through_edge ? run_through_edge(&c, &source)
			      : run_edge(&source);
}
