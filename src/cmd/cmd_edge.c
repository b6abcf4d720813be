#include "cmd/commands.h"

#include <stdlib.h>

#include "cmd/load.h"
#include "cmd/run.h"

static struct snapshot *
load(void *context, struct problems *p)
{
	return load_file(context, p);
}

int
cmd_edge(const struct flags *f)
{
	struct span path = flags_value(f, "config", SYSTEM_CONFIG_FILE);
	char *copy = strndup((const char *)path.data, path.len);

	if (copy == NULL) {
		say_error("out of memory");
		return EXIT_FAILED;
	}
	struct run_source source = {
		.load = load,
		.context = copy,
		.problem_prefix = "",
		.problem_code = EXIT_FAILED,
	};
	int code = run_edge(&source);

	free(copy);
	return code;
}
