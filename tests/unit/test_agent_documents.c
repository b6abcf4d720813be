#include "unit.h"

#include "config.h"

#include "control/agent_html.h"
#include "control/agent_json.h"
#include "control/agent_metrics.h"
#include "control/agent_routes.h"

#define R "\xef\xbf\xbd"
#define NASTY "a\"b\\c<script>alert('&')</script>\n\x01\x7f\xffz"

static char storage[64 * 1024];

/* A source that is two arrays. */
struct lists {
	const struct agent_session_view *sessions;
	const struct agent_endpoint_view *endpoints;
	size_t session_count, endpoint_count;
};

static void
fill(void *data, struct agent_view *v)
{
	const struct lists *l = data;

	for (size_t i = 0; i < l->session_count; i++)
		agent_view_session(v, &l->sessions[i]);
	for (size_t i = 0; i < l->endpoint_count; i++)
		agent_view_endpoint(v, &l->endpoints[i]);
}

static void
take(struct agent_view *v, struct lists *l)
{
	struct agent_web_source source = { .data = l, .fill = fill };

	ck_assert_int_eq(agent_view_take(v, &source, 0), 0);
}

static void
take_one(struct agent_view *v, const struct agent_session_view *s,
    const struct agent_endpoint_view *e)
{
	struct lists l = { s, e, s != NULL, e != NULL };

	take(v, &l);
}

static struct text
fresh(void)
{
	struct text t;

	text_init(&t, storage, sizeof(storage));
	return t;
}

static void
must_have(const char *part)
{
	ck_assert_msg(
	    strstr(storage, part) != NULL, "no %s in %s", part, storage);
}

static void
must_not_have(const char *part)
{
	ck_assert_msg(strstr(storage, part) == NULL, "%s in %s", part, storage);
}

static const struct agent_session_view session = {
	.edge = "edge.example.com:443",
	.region = "eu",
	.state = "online",
	.id = "ts_1",
	.latency_us = 87123,
	.is_online = true,
};

static const struct agent_endpoint_view endpoint = {
	.name = "web app",
	.url = "tls://app.example.com",
	.upstream = "tls://10.0.0.5:443",
	.terminate_at = "agent",
	.is_online = true,
	.is_pooling_enabled = true,
	.bytes_in = 1000,
	.bytes_out = 18446744073,
};

START_TEST(status_has_the_published_shape)
{
	struct agent_view v;
	struct text t = fresh();

	take_one(&v, &session, NULL);
	agent_json_status(&v, &t);
	ck_assert_str_eq(storage,
	    "{\"status\":\"online\",\"agent_version\":\"" PACKAGE_VERSION "\","
	    "\"session\":{\"legs\":[{\"region\":\"eu\","
	    "\"latency\":\"87.123ms\",\"edge\":\"edge.example.com:443\","
	    "\"state\":\"online\",\"id\":\"ts_1\"}]},\"uri\":\"/api/status\"}");
	agent_view_fini(&v);
}
END_TEST

static void
check_status(const struct agent_session_view *sessions, size_t count,
    const char *expected)
{
	struct lists l = { sessions, NULL, count, 0 };
	struct agent_view v;

	take(&v, &l);
	ck_assert_str_eq(agent_view_status(&v), expected);
	agent_view_fini(&v);
}

START_TEST(one_session_that_serves_is_online)
{
	const struct agent_session_view sessions[] = {
		{ .state = "refused", .latency_us = -1 },
		{ .state = "online", .is_online = true },
	};

	check_status(NULL, 0, "connecting");
	check_status(sessions, 1, "refused");
	check_status(sessions, 2, "online");
}
END_TEST

#define ZEROS                                                       \
	"\"rate1\":0,\"rate5\":0,\"rate15\":0,\"p50\":0,\"p90\":0," \
	"\"p95\":0,\"p99\":0}"
#define OWN(readers)                                                          \
	"\"online\":true,\"terminate_at\":\"agent\",\"readable_by\":" readers \
	",\"bytes_in\":1000,\"bytes_out\":18446744073}"

