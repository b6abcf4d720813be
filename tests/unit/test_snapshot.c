#include "unit.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "config_fixture.h"

#define HEAD "version: 1\n"
#define UP "upstream: \"192.0.2.1:1\" }\n"

static const char names[] = HEAD
    "edge: { default_endpoint: tls://fallback.test }\n"
    "endpoints:\n"
    "- { url: tls://wild.test, " UP "- { url: \"tls://*.wild.test\", " UP
    "- { url: \"tls://*.deep.wild.test\", " UP
    "- { url: tls://exact.wild.test, " UP "- { url: tls://fallback.test, " UP;

static const char no_default[] =
    HEAD "endpoints:\n"
	 "- { url: \"tls://*.wild.test\", " UP "- { url: tls://a.test, " UP;

/* The URL that a name leads to; NULL: nowhere. */
static const struct {
	const char *text, *name, *url;
} routes[] = {
	{ names, "wild.test", "tls://wild.test" },
	{ names, "x.wild.test", "tls://*.wild.test" },
	{ names, "y.x.wild.test", "tls://*.wild.test" },
	{ names, "deep.wild.test", "tls://*.wild.test" },
	{ names, "x.deep.wild.test", "tls://*.deep.wild.test" },
	{ names, "exact.wild.test", "tls://exact.wild.test" },
	{ names, "x.exact.wild.test", "tls://*.wild.test" },
	{ names, "EXACT.Wild.Test", "tls://exact.wild.test" },
	{ names, "exact.wild.test.", "tls://exact.wild.test" },
	{ names, "xwild.test", "tls://fallback.test" },
	{ names, "unknown.example", "tls://fallback.test" },
	{ names, "", "tls://fallback.test" },
	/* No host name at all is never routed, not even to the default. */
	{ names, "*.wild.test", NULL },
	{ names, "192.0.2.1", NULL },
	{ names, "a..wild.test", NULL },
	{ names, "a b", NULL },
	{ names, ".", NULL },
	{ no_default, "wild.test", NULL },
	{ no_default, "x.wild.test", "tls://*.wild.test" },
	{ no_default, "a.test", "tls://a.test" },
	{ no_default, "b.test", NULL },
	{ no_default, "", NULL },
};

START_TEST(names_lead_to_endpoints)
{
	struct snapshot *s = fixture_snapshot(routes[_i].text);
	struct endpoint *e = snapshot_route(s, span_text(routes[_i].name));

	if (routes[_i].url == NULL) {
		ck_assert_ptr_null(e);
	} else {
		ck_assert_ptr_nonnull(e);
		ck_assert_str_eq(e->url, routes[_i].url);
		ck_assert_ptr_eq(s->endpoints[e->index], e);
		ck_assert_ptr_eq(
		    snapshot_endpoint(s, span_text(routes[_i].url)), e);
	}
	snapshot_put(s);
}
END_TEST

START_TEST(endpoints_are_found_by_url_only)
{
	struct snapshot *s = fixture_snapshot(names);

	ck_assert_ptr_nonnull(
	    snapshot_endpoint(s, span_text("tls://WILD.test:443")));
	ck_assert_ptr_null(
	    snapshot_endpoint(s, span_text("tls://x.wild.test")));
	ck_assert_ptr_null(snapshot_endpoint(s, span_text("tls://")));
	ck_assert_ptr_null(snapshot_endpoint(s, span_text("")));
	ck_assert_ptr_null(snapshot_endpoint(s, span_text("http://wild.test")));
	snapshot_put(s);
}
END_TEST

