/* What agents bind, and what they may not. */
#include "agents_bench.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/edge_private.h"
#include "unit.h"

static struct agents_bench ab;

static void
start(void)
{
	agents_start(&ab, "", "",
	    "endpoints: [ { url: tls://own.test, upstream: 127.0.0.1:$P },\n"
	    "  { url: \"tls://*.own.test\", upstream: 127.0.0.1:$P } ]\n");
}

static void
wait_event(const char *text, unsigned count)
{
	AGENTS_UNTIL(&ab, events_with(&ab.edge.events, text) == count);
}

static bool
is_bound(const char *pattern)
{
	struct endpoint *e;
	struct host host;

	ck_assert_int_eq(
	    host_parse_pattern(span_text(pattern), &host, NULL), 0);
	e = registry_get(edge_registry(ab.edge.edge), &host);
	endpoint_put(e);
	return e != NULL;
}

static struct message_bytes
bytes(const char *text)
{
	return (struct message_bytes){ (uint8_t *)LEND(text), strlen(text) };
}

static unsigned
bind_options(struct agent_peer *p, struct bind_options o)
{
	return agent_bind(p, (struct bind){ .options = o });
}

/* All ways to say a name, the newest first. */
START_TEST(good_names)
{
	static const struct {
		struct bind_options o;
		const char *name;
	} ways[] = {
		{ { .url = LEND("tls://u.test"), .domain = LEND("d.test") },
		    "u.test" },
		{ { .url = LEND("tls://V.test.:443") }, "v.test" },
		{ { .domain = LEND("D.test"), .hostname = LEND("h.test") },
		    "d.test" },
		{ { .hostname = LEND("h.test"), .subdomain = LEND("s") },
		    "h.test" },
		{ { .subdomain = LEND("s") }, "s.base.test" },
		{ { .domain = LEND("*.w.test") }, "*.w.test" },
		/* Under a configured wildcard, and above. */
		{ { .domain = LEND("below.own.test") }, "below.own.test" },
		{ { .domain = LEND("*.test") }, "*.test" },
	};
	struct agent_peer p;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	for (size_t i = 0; i < ARRAY_COUNT(ways); i++) {
		ck_assert_uint_eq(bind_options(&p, ways[i].o), 0);
		ck_assert_str_eq(p.name, ways[i].name);
		ck_assert(is_bound(ways[i].name));
	}
	wait_event("endpoint_online.v0", ARRAY_COUNT(ways));
	agent_close(&p);
	wait_event("endpoint_offline.v0", ARRAY_COUNT(ways));
	ck_assert_uint_eq(registry_count(edge_registry(ab.edge.edge)), 0);
	agents_stop(&ab);
}
END_TEST

START_TEST(bad_names)
{
	static const struct {
		struct bind_options o;
		unsigned number;
		const char *error;
	} ways[] = {
		{ { .url = LEND("https://a.test") }, 326, "a.test" },
		{ { .domain = LEND("a b") }, 326, "a b" },
		{ { .domain = LEND("192.0.2.1") }, 326, "192.0.2.1" },
		{ { .domain = LEND("tls://") }, 326, "tls:" },
		{ { .domain = LEND("*") }, 326, "*" },
		{ { .domain = LEND("a.*.test") }, 326, "" },
		{ { .subdomain = LEND("a..b") }, 326, "" },
		{ { .domain = LEND("own.test") }, 381, "own.test" },
		{ { .url = LEND("tls://OWN.test.") }, 381, "own.test" },
		{ { .domain = LEND("*.own.test") }, 381, "" },
		{ { .domain = LEND("connect.test") }, 1, "for agents" },
		{ { .domain = LEND("CONNECT.test.") }, 1, "for agents" },
	};
	struct agent_peer p;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	for (size_t i = 0; i < ARRAY_COUNT(ways); i++) {
		ck_assert_uint_eq(bind_options(&p, ways[i].o), ways[i].number);
		ck_assert_ptr_nonnull(strstr(p.json, ways[i].error));
	}
	ck_assert_uint_eq(registry_count(edge_registry(ab.edge.edge)), 0);
	agents_stop(&ab);
}
END_TEST

