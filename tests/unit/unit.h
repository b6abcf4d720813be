/*
 * What every unit test program shares: one suite, a main that runs it. Check
 * runs each test in a process of its own, so one crash is one failure.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

/* main() of a program with one suite and one case; `add` adds its tests. */
#define UNIT_MAIN(name, add)                                 \
	int main(void)                                       \
	{                                                    \
		Suite *suite = suite_create(name);           \
		TCase *tcase = tcase_create(name);           \
		add(tcase);                                  \
		tcase_set_timeout(tcase, 60);                \
		suite_add_tcase(suite, tcase);               \
		SRunner *runner = srunner_create(suite);     \
		srunner_run_all(runner, CK_NORMAL);          \
		int failed = srunner_ntests_failed(runner);  \
		srunner_free(runner);                        \
		return failed ? EXIT_FAILURE : EXIT_SUCCESS; \
	}

/* As ck_assert, without its note of having been here: for loops that run a
 * million times. */
#define QUICK_ASSERT(cond)                         \
	do {                                       \
		if (!(cond))                       \
			ck_abort_msg("%s", #cond); \
	} while (0)

#endif