START_TEST(ids_are_stable)
{
	struct snapshot *a = fixture_snapshot(names);
	struct snapshot *b = fixture_snapshot(no_default);
	const struct endpoint *e = snapshot_route(a, span_text("x.wild.test"));
	const struct endpoint *f = snapshot_route(b, span_text("x.wild.test"));

	ck_assert_str_eq(e->id, f->id);
	ck_assert_uint_eq(strlen(e->id), 16);
	ck_assert_int_eq(strncmp(e->id, "ep_", 3), 0);
	ck_assert_uint_eq(
	    strspn(e->id + 3, "abcdefghijklmnopqrstuvwxyz234567"), 13);
	ck_assert_str_ne(e->id, a->endpoints[0]->id);
	snapshot_put(a);
	snapshot_put(b);
}
END_TEST

static struct tree *
flags(const char *url)
{
	struct tree *t = tree_new();

	ck_assert_int_eq(
	    tree_set(t, "version", span_text("1"), "lunette tls"), 0);
	ck_assert_int_eq(
	    tree_set(t, "endpoints.0.url", span_text(url), "--url"), 0);
	ck_assert_int_eq(tree_set(t, "endpoints.0.upstream",
			     span_text("192.0.2.1:8443"), "ADDR"),
	    0);
	ck_assert_int_eq(
	    tree_set(t, "edge.listen.+.address", span_text(":0"), "--listen"),
	    0);
	return t;
}

START_TEST(flags_may_serve_any_name)
{
	struct problems *p = problems_new();
	struct tree *t = flags("tls://");
	struct snapshot *s = snapshot_build(t, NULL, p);
	struct endpoint *e;

	ck_assert_uint_eq(problems_count(p), 0);
	e = s->endpoints[0];
	ck_assert_str_eq(e->url, "tls://");
	ck_assert_uint_eq(e->domain.len, 0);
	ck_assert_ptr_eq(snapshot_route(s, span_text("any.test")), e);
	ck_assert_ptr_eq(snapshot_route(s, span_text("")), e);
	ck_assert_ptr_null(snapshot_route(s, span_text("no host")));
	ck_assert_ptr_eq(snapshot_endpoint(s, span_text("tls://")), e);
	snapshot_put(s);
	tree_free(t);
	problems_free(p);
}
END_TEST

START_TEST(errors_of_flags_name_the_flag)
{
	struct problems *p = problems_new();
	struct tree *t = flags("tls://a.test");
	char *lines;

	ck_assert_int_eq(tree_set(t, "endpoints.0.ip_restriction.deny.+",
			     span_text("192.0.2.0/24"), "--cidr-deny"),
	    0);
	ck_assert_int_eq(tree_set(t, "endpoints.0.proxy_proto", span_text("7"),
			     "--proxy-proto"),
	    0);
	ck_assert_int_eq(tree_set(t, "edge.policy.file", span_text("none.lua"),
			     "--policy-file"),
	    0);
	/* A flag's path does not start at the file's folder. */
	ck_assert_ptr_null(snapshot_build(t, "/etc/lunette", p));
	lines = fixture_lines(p);
	ck_assert_str_eq(lines,
	    "--cidr-deny: 'deny' without 'allow' lets nobody in; to let "
	    "everybody else in add 'allow: [\"0.0.0.0/0\", \"::/0\"]'\n"
	    "--proxy-proto: 'proxy_proto' must be a whole number from 0 to "
	    "2\n"
	    "--policy-file: cannot read: none.lua: No such file or directory");
	free(lines);
	tree_free(t);
	problems_free(p);
}
END_TEST

#define RESTRICT(text)                                                   \
	HEAD "endpoints: [ { url: tls://a.test, upstream: 192.0.2.1:1, " \
	     "ip_restriction: " text " } ]\n"

static const char some[] = RESTRICT(
    "{ allow: [ 192.0.2.0/24, \"2001:db8::/32\" ], deny: [ 192.0.2.66 ] }");
/* Deny wins also where the allow rule is the longer match. */
static const char narrow[] =
    RESTRICT("{ allow: [ 192.0.2.66/32 ], deny: [ 192.0.2.0/24 ] }");
static const char all_but[] =
    RESTRICT("{ allow: [ 0.0.0.0/0, \"::/0\" ], deny: [ 192.0.2.66 ] }");

