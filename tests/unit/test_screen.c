#include "unit.h"

#include <stdio.h>

#include "cmd/screen.h"

/* The drawing itself needs an edge; the lines do not. These are never called.
 */
void
edge_status(struct edge *e, struct edge_status *out)
{
	(void)e;
	*out = (struct edge_status){ 0 };
}

size_t
edge_listener_count(const struct edge *e)
{
	(void)e;
	return 0;
}

void
edge_listener_addr(const struct edge *e, size_t i, struct addr *out)
{
	(void)e;
	(void)i;
	*out = (struct addr){ 0 };
}

static char url[] = "tls://app.example.com";

static void
format_snapshot(
    struct snapshot *s, unsigned columns, unsigned rows, struct text *out)
{
	struct edge_status status = {
		.connections_open = 3,
		.connections_total = 12345,
		.connections_limit = 9000,
		.bytes_in = 3 << 20,
		.recent_count = 2,
		.recent = { { .reason = "client_closed",
				.name = "app.example.com",
				.client = { .bytes = { 192, 0, 2, 7 },
				    .port = 4711,
				    .family = ADDR_IP4 } },
		    { .reason = "hello_timeout" } },
	};
	struct addr listener = {
		.bytes = { 127, 0, 0, 1 }, .port = 8443, .family = ADDR_IP4
	};
	struct screen_view v = { .snapshot = s,
		.status = &status,
		.listeners = &listener,
		.listener_count = 1,
		.columns = columns,
		.rows = rows };

	s->warnings = problems_new();
	problems_add(s->warnings, &(struct origin){ .source = "--crt" },
	    "expires in 5 days");
	screen_format(&v, out);
	problems_free(s->warnings);
}

static void
format(unsigned columns, unsigned rows, size_t endpoints, struct text *out)
{
	struct upstream_settings upstream = { .weight = 1 };
	struct endpoint e = { .url = url,
		.terminate_at = TERMINATE_UPSTREAM,
		.upstreams = &upstream,
		.upstream_count = 1,
		.domain = { .len = 15 } };
	struct endpoint *list[64];
	struct snapshot s = { .endpoints = list, .endpoint_count = endpoints };

	snprintf(upstream.address.text, sizeof(upstream.address.text),
	    "10.0.0.5:443");
	for (size_t i = 0; i < endpoints; i++)
		list[i] = &e;
	format_snapshot(&s, columns, rows, out);
}

START_TEST(screen_tells_what_is_served_and_what_happened)
{
	static const char *const wanted[] = { "tls://app.example.com",
		"10.0.0.5:443",
		"TLS ends at  upstream; this edge cannot read the bytes",
		"127.0.0.1:8443", "3 now, 12345 in all, at most 9000",
		"3.0 MiB in", "client_closed", "hello_timeout",
		"192.0.2.7:4711", "warning      --crt: expires in 5 days" };
	char storage[8192];
	struct text out;

	text_init(&out, storage, sizeof(storage));
	format(120, 40, 1, &out);
	for (size_t i = 0; i < ARRAY_COUNT(wanted); i++)
		ck_assert_msg(strstr(out.data, wanted[i]) != NULL,
		    "no \"%s\" in:\n%s", wanted[i], out.data);
}
END_TEST

/* Two endpoints: where TLS ends, whether it begins again, and a script. */
static const struct {
	enum terminate_at end[2];
	bool again[2];
	size_t scripts;
	const char *shown;
	bool agent; /* whose screen it is */
} ends[] = {
	{ { TERMINATE_UPSTREAM, TERMINATE_UPSTREAM }, { false, true }, 0,
	    "upstream; this edge cannot read the bytes", false },
	{ { TERMINATE_UPSTREAM, TERMINATE_UPSTREAM }, { false, false }, 1,
	    "upstream, unless the policy ends it here", false },
	{ { TERMINATE_EDGE, TERMINATE_UPSTREAM }, { false, false }, 0,
	    "edge for some endpoints: it can read their bytes", false },
	{ { TERMINATE_EDGE, TERMINATE_EDGE }, { true, false }, 0,
	    "edge, which can read the bytes; then in clear", false },
	{ { TERMINATE_EDGE, TERMINATE_EDGE }, { true, true }, 0,
	    "edge, which can read the bytes; then encrypted again", false },
	{ { TERMINATE_UPSTREAM, TERMINATE_UPSTREAM }, { false, false }, 0,
	    "upstream; neither edge nor agent can read the bytes", true },
	{ { TERMINATE_UPSTREAM, TERMINATE_UPSTREAM }, { false, false }, 1,
	    "upstream, unless the policy ends it here", true },
	{ { TERMINATE_AGENT, TERMINATE_AGENT }, { false, false }, 0,
	    "agent; the edge cannot read the bytes", true },
	{ { TERMINATE_AGENT, TERMINATE_UPSTREAM }, { false, false }, 0,
	    "agent or upstream; the edge cannot read the bytes", true },
	{ { TERMINATE_EDGE, TERMINATE_UPSTREAM }, { false, false }, 0,
	    "edge for some endpoints: it can read their bytes", true },
	{ { TERMINATE_EDGE, TERMINATE_EDGE }, { false, false }, 0,
	    "edge, which can read the bytes", true },
};

