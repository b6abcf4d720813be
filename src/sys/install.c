#include "sys/install.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "/usr/bin/lunette" to "/usr/share/lunette/lua". */
static bool
beside_program(char *out, size_t size)
{
	char program[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
	char *slash;

	if (len <= 0)
		return false;
	program[len] = '\0';
	for (int up = 0; up < 2; up++) {
		slash = strrchr(program, '/');
		if (!slash)
			return false;
		*slash = '\0';
	}
	return snprintf(out, size, "%s/share/lunette/lua", program) <
		   (int)size &&
	       access(out, R_OK) == 0;
}

void
install_lua_folder(char *out, size_t size)
{
	const char *chosen = getenv("LUNETTE_LUA");

	if (!chosen && beside_program(out, size))
		return;
	snprintf(out, size, "%s", chosen ? chosen : LUA_FOLDER);
}
