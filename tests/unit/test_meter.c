#include "unit.h"

#include <math.h>
#include <pthread.h>

#include "base/compiler.h"
#include "control/meter.h"
#include "faults.h"

#define SECOND 1000000
#define START (1000LL * SECOND)

FAULT(calloc);
FAULT(realloc);

void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);

void *
__wrap_calloc(size_t count, size_t size)
{
	return fault_hits(&calloc_fault) ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	return fault_hits(&realloc_fault) ? NULL : __real_realloc(old, size);
}

static struct meter_figures
figures(struct meter *m, int64_t now_us)
{
	struct meter_figures f;

	meter_read(m, now_us, &f);
	return f;
}

static void
begin(struct meter *m, int64_t now_us, unsigned count)
{
	while (count-- > 0)
		meter_begin(m, now_us);
}

START_TEST(a_new_meter_is_all_zeros)
{
	struct meter *m = meter_new(START);
	struct meter_figures f = figures(m, START + 100 * SECOND);

	ck_assert_uint_eq(f.count + f.gauge + f.ended + f.duration_us, 0);
	ck_assert(f.rate1 == 0 && f.rate5 == 0 && f.rate15 == 0);
	ck_assert(f.p50 == 0 && f.p90 == 0 && f.p95 == 0 && f.p99 == 0);
	meter_put(m);
}
END_TEST

START_TEST(connections_are_counted)
{
	struct meter *m = meter_new(START);
	struct meter_figures f;

	begin(m, START, 3);
	meter_end(m, START + SECOND, 1500);
	meter_end(m, START + SECOND, -7); /* a clock that was set back */
	f = figures(m, START + SECOND);
	ck_assert_uint_eq(f.count, 3);
	ck_assert_uint_eq(f.gauge, 1);
	ck_assert_uint_eq(f.ended, 2);
	ck_assert_uint_eq(f.duration_us, 1500);
	meter_put(m);
}
END_TEST

/*
 * Worked out by hand: a tick moves a rate by 1 - exp(-5 s / window) of its
 * distance, that is 0.0799555854, 0.0165285462 and 0.0055401520.
 */
START_TEST(rates_move_with_the_ticks)
{
	struct meter *m = meter_new(START);
	struct meter_figures f;

	/* Nothing is known before the first tick ends. */
	begin(m, START, 50);
	f = figures(m, START + 5 * SECOND - 1);
	ck_assert_double_eq(f.rate1, 0);
	/* 50 in 5 s are 10 a second, at once and for all windows. */
	f = figures(m, START + 5 * SECOND);
	ck_assert_double_eq_tol(f.rate1, 10, 1e-9);
	ck_assert_double_eq_tol(f.rate5, 10, 1e-9);
	ck_assert_double_eq_tol(f.rate15, 10, 1e-9);
	/* An empty tick. */
	f = figures(m, START + 10 * SECOND);
	ck_assert_double_eq_tol(f.rate1, 9.200444146, 1e-8);
	ck_assert_double_eq_tol(f.rate5, 9.834714538, 1e-8);
	ck_assert_double_eq_tol(f.rate15, 9.944598480, 1e-8);
	/* 100 in the next: towards 20. 9.200444146 + 0.0799555854 *
	 * 10.799555854, and so on. */
	begin(m, START + 12 * SECOND, 100);
	f = figures(m, START + 15 * SECOND);
	ck_assert_double_eq_tol(f.rate1, 10.063928957, 1e-7);
	ck_assert_double_eq_tol(f.rate5, 10.002731945, 1e-7);
	ck_assert_double_eq_tol(f.rate15, 10.000306933, 1e-7);
	meter_put(m);
}
END_TEST

START_TEST(many_ticks_at_once_are_as_many_single_ones)
{
	struct meter *lazy = meter_new(START), *eager = meter_new(START);
	struct meter_figures a, b;

	begin(lazy, START + SECOND, 7);
	begin(eager, START + SECOND, 7);
	for (int64_t s = 0; s <= 3600; s++)
		figures(eager, START + s * SECOND);
	a = figures(lazy, START + 3600LL * SECOND);
	b = figures(eager, START + 3600LL * SECOND);
	ck_assert_double_eq_tol(a.rate1, b.rate1, 1e-12);
	ck_assert_double_eq_tol(a.rate5, b.rate5, 1e-12);
	ck_assert_double_eq_tol(a.rate15, b.rate15, 1e-12);
	/* exp(-3595 / 900) * 1.4 */
	ck_assert_double_eq_tol(a.rate15, 0.025784746, 1e-8);
	/* Years of silence are no trouble. */
	a = figures(lazy, START + 100000000LL * SECOND);
	ck_assert_double_eq(a.rate15, 0);
	meter_put(lazy);
	meter_put(eager);
}
END_TEST

START_TEST(a_time_before_the_last_changes_nothing)
{
	struct meter *m = meter_new(START);
	struct meter_figures f;

	begin(m, START + 7 * SECOND, 5);
	begin(m, START + 3 * SECOND, 5);
	begin(m, 0, 5);
	f = figures(m, START);
	ck_assert_double_eq(f.rate1, 0);
	/* The first tick had none, the second all 15: 3 a second. */
	f = figures(m, START + 10 * SECOND);
	ck_assert_double_eq_tol(f.rate1, 3 * 0.0799555854, 1e-9);
	meter_put(m);
}
END_TEST

