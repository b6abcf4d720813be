#include "cmd/leave.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "cmd/load.h"

int
leave_to_append(const char *path)
{
	char folder[PATH_MAX];

	if (access(path, F_OK) == 0)
		return access(path, W_OK) == 0 ? 0 : -errno;
	if (!folder_of(path, folder, sizeof(folder)))
		return -ENAMETOOLONG;
	return access(folder, W_OK | X_OK) == 0 ? 0 : -errno;
}

int
leave_to_make(const char *path)
{
	char folder[PATH_MAX], above[PATH_MAX];

	if (strlen(path) >= sizeof(folder))
		return -ENAMETOOLONG;
	strcpy(folder, path);
	while (access(folder, F_OK) != 0) {
		if (errno != ENOENT || !folder_of(folder, above, PATH_MAX) ||
		    strcmp(folder, above) == 0)
			return -errno;
		strcpy(folder, above);
	}
	return access(folder, W_OK | X_OK) == 0 ? 0 : -errno;
}
