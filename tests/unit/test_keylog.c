/* Secrets are written down only if the flag and the variable both say so. */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/keylog.h"
#include "cmd/usage.h"

static const struct {
	const char *flag, *variable;
	bool fine;
	const char *file;
} cases[] = {
	{ NULL, NULL, true, NULL },
	{ NULL, "/tmp/keys", true, NULL },
	{ "--allow-keylog=false", "/tmp/keys", true, NULL },
	{ "--allow-keylog", "/tmp/keys", true, "/tmp/keys" },
	{ "--allow-keylog", NULL, false, NULL },
	{ "--allow-keylog", "", false, NULL },
};

START_TEST(both_must_say_so)
{
	char flag[32] = "", storage[256], *argv[] = { flag };
	const char *file = "unset";
	struct text error;
	struct flags f;

	if (cases[_i].flag != NULL)
		strcpy(flag, cases[_i].flag);
	unsetenv("SSLKEYLOGFILE");
	if (cases[_i].variable != NULL)
		setenv("SSLKEYLOGFILE", cases[_i].variable, 1);
	text_init(&error, storage, sizeof(storage));
	ck_assert_int_eq(flags_parse(usage_of(COMMAND_EDGE),
			     cases[_i].flag != NULL, argv, &f, &error),
	    0);
	ck_assert_int_eq(keylog_file(&f, &file), cases[_i].fine);
	if (cases[_i].file == NULL)
		ck_assert_ptr_null(file);
	else
		ck_assert_str_eq(file, cases[_i].file);
	flags_fini(&f);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, both_must_say_so, 0, (int)ARRAY_COUNT(cases));
}

UNIT_MAIN("keylog", add_tests)
