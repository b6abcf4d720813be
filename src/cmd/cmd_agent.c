#include "cmd/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/authtoken.h"
#include "cmd/keylog.h"
#include "cmd/load.h"
#include "cmd/run_agent.h"

struct agent_command {
	const struct flags *flags;
	const char *path;
	struct authtoken token;
};

static struct snapshot *
load_whole(const struct agent_command *c, struct problems *p)
{
	struct tree *t = load_tree(c->path, LOAD_AGENT, p);

	if (t == NULL)
		return NULL;
	if (load_flags(t, c->flags) == 0)
		return load_from_tree(t, c->path, p);
	problems_add_no_memory(p);
	tree_free(t);
	return NULL;
}

/* The whole file must be right, whatever of it is to be served. */
static struct snapshot *
load(void *context, struct problems *p)
{
	const struct agent_command *c = context;
	struct snapshot *s = load_whole(c, p);

	if (s == NULL)
		return NULL;
	if (authtoken_use(&c->token, s, p) &&
	    (c->flags->argument_count == 0 ||
		snapshot_choose(
		    s, c->flags->arguments, c->flags->argument_count, p) == 0))
		return s;
	snapshot_put(s);
	return NULL;
}

static bool
check_usage(const struct flags *f)
{
	if (f->argument_count == 0 ||
	    span_is(flags_value(f, "all", "false"), "false"))
		return true;
	say_error("--all and names of endpoints: one of them");
	return false;
}

static int
run(struct agent_command *c, const char *keylog)
{
	struct run_source source = {
		.load = load,
		.context = c,
		.problem_prefix = "",
		.problem_code = EXIT_FAILED,
		.keylog = keylog,
	};
	int code = EXIT_FAILED;

	if (authtoken_take(&c->token, c->flags))
		code = run_agent(&source);
	else
		say_error("out of memory");
	authtoken_fini(&c->token);
	return code;
}

int
cmd_agent(const struct flags *f)
{
	struct agent_command c = { .flags = f, .path = SYSTEM_AGENT_FILE };
	const char *keylog;

	if (!check_usage(f) || !keylog_file(f, &keylog))
		return EXIT_USAGE;
	if (flags_has(f, "config")) {
		/* The value ends its word of argv. */
		c.path = (const char *)flags_value(f, "config", "").data;
	} else if (access(c.path, F_OK) != 0 && errno == ENOENT) {
		say_error("there is no " SYSTEM_AGENT_FILE "; write it, see "
			  "lunette.yaml(5), or name another with -c FILE");
		return EXIT_FAILED;
	}
	return run(&c, keylog);
}
