#include "cmd/screen.h"

#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/load.h"

#define SCREEN_SIZE 65536
#define LINE_SIZE 1024
#define LISTENERS_MAX 16
#define WARNINGS_SHOWN 3

#define ENTER "\033[?1049h\033[?25l\033[2J"
#define LEAVE "\033[?25h\033[?1049l"
#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_BELOW "\033[J"

struct screen {
	char lines[SCREEN_SIZE];
	char bytes[SCREEN_SIZE * 2];
	/* What was shown last, for the rates. */
	uint64_t last_ms, last_total, last_in, last_out;
	double connections_per_second;
	uint64_t in_per_second, out_per_second;
};

bool
screen_possible(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term != NULL &&
	       strcmp(term, "dumb") != 0;
}

/* Cuts a line to the screen's width and takes a row. */
static void
add_line(
    struct text *out, const struct screen_view *v, unsigned *row, char *line)
{
	if (*row >= v->rows)
		return;
	++*row;
	if (strlen(line) > v->columns)
		line[v->columns] = '\0';
	text_add(out, line);
	text_add_char(out, '\n');
}

static void
add_bytes(struct text *out, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_COUNT(units)) {
		value /= 1024;
		unit++;
	}
	text_addf(out, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

static void
format_head(const struct screen_view *v, struct text *out, unsigned *row)
{
	char line[LINE_SIZE];
	struct text t;

	text_init(&t, line, sizeof(line));
	text_addf(&t, "Lunette %s   %s", PACKAGE_VERSION,
	    v->draining ? "draining: connections may finish (Ctrl-C: stop now)"
			: "serving (Ctrl-C: stop)");
	add_line(out, v, row, line);
	line[0] = '\0';
	add_line(out, v, row, line);
}

static void
add_upstreams(struct text *t, const struct endpoint *e)
{
	for (size_t i = 0; i < e->upstream_count; i++)
		text_addf(t, "%s%s", i == 0 ? "  to  " : ", ",
		    e->upstreams[i].address.text);
}

/* At most a third of the screen, so that the rest stays visible. */
static void
format_endpoints(const struct screen_view *v, struct text *out, unsigned *row)
{
	size_t count = v->snapshot->endpoint_count;
	size_t shown = count < v->rows / 3 ? count : v->rows / 3;
	char line[LINE_SIZE];
	struct text t;

	for (size_t i = 0; i < shown; i++) {
		const struct endpoint *e = v->snapshot->endpoints[i];

		text_init(&t, line, sizeof(line));
		if (e->is_random)
			text_add(&t, "endpoint     a random name");
		else
			text_addf(&t, "endpoint     %s%s", e->url,
			    e->domain.len == 0 ? " (any name)" : "");
		add_upstreams(&t, e);
		add_line(out, v, row, line);
	}
	if (shown < count) {
		text_init(&t, line, sizeof(line));
		text_addf(&t, "             and %zu more", count - shown);
		add_line(out, v, row, line);
	}
}

/* In the process whose screen it is. */
static bool
ends_here(const struct snapshot *s, const struct endpoint *e)
{
	return e->terminate_at ==
	       (s->agent.enabled ? TERMINATE_AGENT : TERMINATE_EDGE);
}

static size_t
count_ending_here(const struct snapshot *s)
{
	size_t count = 0;

	for (size_t i = 0; i < s->endpoint_count; i++)
		count += ends_here(s, s->endpoints[i]);
	return count;
}

/* Whether all that ends here is encrypted again. */
static bool
all_encrypted_again(const struct snapshot *s)
{
	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct endpoint *e = s->endpoints[i];

		for (size_t k = 0; ends_here(s, e) && k < e->upstream_count;
		     k++)
			if (!e->upstreams[k].address.tls)
				return false;
	}
	return true;
}

/* Of an agent: for all endpoints together. */
static const char *
tls_end_of_agent(const struct snapshot *s)
{
	size_t here = count_ending_here(s), edge = 0;

	for (size_t i = 0; i < s->endpoint_count; i++)
		edge += s->endpoints[i]->terminate_at == TERMINATE_EDGE;
	if (edge > 0)
		return edge == s->endpoint_count
			   ? "edge, which can read the bytes"
			   : "edge for some endpoints: it can read their bytes";
	if (here == 0)
		return s->script_count > 0
			   ? "upstream, unless the policy ends it here"
			   : "upstream; neither edge nor agent can read the "
			     "bytes";
	if (here < s->endpoint_count)
		return "agent or upstream; the edge cannot read the bytes";
	return "agent; the edge cannot read the bytes";
}