START_TEST(access_list)
{
	struct agent_peer p, q;

	start();
	agent_join(&ab, &p, false, TOKEN_FEW);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	ck_assert_uint_eq(agent_bind_name(&p, "x.b.test"), 0);
	ck_assert_uint_eq(agent_bind_name(&p, "*.b.test"), 0);
	ck_assert_uint_eq(agent_bind_name(&p, "b.test"), 316);
	ck_assert_uint_eq(agent_bind_name(&p, "c.test"), 316);
	ck_assert_uint_eq(agent_bind_name(&p, "*.test"), 316);
	ck_assert_uint_eq(agent_bind_name(&p, "*.a.test"), 316);
	agent_join(&ab, &q, false, TOKEN_NONE);
	ck_assert_uint_eq(agent_bind_name(&q, "d.test"), 316);
	ck_assert_uint_eq(agent_bind(&q, (struct bind){ 0 }), 0);
	agents_stop(&ab);
}
END_TEST

/* What is not understood is refused, never ignored. */
START_TEST(bad_options)
{
	static char *networks[] = { LEND("10.0.0.0/8") };
	static char *wrong[] = { LEND("10.0.0.1/8") };
	static char *inner[] = { LEND("internal") };
	const struct message_texts good = { networks, 1 }, bad = { wrong, 1 };
	struct agent_peer p;
	struct bind_options a = { .domain = LEND("a.test") }, o;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind(&p,
			      (struct bind){
				  .options = a,
				  .proto = LEND("http"),
			      }),
	    332);
	ck_assert_uint_eq(agent_bind(&p,
			      (struct bind){
				  .options = a,
				  .bindings = { inner, 1 },
			      }),
	    1);
	ck_assert_uint_eq(agent_bind(&p,
			      (struct bind){
				  .options = a,
				  .ip_policy_ref = LEND("ipp_1"),
			      }),
	    1);
	o = a;
	o.deny_cidrs = good;
	ck_assert_uint_eq(bind_options(&p, o), 393);
	o.allow_cidrs = bad;
	ck_assert_uint_eq(bind_options(&p, o), 362);
	ck_assert_ptr_nonnull(strstr(p.json, "10.0.0.1/8"));
	o = a;
	o.has_mutual_tls_at_edge = true;
	o.mutual_tls_ca = bytes(ab.ca->crt);
	ck_assert_uint_eq(bind_options(&p, o), 1694);
	o.ends_at_edge = true;
	o.cert = bytes(ab.app->crt);
	o.key = bytes(ab.leaf->key_pem);
	ck_assert_uint_eq(bind_options(&p, o), 14001);
	o.key = bytes(ab.app->key_pem);
	o.mutual_tls_ca = bytes(ab.app->crt);
	ck_assert_uint_eq(bind_options(&p, o), 14002);
	o = a;
	o.ends_at_edge = true;
	ck_assert_uint_eq(bind_options(&p, o), 14001);
	ck_assert_ptr_nonnull(strstr(p.json, "this edge has none"));
	agent_say_text(&p, MESSAGE_BIND,
	    "{\"Proto\":\"tls\",\"Opts\":{\"Domain\":\"a.test\","
	    "\"TrafficPolicy\":\"on_tcp_connect: []\"}}");
	ck_assert_ptr_nonnull(strstr(p.json, "ERR_NGROK_9026"));
	agent_say_text(&p, MESSAGE_BIND, "{\"Proto\":7}");
	ck_assert_ptr_nonnull(strstr(p.json, "ERR_NGROK_301"));
	ck_assert(!is_bound("a.test"));
	ck_assert_uint_eq(bind_options(&p, a), 0);
	agents_stop(&ab);
}
END_TEST

static struct endpoint *
bound(const char *name)
{
	struct endpoint *e =
	    registry_find(edge_registry(ab.edge.edge), span_text(name));

	ck_assert_ptr_nonnull(e);
	return e;
}

/* What was asked for is in force, and SDKs get it back whole: with that they
 * bind again. */
