/*
 * Which document answers which path of the agent's web address.
 */
#ifndef CONTROL_AGENT_ROUTES_H
#define CONTROL_AGENT_ROUTES_H

#include "base/text.h"
#include "control/agent_view.h"

struct agent_route {
	const char *path; /* one that ends in "/:name" takes a name there */
	const char *content_type;
	/* `e` is the endpoint of that name, NULL for the other routes. */
	void (*write)(const struct agent_view *v, const struct view_endpoint *e,
	    struct text *out);
	bool (*takes)(const struct view_endpoint *e); /* NULL: all */
};

/*
 * The route of a path as it was requested (RFC 3986 section 3.3: still percent
 * encoded, without the query), or NULL. `name` gets what stands in the place of
 * ":name", decoded and as valid UTF-8, like the names of a view; empty for the
 * other routes.
 */
const struct agent_route *agent_route_find(struct span path, struct text *name);

/* The endpoint that a route's name means, NULL if there is none. */
const struct view_endpoint *agent_route_endpoint(
    const struct agent_route *r, const struct agent_view *v, struct span name);

#endif
