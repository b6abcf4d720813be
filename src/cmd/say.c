#include "cmd/commands.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
say_error(const char *format, ...)
{
	char storage[2048];
	struct text line;
	va_list args;

	text_init(&line, storage, sizeof(storage));
	va_start(args, format);
	text_vaddf(&line, format, args);
	va_end(args);
	fprintf(stderr, "lunette: %s\n", line.data);
}

int
print_text(struct span s)
{
	/* Output that was lost, as on a full disk, is not success. */
	if (fwrite(s.data, 1, s.len, stdout) != s.len || fflush(stdout) != 0) {
		say_error(
		    "cannot write to standard output: %s", strerror(errno));
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}