START_TEST(options_in_force)
{
	static char *allow[] = { LEND("10.0.0.0/8"), LEND("::1/128") };
	static char *deny[] = { LEND("10.1.0.0/16") };
	struct agent_peer p;
	struct endpoint *e;
	struct addr client;
	struct bind b = {
		.metadata = LEND("m"),
		.pooling_enabled = true,
		.options = {
			.domain = LEND("a.test"),
			.proxy_proto = 2,
			.ends_at_edge = true,
			.has_mutual_tls_at_edge = true,
			.allow_cidrs = { allow, 2 },
			.deny_cidrs = { deny, 1 },
		},
	};

	start();
	b.options.cert = bytes(ab.app->crt);
	b.options.key = bytes(ab.app->key_pem);
	b.options.mutual_tls_ca = bytes(ab.ca->crt);
	agent_join(&ab, &p, _i, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind(&p, b), 0);
	/* How the PEM of a key begins, in base64. */
	ck_assert_int_eq(
	    strstr(p.json, "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t") != NULL,
	    _i == 0);
	e = bound("a.test");
	ck_assert_int_eq(e->terminate_at, TERMINATE_EDGE);
	ck_assert_str_eq(e->metadata, "m");
	ck_assert(e->pooling_enabled && e->proxy_proto == 2);
	ck_assert(e->own_certificate && e->termination.trust);
	ck_assert_int_eq(e->termination.auth, CLIENT_AUTH_REQUIRE);
	ck_assert_int_eq(addr_parse(span_text("10.2.0.1"), &client), 0);
	ck_assert(endpoint_allows(e, &client));
	ck_assert_int_eq(addr_parse(span_text("10.1.0.1"), &client), 0);
	ck_assert(!endpoint_allows(e, &client));
	endpoint_put(e);
	wait_event("\"plain_at\":[\"edge\",\"agent\",\"upstream\"]", 1);
	agents_stop(&ab);
}
END_TEST

START_TEST(termination_points)
{
	struct agent_peer p;
	struct endpoint *e;

	start();
	agent_join(&ab, &p, true, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "u.test"), 0);
	ck_assert_uint_eq(bind_options(&p,
			      (struct bind_options){
				  .domain = LEND("a.test"),
				  .terminate_at = LEND("agent"),
			      }),
	    0);
	ck_assert_uint_eq(bind_options(&p,
			      (struct bind_options){
				  .domain = LEND("m.test"),
				  .mutual_tls_at_agent = true,
			      }),
	    0);
	e = bound("u.test");
	ck_assert_int_eq(e->terminate_at, TERMINATE_UPSTREAM);
	endpoint_put(e);
	e = bound("a.test");
	ck_assert_int_eq(e->terminate_at, TERMINATE_AGENT);
	endpoint_put(e);
	e = bound("m.test");
	ck_assert_int_eq(e->terminate_at, TERMINATE_AGENT);
	endpoint_put(e);
	wait_event("\"plain_at\":[\"upstream\"]", 1);
	wait_event("\"plain_at\":[\"agent\",\"upstream\"]", 2);
	agents_stop(&ab);
}
END_TEST

/* A name has one owner; who pools shares with himself on the same terms. */
START_TEST(taken_and_pooled)
{
	struct bind pooled = { .options = { .domain = LEND("a.test") },
		.pooling_enabled = true },
		    other = pooled;
	struct agent_peer p, q, r;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	agent_join(&ab, &q, true, TOKEN_ONE);
	agent_join(&ab, &r, false, TOKEN_TWO);
	ck_assert_uint_eq(agent_bind(&p, pooled), 0);
	ck_assert_uint_eq(agent_bind_name(&q, "a.test"), 334);
	ck_assert_uint_eq(agent_bind(&r, pooled), 334);
	other.options.proxy_proto = 1;
	ck_assert_uint_eq(agent_bind(&q, other), 334);
	other.options.proxy_proto = 0;
	other.options.mutual_tls_at_agent = true;
	ck_assert_uint_eq(agent_bind(&q, other), 334);
	ck_assert_uint_eq(agent_bind(&q, pooled), 0);
	agent_close(&p);
	ck_assert(is_bound("a.test"));
	ck_assert_uint_eq(agent_bind(&r, pooled), 334);
	agent_unbind(&q, q.bind_id);
	ck_assert(!is_bound("a.test"));
	ck_assert_uint_eq(agent_bind(&r, pooled), 0);
	wait_event("endpoint_online.v0", 2);
	wait_event("endpoint_offline.v0", 1);
	agents_stop(&ab);
}
END_TEST