START_TEST(a_tunnel_has_the_published_shape)
{
	struct meter *m = meter_new(0);
	struct agent_endpoint_view e = endpoint;
	struct agent_view v;
	struct text t = fresh();

	meter_begin(m, 0);
	meter_begin(m, 0);
	meter_end(m, 0, 2500);
	e.meter = m;
	take_one(&v, NULL, &e);
	agent_json_tunnels(&v, &t);
	ck_assert_str_eq(storage,
	    "{\"tunnels\":[{\"name\":\"web app\","
	    "\"uri\":\"/api/tunnels/web%20app\","
	    "\"public_url\":\"tls://app.example.com\",\"proto\":\"tls\","
	    "\"config\":{\"addr\":\"tls://10.0.0.5:443\",\"inspect\":false},"
	    "\"metrics\":{\"conns\":{\"count\":2,\"gauge\":1,\"rate1\":0,"
	    "\"rate5\":0,\"rate15\":0,\"p50\":2500000,\"p90\":2500000,"
	    "\"p95\":2500000,\"p99\":2500000},\"http\":{\"count\":0," ZEROS
	    "}," OWN("[\"agent\",\"upstream\"]") "],\"uri\":\"/api/tunnels\"}");
	agent_view_fini(&v);
	meter_put(m);
}
END_TEST

START_TEST(an_endpoint_has_the_published_shape)
{
	struct agent_view v;
	struct text t = fresh();

	take_one(&v, NULL, &endpoint);
	agent_json_endpoints(&v, &t);
	ck_assert_str_eq(storage,
	    "{\"endpoints\":[{\"name\":\"web app\","
	    "\"uri\":\"/api/endpoints/web%20app\","
	    "\"url\":\"tls://app.example.com\",\"upstream\":{"
	    "\"url\":\"tls://10.0.0.5:443\",\"protocol\":\"tls\"},"
	    "\"inspect\":false,\"traffic_policy\":\"\","
	    "\"pooling_enabled\":true,\"metrics\":{\"conns\":{\"count\":0,"
	    "\"gauge\":0," ZEROS ",\"http\":{\"count\":0," ZEROS "}," OWN(
		"[\"agent\",\"upstream\"]") "],\"uri\":\"/api/endpoints\"}");
	agent_view_fini(&v);
}
END_TEST

START_TEST(what_is_not_bound_is_an_endpoint_but_no_tunnel)
{
	struct agent_endpoint_view e = { .name = "late",
		.upstream = "localhost:1" };
	struct agent_view v;
	struct text t = fresh();

	take_one(&v, NULL, &e);
	agent_json_tunnels(&v, &t);
	ck_assert_str_eq(storage, "{\"tunnels\":[],\"uri\":\"/api/tunnels\"}");
	text_clear(&t);
	agent_json_endpoints(&v, &t);
	must_have("\"name\":\"late\"");
	must_have("\"url\":\"\",");
	must_have("\"protocol\":\"tcp\"");
	must_have("\"online\":false");
	agent_view_fini(&v);
}
END_TEST

static void
check_readers(const char *terminate_at, const char *json, const char *html)
{
	struct agent_endpoint_view e = endpoint;
	struct agent_view v;
	struct text t = fresh();

	e.terminate_at = terminate_at;
	take_one(&v, NULL, &e);
	agent_json_endpoint(&v.endpoints[0], &t);
	must_have(json);
	text_clear(&t);
	agent_html(&v, &t);
	must_have(html);
	agent_view_fini(&v);
}

START_TEST(it_says_who_can_read)
{
	check_readers("upstream", "\"readable_by\":[\"upstream\"]",
	    "<td>only the upstream; neither the edge nor this agent can</td>");
	check_readers("agent", "\"readable_by\":[\"agent\",\"upstream\"]",
	    "<td>this agent and the upstream; the edge cannot</td>");
	check_readers("edge",
	    "\"readable_by\":[\"edge\",\"agent\",\"upstream\"]",
	    "<td>the edge, this agent and the upstream</td>");
	/* What is not known is not called private. */
	check_readers("elsewhere",
	    "\"readable_by\":[\"edge\",\"agent\",\"upstream\"]",
	    "<td>the edge, this agent and the upstream</td>");
}
END_TEST

static void
take_nasty(struct agent_view *v)
{
	struct agent_session_view s = { .edge = NASTY,
		.region = NASTY,
		.state = NASTY,
		.id = NASTY,
		.latency_us = 1,
		.is_online = true };
	struct agent_endpoint_view e = { .name = NASTY,
		.url = NASTY,
		.upstream = NASTY,
		.terminate_at = NASTY };

	take_one(v, &s, &e);
}

