#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "control/agent_web.h"
#include "faults.h"
#include "http_client.h"

FAULT(calloc);
FAULT(malloc);
FAULT(realloc);

void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);

void *
__wrap_calloc(size_t count, size_t size)
{
	return fault_hits(&calloc_fault) ? NULL : __real_calloc(count, size);
}

void *
__wrap_malloc(size_t size)
{
	return fault_hits(&malloc_fault) ? NULL : __real_malloc(size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	return fault_hits(&realloc_fault) ? NULL : __real_realloc(old, size);
}

/* An agent with a session and some endpoints that come and go. */
struct agent {
	struct agent_web *web;
	struct addr address;
	pthread_mutex_t lock;
	struct meter *meter;
	unsigned endpoints;
	const char *url;
	bool is_online, arms_faults;
};

static void
fill(void *data, struct agent_view *v)
{
	struct agent *a = data;
	struct agent_session_view s = { .edge = "edge.example.com:443",
		.region = "eu",
		.id = "ts_1",
		.latency_us = 5000 };
	struct agent_endpoint_view e = { .upstream = "localhost:80",
		.terminate_at = "upstream" };
	char name[32];

	pthread_mutex_lock(&a->lock);
	faults_armed = a->arms_faults;
	s.is_online = a->is_online;
	s.state = a->is_online ? "online" : "reconnecting";
	agent_view_session(v, &s);
	for (unsigned i = 0; i < a->endpoints; i++) {
		snprintf(name, sizeof(name), i == 0 ? "web" : "end/%u", i);
		e.name = name;
		e.url = a->url;
		e.is_online = a->is_online;
		e.meter = a->meter;
		agent_view_endpoint(v, &e);
	}
	pthread_mutex_unlock(&a->lock);
}

static struct agent_web_settings
settings_here(void)
{
	struct agent_web_settings s = { 0 };

	ck_assert_int_eq(addr_parse(span_text("127.0.0.1"), &s.address), 0);
	return s;
}

static void
start_with(struct agent *a, const struct agent_web_settings *s)
{
	struct agent_web_source source = { .data = a, .fill = fill };

	memset(a, 0, sizeof(*a));
	pthread_mutex_init(&a->lock, NULL);
	a->meter = meter_new(0);
	a->endpoints = 3;
	a->url = "tls://app.example.com";
	a->is_online = true;
	ck_assert_int_eq(agent_web_new(s, &source, &a->web), 0);
	agent_web_address(a->web, &a->address);
}

static void
start(struct agent *a)
{
	struct agent_web_settings s = settings_here();

	start_with(a, &s);
}

static void
stop(struct agent *a)
{
	agent_web_free(a->web);
	meter_put(a->meter);
	pthread_mutex_destroy(&a->lock);
}

static char *
request(struct agent *a, const char *method, const char *path, const char *host)
{
	char text[1024];

	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n",
	    method, path, host);
	return http_exchange(&a->address, text);
}

static void
check(struct agent *a, const char *path, int status, const char *type,
    const char *part)
{
	char *got = request(a, "GET", path, "localhost:4040");
	char value[100];

	ck_assert_msg(
	    http_status(got) == status, "%s: %d", path, http_status(got));
	ck_assert_str_eq(
	    http_field(got, "Content-Type", value, sizeof(value)), type);
	ck_assert_msg(strstr(http_body(got), part) != NULL, "no %s in %s", part,
	    http_body(got));
	free(got);
}

#define JSON "application/json"
#define HTML "text/html; charset=utf-8"

