#include "cmd/load.h"

#include <limits.h>
#include <stdio.h>

/* Comparing each with all before it is for command lines, not for files. */
#define TELL_ONCE_MAX 256

bool
folder_of(const char *path, char *out, size_t size)
{
	const char *slash = strrchr(path, '/');
	const char *folder = slash == NULL ? "." : path;
	/* "/edge.yaml" lies in "/". */
	size_t len = slash == NULL   ? 1
		     : slash == path ? 1
				     : (size_t)(slash - path);

	if (len >= size)
		return false;
	memcpy(out, folder, len);
	out[len] = '\0';
	return true;
}

void
local_ca_path(const struct snapshot *s, char *out, size_t size)
{
	snprintf(out, size, "%s/local-ca.pem", s->state);
}

/* Says so where it shows, and what to do instead. */
static bool
is_expected(const struct node *root, const char *path, enum load_kind kind,
    struct problems *p)
{
	const struct node *edge = node_get(root, "edge");
	const struct node *agent = node_get(root, "agent");

	if (kind == LOAD_EDGE && config_is_agents(root)) {
		problems_add(p, &agent->key_origin,
		    "'agent' makes this an agent's file: run it with lunette "
		    "agent -c %s",
		    path);
		return false;
	}
	if (kind == LOAD_AGENT && !config_is_agents(root)) {
		problems_add(p,
		    edge != NULL ? &edge->key_origin : &root->origin,
		    "this is an edge's file, as it has no 'agent': run it "
		    "with lunette edge -c %s",
		    path);
		return false;
	}
	return true;
}

struct tree *
load_tree(const char *path, enum load_kind kind, struct problems *p)
{
	struct tree *t = tree_read_file(path, p);

	if (t == NULL || is_expected(tree_root(t), path, kind, p))
		return t;
	tree_free(t);
	return NULL;
}

static int
set_flag(struct tree *t, const struct flag_given *g)
{
	struct span rest = g->value, item;
	char storage[64];
	struct text name;
	int err = 0;

	text_init(&name, storage, sizeof(storage));
	text_addf(&name, "--%s", g->flag->name);
	if (!(g->flag->options & FLAG_COMMAS))
		return tree_set(t, g->flag->path, g->value, name.data);
	while (err == 0 && flags_next_item(&rest, &item))
		err = tree_set(t, g->flag->path, item, name.data);
	return err;
}

int
load_flags(struct tree *t, const struct flags *f)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < f->given_count; i++)
		if (f->given[i].flag->path != NULL)
			err = set_flag(t, &f->given[i]);
	return err;
}

struct snapshot *
load_from_tree(struct tree *t, const char *path, struct problems *p)
{
	char folder[PATH_MAX];
	struct origin whole = { .source = path };
	struct snapshot *s = NULL;

	if (folder_of(path, folder, sizeof(folder)))
		s = snapshot_build(t, folder, p);
	else
		problems_add(p, &whole, "the path is too long");
	tree_free(t);
	return s;
}

struct snapshot *
load_file(const char *path, enum load_kind kind, struct problems *p)
{
	struct tree *t = load_tree(path, kind, p);

	return t != NULL ? load_from_tree(t, path, p) : NULL;
}

/* A flag that holds for several endpoints gives its problem for each. */
static bool
told_before(const struct problems *p, size_t index)
{
	for (size_t i = 0; i < index && index < TELL_ONCE_MAX; i++) {
		if (strcmp(problems_get(p, i), problems_get(p, index)) == 0)
			return true;
	}
	return false;
}

void
print_problems(const struct problems *p, const char *prefix)
{
	for (size_t i = 0; i < problems_count(p); i++) {
		if (!told_before(p, i))
			fprintf(stderr, "%s%s\n", prefix, problems_get(p, i));
	}
}

void
log_problems(const struct problems *p)
{
	for (size_t i = 0; i < problems_count(p); i++)
		LOG_ERROR("configuration error",
		    LOG_TEXT("error", problems_get(p, i)));
}

void
log_warnings(const struct snapshot *s)
{
	for (size_t i = 0; i < problems_count(s->warnings); i++)
		LOG_WARN("configuration warning",
		    LOG_TEXT("warning", problems_get(s->warnings, i)));
}
