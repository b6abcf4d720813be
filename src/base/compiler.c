#include "base/compiler.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Straight to write(2): the log's lock may be what this thread holds, and the
 * heap may be what is broken.
 */
void
assert_failed(const char *what, const char *file, int line)
{
	char message[512];
	int len = snprintf(message, sizeof(message),
	    "assertion failed: %s (%s:%d)\n", what, file, line);

	if (len >= (int)sizeof(message))
		len = (int)sizeof(message) - 1;
	if (len > 0 && write(STDERR_FILENO, message, (size_t)len) < 0)
		_exit(134);
	abort();
}
