/*
 * What every unit test program shares: one suite, a main that runs it. Check
 * runs each test in a process of its own, so one crash is one failure. Tests
 * that leave nothing behind, no thread and no changed static, may share one:
 * under a sanitizer a process costs more than most tests.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

static inline int
unit_main(const char *name, void (*add)(TCase *t), enum fork_status how)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	SRunner *runner = srunner_create(suite);
	int failed;

	add(tcase);
	tcase_set_timeout(tcase, 240); /* guards against hanging */
	suite_add_tcase(suite, tcase);
	srunner_set_fork_status(runner, how);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* main() of a program with one suite and one case; `add` adds its tests. */
#define UNIT_MAIN(name, add)                          \
	int main(void)                                \
	{                                             \
		return unit_main(name, add, CK_FORK); \
	}

/* The same, all tests in one process. */
#define UNIT_MAIN_TOGETHER(name, add)                   \
	int main(void)                                  \
	{                                               \
		return unit_main(name, add, CK_NOFORK); \
	}

/* As ck_assert, without its note of having been here: for loops that run a
 * million times. */
#define QUICK_ASSERT(cond)                         \
	do {                                       \
		if (!(cond))                       \
			ck_abort_msg("%s", #cond); \
	} while (0)

#endif
