#include "cmd/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/keylog.h"
#include "cmd/load.h"
#include "cmd/run_edge.h"

static struct snapshot *
load(void *context, struct problems *p)
{
	return load_file(context, LOAD_EDGE, p);
}

int
cmd_edge(const struct flags *f)
{
	struct span path = flags_value(f, "config", "");
	const char *keylog;

	if (!keylog_file(f, &keylog))
		return EXIT_USAGE;
	if (path.len == 0) {
		path = span_text(SYSTEM_CONFIG_FILE);
		if (access(SYSTEM_CONFIG_FILE, F_OK) != 0 && errno == ENOENT) {
			say_error("there is no " SYSTEM_CONFIG_FILE "; write "
				  "it, see lunette.yaml(5), or name another "
				  "with -c FILE");
			return EXIT_FAILED;
		}
	}
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
		.keylog = keylog,
	};
	int code = run_edge(&source);

	free(copy);
	return code;
}