START_TEST(nasty_text_stays_text_in_json)
{
	static const char escaped[] =
	    "\"a\\\"b\\\\c<script>alert('&')</script>\\u000a\\u0001\\u007f" R
	    "z\"";
	struct agent_view v;
	struct text t = fresh();

	take_nasty(&v);
	agent_json_status(&v, &t);
	must_have(escaped);
	text_clear(&t);
	agent_json_endpoints(&v, &t);
	must_have(escaped);
	must_have("\"uri\":\"/api/endpoints/a%22b%5Cc%3Cscript%3Ealert%28%27%26"
		  "%27%29%3C%2Fscript%3E%0A%01%7F%EF%BF%BDz\"");
	ck_assert_ptr_null(strpbrk(storage, "\n\x01\x7f\xff"));
	agent_view_fini(&v);
}
END_TEST

START_TEST(nasty_text_stays_text_in_html)
{
	struct agent_view v;
	struct text t = fresh();

	take_nasty(&v);
	agent_html(&v, &t);
	must_have("<td>a&quot;b\\c&lt;script&gt;alert(&#39;&amp;&#39;)"
		  "&lt;/script&gt;" R R R R "z</td>");
	must_not_have("<script");
	ck_assert_ptr_null(strpbrk(storage, "\x01\x7f\xff"));
	agent_view_fini(&v);
}
END_TEST

START_TEST(nasty_text_stays_text_in_metrics)
{
	struct agent_view v;
	struct text t = fresh();
	const char *label = "{endpoint=\"a\\\"b\\\\c<script>alert('&')"
			    "</script>\\n" R R R "z\"} 0\n";

	take_nasty(&v);
	agent_metrics(&v, &t);
	must_have(label);
	must_have("lunette_agent_session_latency_seconds{session=\"0\",edge=\""
		  "a\\\"b");
	ck_assert_ptr_null(strpbrk(storage, "\x01\x7f\xff"));
	agent_view_fini(&v);
}
END_TEST

START_TEST(the_page_is_whole_and_alone)
{
	struct agent_view v;
	struct text t = fresh();

	take_one(&v, &session, &endpoint);
	agent_html(&v, &t);
	must_have("<!DOCTYPE html>");
	must_have("<meta http-equiv=\"refresh\" content=\"5\">");
	must_have("<td>edge.example.com:443</td>");
	must_have("87.1 ms");
	must_have("<td>tls://app.example.com</td>");
	must_have("</html>\n");
	must_not_have("http://");
	must_not_have("src=");
	must_not_have("href=");
	agent_view_fini(&v);
	/* And empty. */
	text_clear(&t);
	take_one(&v, NULL, NULL);
	agent_html(&v, &t);
	must_have("Status: connecting");
	must_have("<p>None.</p>");
	agent_view_fini(&v);
}
END_TEST

START_TEST(metrics_are_complete)
{
	struct meter *m = meter_new(0);
	struct agent_endpoint_view e = endpoint;
	struct agent_view v;
	struct text t = fresh();

	meter_begin(m, 0);
	meter_begin(m, 0);
	meter_end(m, 0, 2500000);
	e.meter = m;
	take_one(&v, &session, &e);
	agent_metrics(&v, &t);
#define P "lunette_agent_"
#define E "{endpoint=\"web app\"} "
	must_have(P "info{version=\"" PACKAGE_VERSION "\"} 1\n");
	must_have(P "sessions 1\n");
	must_have(P "sessions_online 1\n");
	must_have(P "session_latency_seconds{session=\"0\","
		    "edge=\"edge.example.com:443\"} 0.087123\n");
	must_have(P "endpoint_online" E "1\n");
	must_have(P "connections_total" E "2\n");
	must_have(P "connections_open" E "1\n");
	must_have(P "received_bytes_total" E "1000\n");
	must_have(P "sent_bytes_total" E "18446744073\n");
	must_have(P "connection_seconds{endpoint=\"web app\","
		    "quantile=\"0.99\"} 2.5\n");
	must_have(P "connection_seconds_sum" E "2.5\n");
	must_have(P "connection_seconds_count" E "1\n");
	must_have("# TYPE " P "connections_total counter\n");
	must_have("# TYPE " P "connection_seconds summary\n");
	agent_view_fini(&v);
	meter_put(m);
}
END_TEST