static const char *
tls_end(const struct snapshot *s)
{
	size_t here = count_ending_here(s);

	if (s->agent.enabled)
		return tls_end_of_agent(s);
	if (here == 0 && s->script_count > 0)
		return "upstream, unless the policy ends it here";
	if (here == 0)
		return "upstream; this edge cannot read the bytes";
	if (here < s->endpoint_count)
		return "edge for some endpoints: it can read their bytes";
	if (all_encrypted_again(s))
		return "edge, which can read the bytes; then encrypted again";
	return "edge, which can read the bytes; then in clear";
}

/* Who can read the bytes, and what to know about it. */
static void
format_tls(const struct screen_view *v, struct text *out, unsigned *row)
{
	const struct snapshot *s = v->snapshot;
	char line[LINE_SIZE], path[PATH_MAX];
	struct text t;

	text_init(&t, line, sizeof(line));
	text_addf(&t, "TLS ends at  %s", tls_end(s));
	add_line(out, v, row, line);
	if (s->local_ca) {
		local_ca_path(s, path, sizeof(path));
		text_init(&t, line, sizeof(line));
		text_addf(&t, "local CA     curl --cacert %s", path);
		add_line(out, v, row, line);
	}
	if (s->keylog != NULL) {
		text_init(&t, line, sizeof(line));
		text_addf(&t, "KEYLOG       secrets go to %s", s->keylog);
		add_line(out, v, row, line);
	}
	for (size_t i = 0;
	     i < problems_count(s->warnings) && i < WARNINGS_SHOWN; i++) {
		text_init(&t, line, sizeof(line));
		text_addf(&t, "warning      %s", problems_get(s->warnings, i));
		add_line(out, v, row, line);
	}
}

/* An agent does not listen: clients come by way of its edges. */
static void
add_edges(struct text *out, const struct snapshot *s)
{
	const struct agent_settings *a = &s->agent;

	text_add(out, "through      ");
	for (size_t i = 0; i < a->edge_count; i++)
		text_addf(
		    out, "%s%s", i == 0 ? "" : ", ", a->edges[i].address.text);
}

static void
add_listeners(struct text *out, const struct screen_view *v)
{
	char address[ADDR_TEXT_SIZE];

	text_add(out, "listening on ");
	for (size_t i = 0; i < v->listener_count; i++) {
		addr_format(&v->listeners[i], address);
		text_addf(out, "%s%s", i == 0 ? "" : ", ", address);
	}
}

static void
format_listeners(const struct screen_view *v, struct text *out, unsigned *row)
{
	char line[LINE_SIZE];
	struct text t;

	text_init(&t, line, sizeof(line));
	if (v->snapshot->agent.enabled)
		add_edges(&t, v->snapshot);
	else
		add_listeners(&t, v);
	add_line(out, v, row, line);
	line[0] = '\0';
	add_line(out, v, row, line);
}

static void
format_counts(const struct screen_view *v, struct text *out, unsigned *row)
{
	const struct edge_status *s = v->status;
	char line[LINE_SIZE];
	struct text t;

	text_init(&t, line, sizeof(line));
	text_addf(&t,
	    "connections  %llu now, %llu in all, at most %llu at once",
	    (unsigned long long)s->connections_open,
	    (unsigned long long)s->connections_total,
	    (unsigned long long)s->connections_limit);
	add_line(out, v, row, line);
	text_init(&t, line, sizeof(line));
	text_addf(
	    &t, "rates        %.1f connections/s, ", v->connections_per_second);
	add_bytes(&t, v->in_per_second);
	text_add(&t, "/s in, ");
	add_bytes(&t, v->out_per_second);
	text_add(&t, "/s out");
	add_line(out, v, row, line);
	text_init(&t, line, sizeof(line));
	text_add(&t, "bytes        ");
	add_bytes(&t, s->bytes_in);
	text_add(&t, " in, ");
	add_bytes(&t, s->bytes_out);
	text_add(&t, " out");
	add_line(out, v, row, line);
	if (s->events_dropped > 0) {
		text_init(&t, line, sizeof(line));
		text_addf(&t, "events       %llu DROPPED",
		    (unsigned long long)s->events_dropped);
		add_line(out, v, row, line);
	}
}

