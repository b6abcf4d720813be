#include "control/agent_html.h"

#include "config.h"

#include "base/utf8.h"

#define REFRESH_SECONDS 5

static const char style[] =
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:75em;"
    "padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;padding:.3em .8em;border-bottom:1px solid #ddd;"
    "overflow-wrap:anywhere}"
    "td.n,th.n{text-align:right;white-space:nowrap}"
    ".on{color:#070}.off{color:#a00}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}"
    "th,td{border-color:#444}.on{color:#7c7}.off{color:#f88}}";

/* Valid UTF-8 as text or as the value of an attribute in quotes (HTML, section
 * 13.1.2); control characters may not stand there at all. */
static void
add_escaped(struct text *out, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '&')
			text_add(out, "&amp;");
		else if (*s == '<')
			text_add(out, "&lt;");
		else if (*s == '>')
			text_add(out, "&gt;");
		else if (*s == '"')
			text_add(out, "&quot;");
		else if (*s == '\'')
			text_add(out, "&#39;");
		else if ((uint8_t)*s < 0x20 || *s == 0x7f)
			text_add(out, UTF8_REPLACEMENT);
		else
			text_add_char(out, *s);
	}
}

static void
add_cell(struct text *out, const char *s)
{
	text_add(out, "<td>");
	add_escaped(out, s[0] != '\0' ? s : "-");
	text_add(out, "</td>");
}

static void
add_number_cell(struct text *out, uint64_t n)
{
	text_add(out, "<td class=\"n\">");
	text_add_number(out, n);
	text_add(out, "</td>");
}

static void
add_state_cell(struct text *out, const char *word, bool is_good)
{
	text_addf(out, "<td class=\"%s\">", is_good ? "on" : "off");
	add_escaped(out, word);
	text_add(out, "</td>");
}

static void
add_session(struct text *out, const struct view_session *s)
{
	text_add(out, "<tr>");
	add_cell(out, s->edge);
	add_cell(out, s->region);
	add_state_cell(out, s->state, s->is_online);
	if (s->is_online && s->latency_us >= 0)
		text_addf(out, "<td class=\"n\">%.1f ms</td>",
		    (double)s->latency_us / 1000);
	else
		text_add(out, "<td class=\"n\">-</td>");
	add_cell(out, s->id);
	text_add(out, "</tr>\n");
}

static void
add_sessions(struct text *out, const struct agent_view *v)
{
	text_add(out,
	    "<h2>Sessions</h2>\n<table>\n<tr><th>Edge</th><th>Region</th>"
	    "<th>State</th><th class=\"n\">Latency</th><th>Id</th></tr>\n");
	for (size_t i = 0; i < v->session_count; i++)
		add_session(out, &v->sessions[i]);
	text_add(out, "</table>\n");
	if (v->session_count == 0)
		text_add(out, "<p>None.</p>\n");
}

static const char *
readers_sentence(const struct view_endpoint *e)
{
	unsigned readers = agent_view_readers(e);

	if (readers & READER_EDGE)
		return "the edge, this agent and the upstream";
	if (readers & READER_AGENT)
		return "this agent and the upstream; the edge cannot";
	return "only the upstream; neither the edge nor this agent can";
}

static void
add_endpoint(struct text *out, const struct view_endpoint *e)
{
	text_add(out, "<tr>");
	add_cell(out, e->name);
	add_cell(out, e->url);
	add_state_cell(
	    out, e->is_online ? "online" : "not bound", e->is_online);
	add_cell(out, e->terminate_at);
	add_cell(out, readers_sentence(e));
	add_cell(out, e->upstream);
	add_number_cell(out, e->figures.gauge);
	add_number_cell(out, e->figures.count);
	text_addf(out, "<td class=\"n\">%.2f</td>", e->figures.rate1);
	add_number_cell(out, e->bytes_in);
	add_number_cell(out, e->bytes_out);
	text_add(out, "</tr>\n");
}

static void
add_endpoints(struct text *out, const struct agent_view *v)
{
	text_add(out,
	    "<h2>Endpoints</h2>\n<table>\n<tr><th>Name</th><th>URL</th>"
	    "<th>State</th><th>TLS ends at</th><th>Who can read</th>"
	    "<th>Upstream</th><th class=\"n\">Open</th>"
	    "<th class=\"n\">Total</th><th class=\"n\">Per second</th>"
	    "<th class=\"n\">Bytes in</th><th class=\"n\">Bytes out</th>"
	    "</tr>\n");
	for (size_t i = 0; i < v->endpoint_count; i++)
		add_endpoint(out, &v->endpoints[i]);
	text_add(out, "</table>\n");
	if (v->endpoint_count == 0)
		text_add(out, "<p>None.</p>\n");
	if (v->endpoints_left_out > 0)
		text_addf(out, "<p>And %zu more, which are not shown.</p>\n",
		    v->endpoints_left_out);
}

void
agent_html(const struct agent_view *v, struct text *out)
{
	text_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
		      "<meta charset=\"utf-8\">\n");
	text_addf(out,
	    "<meta http-equiv=\"refresh\" content=\"%d\">\n"
	    "<meta name=\"viewport\" content=\"width=device-width\">\n"
	    "<title>Lunette agent</title>\n<style>%s</style>\n</head>\n"
	    "<body>\n<h1>Lunette agent " PACKAGE_VERSION "</h1>\n<p>Status: ",
	    REFRESH_SECONDS, style);
	add_escaped(out, agent_view_status(v));
	text_add(out, "</p>\n");
	add_sessions(out, v);
	add_endpoints(out, v);
	text_add(out,
	    "<p>The same as JSON: /api/status, /api/endpoints; for Prometheus: "
	    "/metrics</p>\n</body>\n</html>\n");
}