/* Random names come back: by their token, or by the client that counts. */
START_TEST(random_names)
{
	char names[3][256], tokens[3][512], ids[3][80];
	struct agent_peer p, q;
	struct auth a = { .auth_token = LEND(TOKEN_NONE) };

	start();
	agent_join(&ab, &p, false, TOKEN_NONE);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(agent_bind(&p, (struct bind){ 0 }), 0);
		snprintf(names[i], sizeof(names[i]), "%s", p.name);
		snprintf(tokens[i], sizeof(tokens[i]), "%s", p.bind_token);
		snprintf(ids[i], sizeof(ids[i]), "%s", p.bind_id);
		ck_assert_ptr_nonnull(strstr(p.name, ".base.test"));
	}
	ck_assert_str_ne(names[0], names[1]);
	a.client_id = p.client_id;
	a.cookie = p.cookie;
	agent_connect(&ab, &q, false);
	ck_assert_uint_eq(agent_auth(&q, a), 0);
	/* In any order, with the id that it had, also as a name in so many
	 * words. */
	for (int i = 2; i >= 0; i--) {
		struct bind b = { .token = tokens[i], .id = ids[i] };

		if (i == 1)
			b.options.hostname = names[i];
		ck_assert_uint_eq(agent_bind(&q, b), 0);
		ck_assert_str_eq(q.name, names[i]);
		ck_assert_str_eq(q.bind_id, ids[i]);
	}
	/* A new one beside them is none of those. */
	ck_assert_uint_eq(agent_bind(&q, (struct bind){ 0 }), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_str_ne(q.name, names[i]);
	agent_close(&q);
	/* Without tokens, the same client begins anew. */
	agent_connect(&ab, &q, false);
	ck_assert_uint_eq(agent_auth(&q, a), 0);
	ck_assert_uint_eq(agent_bind(&q, (struct bind){ 0 }), 0);
	ck_assert_str_eq(q.name, names[0]);
	agents_stop(&ab);
}
END_TEST

/* A token is its credential's; another one's gives a name, but not that. */
START_TEST(foreign_tokens)
{
	struct agent_peer p, q;
	char name[256];
	struct bind b = { .token = p.bind_token };

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind(&p, (struct bind){ 0 }), 0);
	snprintf(name, sizeof(name), "%s", p.name);
	agent_join(&ab, &q, false, TOKEN_NONE);
	ck_assert_uint_eq(agent_bind(&q, b), 0);
	ck_assert_str_ne(q.name, name);
	b.options.domain = name;
	ck_assert_uint_eq(agent_bind(&q, b), 316);
	agent_close(&p);
	ck_assert_uint_eq(agent_bind(&q, b), 316);
	/* One of a name that was no random one gives no right to it. */
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "c.test"), 0);
	b = (struct bind){ .token = p.bind_token };
	agent_unbind(&p, p.bind_id);
	ck_assert_uint_eq(agent_bind(&p, b), 0);
	ck_assert_ptr_nonnull(strstr(p.name, ".base.test"));
	b.token = LEND("garbage");
	ck_assert_uint_eq(agent_bind(&p, b), 0);
	agents_stop(&ab);
}
END_TEST

START_TEST(limit)
{
	struct agent_peer p;

	agents_start(&ab, "limits: { endpoints_per_session: 2 }", "", "");
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	agent_say_text(
	    &p, MESSAGE_START_LABELLED, "{\"Labels\":{\"k\":\"v\"}}");
	ck_assert_uint_eq(agent_bind_name(&p, "b.test"), 324);
	agent_say_text(
	    &p, MESSAGE_START_LABELLED, "{\"Labels\":{\"k\":\"v\"}}");
	ck_assert_ptr_nonnull(strstr(p.json, "ERR_NGROK_324"));
	agent_unbind(&p, p.bind_id);
	ck_assert_uint_eq(agent_bind_name(&p, "b.test"), 0);
	agents_stop(&ab);
}
END_TEST