START_TEST(percentiles_are_interpolated)
{
	struct meter *m = meter_new(START);
	struct meter_figures f;

	meter_end(m, START, 4);
	f = figures(m, START);
	ck_assert_double_eq(f.p50, 4000);
	ck_assert_double_eq(f.p99, 4000);
	meter_put(m);

	/* 1 to 100 ms, in an order that is none. */
	m = meter_new(START);
	for (int i = 0; i < 100; i++)
		meter_end(m, START + i, 1000 * (1 + i * 37 % 100));
	f = figures(m, START);
	ck_assert_double_eq_tol(f.p50, 50.5e6, 1);
	ck_assert_double_eq_tol(f.p90, 90.9e6, 1);
	ck_assert_double_eq_tol(f.p95, 95.95e6, 1);
	ck_assert_double_eq_tol(f.p99, 99.99e6, 1);
	meter_put(m);
}
END_TEST

START_TEST(the_sample_is_bounded_and_fair)
{
	struct meter *m = meter_new(START);
	struct meter_figures f;

	/* 100,000 at one moment, evenly spread: any 1,028 of them have their
	 * middle within 10 % (more than six standard deviations). */
	for (int i = 0; i < 100000; i++)
		meter_end(m, START, i);
	f = figures(m, START);
	ck_assert_uint_eq(f.ended, 100000);
	ck_assert_double_eq_tol(f.p50, 50e6, 10e6);
	ck_assert_double_eq_tol(f.p90, 90e6, 7e6);
	meter_put(m);
}
END_TEST

START_TEST(what_is_old_leaves_the_sample)
{
	struct meter *m = meter_new(START);
	struct meter_figures f;

	for (int i = 0; i < 20000; i++)
		meter_end(m, START, 1000);
	/* An hour later, exp(54) times as weighty. */
	for (int i = 0; i < 1100; i++)
		meter_end(m, START + 3600LL * SECOND, 9000);
	f = figures(m, START + 3600LL * SECOND);
	ck_assert_double_eq(f.p50, 9e6);
	ck_assert_double_eq(f.p99, 9e6);
	/* Still right after thirty years. */
	for (int i = 0; i < 1100; i++)
		meter_end(m, START + 1000000000LL * SECOND, 2000);
	f = figures(m, START + 1000000000LL * SECOND);
	ck_assert_double_eq(f.p99, 2e6);
	meter_put(m);
}
END_TEST

START_TEST(without_memory_it_still_counts)
{
	struct meter *m = NULL;
	struct meter_figures f;

	fault_set(&calloc_fault, 1, ENOMEM);
	UNDER_FAULTS(m = meter_new(START));
	ck_assert_ptr_null(m);
	fault_set(&calloc_fault, 0, 0);

	m = meter_new(START);
	fault_set(&realloc_fault, 1, ENOMEM);
	UNDER_FAULTS(meter_end(m, START, 5));
	f = figures(m, START);
	ck_assert_uint_eq(f.ended, 1);
	ck_assert_double_eq(f.p50, 0);
	/* It goes on when there is memory, and keeps what it has when not. */
	meter_end(m, START, 5);
	UNDER_FAULTS(for (int i = 0; i < 100; i++) meter_end(m, START, 5));
	f = figures(m, START);
	ck_assert_uint_eq(f.ended, 102);
	ck_assert_double_eq(f.p50, 5000);
	meter_put(m);
}
END_TEST

#define THREADS 4
#define EACH 20000

static void *
use(void *arg)
{
	struct meter *m = arg;

	for (int i = 0; i < EACH; i++) {
		int64_t now_us = START + (int64_t)i * 1000;

		meter_begin(m, now_us);
		meter_end(m, now_us, i);
	}
	meter_put(m);
	return NULL;
}

START_TEST(threads_share_it)
{
	struct meter *m = meter_new(START);
	pthread_t threads[THREADS];
	struct meter_figures f;

	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, use, meter_get(m)), 0);
	do
		f = figures(m, START);
	while (f.count < THREADS * EACH / 2);
	ck_assert_uint_le(f.gauge, THREADS);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	f = figures(m, START);
	ck_assert_uint_eq(f.count, THREADS * EACH);
	ck_assert_uint_eq(f.gauge, 0);
	meter_put(m);
	meter_put(NULL);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_new_meter_is_all_zeros);
	tcase_add_test(tcase, connections_are_counted);
	tcase_add_test(tcase, rates_move_with_the_ticks);
	tcase_add_test(tcase, many_ticks_at_once_are_as_many_single_ones);
	tcase_add_test(tcase, a_time_before_the_last_changes_nothing);
	tcase_add_test(tcase, percentiles_are_interpolated);
	tcase_add_test(tcase, the_sample_is_bounded_and_fair);
	tcase_add_test(tcase, what_is_old_leaves_the_sample);
	tcase_add_test(tcase, without_memory_it_still_counts);
	tcase_add_test(tcase, threads_share_it);
}

UNIT_MAIN("meter", add_tests)
