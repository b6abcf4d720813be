#include "policy/symbols.h"

#include <stdlib.h>

void
symbols_finding(struct symbols *n, int line, const char *what, struct span name)
{
	if (n->collecting)
		return;
	n->findings++;
	text_addf(n->out, "%s:%d: %s '", n->file, line, what);
	text_add_escaped(n->out, name, 80);
	text_add(n->out, "'\n");
}

void
symbols_declare(struct symbols *n, struct span name, const struct known *value)
{
	if (n->local_count == n->local_size) {
		size_t size = n->local_size ? n->local_size * 2 : 64;
		struct local *grown =
		    realloc(n->locals, size * sizeof(struct local));

		if (grown == NULL) {
			n->no_memory = true;
			return;
		}
		n->locals = grown;
		n->local_size = size;
	}
	n->locals[n->local_count++] =
	    (struct local){ .name = name, .value = *value };
}

struct local *
symbols_find_local(struct symbols *n, struct span name)
{
	for (size_t i = n->local_count; i > 0; i--)
		if (span_equal(n->locals[i - 1].name, name))
			return &n->locals[i - 1];
	return NULL;
}

static bool
is_defined(const struct symbols *n, struct span name)
{
	for (struct defined *d = n->defined; d != NULL; d = d->next)
		if (span_equal(d->name, name))
			return true;
	return false;
}

static void
define(struct symbols *n, struct span name)
{
	struct defined *d;

	if (is_defined(n, name))
		return;
	d = malloc(sizeof(*d));
	if (d == NULL) {
		n->no_memory = true;
		return;
	}
	*d = (struct defined){ .name = name, .next = n->defined };
	n->defined = d;
}

void
symbols_set_global(struct symbols *n, struct span name, int line)
{
	/* While the script loads it may make globals; its functions run when
	 * they are frozen. */
	if (n->function_depth == 0)
		define(n, name);
	else
		symbols_finding(
		    n, line, "assignment to a global in a function,", name);
}

static bool
world_knows(const struct symbols *n, const struct known *k, size_t count)
{
	const struct lint_world *w = n->world;

	if (k->root == ROOT_LIBRARY)
		return count == 1 ||
		       w->knows_library(w->data, k->path + 1, count - 1);
	return is_defined(n, k->path[0]) || w->knows(w->data, k->path, count);
}

static void
report_unknown(struct symbols *n, const struct known *k, size_t count)
{
	char storage[256];
	struct text t;

	if (count == 1) {
		symbols_finding(n, k->line, "unknown global", k->path[0]);
		return;
	}
	text_init(&t, storage, sizeof(storage));
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			text_add(&t, ".");
		text_add_span(&t, k->path[i]);
	}
	symbols_finding(n, k->line, "unknown library name", text_span(&t));
}

void
symbols_use(struct symbols *n, struct known *k)
{
	if (k->root == ROOT_NONE || k->root == ROOT_CONN)
		return;
	for (size_t i = k->checked + 1; i <= k->count; i++) {
		if (world_knows(n, k, i))
			continue;
		report_unknown(n, k, i);
		k->root = ROOT_NONE;
		return;
	}
	k->checked = k->count;
}

struct known
symbols_resolve(struct symbols *n, struct span name, int line)
{
	struct local *local = symbols_find_local(n, name);
	struct known k;

	if (local != NULL) {
		k = local->value;
		k.line = line;
		return k;
	}
	k = (struct known){ .root = ROOT_GLOBAL, .count = 1, .line = line };
	k.path[0] = name;
	return k;
}

void
symbols_add_member(struct symbols *n, struct known *k, struct span name)
{
	if (k->root == ROOT_NONE)
		return;
	if (k->count == LINT_MAX_PATH) {
		symbols_use(n, k);
		k->root = ROOT_NONE;
		return;
	}
	k->path[k->count++] = name;
}

void
symbols_fini(struct symbols *n)
{
	while (n->defined != NULL) {
		struct defined *d = n->defined;

		n->defined = d->next;
		free(d);
	}
	free(n->locals);
}
