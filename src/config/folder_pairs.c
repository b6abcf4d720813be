#include "config/folder_pairs.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool
has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), suffix_len = strlen(suffix);

	return len > suffix_len && !strcmp(name + len - suffix_len, suffix);
}

static int
is_certificate_file(const struct dirent *entry)
{
	return entry->d_name[0] != '.' &&
	       (has_suffix(entry->d_name, ".crt") ||
		   has_suffix(entry->d_name, ".pem"));
}

static int
make_pair(const char *folder, const char *name, struct folder_pair *pair)
{
	size_t stem = strlen(name) - strlen(".crt");

	*pair = (struct folder_pair){ 0 };
	if (asprintf(&pair->crt, "%s/%s", folder, name) < 0) {
		pair->crt = NULL;
		return -ENOMEM;
	}
	if (asprintf(&pair->key, "%s/%.*s.key", folder, (int)stem, name) < 0) {
		pair->key = NULL;
		return -ENOMEM;
	}
	if (access(pair->key, F_OK) != 0) {
		free(pair->key);
		pair->key = NULL;
	}
	return 0;
}

static void
free_names(struct dirent **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

int
folder_pairs_read(const char *folder, struct folder_pair **out, size_t *count)
{
	struct dirent **names;
	int found = scandir(folder, &names, is_certificate_file, alphasort);
	int err = 0;

	*out = NULL;
	*count = 0;
	if (found < 0)
		return -errno;
	*out = calloc((size_t)found + 1, sizeof(**out));
	if (!*out)
		err = -ENOMEM;
	while (err == 0 && *count < (size_t)found) {
		err = make_pair(folder, names[*count]->d_name, *out + *count);
		(*count)++;
	}
	free_names(names, (size_t)found);
	if (err == 0)
		return 0;
	folder_pairs_free(*out, *count);
	*out = NULL;
	*count = 0;
	return err;
}

void
folder_pairs_free(struct folder_pair *pairs, size_t count)
{
	for (size_t i = 0; pairs && i < count; i++) {
		free(pairs[i].crt);
		free(pairs[i].key);
	}
	free(pairs);
}
