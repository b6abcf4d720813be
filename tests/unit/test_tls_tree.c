/* What the flags of `lunette tls` stand for. */
#include "unit.h"

#include "cmd/tls_tree.h"
#include "cmd/usage.h"
#include "config_fixture.h"
#include "tls_support.h"

#define WORDS_MAX 24

/* The flags after `lunette tls`, NULL at the end. */
static struct snapshot *
build(struct tls_command c, char *const *words)
{
	struct problems *p = problems_new();
	char storage[256];
	struct text error;
	struct snapshot *s;
	struct flags f;
	struct tree *t;
	char *lines;
	int argc = 0;

	while (words[argc] != NULL)
		argc++;
	text_init(&error, storage, sizeof(storage));
	ck_assert_msg(flags_parse(usage_of(COMMAND_TLS), argc,
			  (char **)(uintptr_t)words, &f, &error) == 0,
	    "%s", storage);
	c.flags = &f;
	t = tls_tree_new(&c);
	ck_assert_ptr_nonnull(t);
	s = snapshot_build(t, ".", p);
	lines = fixture_lines(p);
	ck_assert_msg(s != NULL, "%s", lines);
	free(lines);
	tree_free(t);
	flags_fini(&f);
	problems_free(p);
	return s;
}

#define BUILD(command, ...) build(command, (char *[]){ __VA_ARGS__, NULL })

static const struct tls_command through = { .through_edge = true,
	.end = TERMINATE_UPSTREAM };

static char edge[] = "--edge=e.test", port[] = "80";
static char crt[] = "--crt", key[] = "--key";

START_TEST(an_edge_of_its_own_is_an_edges_file)
{
	char listen[] = "--listen=127.0.0.1:0", domain[] = "--domain=a.test";
	char level[] = "--log-level=debug";
	struct snapshot *s =
	    BUILD(((struct tls_command){ .end = TERMINATE_UPSTREAM }), port,
		listen, domain, level);

	ck_assert(!s->agent.enabled);
	ck_assert_uint_eq(s->listen_count, 1);
	ck_assert_int_eq(s->log_level, LOG_LEVEL_DEBUG);
	ck_assert_str_eq(s->endpoints[0]->url, "tls://a.test");
	ck_assert_ptr_null(s->endpoints[0]->name);
	snapshot_put(s);
}
END_TEST

START_TEST(through_an_edge_it_is_an_agents)
{
	char level[] = "--log-level=debug", more[] = "--edge=f.test:1,g.test";
	char policy[] = "--policy-file=/dev/null";
	struct snapshot *s = BUILD(through, port, edge, more, level, policy);
	const struct endpoint *e = s->endpoints[0];

	ck_assert(s->agent.enabled);
	ck_assert_uint_eq(s->listen_count, 0);
	ck_assert_uint_eq(s->agent.edge_count, 3);
	ck_assert_str_eq(s->agent.edges[0].address.text, "e.test:443");
	ck_assert_str_eq(s->agent.edges[1].address.text, "f.test:1");
	ck_assert_int_eq(s->log_level, LOG_LEVEL_DEBUG);
	ck_assert_int_eq(s->edge_script, 0);
	ck_assert_uint_eq(s->endpoint_count, 1);
	ck_assert(e->is_random);
	ck_assert_str_eq(e->name, "command_line");
	ck_assert_int_eq(e->terminate_at, TERMINATE_UPSTREAM);
	ck_assert_str_eq(e->upstreams[0].address.text, "localhost:80");
	snapshot_put(s);
}
END_TEST

START_TEST(each_name_is_an_endpoint)
{
	char domains[] = "--domain=a.test,*.b.test",
	     url[] = "--url=tls://c.test";
	struct snapshot *s = BUILD(through, port, edge, domains, url);

	ck_assert_uint_eq(s->endpoint_count, 3);
	ck_assert_str_eq(s->endpoints[0]->name, "command_line");
	ck_assert_str_eq(s->endpoints[1]->name, "command_line-2");
	ck_assert_str_eq(s->endpoints[1]->url, "tls://*.b.test");
	ck_assert_str_eq(s->endpoints[2]->url, "tls://c.test");
	snapshot_put(s);
}
END_TEST

START_TEST(every_flag_of_an_agent_has_its_place)
{
	char name[] = "--name=db", cas[] = "--connect-cas=host";
	char pooling[] = "--pooling-enabled", count[] = "--connections=3";
	char always[] = "--data-encryption=always", web[] = "--web-addr=false";
	char proxy[] = "--proxy-url=http://p.test:1", text[] = "--metadata=m";
	struct snapshot *s = BUILD(through, port, edge, name, cas, pooling,
	    count, always, web, proxy, text);

	ck_assert_str_eq(s->endpoints[0]->name, "db");
	ck_assert_str_eq(s->endpoints[0]->metadata, "m");
	ck_assert(s->endpoints[0]->pooling_enabled);
	ck_assert_str_eq(s->agent.connect_cas, "host");
	ck_assert_uint_eq(s->agent.connections, 3);
	ck_assert(s->agent.encrypts_data);
	ck_assert_ptr_null(s->agent.web_addr);
	ck_assert_str_eq(s->agent.proxy_url, "http://p.test:1");
	snapshot_put(s);
}
END_TEST

/* Who ends TLS has the pair: the agent, or the edge that it is sent to. */
START_TEST(the_pair_goes_where_tls_ends)
{
	struct tls_command here = {
		.through_edge = true, .end = TERMINATE_AGENT, .ends_here = true
	};
	struct tls_command there = { .through_edge = true,
		.end = TERMINATE_EDGE };
	struct made *a = make((struct recipe){ .names = "DNS:a.test" });
	char *crt_file = strdup(make_file("a.crt", a->crt));
	char *key_file = strdup(make_file("a.key", a->key_pem));
	struct snapshot *s =
	    BUILD(here, port, edge, crt, crt_file, key, key_file);

	ck_assert_int_eq(s->endpoints[0]->terminate_at, TERMINATE_AGENT);
	ck_assert_str_eq(s->endpoints[0]->termination.certificate, "crt");
	ck_assert_ptr_null(s->endpoints[0]->bind_crt);
	ck_assert(!s->local_ca);
	snapshot_put(s);
	s = BUILD(there, port, edge, crt, crt_file, key, key_file);
	ck_assert_int_eq(s->endpoints[0]->terminate_at, TERMINATE_EDGE);
	ck_assert_str_eq(s->endpoints[0]->bind_crt, crt_file);
	ck_assert_str_eq(s->endpoints[0]->bind_key, key_file);
	snapshot_put(s);
	/* Without one: of the local CA here, of its own there. */
	s = BUILD(here, port, edge);
	ck_assert(s->local_ca);
	snapshot_put(s);
	s = BUILD(there, port, edge);
	ck_assert(!s->local_ca);
	ck_assert_ptr_null(s->endpoints[0]->bind_crt);
	snapshot_put(s);
	free(crt_file);
	free(key_file);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, an_edge_of_its_own_is_an_edges_file);
	tcase_add_test(tcase, through_an_edge_it_is_an_agents);
	tcase_add_test(tcase, each_name_is_an_endpoint);
	tcase_add_test(tcase, every_flag_of_an_agent_has_its_place);
	tcase_add_test(tcase, the_pair_goes_where_tls_ends);
}

UNIT_MAIN("tls_tree", add_tests)