START_TEST(every_route_answers)
{
	struct agent a;

	start(&a);
	check(&a, "/", 200, HTML, "<title>Lunette agent</title>");
	check(&a, "/status", 200, HTML, "tls://app.example.com");
	check(&a, "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8",
	    "lunette_agent_connections_total{endpoint=\"end/2\"} 0\n");
	check(&a, "/api", 200, JSON, "\"path\":\"/api/endpoints/:name\"");
	check(&a, "/api/", 200, JSON, "\"routes\":[");
	check(&a, "/api/status", 200, JSON, "\"status\":\"online\"");
	check(&a, "/api/status?x=1", 200, JSON, "\"latency\":\"5.000ms\"");
	check(&a, "/api/tunnels", 200, JSON, "\"name\":\"end/1\"");
	check(&a, "/api/tunnels/web", 200, JSON, "{\"name\":\"web\"");
	check(&a, "/api/endpoints", 200, JSON, "\"name\":\"end/2\"");
	check(&a, "/api/endpoints/end%2F2", 200, JSON, "{\"name\":\"end/2\"");
	stop(&a);
}
END_TEST

START_TEST(what_is_not_there_is_404)
{
	struct agent a;

	start(&a);
	check(&a, "/api/endpoints/other", 404, JSON, "\"status_code\":404");
	check(&a, "/api/tunnels/other", 404, JSON, "\"msg\":\"not found\"");
	check(&a, "/api/requests/http", 404, JSON, "GET /api lists");
	check(&a, "/favicon.ico", 404, JSON, "\"status_code\":404");
	check(&a, "/api/endpoints/end/2", 404, JSON, "\"status_code\":404");
	check(&a, "/api/status%00", 404, JSON, "\"status_code\":404");
	check(&a, "http://localhost/api", 404, JSON, "\"status_code\":404");
	a.url = "";
	check(&a, "/api/tunnels/web", 404, JSON, "\"status_code\":404");
	check(&a, "/api/endpoints/web", 200, JSON, "\"url\":\"\"");
	stop(&a);
}
END_TEST

START_TEST(it_shows_what_is_now)
{
	struct agent a;

	start(&a);
	meter_begin(a.meter, 0);
	check(&a, "/api/endpoints/web", 200, JSON, "\"count\":1,\"gauge\":1,");
	pthread_mutex_lock(&a.lock);
	a.is_online = false;
	a.endpoints = 0;
	pthread_mutex_unlock(&a.lock);
	check(&a, "/api/status", 200, JSON, "\"status\":\"reconnecting\"");
	check(&a, "/api/endpoints", 200, JSON, "\"endpoints\":[]");
	check(&a, "/api/endpoints/web", 404, JSON, "\"status_code\":404");
	stop(&a);
}
END_TEST

static void
check_host(struct agent *a, const char *host, int expected)
{
	char *got = request(a, "GET", "/api/status", host);

	ck_assert_msg(
	    http_status(got) == expected, "%s: %d", host, http_status(got));
	if (expected == 403)
		ck_assert_ptr_null(strstr(got, "online"));
	free(got);
}

START_TEST(only_some_hosts_are_answered)
{
	static const char *const more[] = { "box.example", "192.0.2.0/24" };
	struct agent_web_settings s = settings_here();
	struct agent a;
	char *got;

	s.allow_hosts = more;
	s.allow_host_count = ARRAY_COUNT(more);
	start_with(&a, &s);
	check_host(&a, "localhost", 200);
	check_host(&a, "LOCALHOST:4040", 200);
	check_host(&a, "127.0.0.1:9", 200);
	check_host(&a, "[::1]:4040", 200);
	check_host(&a, "box.example:4040", 200);
	check_host(&a, "192.0.2.9", 200);
	check_host(&a, "evil.example", 403);
	check_host(&a, "evil.example:4040", 403);
	check_host(&a, "localhost.evil.example", 403);
	check_host(&a, "198.51.100.1", 403);
	check_host(&a, "", 403);
	/* It comes before all else, and ends the connection. */
	got = request(&a, "POST", "/nowhere", "evil.example");
	ck_assert_int_eq(http_status(got), 403);
	free(got);
	got = http_exchange(&a.address, "GET /api/status HTTP/1.0\r\n\r\n");
	ck_assert_int_eq(http_status(got), 403);
	free(got);
	got = http_exchange(&a.address,
	    "GET /api/status HTTP/1.1\r\nHost: localhost\r\n"
	    "Host: localhost\r\n\r\n");
	ck_assert_int_eq(http_status(got), 403);
	free(got);
	stop(&a);
}
END_TEST

