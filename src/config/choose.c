/* Of an agent's endpoints those that it is told to serve. */
#include "config/snapshot.h"

#include <errno.h>
#include <stdlib.h>

#include "base/nearest.h"

static bool
is_chosen(const struct endpoint *e, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(e->name, names[i]))
			return true;
	return false;
}

static void
complain_of_name(const struct snapshot *s, const char *name, struct problems *p)
{
	struct origin where = { .source = "NAME" };
	const char **names = calloc(s->endpoint_count + 1, sizeof(*names));
	const char *near;

	if (names == NULL) {
		problems_add_no_memory(p);
		return;
	}
	for (size_t i = 0; i < s->endpoint_count; i++)
		names[i] = s->endpoints[i]->name;
	near = nearest_word(span_text(name), names, s->endpoint_count);
	if (near != NULL)
		problems_add(p, &where,
		    "there is no endpoint '%s'; did you mean '%s'?", name,
		    near);
	else
		problems_add(p, &where, "there is no endpoint '%s'", name);
	free(names);
}

static bool
has_name(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->endpoint_count; i++)
		if (is_chosen(s->endpoints[i], &name, 1))
			return true;
	return false;
}

/* The routes to those that stay; NULL without memory. */
static struct routes *
make_routes(const struct snapshot *s, const char *const *names, size_t count)
{
	struct routes *routes = routes_new();

	for (size_t i = 0; routes != NULL && i < s->endpoint_count; i++) {
		struct endpoint *e = s->endpoints[i];

		if (e->domain.len > 0 && is_chosen(e, names, count) &&
		    routes_add(routes, &e->domain, e) < 0) {
			routes_free(routes);
			return NULL;
		}
	}
	return routes;
}

int
snapshot_choose(struct snapshot *s, const char *const *names, size_t count,
    struct problems *p)
{
	size_t known = 0, kept = 0;
	struct routes *routes;

	for (size_t i = 0; i < count; i++) {
		if (has_name(s, names[i]))
			known++;
		else
			complain_of_name(s, names[i], p);
	}
	if (known < count)
		return -1;
	routes = make_routes(s, names, count);
	if (routes == NULL) {
		problems_add_no_memory(p);
		return -1;
	}
	for (size_t i = 0; i < s->endpoint_count; i++) {
		struct endpoint *e = s->endpoints[i];

		if (is_chosen(e, names, count)) {
			e->index = kept;
			s->endpoints[kept++] = e;
		} else {
			endpoint_put(e);
		}
	}
	s->endpoint_count = kept;
	routes_free(s->routes);
	s->routes = routes;
	return 0;
}
