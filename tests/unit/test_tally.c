#include "unit.h"

#include <pthread.h>

#include "base/hash.h"
#include "base/tally.h"
#include "faults.h"

FAULT(malloc);
FAULT(calloc);

void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);

void *
__wrap_malloc(size_t size)
{
	return fault_hits(&malloc_fault) ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	return fault_hits(&calloc_fault) ? NULL : __real_calloc(count, size);
}

#define KEYS 3000

static struct span
number(uint32_t *n)
{
	return span_of(n, sizeof(*n));
}

START_TEST(a_key_counts_while_it_is_held)
{
	struct tally *t = tally_new();
	uint32_t count;
	struct tally_key *a = tally_hold(t, span_text("a"), &count);

	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(tally_count(t, span_text("b")), 0);
	struct tally_key *b = tally_hold(t, span_text("a"), &count);
	ck_assert_uint_eq(count, 2);
	struct tally_key *c = tally_hold(t, span_text(""), NULL);
	ck_assert_uint_eq(tally_count(t, span_text("")), 1);
	tally_release(t, a);
	ck_assert_uint_eq(tally_count(t, span_text("a")), 1);
	tally_release(t, b);
	ck_assert_uint_eq(tally_count(t, span_text("a")), 0);
	tally_release(t, c);
	tally_free(t);
	tally_free(NULL);
}
END_TEST

START_TEST(random_holds_agree_with_a_plain_count)
{
	static struct tally_key *held[KEYS][4];
	static unsigned counts[KEYS];
	struct tally *t = tally_new();

	for (int round = 0; round < 100000; round++) {
		uint32_t key = (uint32_t)(random_quick() % KEYS), count;
		bool add =
		    counts[key] == 0 || (counts[key] < 4 && random_quick() % 2);

		if (add) {
			held[key][counts[key]++] =
			    tally_hold(t, number(&key), &count);
			ck_assert_uint_eq(count, counts[key]);
		} else {
			tally_release(t, held[key][--counts[key]]);
		}
		ck_assert_uint_eq(tally_count(t, number(&key)), counts[key]);
	}
	for (uint32_t key = 0; key < KEYS; key++) {
		ck_assert_uint_eq(tally_count(t, number(&key)), counts[key]);
		while (counts[key] > 0)
			tally_release(t, held[key][--counts[key]]);
	}
	tally_free(t);
}
END_TEST

START_TEST(without_memory_nothing_is_counted)
{
	struct tally *t = tally_new();
	static struct tally_key *held[KEYS];
	struct tally *none;
	unsigned missing = 0;

	fault_set(&malloc_fault, 3, ENOMEM);
	fault_set(&calloc_fault, 2, ENOMEM);
	for (uint32_t key = 0; key < KEYS; key++) {
		UNDER_FAULTS(held[key] = tally_hold(t, number(&key), NULL));
		missing += !held[key];
		ck_assert_uint_eq(
		    tally_count(t, number(&key)), held[key] ? 1 : 0);
	}
	ck_assert_uint_gt(missing, KEYS / 4);
	ck_assert_uint_lt(missing, KEYS / 2);
	for (uint32_t key = 0; key < KEYS; key++)
		if (held[key])
			tally_release(t, held[key]);
	fault_set(&calloc_fault, 1, ENOMEM);
	UNDER_FAULTS(none = tally_new());
	ck_assert_ptr_null(none);
	fault_set(&calloc_fault, 0, 0);
	tally_free(t);
}
END_TEST

/* Each resize is a calloc: tables grow with the keys and shrink with them. */
START_TEST(memory_follows_what_is_live)
{
	struct tally *t = tally_new();
	static struct tally_key *held[KEYS];
	unsigned grown;

	fault_set(&calloc_fault, UINT32_MAX, ENOMEM);
	for (uint32_t key = 0; key < KEYS; key++)
		UNDER_FAULTS(held[key] = tally_hold(t, number(&key), NULL));
	grown = atomic_load(&calloc_fault.calls);
	ck_assert_uint_gt(grown, 64);
	for (uint32_t key = 0; key < KEYS; key++)
		UNDER_FAULTS(tally_release(t, held[key]));
	ck_assert_uint_gt(atomic_load(&calloc_fault.calls), grown + 32);
	tally_free(t);
}
END_TEST

static void *
hold_and_release(void *arg)
{
	struct tally *t = arg;
	struct tally_key *held[16] = { NULL };

	for (int round = 0; round < 20000; round++) {
		uint32_t key = (uint32_t)(random_quick() % 50);
		struct tally_key **slot = &held[round % 16];

		if (*slot)
			tally_release(t, *slot);
		*slot = tally_hold(t, number(&key), NULL);
	}
	for (int i = 0; i < 16; i++)
		if (held[i])
			tally_release(t, held[i]);
	return NULL;
}

START_TEST(threads_leave_nothing_behind)
{
	struct tally *t = tally_new();
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, hold_and_release, t), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t key = 0; key < 50; key++)
		ck_assert_uint_eq(tally_count(t, number(&key)), 0);
	tally_free(t);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_key_counts_while_it_is_held);
	tcase_add_test(tcase, random_holds_agree_with_a_plain_count);
	tcase_add_test(tcase, without_memory_nothing_is_counted);
	tcase_add_test(tcase, memory_follows_what_is_live);
	tcase_add_test(tcase, threads_leave_nothing_behind);
}

UNIT_MAIN("tally", add_tests)