START_TEST(nothing_can_be_changed)
{
	static const char *const methods[] = { "POST", "PUT", "DELETE", "PATCH",
		"OPTIONS", "TRACE", "CONNECT", "get", "MAKE" };
	static const char *const paths[] = { "/api/tunnels", "/api/tunnels/web",
		"/api/endpoints", "/", "/nowhere" };
	char value[100], *got;
	struct agent a;

	start(&a);
	for (size_t i = 0; i < ARRAY_COUNT(methods); i++)
		for (size_t j = 0; j < ARRAY_COUNT(paths); j++) {
			got = request(&a, methods[i], paths[j], "localhost");
			ck_assert_msg(http_status(got) == 405, "%s %s: %d",
			    methods[i], paths[j], http_status(got));
			ck_assert_str_eq(
			    http_field(got, "Allow", value, sizeof(value)),
			    "GET, HEAD");
			ck_assert_ptr_nonnull(
			    strstr(http_body(got), "configuration"));
			free(got);
		}
	got = http_exchange(&a.address,
	    "POST /api/tunnels HTTP/1.1\r\nHost: localhost\r\n"
	    "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
	ck_assert_int_eq(http_status(got), 405);
	free(got);
	got = http_exchange(&a.address,
	    "GET /api/status HTTP/1.1\r\nHost: localhost\r\n"
	    "Content-Length: 2\r\n\r\n{}");
	ck_assert_int_eq(http_status(got), 400);
	free(got);
	stop(&a);
}
END_TEST

START_TEST(a_head_is_as_long_as_the_get)
{
	static const char *const paths[] = { "/api/endpoints", "/metrics", "/",
		"/nowhere" };
	char get[32], head[32], *got;
	struct agent a;

	start(&a);
	for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
		got = request(&a, "GET", paths[i], "localhost");
		http_field(got, "Content-Length", get, sizeof(get));
		free(got);
		got = request(&a, "HEAD", paths[i], "localhost");
		http_field(got, "Content-Length", head, sizeof(head));
		ck_assert_str_eq(get, head);
		ck_assert_str_eq(http_body(got), "");
		free(got);
	}
	stop(&a);
}
END_TEST

START_TEST(large_documents_come_whole)
{
	struct agent a;
	char *got;

	start(&a);
	pthread_mutex_lock(&a.lock);
	a.endpoints = 3000;
	pthread_mutex_unlock(&a.lock);
	got = request(&a, "GET", "/api/endpoints", "localhost");
	ck_assert_int_eq(http_status(got), 200);
	ck_assert_uint_gt(strlen(got), 1000000);
	ck_assert_ptr_nonnull(strstr(got, "\"name\":\"end/2999\""));
	ck_assert_ptr_nonnull(strstr(got, ",\"uri\":\"/api/endpoints\"}"));
	free(got);
	stop(&a);
}
END_TEST

/* Each n-th allocation of the server's thread fails while it answers. */
static void
answer_under(struct agent *a, struct fault *f)
{
	for (unsigned n = 1; n < 60; n++) {
		char *got;

		pthread_mutex_lock(&a->lock);
		fault_set(f, n, ENOMEM);
		a->arms_faults = true;
		pthread_mutex_unlock(&a->lock);
		got = request(a, "GET", "/api/endpoints", "localhost");
		ck_assert_msg(got == NULL || http_status(got) == 200 ||
				  http_status(got) == 503,
		    "%d", http_status(got));
		free(got);
		pthread_mutex_lock(&a->lock);
		a->arms_faults = false;
		pthread_mutex_unlock(&a->lock);
		free(request(a, "GET", "/api/endpoints", "localhost"));
	}
	fault_set(f, 0, 0);
	check(a, "/api/status", 200, JSON, "\"status\":\"online\"");
}

