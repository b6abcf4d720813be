/* Every configuration in examples/ is loaded as it is. */
#include "unit.h"

#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_fixture.h"
#include "tls_support.h"

#define FOLDER TOP_SRCDIR "/examples"

/* The files that examples/local.mk installs. */
#define EXAMPLE_COUNT 13

static void
save(const char *name, const struct made *m)
{
	char file[64];

	snprintf(file, sizeof(file), "%s.pem", name);
	make_file(file, m->crt);
	snprintf(file, sizeof(file), "%s.key", name);
	make_file(file, m->key_pem);
}

/* The examples beside the certificates that some of them need. */
static void
make_all(void)
{
	struct made *staff = make((struct recipe){ .ca = true });
	struct made *other = make((struct recipe){ .ca = true });
	const char *names = "DNS:app.example.com,DNS:www.app.example.com";
	glob_t found;

	ck_assert_int_eq(mkdir(path_of("certificates"), 0700), 0);
	save("app", make((struct recipe){ .names = names }));
	save("app-rsa",
	    make((struct recipe){ .kind = MADE_RSA2048, .names = names }));
	save("edge-client", make((struct recipe){ .names = "DNS:edge.test" }));
	save("connect",
	    make((struct recipe){ .names = "DNS:connect.example.com" }));
	save("certificates/net",
	    make((struct recipe){ .names = "DNS:*.example.net" }));
	make_file("staff-cas.pem", staff->crt);
	make_file("partner-cas.pem", other->crt);
	make_file("internal-cas.pem", other->crt);
	make_file("edge-cas.pem", other->crt);
	make_file("agent.token", "0123456789abcdef0123456789abcdef\n");
	make_file("tokens.yaml",
	    "tokens:\n"
	    "- { name: rack-7, token: 0123456789abcdef0123456789abcdef }\n");
	make_file("staff.crl", make_crl(staff, NULL, 0, 0, 0));
	ck_assert_int_eq(glob(FOLDER "/*", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		ck_assert_int_eq(
		    symlink(found.gl_pathv[i],
			path_of(strrchr(found.gl_pathv[i], '/') + 1)),
		    0);
	globfree(&found);
}

static struct snapshot *
load(const char *name)
{
	struct problems *p = problems_new();
	struct tree *t = tree_read_file(path_of(name), p);
	struct snapshot *s =
	    t != NULL ? snapshot_build(t, make_folder(), p) : NULL;
	char *lines = fixture_lines(p);

	ck_assert_msg(s != NULL, "%s", lines);
	free(lines);
	tree_free(t);
	problems_free(p);
	return s;
}

START_TEST(every_example_loads)
{
	glob_t found;

	make_all();
	ck_assert_int_eq(glob(FOLDER "/*.yaml", 0, NULL, &found), 0);
	ck_assert_uint_eq(found.gl_pathc, EXAMPLE_COUNT);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct snapshot *s = load(strrchr(found.gl_pathv[i], '/') + 1);

		ck_assert_uint_ge(s->endpoint_count, 1);
		ck_assert_uint_eq(problems_count(s->warnings), 0);
		snapshot_put(s);
	}
	globfree(&found);
}
END_TEST

/* What the comments of an example promise. */
START_TEST(examples_do_what_they_say)
{
	struct snapshot *s;
	const struct endpoint *e;

	make_all();
	s = load("names.yaml");
	e = snapshot_route(s, span_text("shop.example.net"));
	ck_assert_str_eq(e->upstreams[0].address.text, "10.0.0.7:443");
	e = snapshot_route(s, span_text("a.b.example.net"));
	ck_assert_str_eq(e->upstreams[0].address.text, "10.0.0.6:443");
	ck_assert_ptr_null(snapshot_route(s, span_text("example.net")));
	snapshot_put(s);

	s = load("default-endpoint.yaml");
	e = snapshot_route(s, span_text("other.example.org"));
	ck_assert_str_eq(e->url, "tls://fallback.example.com");
	snapshot_put(s);

	s = load("policy.yaml");
	ck_assert_uint_eq(s->script_count, 2);
	ck_assert_str_eq(s->scripts[s->edge_script], path_of("route.lua"));
	snapshot_put(s);

	s = load("termination.yaml");
	e = snapshot_route(s, span_text("shop.example.net"));
	ck_assert_int_eq(e->terminate_at, TERMINATE_EDGE);
	ck_assert_uint_eq(keyring_count(s->keyring), 3);
	e = snapshot_route(s, span_text("sealed.example.com"));
	ck_assert_int_eq(e->terminate_at, TERMINATE_UPSTREAM);
	snapshot_put(s);

	s = load("mutual-tls.yaml");
	e = snapshot_route(s, span_text("app.example.com"));
	ck_assert_int_eq(e->termination.auth, CLIENT_AUTH_REQUIRE);
	e = snapshot_route(s, span_text("www.app.example.com"));
	ck_assert_int_eq(e->termination.auth, CLIENT_AUTH_REQUEST);
	snapshot_put(s);

	s = load("agent.yaml");
	ck_assert_uint_eq(s->agent.edge_count, 2);
	ck_assert_int_eq(s->endpoints[0]->terminate_at, TERMINATE_UPSTREAM);
	ck_assert_int_eq(s->endpoints[1]->terminate_at, TERMINATE_AGENT);
	ck_assert_int_eq(
	    s->endpoints[1]->termination.auth, CLIENT_AUTH_REQUIRE);
	ck_assert(s->endpoints[2]->is_random);
	ck_assert_ptr_null(s->endpoints[2]->bind_key);
	snapshot_put(s);

	s = load("edge-with-agents.yaml");
	ck_assert_str_eq(s->base_domain.text, "tunnels.example.com");
	ck_assert_int_eq(s->listens[1].serves, SERVES_AGENTS);
	snapshot_put(s);

	s = load("re-encryption.yaml");
	e = snapshot_route(s, span_text("dev.example.com"));
	ck_assert_int_eq(e->upstream_tls.verify, VERIFY_ON);
	snapshot_put(s);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, every_example_loads);
	tcase_add_test(tcase, examples_do_what_they_say);
}

UNIT_MAIN("examples", add_tests)
