#include "cmd/keylog.h"

#include <stdlib.h>

#include "cmd/commands.h"

bool
keylog_file(const struct flags *f, const char **file)
{
	const char *named = getenv("SSLKEYLOGFILE");

	*file = NULL;
	if (!span_is(flags_value(f, "allow-keylog", "false"), "true"))
		return true;
	if (named == NULL || named[0] == '\0') {
		say_error("--allow-keylog: SSLKEYLOGFILE is not set; it names "
			  "the file that the secrets go to");
		return false;
	}
	*file = named;
	return true;
}