/* SDKs unbind the same id three times. */
START_TEST(unbind)
{
	struct agent_peer p, q;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	agent_join(&ab, &q, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	ck_assert(is_bound("a.test"));
	/* Another session's id is none here. */
	agent_unbind(&q, p.bind_id);
	ck_assert(is_bound("a.test"));
	for (int i = 0; i < 3; i++)
		agent_unbind(&p, p.bind_id);
	ck_assert(!is_bound("a.test"));
	agent_say_text(&p, MESSAGE_UNBIND, "{\"Id\":[]}");
	ck_assert_ptr_nonnull(strstr(p.json, "Id"));
	ck_assert_uint_eq(agent_bind_name(&q, "a.test"), 0);
	agents_stop(&ab);
}
END_TEST

START_TEST(ids)
{
	struct agent_peer p;
	struct bind b = { .id = LEND("my-own.id_1"),
		.options = { .domain = LEND("a.test") } };

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind(&p, b), 0);
	ck_assert_str_eq(p.bind_id, "my-own.id_1");
	/* Not twice, and not with such characters. */
	b.options.domain = LEND("b.test");
	ck_assert_uint_eq(agent_bind(&p, b), 0);
	ck_assert_int_eq(strncmp(p.bind_id, "bd_", 3), 0);
	b.id = LEND("a \"b\"");
	b.options.domain = LEND("c.test");
	ck_assert_uint_eq(agent_bind(&p, b), 0);
	ck_assert_int_eq(strncmp(p.bind_id, "bd_", 3), 0);
	agents_stop(&ab);
}
END_TEST

/* Tunnels with labels are known, and lead nowhere. */
START_TEST(labels)
{
	struct agent_peer p;
	char *id;

	start();
	agent_join(&ab, &p, false, TOKEN_FEW);
	agent_say_text(&p, MESSAGE_START_LABELLED, "{\"Labels\":{}}");
	ck_assert_ptr_nonnull(strstr(p.json, "label is needed"));
	agent_say_text(&p, MESSAGE_START_LABELLED,
	    "{\"Labels\":{\"k\":\"a\",\"other\":\"b\"}}");
	ck_assert_ptr_nonnull(strstr(p.json, "ERR_NGROK_399"));
	agent_say_text(&p, MESSAGE_START_LABELLED, "{\"Labels\":7}");
	ck_assert_ptr_nonnull(strstr(p.json, "ERR_NGROK_301"));
	agent_say_text(&p, MESSAGE_START_LABELLED,
	    "{\"Labels\":{\"k\":\"value\"},\"Metadata\":\"labelled\"}");
	wait_event("\"labels\":{\"k\":\"value\"}", 1);
	id = strstr(p.json, "bd_");
	ck_assert_ptr_nonnull(id);
	*strchr(id, '"') = '\0';
	ck_assert_uint_eq(registry_count(edge_registry(ab.edge.edge)), 0);
	agent_unbind(&p, id);
	wait_event("\"labels\":{\"k\":\"value\"}", 2);
	agent_say_text(
	    &p, MESSAGE_START_LABELLED, "{\"Labels\":{\"k\":\"value\"}}");
	agents_stop(&ab);
}
END_TEST

/* Bound names are kept over reloads; what is configured goes first. */
START_TEST(reloads)
{
	struct agent_peer p;
	int client;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	ck_assert(agents_reload(&ab, "", "",
	    "endpoints: [ { url: tls://a.test, upstream: 127.0.0.1:$P } ]\n"));
	ck_assert(is_bound("a.test"));
	bench_ask(&ab.edge, 0);
	bench_ask(&ab.edge, 1);
	client = bench_client(&ab.edge, "a.test");
	close(bench_accept(&ab.edge));
	close(client);
	ck_assert_uint_eq(p.stream_count, 0);
	ck_assert_uint_eq(agent_bind_name(&p, "own.test"), 0);
	agents_stop(&ab);
}
END_TEST

static void
add(TCase *t)
{
	tcase_add_test(t, good_names);
	tcase_add_test(t, bad_names);
	tcase_add_test(t, access_list);
	tcase_add_test(t, bad_options);
	tcase_add_loop_test(t, options_in_force, 0, 2);
	tcase_add_test(t, termination_points);
	tcase_add_test(t, taken_and_pooled);
	tcase_add_test(t, random_names);
	tcase_add_test(t, foreign_tokens);
	tcase_add_test(t, limit);
	tcase_add_test(t, unbind);
	tcase_add_test(t, ids);
	tcase_add_test(t, labels);
	tcase_add_test(t, reloads);
}

UNIT_MAIN("edge_bind", add)