static const struct {
	const char *text, *client;
	bool allowed;
} clients[] = {
	{ names, "192.0.2.1", true },
	{ names, "::1", true },
	{ some, "192.0.2.1", true },
	{ some, "192.0.2.66", false },
	{ some, "192.0.3.1", false },
	{ some, "::ffff:192.0.2.1", true },
	{ some, "::ffff:192.0.2.66", false },
	{ some, "2001:db8::1", true },
	{ some, "2001:db9::1", false },
	{ narrow, "192.0.2.66", false },
	{ narrow, "192.0.2.1", false },
	{ all_but, "203.0.113.1", true },
	{ all_but, "2001:db8::1", true },
	{ all_but, "192.0.2.66", false },
};

START_TEST(restrictions_judge_clients)
{
	struct snapshot *s = fixture_snapshot(clients[_i].text);
	struct addr client;

	ck_assert_int_eq(addr_parse(span_text(clients[_i].client), &client), 0);
	ck_assert_int_eq(
	    endpoint_allows(s->endpoints[0], &client), clients[_i].allowed);
	snapshot_put(s);
}
END_TEST

START_TEST(clients_without_address_pass_no_restriction)
{
	struct snapshot *open = fixture_snapshot(names);
	struct snapshot *s = fixture_snapshot(all_but);
	struct addr none = { .family = ADDR_NONE };
	struct addr local = { .family = ADDR_UNIX };

	ck_assert(endpoint_allows(open->endpoints[0], &none));
	ck_assert(endpoint_allows(open->endpoints[0], &local));
	ck_assert(!endpoint_allows(s->endpoints[0], &none));
	ck_assert(!endpoint_allows(s->endpoints[0], &local));
	snapshot_put(open);
	snapshot_put(s);
}
END_TEST

/* As the kernel gives an IPv4 client on a dual-stack socket. */
START_TEST(mapped_sockaddr_is_the_ipv4_client)
{
	struct snapshot *s = fixture_snapshot(some);
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };
	struct addr client;

	memcpy(
	    &sin6.sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x42", 16);
	client = addr_from_sockaddr((const struct sockaddr *)&sin6);
	ck_assert(!endpoint_allows(s->endpoints[0], &client));
	sin6.sin6_addr.s6_addr[15] = 1;
	client = addr_from_sockaddr((const struct sockaddr *)&sin6);
	ck_assert(endpoint_allows(s->endpoints[0], &client));
	snapshot_put(s);
}
END_TEST

START_TEST(an_endpoint_outlives_its_snapshot)
{
	struct snapshot *s = fixture_snapshot(some), *again;
	struct endpoint *e = endpoint_get(s->endpoints[0]);
	struct addr client;

	again = snapshot_get(s);
	snapshot_put(s);
	ck_assert_ptr_nonnull(snapshot_route(again, span_text("a.test")));
	snapshot_put(again);
	ck_assert_str_eq(e->url, "tls://a.test");
	ck_assert_int_eq(addr_parse(span_text("192.0.2.1"), &client), 0);
	ck_assert(endpoint_allows(e, &client));
	endpoint_put(e);
	endpoint_put(NULL);
	snapshot_put(NULL);
}
END_TEST

static void *
hold_and_let_go(void *arg)
{
	struct snapshot *s = arg;

	for (int i = 0; i < 10000; i++) {
		struct endpoint *e =
		    endpoint_get(snapshot_route(s, span_text("a.test")));

		snapshot_get(s);
		endpoint_put(e);
		snapshot_put(s);
	}
	snapshot_put(s);
	return NULL;
}

