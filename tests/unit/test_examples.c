/* Every configuration in examples/ is loaded as it is. */
#include "unit.h"

#include <glob.h>
#include <stdio.h>

#include "config_fixture.h"

#define FOLDER TOP_SRCDIR "/examples"

/* The files that examples/local.mk installs. */
#define EXAMPLE_COUNT 8

static struct snapshot *
load(const char *path)
{
	struct problems *p = problems_new();
	struct tree *t = tree_read_file(path, p);
	struct snapshot *s = t != NULL ? snapshot_build(t, FOLDER, p) : NULL;
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

	ck_assert_int_eq(glob(FOLDER "/*.yaml", 0, NULL, &found), 0);
	ck_assert_uint_eq(found.gl_pathc, EXAMPLE_COUNT);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct snapshot *s = load(found.gl_pathv[i]);

		ck_assert_uint_ge(s->endpoint_count, 1);
		snapshot_put(s);
	}
	globfree(&found);
}
END_TEST

/* What the comments of an example promise. */
START_TEST(examples_do_what_they_say)
{
	struct snapshot *s = load(FOLDER "/names.yaml");
	const struct endpoint *e;

	e = snapshot_route(s, span_text("shop.example.net"));
	ck_assert_str_eq(e->upstreams[0].address.text, "10.0.0.7:443");
	e = snapshot_route(s, span_text("a.b.example.net"));
	ck_assert_str_eq(e->upstreams[0].address.text, "10.0.0.6:443");
	ck_assert_ptr_null(snapshot_route(s, span_text("example.net")));
	snapshot_put(s);

	s = load(FOLDER "/default-endpoint.yaml");
	e = snapshot_route(s, span_text("other.example.org"));
	ck_assert_str_eq(e->url, "tls://fallback.example.com");
	snapshot_put(s);

	s = load(FOLDER "/policy.yaml");
	ck_assert_uint_eq(s->script_count, 2);
	ck_assert_str_eq(s->scripts[s->edge_script], FOLDER "/route.lua");
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