START_TEST(screen_tells_who_can_read_the_bytes)
{
	struct upstream_settings upstreams[2] = { 0 };
	struct endpoint e[2] = { 0 }, *list[2] = { &e[0], &e[1] };
	struct snapshot s = { .endpoints = list,
		.endpoint_count = 2,
		.script_count = ends[_i].scripts,
		.agent.enabled = ends[_i].agent };
	char storage[8192], wanted[128];
	struct text out;

	for (size_t i = 0; i < 2; i++) {
		e[i] = (struct endpoint){ .url = url,
			.terminate_at = ends[_i].end[i],
			.upstreams = &upstreams[i],
			.upstream_count = 1 };
		upstreams[i].address.tls = ends[_i].again[i];
	}
	text_init(&out, storage, sizeof(storage));
	format_snapshot(&s, 80, 40, &out);
	snprintf(wanted, sizeof(wanted), "TLS ends at  %s\n", ends[_i].shown);
	ck_assert_msg(strstr(out.data, wanted) != NULL, "%s", out.data);
	ck_assert_ptr_null(strstr(out.data, "KEYLOG"));
	ck_assert_ptr_null(strstr(out.data, "local CA"));
}
END_TEST

START_TEST(screen_of_an_agent_tells_its_edges)
{
	struct edge_address edges[2] = { { .address.text = "e.test:443" },
		{ .address.text = "f.test:1" } };
	struct endpoint e = { .is_random = true }, *list[] = { &e };
	struct snapshot s = { .endpoints = list,
		.endpoint_count = 1,
		.agent = { .enabled = true, .edges = edges, .edge_count = 2 } };
	char storage[8192];
	struct text out;

	text_init(&out, storage, sizeof(storage));
	format_snapshot(&s, 80, 40, &out);
	ck_assert(strstr(out.data, "endpoint     a random name\n") != NULL);
	ck_assert(
	    strstr(out.data, "through      e.test:443, f.test:1\n") != NULL);
}
END_TEST

START_TEST(screen_warns_of_what_is_weak)
{
	char storage[8192], state[] = "/srv/state", keylog[] = "/tmp/keys";
	struct snapshot s = {
		.state = state, .local_ca = true, .keylog = keylog
	};
	struct text out;

	text_init(&out, storage, sizeof(storage));
	format_snapshot(&s, 80, 40, &out);
	ck_assert(strstr(out.data, "local CA     curl --cacert "
				   "/srv/state/local-ca.pem\n") != NULL);
	ck_assert(
	    strstr(out.data, "KEYLOG       secrets go to /tmp/keys\n") != NULL);
}
END_TEST

/* Any size of window, also none at all. */
START_TEST(screen_never_leaves_its_window)
{
	char storage[16384];
	struct text out;
	unsigned columns = (unsigned)_i % 7 * 20, rows = (unsigned)_i % 31;

	text_init(&out, storage, sizeof(storage));
	format(columns, rows, 40, &out);
	unsigned lines = 0;

	for (const char *at = out.data; *at != '\0';
	     at += strcspn(at, "\n") + 1, lines++)
		ck_assert_uint_le(strcspn(at, "\n"), columns);
	ck_assert_uint_le(lines, rows);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, screen_tells_what_is_served_and_what_happened);
	tcase_add_loop_test(tcase, screen_tells_who_can_read_the_bytes, 0,
	    (int)ARRAY_COUNT(ends));
	tcase_add_test(tcase, screen_of_an_agent_tells_its_edges);
	tcase_add_test(tcase, screen_warns_of_what_is_weak);
	tcase_add_loop_test(tcase, screen_never_leaves_its_window, 0, 217);
}

UNIT_MAIN_TOGETHER("screen", add_tests)