START_TEST(threads_share_a_snapshot)
{
	struct snapshot *s = fixture_snapshot(some);
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
				     hold_and_let_go, snapshot_get(s)),
		    0);
	snapshot_put(s);
	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(scripts_are_listed_once_and_relative_to_the_file)
{
	char folder[] = "/tmp/test_snapshot.XXXXXX", path[64], other[64];
	static const char text[] =
	    HEAD "edge: { policy: { file: a.lua } }\n"
		 "endpoints:\n"
		 "- { url: tls://a.test, policy: b.lua }\n"
		 "- { url: tls://b.test, policy: a.lua }\n"
		 "- { url: tls://c.test }\n";
	struct problems *p = problems_new();
	struct tree *t = tree_parse("x.yaml", span_text(text), p);
	struct snapshot *s;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/a.lua", folder);
	snprintf(other, sizeof(other), "%s/b.lua", folder);
	fclose(fopen(path, "w"));
	fclose(fopen(other, "w"));
	s = snapshot_build(t, folder, p);
	ck_assert_ptr_nonnull(s);
	ck_assert_uint_eq(s->script_count, 2);
	ck_assert_str_eq(s->scripts[s->edge_script], path);
	ck_assert_str_eq(s->scripts[s->endpoints[0]->policy_script], other);
	ck_assert_int_eq(s->endpoints[1]->policy_script, s->edge_script);
	ck_assert_int_eq(s->endpoints[2]->policy_script, -1);
	snapshot_put(s);
	tree_free(t);
	problems_free(p);
	unlink(path);
	unlink(other);
	rmdir(folder);
}
END_TEST

/* RL-01 at the scale that a file may have: linear, and each one is found. */
START_TEST(ten_thousand_endpoints_load_quickly)
{
	char *text, name[64];
	size_t size;
	clock_t since;
	struct snapshot *s;
	FILE *out = open_memstream(&text, &size);

	fputs(HEAD "endpoints:\n", out);
	for (int i = 0; i < 10000; i++)
		fprintf(out,
		    "- url: tls://n%d.test\n  upstream: 192.0.2.1:%d\n"
		    "  ip_restriction: { allow: [ 192.0.2.0/24 ] }\n",
		    i, i + 1);
	fclose(out);
	since = clock();
	s = fixture_snapshot(text);
#ifndef SANITIZED
	ck_assert_int_lt(clock() - since, 2 * CLOCKS_PER_SEC);
#else
	(void)since;
#endif
	for (int i = 0; i < 10000; i++) {
		struct endpoint *e;

		snprintf(name, sizeof(name), "n%d.test", i);
		e = snapshot_route(s, span_text(name));
		ck_assert_ptr_nonnull(e);
		ck_assert_uint_eq(e->index, (size_t)i);
		ck_assert_uint_eq(e->upstreams[0].address.port, i + 1);
	}
	snapshot_put(s);
	free(text);
}
END_TEST

START_TEST(places_of_termination_have_names)
{
	ck_assert_str_eq(terminate_at_name(TERMINATE_EDGE), "edge");
	ck_assert_str_eq(terminate_at_name(TERMINATE_AGENT), "agent");
	ck_assert_str_eq(terminate_at_name(TERMINATE_UPSTREAM), "upstream");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, names_lead_to_endpoints, 0, ARRAY_COUNT(routes));
	tcase_add_test(tcase, endpoints_are_found_by_url_only);
	tcase_add_test(tcase, ids_are_stable);
	tcase_add_test(tcase, flags_may_serve_any_name);
	tcase_add_test(tcase, errors_of_flags_name_the_flag);
	tcase_add_loop_test(
	    tcase, restrictions_judge_clients, 0, ARRAY_COUNT(clients));
	tcase_add_test(tcase, clients_without_address_pass_no_restriction);
	tcase_add_test(tcase, mapped_sockaddr_is_the_ipv4_client);
	tcase_add_test(tcase, an_endpoint_outlives_its_snapshot);
	tcase_add_test(tcase, threads_share_a_snapshot);
	tcase_add_test(tcase, scripts_are_listed_once_and_relative_to_the_file);
	tcase_add_test(tcase, ten_thousand_endpoints_load_quickly);
	tcase_add_test(tcase, places_of_termination_have_names);
}

UNIT_MAIN_TOGETHER("snapshot", add_tests)
