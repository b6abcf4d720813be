#include "unit.h"

#include <stdlib.h>

#include "cmd/authtoken.h"
#include "cmd/usage.h"
#include "config_fixture.h"

#define VARIABLE "LUNETTE_AUTHTOKEN"
#define TOKEN "of-a-flag-0123456789"

static const char agents_file[] = "version: 1\n"
				  "agent: { edges: [ e.test ] }\n"
				  "endpoints: [ { name: x, upstream: 1 } ]\n";

static char port[] = "80", edge[] = "--edge=e.test";
static char equals[] = "--authtoken=" TOKEN;

static void
take(char **argv, int argc, struct authtoken *t, struct flags *f)
{
	char storage[256];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	ck_assert_int_eq(
	    flags_parse(usage_of(COMMAND_TLS), argc, argv, f, &error), 0);
	ck_assert(authtoken_take(t, f));
}

START_TEST(a_flags_value_is_wiped)
{
	char word[] = "--authtoken", value[] = TOKEN;
	char *two[] = { port, edge, word, value };
	char *one[] = { port, edge, equals };
	struct authtoken t;
	struct flags f;

	take(two, 4, &t, &f);
	ck_assert_str_eq(t.text, TOKEN);
	for (size_t i = 0; i < sizeof(value); i++)
		ck_assert_int_eq(value[i], '\0');
	flags_fini(&f);
	authtoken_fini(&t);
	ck_assert_ptr_null(t.text);
	take(one, 3, &t, &f);
	ck_assert_str_eq(t.text, TOKEN);
	ck_assert_str_eq(equals, "--authtoken=");
	flags_fini(&f);
	authtoken_fini(&t);
}
END_TEST

/* A flag beats the environment, which beats the file; of a flag's file nothing
 * is known here. */
START_TEST(the_environment_is_asked_when_no_flag_says)
{
	char file[] = "--authtoken-file=x";
	char *none[] = { port, edge }, *named[] = { port, edge, file };
	struct authtoken t;
	struct flags f;

	ck_assert_int_eq(setenv(VARIABLE, "of-the-environment", 1), 0);
	take(named, 3, &t, &f);
	ck_assert_ptr_null(t.text);
	flags_fini(&f);
	take(none, 2, &t, &f);
	ck_assert_str_eq(t.text, "of-the-environment");
	ck_assert_str_eq(getenv(VARIABLE), "");
	flags_fini(&f);
	authtoken_fini(&t);
	/* Wiped is as good as not set. */
	take(none, 2, &t, &f);
	ck_assert_ptr_null(t.text);
	flags_fini(&f);
}
END_TEST

static void
check_use(const char *given, const char *kept, const char *said)
{
	struct snapshot *s = fixture_snapshot(agents_file);
	struct authtoken t = { .from = "--authtoken" };
	struct problems *p = problems_new();
	char *lines;

	if (given != NULL)
		t.text = strdup(given);
	ck_assert_int_eq(authtoken_use(&t, s, p), said == NULL);
	lines = fixture_lines(p);
	ck_assert_str_eq(lines, said != NULL ? said : "");
	if (kept != NULL)
		ck_assert_str_eq(s->agent.authtoken, kept);
	free(lines);
	problems_free(p);
	authtoken_fini(&t);
	snapshot_put(s);
}

START_TEST(a_token_is_checked_and_never_shown)
{
	check_use("good", "good", NULL);
	check_use("", NULL, "--authtoken: the token is empty");
	check_use("a b", NULL,
	    "--authtoken: the token may hold printable ASCII only, and no "
	    "blanks");
	check_use(NULL, NULL,
	    "authtoken: there is none, and no edge lets an agent in without: "
	    "set LUNETTE_AUTHTOKEN, --authtoken-file or "
	    "'agent.authtoken_file'");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_flags_value_is_wiped);
	tcase_add_test(tcase, the_environment_is_asked_when_no_flag_says);
	tcase_add_test(tcase, a_token_is_checked_and_never_shown);
}

UNIT_MAIN("authtoken", add_tests)
