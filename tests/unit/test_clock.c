#include "unit.h"

#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "base/compiler.h"

START_TEST(clocks_run_forward_in_their_units)
{
	uint64_t ms = clock_ms();
	int64_t us = clock_us(), last = us;

	for (int i = 0; i < 10000; i++) {
		int64_t now = clock_us();

		ck_assert_int_ge(now, last);
		last = now;
	}
	ck_assert_uint_ge((uint64_t)us / 1000, ms);
	ck_assert_uint_ge(clock_ms(), ms);
	ck_assert_int_le(llabs(clock_wall_us() / 1000000 - time(NULL)), 2);
}
END_TEST

START_TEST(cpu_time_is_what_this_thread_used)
{
	uint64_t start = clock_thread_cpu_ns();
	volatile unsigned work = 0;

	while (clock_thread_cpu_ns() - start < 1000000)
		work += 1;
	ck_assert_uint_gt(work, 0);
}
END_TEST

START_TEST(a_failed_assertion_aborts)
{
	ASSERT(_i == 0);
	assert_failed("the test asked for it", __FILE__, __LINE__);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, clocks_run_forward_in_their_units);
	tcase_add_test(tcase, cpu_time_is_what_this_thread_used);
	tcase_add_test_raise_signal(tcase, a_failed_assertion_aborts, SIGABRT);
}

UNIT_MAIN("clock", add_tests)
