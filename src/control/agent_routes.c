#include "control/agent_routes.h"

#include "base/json.h"
#include "base/utf8.h"
#include "control/agent_html.h"
#include "control/agent_json.h"
#include "control/agent_metrics.h"

#define JSON_TYPE "application/json"
#define HTML_TYPE "text/html; charset=utf-8"
#define NAME_MARK "/:name"

static void write_routes(const struct agent_view *v,
    const struct view_endpoint *e, struct text *out);

static void
write_status(
    const struct agent_view *v, const struct view_endpoint *e, struct text *out)
{
	(void)e;
	agent_json_status(v, out);
}

static void
write_tunnels(
    const struct agent_view *v, const struct view_endpoint *e, struct text *out)
{
	(void)e;
	agent_json_tunnels(v, out);
}

static void
write_tunnel(
    const struct agent_view *v, const struct view_endpoint *e, struct text *out)
{
	(void)v;
	agent_json_tunnel(e, out);
}

static void
write_endpoints(
    const struct agent_view *v, const struct view_endpoint *e, struct text *out)
{
	(void)e;
	agent_json_endpoints(v, out);
}

static void
write_endpoint(
    const struct agent_view *v, const struct view_endpoint *e, struct text *out)
{
	(void)v;
	agent_json_endpoint(e, out);
}

static void
write_metrics(
    const struct agent_view *v, const struct view_endpoint *e, struct text *out)
{
	(void)e;
	agent_metrics(v, out);
}

static void
write_page(
    const struct agent_view *v, const struct view_endpoint *e, struct text *out)
{
	(void)e;
	agent_html(v, out);
}

/* Only what has a URL is a tunnel, in the list and by name alike. */
static bool
has_url(const struct view_endpoint *e)
{
	return e->url[0] != '\0';
}

static const struct agent_route routes[] = {
	{ "/", HTML_TYPE, write_page, NULL },
	{ "/status", HTML_TYPE, write_page, NULL },
	{ "/metrics", AGENT_METRICS_TYPE, write_metrics, NULL },
	{ "/api", JSON_TYPE, write_routes, NULL },
	{ "/api/", JSON_TYPE, write_routes, NULL },
	{ "/api/status", JSON_TYPE, write_status, NULL },
	{ "/api/tunnels", JSON_TYPE, write_tunnels, NULL },
	{ "/api/tunnels/:name", JSON_TYPE, write_tunnel, has_url },
	{ "/api/endpoints", JSON_TYPE, write_endpoints, NULL },
	{ "/api/endpoints/:name", JSON_TYPE, write_endpoint, NULL },
};

static void
write_routes(
    const struct agent_view *v, const struct view_endpoint *e, struct text *out)
{
	struct json j;

	(void)v;
	(void)e;
	json_init(&j, out);
	json_open(&j, NULL);
	json_open_list(&j, "routes");
	for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
		json_open(&j, NULL);
		json_text(&j, "method", "GET");
		json_text(&j, "path", routes[i].path);
		json_text(&j, "content_type", routes[i].content_type);
		json_close(&j);
	}
	json_close_list(&j);
	json_text(&j, "uri", "/api");
	json_close(&j);
}

static int
hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The byte at the start of `s`, of which `*used` belong to it; -1 for a percent
 * sign without two digits, and for a NUL, which no name has. */
static int
decode_byte(struct span s, size_t *used)
{
	int high, low;

	*used = 1;
	if (s.data[0] != '%')
		return s.data[0];
	if (s.len < 3)
		return -1;
	*used = 3;
	high = hex_digit(s.data[1]);
	low = hex_digit(s.data[2]);
	if (high < 0 || low < 0 || high + low == 0)
		return -1;
	return high * 16 + low;
}

/* One path segment. False if it is none, is empty or does not fit. */
static bool
decode_segment(struct span s, struct text *out)
{
	char storage[AGENT_VIEW_TEXT_MAX * 3 + 1];
	struct text bytes;

	text_init(&bytes, storage, sizeof(storage));
	while (s.len > 0) {
		size_t used;
		int c = decode_byte(s, &used);

		if (c < 0 || s.data[0] == '/')
			return false;
		text_add_char(&bytes, (char)c);
		s = span_of(s.data + used, s.len - used);
	}
	text_clear(out);
	text_add_utf8(out, text_span(&bytes));
	return out->len > 0 && !bytes.truncated && !out->truncated;
}

static bool
matches(const struct agent_route *r, struct span path, struct text *name)
{
	struct span pattern = span_text(r->path);
	size_t mark = strlen(NAME_MARK), folder;

	if (pattern.len < mark ||
	    memcmp(pattern.data + pattern.len - mark, NAME_MARK, mark) != 0)
		return span_equal(path, pattern);
	folder = pattern.len - mark + 1; /* its slash included */
	return path.len > folder && !memcmp(path.data, pattern.data, folder) &&
	       decode_segment(
		   span_of(path.data + folder, path.len - folder), name);
}

const struct agent_route *
agent_route_find(struct span path, struct text *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
		text_clear(name);
		if (matches(&routes[i], path, name))
			return &routes[i];
	}
	return NULL;
}

const struct view_endpoint *
agent_route_endpoint(
    const struct agent_route *r, const struct agent_view *v, struct span name)
{
	const struct view_endpoint *e = agent_view_find(v, name);

	return e && (!r->takes || r->takes(e)) ? e : NULL;
}