START_TEST(without_memory_it_goes_on)
{
	struct agent a;

	start(&a);
	answer_under(&a, &malloc_fault);
	answer_under(&a, &realloc_fault);
	stop(&a);
}
END_TEST

START_TEST(a_failed_start_leaves_nothing)
{
	static const char *const bad[] = { "*.example" };
	struct agent_web_settings s = settings_here();
	struct agent_web_source source = { .fill = fill };
	struct agent_web *web = NULL;

	for (unsigned n = 1; n <= 3; n++) {
		fault_set(&calloc_fault, n, ENOMEM);
		UNDER_FAULTS(ck_assert_int_eq(
		    agent_web_new(&s, &source, &web), -ENOMEM));
	}
	fault_set(&calloc_fault, 0, 0);
	s.allow_hosts = bad;
	s.allow_host_count = 1;
	ck_assert_int_eq(agent_web_new(&s, &source, &web), -EINVAL);
	ck_assert_ptr_null(web);
	agent_web_free(NULL);
}
END_TEST

START_TEST(a_second_agent_finds_its_own_port)
{
	struct agent_web_settings s = settings_here();
	struct agent first, second;

	start_with(&first, &s);
	s.address = first.address;
	start_with(&second, &s);
	ck_assert_uint_gt(second.address.port, first.address.port);
	check(&second, "/api/status", 200, JSON, "online");
	check(&first, "/api/status", 200, JSON, "online");
	stop(&first);
	stop(&second);
}
END_TEST

struct asker {
	struct agent *agent;
	const char *path;
};

static void *
ask_often(void *arg)
{
	struct asker *k = arg;
	unsigned good = 0;

	for (int i = 0; i < 50; i++) {
		char *got = request(k->agent, "GET", k->path, "localhost");

		good += http_status(got) == 200;
		free(got);
	}
	return good == 50 ? k : NULL;
}

/* Endpoints change and meters run while several ask. */
START_TEST(many_ask_while_all_changes)
{
	struct agent a;
	struct asker askers[] = { { &a, "/api/status" }, { &a, "/metrics" },
		{ &a, "/api/endpoints/web" }, { &a, "/" } };
	pthread_t threads[ARRAY_COUNT(askers)];
	void *result;

	start(&a);
	for (size_t i = 0; i < ARRAY_COUNT(askers); i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, ask_often, &askers[i]),
		    0);
	for (unsigned i = 0; i < 2000; i++) {
		struct meter *old = a.meter;

		meter_begin(old, i);
		meter_end(old, i, i);
		pthread_mutex_lock(&a.lock);
		a.meter = meter_new(i);
		a.endpoints = 1 + i % 20;
		pthread_mutex_unlock(&a.lock);
		meter_put(old);
	}
	for (size_t i = 0; i < ARRAY_COUNT(askers); i++) {
		pthread_join(threads[i], &result);
		ck_assert_ptr_nonnull(result);
	}
	stop(&a);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, every_route_answers);
	tcase_add_test(tcase, what_is_not_there_is_404);
	tcase_add_test(tcase, it_shows_what_is_now);
	tcase_add_test(tcase, only_some_hosts_are_answered);
	tcase_add_test(tcase, nothing_can_be_changed);
	tcase_add_test(tcase, a_head_is_as_long_as_the_get);
	tcase_add_test(tcase, large_documents_come_whole);
	tcase_add_test(tcase, without_memory_it_goes_on);
	tcase_add_test(tcase, a_failed_start_leaves_nothing);
	tcase_add_test(tcase, a_second_agent_finds_its_own_port);
	tcase_add_test(tcase, many_ask_while_all_changes);
}

UNIT_MAIN("agent_web", add_tests)
