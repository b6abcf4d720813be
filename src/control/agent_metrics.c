#include "control/agent_metrics.h"

#include "config.h"

#include "base/utf8.h"

#define PREFIX "lunette_agent_"

/* What an endpoint's series is worth; NULL figures mean a bare number. */
struct family {
	const char *name, *type, *help;
	double (*value)(const struct view_endpoint *e);
};

static double
value_online(const struct view_endpoint *e)
{
	return e->is_online;
}

static double
value_total(const struct view_endpoint *e)
{
	return (double)e->figures.count;
}

static double
value_open(const struct view_endpoint *e)
{
	return (double)e->figures.gauge;
}

static double
value_received(const struct view_endpoint *e)
{
	return (double)e->bytes_in;
}

static double
value_sent(const struct view_endpoint *e)
{
	return (double)e->bytes_out;
}

static const struct family families[] = {
	{ "endpoint_online", "gauge",
	    "Whether the endpoint is bound in at least one session.",
	    value_online },
	{ "connections_total", "counter", "Client connections that began.",
	    value_total },
	{ "connections_open", "gauge", "Client connections open now.",
	    value_open },
	{ "received_bytes_total", "counter", "Bytes from clients.",
	    value_received },
	{ "sent_bytes_total", "counter", "Bytes to clients.", value_sent },
};

static const struct {
	const char *quantile;
	size_t offset;
} quantiles[] = {
	{ "0.5", offsetof(struct meter_figures, p50) },
	{ "0.9", offsetof(struct meter_figures, p90) },
	{ "0.95", offsetof(struct meter_figures, p95) },
	{ "0.99", offsetof(struct meter_figures, p99) },
};

static void
add_head(struct text *out, const char *name, const char *type, const char *help)
{
	text_addf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name,
	    help, name, type);
}

/*
 * A label value, which is valid UTF-8 already. The format escapes backslash,
 * quote and newline; the other control characters have no business in a name
 * and some parsers stumble over them.
 */
static void
add_label(struct text *out, const char *name, const char *value)
{
	text_addf(out, "%s=\"", name);
	for (; *value != '\0'; value++) {
		if (*value == '\\' || *value == '"')
			text_addf(out, "\\%c", *value);
		else if (*value == '\n')
			text_add(out, "\\n");
		else if ((uint8_t)*value < 0x20 || *value == 0x7f)
			text_add(out, UTF8_REPLACEMENT);
		else
			text_add_char(out, *value);
	}
	text_add_char(out, '"');
}

static void
add_endpoint_value(struct text *out, const char *name,
    const struct view_endpoint *e, double value)
{
	text_addf(out, PREFIX "%s{", name);
	add_label(out, "endpoint", e->name);
	text_addf(out, "} %.15g\n", value);
}

static void
add_family(struct text *out, const struct agent_view *v, const struct family *f)
{
	add_head(out, f->name, f->type, f->help);
	for (size_t i = 0; i < v->endpoint_count; i++)
		add_endpoint_value(
		    out, f->name, &v->endpoints[i], f->value(&v->endpoints[i]));
}

static void
add_quantiles(struct text *out, const struct view_endpoint *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(quantiles); i++) {
		const char *figures = (const char *)&e->figures;
		double ns;

		memcpy(&ns, figures + quantiles[i].offset, sizeof(ns));
		text_add(out, PREFIX "connection_seconds{");
		add_label(out, "endpoint", e->name);
		text_addf(out, ",quantile=\"%s\"} %.9g\n",
		    quantiles[i].quantile, ns / 1e9);
	}
}

static void
add_durations(struct text *out, const struct agent_view *v)
{
	add_head(out, "connection_seconds", "summary",
	    "How long connections lasted; the quantiles are mostly of the last "
	    "minutes.");
	for (size_t i = 0; i < v->endpoint_count; i++) {
		const struct view_endpoint *e = &v->endpoints[i];

		/* A quantile of nothing is not 0. */
		if (e->figures.ended > 0)
			add_quantiles(out, e);
		add_endpoint_value(out, "connection_seconds_sum", e,
		    (double)e->figures.duration_us / 1e6);
		add_endpoint_value(out, "connection_seconds_count", e,
		    (double)e->figures.ended);
	}
}

static void
add_number(struct text *out, const char *name, const char *help, size_t value)
{
	add_head(out, name, "gauge", help);
	text_addf(out, PREFIX "%s %zu\n", name, value);
}

/* By its place, not by its id: a reconnect makes no new series. */
static void
add_latencies(struct text *out, const struct agent_view *v)
{
	add_head(out, "session_latency_seconds", "gauge",
	    "Round trip of the last heartbeat.");
	for (size_t i = 0; i < v->session_count; i++) {
		const struct view_session *s = &v->sessions[i];

		if (!s->is_online || s->latency_us < 0)
			continue;
		text_addf(
		    out, PREFIX "session_latency_seconds{session=\"%zu\",", i);
		add_label(out, "edge", s->edge);
		text_addf(out, "} %.9g\n", (double)s->latency_us / 1e6);
	}
}

static void
add_sessions(struct text *out, const struct agent_view *v)
{
	size_t online = 0;

	for (size_t i = 0; i < v->session_count; i++)
		online += v->sessions[i].is_online;
	add_number(out, "sessions", "Sessions that the agent wants to have.",
	    v->session_count);
	add_number(out, "sessions_online", "Sessions that serve.", online);
	add_latencies(out, v);
}

void
agent_metrics(const struct agent_view *v, struct text *out)
{
	add_head(out, "info", "gauge", "The version, as a label.");
	text_add(out, PREFIX "info{");
	add_label(out, "version", PACKAGE_VERSION);
	text_add(out, "} 1\n");
	add_sessions(out, v);
	for (size_t i = 0; i < ARRAY_COUNT(families); i++)
		add_family(out, v, &families[i]);
	add_durations(out, v);
	add_number(out, "left_out",
	    "Endpoints and sessions beyond what one answer shows.",
	    v->endpoints_left_out + v->sessions_left_out);
}
