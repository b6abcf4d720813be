/* Reads paths, and what the files behind them must be. */
#include "config/schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

char *
reader_path(struct reader *r, const struct node *n, const struct key *key)
{
	const char *text = reader_text(r, n, key);
	char *path;

	if (text == NULL)
		return NULL;
	/* A flag's path is the shell's: relative to where we run. */
	if (text[0] == '/' || n->origin.line == 0 || r->folder == NULL ||
	    r->folder[0] == '\0' || !strcmp(r->folder, "."))
		return reader_copy(r, text);
	if (asprintf(&path, "%s/%s", r->folder, text) < 0) {
		reader_no_memory(r);
		return NULL;
	}
	return path;
}

bool
reader_readable(struct reader *r, const struct node *n, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0 || access(path, R_OK) < 0) {
		reader_complain(r, &n->origin, "cannot read: %s: %s", path,
		    strerror(errno));
		return false;
	}
	if (S_ISDIR(st.st_mode)) {
		reader_complain(
		    r, &n->origin, "cannot read: %s: it is a folder", path);
		return false;
	}
	return true;
}

void
read_path(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	key_set_text(key, target, reader_path(r, n, key));
}

void
read_readable_file(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	char *path = reader_path(r, n, key);

	if (path != NULL)
		reader_readable(r, n, path);
	key_set_text(key, target, path);
}

/* Gives the path a place among the scripts and takes it; -1 without memory. */
static int
add_script(struct reader *r, char *path)
{
	struct snapshot *s = r->s;
	size_t at = s->script_count;
	char **scripts = reader_grow(r, s->scripts, at, sizeof(*scripts));
	int err;

	if (scripts == NULL)
		goto fail;
	s->scripts = scripts;
	err = index_add(&r->scripts, span_text(path), at, &at);
	if (err == -EEXIST)
		free(path);
	else if (err == 0)
		scripts[s->script_count++] = path;
	else
		goto no_memory;
	return (int)at;
no_memory:
	reader_no_memory(r);
fail:
	free(path);
	return -1;
}

int
reader_script(struct reader *r, const struct node *n, const struct key *key)
{
	char *path = reader_path(r, n, key);

	if (path == NULL)
		return -1;
	if (!reader_readable(r, n, path)) {
		free(path);
		return -1;
	}
	return add_script(r, path);
}

bool
error_is_about(const char *error, const char *path)
{
	size_t len = strlen(path);

	return !strncmp(error, path, len) && error[len] == ':';
}

void
path_list_fini(struct path_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->paths[i]);
	free(list->paths);
	*list = (struct path_list){ 0 };
}

void
read_paths(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct path_list *list = key_member(key, target);
	size_t count = n->kind == NODE_LIST ? n->item_count : 1;

	if (n->kind == NODE_LIST && !reader_list(r, n, key))
		return;
	list->paths = reader_array(r, count, sizeof(*list->paths));
	for (size_t i = 0; list->paths != NULL && i < count; i++) {
		const struct node *at = n->kind == NODE_LIST ? n->items[i] : n;
		char *path = reader_path(r, at, key);

		if (path != NULL)
			list->paths[list->count++] = path;
	}
}