static void
format_recent(const struct screen_view *v, struct text *out, unsigned *row)
{
	char line[LINE_SIZE] = "", client[ADDR_TEXT_SIZE];
	struct text t;

	add_line(out, v, row, line);
	text_init(&t, line, sizeof(line));
	text_add(&t, "ended     client                  reason");
	text_add(&t, "              seconds  name");
	add_line(out, v, row, line);
	for (size_t i = 0; i < v->status->recent_count; i++) {
		const struct edge_recent *r = &v->status->recent[i];
		time_t when = (time_t)(r->wall_us / 1000000);
		struct tm tm;
		char clock[16] = "";

		if (localtime_r(&when, &tm) != NULL)
			strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
		addr_format(&r->client, client);
		text_init(&t, line, sizeof(line));
		text_addf(&t, "%-8s  %-22s  %-18s  %7.1f  %s", clock, client,
		    r->reason, (double)r->duration_us / 1e6,
		    r->name[0] == '\0' ? "-" : r->name);
		add_line(out, v, row, line);
	}
}

void
screen_format(const struct screen_view *v, struct text *out)
{
	unsigned row = 0;

	format_head(v, out, &row);
	format_endpoints(v, out, &row);
	format_tls(v, out, &row);
	format_listeners(v, out, &row);
	format_counts(v, out, &row);
	format_recent(v, out, &row);
}

/* All of it; false when the terminal has gone. */
static bool
put(struct span s)
{
	while (s.len > 0) {
		ssize_t n = write(STDOUT_FILENO, s.data, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		/* A terminal stopped with Ctrl-S: this picture is skipped. */
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0)
			return false;
		s = span_of(s.data + n, s.len - (size_t)n);
	}
	return true;
}

struct screen *
screen_open(void)
{
	struct screen *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->last_ms = clock_ms();
	(void)!put(span_text(ENTER));
	return s;
}

void
screen_close(struct screen *s)
{
	if (s == NULL)
		return;
	(void)!put(span_text(LEAVE));
	free(s);
}

static void
update_rates(struct screen *s, const struct edge_status *status)
{
	uint64_t now = clock_ms(), passed = now - s->last_ms;

	if (passed == 0)
		return;
	s->connections_per_second =
	    (double)(status->connections_total - s->last_total) * 1000 /
	    (double)passed;
	s->in_per_second = (status->bytes_in - s->last_in) * 1000 / passed;
	s->out_per_second = (status->bytes_out - s->last_out) * 1000 / passed;
	s->last_ms = now;
	s->last_total = status->connections_total;
	s->last_in = status->bytes_in;
	s->last_out = status->bytes_out;
}

/* Lines as the terminal wants them: over the old picture, without a flash. */
static void
add_terminal_lines(struct text *out, struct span lines)
{
	text_add(out, HOME);
	for (size_t i = 0; i < lines.len; i++) {
		/* No line break after the last row: it would scroll. */
		if (lines.data[i] != '\n')
			text_add_char(out, (char)lines.data[i]);
		else if (i + 1 < lines.len)
			text_add(out, CLEAR_LINE "\r\n");
	}
	text_add(out, CLEAR_LINE CLEAR_BELOW);
}

bool
screen_draw(
    struct screen *s, struct edge *e, const struct snapshot *now, bool draining)
{
	struct addr listeners[LISTENERS_MAX];
	struct edge_status status;
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	struct screen_view v = { .snapshot = now, .status = &status };
	struct text lines, bytes;

	/* Asked for each time, so that a new size is seen at once. */
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 &&
	    (errno == EIO || errno == ENOTTY))
		return false;
	edge_status(e, &status);
	update_rates(s, &status);
	for (size_t i = 0; i < edge_listener_count(e) && i < LISTENERS_MAX; i++)
		edge_listener_addr(e, v.listener_count++, &listeners[i]);
	v.listeners = listeners;
	v.draining = draining;
	v.in_per_second = s->in_per_second;
	v.out_per_second = s->out_per_second;
	v.connections_per_second = s->connections_per_second;
	v.rows = size.ws_row == 0 ? 24 : size.ws_row;
	v.columns = size.ws_col == 0 ? 80 : size.ws_col;
	text_init(&lines, s->lines, sizeof(s->lines));
	screen_format(&v, &lines);
	text_init(&bytes, s->bytes, sizeof(s->bytes));
	add_terminal_lines(&bytes, text_span(&lines));
	return put(text_span(&bytes));
}
