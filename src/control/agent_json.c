#include "control/agent_json.h"

#include "config.h"

#include <stdio.h>

#include "base/json.h"

#define NUMBER_SIZE 40
#define URI_SIZE (4 * AGENT_VIEW_TEXT_MAX * 3)

static void
add_double(struct json *j, const char *key, double value)
{
	char number[NUMBER_SIZE];

	snprintf(number, sizeof(number), "%.9g", value);
	json_raw(j, key, span_text(number));
}

/* As the published agent writes a duration: "87.123ms", "" if unknown. */
static void
add_latency(struct json *j, int64_t us)
{
	char number[NUMBER_SIZE] = "";

	if (us >= 0)
		snprintf(number, sizeof(number), "%lld.%03ums",
		    (long long)(us / 1000), (unsigned)(us % 1000));
	json_text(j, "latency", number);
}

static bool
is_unreserved(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || (c != 0 && strchr("-._~", c) != NULL);
}

/* A path segment: RFC 3986 section 2.3 and 2.4. */
static void
add_segment(struct text *out, const char *name)
{
	for (const char *at = name; *at != '\0'; at++) {
		uint8_t c = (uint8_t)*at;

		if (is_unreserved(c))
			text_add_char(out, (char)c);
		else
			text_addf(out, "%%%02X", c);
	}
}

static void
add_uri(struct json *j, const char *folder, const char *name)
{
	char storage[URI_SIZE];
	struct text uri;

	text_init(&uri, storage, sizeof(storage));
	text_add(&uri, folder);
	add_segment(&uri, name);
	json_string(j, "uri", text_span(&uri));
}

static void
add_session(struct json *j, const struct view_session *s)
{
	json_open(j, NULL);
	json_text(j, "region", s->region);
	add_latency(j, s->is_online ? s->latency_us : -1);
	json_text(j, "edge", s->edge);
	json_text(j, "state", s->state);
	json_text(j, "id", s->id);
	json_close(j);
}

void
agent_json_status(const struct agent_view *v, struct text *out)
{
	struct json j;

	json_init(&j, out);
	json_open(&j, NULL);
	json_text(&j, "status", agent_view_status(v));
	json_text(&j, "agent_version", PACKAGE_VERSION);
	json_open(&j, "session");
	json_open_list(&j, "legs");
	for (size_t i = 0; i < v->session_count; i++)
		add_session(&j, &v->sessions[i]);
	json_close_list(&j);
	json_close(&j);
	json_text(&j, "uri", "/api/status");
	json_close(&j);
}

static void
add_rates_and_percentiles(struct json *j, const struct meter_figures *f)
{
	add_double(j, "rate1", f->rate1);
	add_double(j, "rate5", f->rate5);
	add_double(j, "rate15", f->rate15);
	add_double(j, "p50", f->p50);
	add_double(j, "p90", f->p90);
	add_double(j, "p95", f->p95);
	add_double(j, "p99", f->p99);
}

/* The zeros of "http" are there in the published API as well when an endpoint
 * is not HTTP, and clients read them without asking. */
static void
add_metrics(struct json *j, const struct meter_figures *f)
{
	static const struct meter_figures none;

	json_open(j, "metrics");
	json_open(j, "conns");
	json_int(j, "count", (int64_t)f->count);
	json_int(j, "gauge", (int64_t)f->gauge);
	add_rates_and_percentiles(j, f);
	json_close(j);
	json_open(j, "http");
	json_int(j, "count", 0);
	add_rates_and_percentiles(j, &none);
	json_close(j);
	json_close(j);
}

/* Lunette's own fields, the same in both kinds of object. */
static void
add_own(struct json *j, const struct view_endpoint *e)
{
	unsigned readers = agent_view_readers(e);

	json_bool(j, "online", e->is_online);
	json_text(j, "terminate_at", e->terminate_at);
	json_open_list(j, "readable_by");
	if (readers & READER_EDGE)
		json_text(j, NULL, "edge");
	if (readers & READER_AGENT)
		json_text(j, NULL, "agent");
	if (readers & READER_UPSTREAM)
		json_text(j, NULL, "upstream");
	json_close_list(j);
	json_int(j, "bytes_in", (int64_t)e->bytes_in);
	json_int(j, "bytes_out", (int64_t)e->bytes_out);
}

static void
add_tunnel(struct json *j, const struct view_endpoint *e)
{
	json_open(j, NULL);
	json_text(j, "name", e->name);
	add_uri(j, "/api/tunnels/", e->name);
	json_text(j, "public_url", e->url);
	json_text(j, "proto", "tls");
	json_open(j, "config");
	json_text(j, "addr", e->upstream);
	json_bool(j, "inspect", false);
	json_close(j);
	add_metrics(j, &e->figures);
	add_own(j, e);
	json_close(j);
}

static const char *
upstream_protocol(const struct view_endpoint *e)
{
	return strncmp(e->upstream, "tls://", 6) == 0 ? "tls" : "tcp";
}

static void
add_endpoint(struct json *j, const struct view_endpoint *e)
{
	json_open(j, NULL);
	json_text(j, "name", e->name);
	add_uri(j, "/api/endpoints/", e->name);
	json_text(j, "url", e->url);
	json_open(j, "upstream");
	json_text(j, "url", e->upstream);
	json_text(j, "protocol", upstream_protocol(e));
	json_close(j);
	json_bool(j, "inspect", false);
	json_text(j, "traffic_policy", "");
	json_bool(j, "pooling_enabled", e->is_pooling_enabled);
	add_metrics(j, &e->figures);
	add_own(j, e);
	json_close(j);
}

void
agent_json_tunnels(const struct agent_view *v, struct text *out)
{
	struct json j;

	json_init(&j, out);
	json_open(&j, NULL);
	json_open_list(&j, "tunnels");
	for (size_t i = 0; i < v->endpoint_count; i++)
		if (v->endpoints[i].url[0] != '\0')
			add_tunnel(&j, &v->endpoints[i]);
	json_close_list(&j);
	json_text(&j, "uri", "/api/tunnels");
	json_close(&j);
}

void
agent_json_tunnel(const struct view_endpoint *e, struct text *out)
{
	struct json j;

	json_init(&j, out);
	add_tunnel(&j, e);
}

void
agent_json_endpoints(const struct agent_view *v, struct text *out)
{
	struct json j;

	json_init(&j, out);
	json_open(&j, NULL);
	json_open_list(&j, "endpoints");
	for (size_t i = 0; i < v->endpoint_count; i++)
		add_endpoint(&j, &v->endpoints[i]);
	json_close_list(&j);
	json_text(&j, "uri", "/api/endpoints");
	json_close(&j);
}

void
agent_json_endpoint(const struct view_endpoint *e, struct text *out)
{
	struct json j;

	json_init(&j, out);
	add_endpoint(&j, e);
}

void
agent_json_error(
    unsigned status, const char *message, const char *detail, struct text *out)
{
	struct json j;

	json_init(&j, out);
	json_open(&j, NULL);
	json_int(&j, "status_code", status);
	json_text(&j, "msg", message);
	json_open(&j, "details");
	json_text(&j, "err", detail);
	json_close(&j);
	json_close(&j);
}