START_TEST(too_many_are_left_out_and_counted)
{
	struct agent_endpoint_view *many =
	    calloc(AGENT_VIEW_MAX + 7, sizeof(*many));
	struct lists l = { NULL, many, 0, AGENT_VIEW_MAX + 7 };
	struct agent_view v;
	struct text t = fresh();

	for (size_t i = 0; i < l.endpoint_count; i++)
		many[i].name = "x";
	take(&v, &l);
	ck_assert_uint_eq(v.endpoint_count, AGENT_VIEW_MAX);
	ck_assert_uint_eq(v.endpoints_left_out, 7);
	agent_json_endpoints(&v, &t);
	ck_assert(t.truncated);
	agent_view_fini(&v);
	free(many);
}
END_TEST

START_TEST(long_text_is_cut)
{
	char name[AGENT_VIEW_TEXT_MAX + 100];
	struct agent_endpoint_view e = { .name = name };
	struct agent_view v;
	struct text t = fresh();

	memset(name, '\xff', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	take_one(&v, NULL, &e);
	ck_assert_uint_eq(
	    strlen(v.endpoints[0].name), AGENT_VIEW_TEXT_MAX * strlen(R));
	agent_json_endpoint(&v.endpoints[0], &t);
	ck_assert(!t.truncated);
	agent_view_fini(&v);
}
END_TEST

static void
check_route(const char *path, const char *route, const char *expected)
{
	struct text name = fresh();
	const struct agent_route *r = agent_route_find(span_text(path), &name);

	if (route == NULL) {
		ck_assert_msg(r == NULL, "%s is a route", path);
		return;
	}
	ck_assert_msg(r != NULL, "%s is no route", path);
	ck_assert_str_eq(r->path, route);
	ck_assert_str_eq(storage, expected);
}

START_TEST(paths_have_routes)
{
	check_route("/", "/", "");
	check_route("/status", "/status", "");
	check_route("/metrics", "/metrics", "");
	check_route("/api", "/api", "");
	check_route("/api/", "/api/", "");
	check_route("/api/tunnels", "/api/tunnels", "");
	check_route("/api/tunnels/a", "/api/tunnels/:name", "a");
	check_route("/api/endpoints/a%20b%2fc%C3%BC", "/api/endpoints/:name",
	    "a b/c\xc3\xbc");
	check_route("/api/endpoints/a\xff", "/api/endpoints/:name", "a" R);
	check_route("/api/endpoints/%ff", "/api/endpoints/:name", R);
	check_route("/api/endpoints/a+b", "/api/endpoints/:name", "a+b");
}
END_TEST

START_TEST(other_paths_have_none)
{
	static const char *const paths[] = { "", "//", "/api//", "/apix",
		"/API", "/status/", "/api/tunnels/", "/api/tunnels/a/b",
		"/api/tunnels/a/", "/api/tunnels/%", "/api/tunnels/%1",
		"/api/tunnels/%zz", "/api/tunnels/%00", "/api/tunnels/a%00b",
		"/api/tunnels/%-1", "/%61pi", "/../api", "api", "*",
		"http://localhost/api" };
	char path[4 * AGENT_VIEW_TEXT_MAX] = "/api/tunnels/";

	for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
		check_route(paths[i], NULL, NULL);
	memset(path + 13, 'a', sizeof(path) - 14);
	path[sizeof(path) - 1] = '\0';
	check_route(path, NULL, NULL);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, status_has_the_published_shape);
	tcase_add_test(tcase, one_session_that_serves_is_online);
	tcase_add_test(tcase, a_tunnel_has_the_published_shape);
	tcase_add_test(tcase, an_endpoint_has_the_published_shape);
	tcase_add_test(tcase, what_is_not_bound_is_an_endpoint_but_no_tunnel);
	tcase_add_test(tcase, it_says_who_can_read);
	tcase_add_test(tcase, nasty_text_stays_text_in_json);
	tcase_add_test(tcase, nasty_text_stays_text_in_html);
	tcase_add_test(tcase, nasty_text_stays_text_in_metrics);
	tcase_add_test(tcase, the_page_is_whole_and_alone);
	tcase_add_test(tcase, metrics_are_complete);
	tcase_add_test(tcase, too_many_are_left_out_and_counted);
	tcase_add_test(tcase, long_text_is_cut);
	tcase_add_test(tcase, paths_have_routes);
	tcase_add_test(tcase, other_paths_have_none);
}

UNIT_MAIN("agent_documents", add_tests)
