#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "policy/shared.h"

static struct value
number(double n)
{
	return (struct value){ .kind = VALUE_NUMBER, .number = n };
}

static struct value
string(const char *s)
{
	return (struct value){ .kind = VALUE_STRING, .string = span_text(s) };
}

static struct value
get(struct dictionary *d, const char *key, uint64_t now_ms)
{
	static char buffer[DICTIONARY_MAX_VALUE];
	struct value v;

	ck_assert_int_eq(dictionary_get(d, span_text(key), now_ms, &v, buffer,
			     sizeof(buffer)),
	    0);
	return v;
}

static int
set(struct dictionary *d, const char *key, struct value v, uint64_t ttl_ms,
    uint64_t now_ms)
{
	return dictionary_set(d, span_text(key), &v, ttl_ms, now_ms);
}

START_TEST(values_come_back_as_they_went_in)
{
	struct dictionary *d = dictionary_new(DICTIONARY_MAX_BYTES);
	struct value yes = { .kind = VALUE_BOOLEAN, .boolean = true };
	struct value none = { .kind = VALUE_NONE };

	ck_assert_int_eq(get(d, "a", 1).kind, VALUE_NONE);
	ck_assert_int_eq(set(d, "a", string("one"), 0, 1), 0);
	ck_assert_int_eq(set(d, "b", number(2.5), 0, 1), 0);
	ck_assert_int_eq(set(d, "c", yes, 0, 1), 0);
	ck_assert_int_eq(set(d, "d", string(""), 0, 1), 0);
	ck_assert(span_is(get(d, "a", 1).string, "one"));
	ck_assert_double_eq(get(d, "b", 1).number, 2.5);
	ck_assert(get(d, "c", 1).boolean);
	ck_assert_int_eq(get(d, "d", 1).kind, VALUE_STRING);
	ck_assert_int_eq(set(d, "a", number(7), 0, 1), 0);
	ck_assert_double_eq(get(d, "a", 1).number, 7);
	ck_assert_int_eq(set(d, "a", none, 0, 1), 0);
	ck_assert_int_eq(get(d, "a", 1).kind, VALUE_NONE);
	ck_assert(dictionary_delete(d, span_text("b"), 1));
	ck_assert(!dictionary_delete(d, span_text("b"), 1));
	dictionary_free(d);
}
END_TEST

START_TEST(a_string_that_does_not_fit_tells_its_size)
{
	struct dictionary *d = dictionary_new(DICTIONARY_MAX_BYTES);
	struct value v;
	char small[3];

	ck_assert_int_eq(set(d, "a", string("four"), 0, 1), 0);
	ck_assert_int_eq(
	    dictionary_get(d, span_text("a"), 1, &v, small, sizeof(small)),
	    -ENOBUFS);
	ck_assert_uint_eq(v.string.len, 4);
	dictionary_free(d);
}
END_TEST

START_TEST(an_entry_ends_when_its_time_is_over)
{
	struct dictionary *d = dictionary_new(DICTIONARY_MAX_BYTES);

	ck_assert_int_eq(set(d, "a", number(1), 100, 1000), 0);
	ck_assert_int_eq(get(d, "a", 1099).kind, VALUE_NUMBER);
	ck_assert_int_eq(get(d, "a", 1100).kind, VALUE_NONE);
	ck_assert(!dictionary_delete(d, span_text("a"), 1100));
	/* Setting again without a life makes it last. */
	ck_assert_int_eq(set(d, "a", number(1), 100, 2000), 0);
	ck_assert_int_eq(set(d, "a", number(2), 0, 2001), 0);
	ck_assert_double_eq(get(d, "a", 9000).number, 2);
	dictionary_free(d);
}
END_TEST

START_TEST(adding_counts_and_keeps_the_end_of_life)
{
	struct dictionary *d = dictionary_new(DICTIONARY_MAX_BYTES);
	struct span key = span_text("n");
	double sum;

	ck_assert_int_eq(dictionary_add(d, key, 1, 100, 1000, &sum), 0);
	ck_assert_double_eq(sum, 1);
	ck_assert_int_eq(dictionary_add(d, key, 2, 100, 1099, &sum), 0);
	ck_assert_double_eq(sum, 3);
	ck_assert_int_eq(dictionary_add(d, key, 5, 100, 1100, &sum), 0);
	ck_assert_double_eq(sum, 5);
	ck_assert_int_eq(set(d, "s", string("x"), 0, 1100), 0);
	ck_assert_int_eq(
	    dictionary_add(d, span_text("s"), 1, 0, 1100, &sum), -EINVAL);
	dictionary_free(d);
}
END_TEST

static int
fill(struct dictionary *d, uint64_t ttl_ms, uint64_t now_ms)
{
	char key[32];

	for (int i = 0; i < 100000; i++) {
		int error;

		snprintf(key, sizeof(key), "key-%d", i);
		error = set(d, key, string("0123456789"), ttl_ms, now_ms);
		if (error < 0)
			return error;
	}
	return 0;
}

START_TEST(a_full_dictionary_takes_nothing_but_keeps_what_it_has)
{
	struct dictionary *d = dictionary_new(64 << 10);
	double sum;

	ck_assert_int_eq(fill(d, 0, 1), -ENOSPC);
	ck_assert_uint_le(dictionary_bytes(d), 64 << 10);
	ck_assert_int_eq(
	    dictionary_add(d, span_text("new"), 1, 0, 1, &sum), -ENOSPC);
	ck_assert(span_is(get(d, "key-0", 1).string, "0123456789"));
	ck_assert(dictionary_delete(d, span_text("key-0"), 1));
	ck_assert_int_eq(set(d, "key-0", string("0123456789"), 0, 1), 0);
	dictionary_free(d);
}
END_TEST

START_TEST(what_is_over_makes_way_in_a_full_dictionary)
{
	struct dictionary *d = dictionary_new(64 << 10);
	size_t before;

	ck_assert_int_eq(fill(d, 1000, 1), -ENOSPC);
	before = dictionary_bytes(d);
	ck_assert_int_eq(set(d, "other", number(1), 0, 500), -ENOSPC);
	ck_assert_int_eq(set(d, "other", number(1), 0, 1001), 0);
	ck_assert_uint_lt(dictionary_bytes(d), before);
	dictionary_free(d);
}
END_TEST

START_TEST(everything_that_ends_goes_whatever_the_order)
{
	struct dictionary *d = dictionary_new(DICTIONARY_MAX_BYTES);
	char key[32];

	for (unsigned i = 0; i < 5000; i++) {
		snprintf(key, sizeof(key), "key-%u", i);
		ck_assert_int_eq(
		    set(d, key, number(i), 1 + i * 7919 % 5000, 0), 0);
	}
	for (unsigned i = 0; i < 5000; i += 3) {
		snprintf(key, sizeof(key), "key-%u", i);
		ck_assert_int_eq(set(d, key, number(i), 10, 0), 0);
	}
	/* Each call takes away a bounded number, so several are needed. */
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "late-%u", i);
		ck_assert_int_eq(set(d, key, number(1), 1, 6000), 0);
		dictionary_delete(d, span_text(key), 6000);
	}
	ck_assert_uint_eq(dictionary_bytes(d), 0);
	dictionary_free(d);
}
END_TEST

START_TEST(keys_and_values_have_a_largest_size)
{
	static char big[DICTIONARY_MAX_VALUE + 1];
	struct dictionary *d = dictionary_new(DICTIONARY_MAX_BYTES);
	struct value v = { .kind = VALUE_STRING,
		.string = span_of(big, sizeof(big)) };
	double sum;

	ck_assert_int_eq(dictionary_set(d, span_text("k"), &v, 0, 1), -E2BIG);
	v.string.len--;
	ck_assert_int_eq(dictionary_set(d, span_text("k"), &v, 0, 1), 0);
	v.string.len = 1;
	ck_assert_int_eq(
	    dictionary_set(d, span_of(big, DICTIONARY_MAX_KEY + 1), &v, 0, 1),
	    -E2BIG);
	ck_assert_int_eq(dictionary_add(d, span_of(big, DICTIONARY_MAX_KEY + 1),
			     1, 0, 1, &sum),
	    -E2BIG);
	ck_assert_int_eq(
	    dictionary_set(d, span_of(big, DICTIONARY_MAX_KEY), &v, 0, 1), 0);
	dictionary_free(d);
}
END_TEST

START_TEST(dictionaries_are_found_by_name_and_bounded)
{
	struct policy_shared *s = policy_shared_new();
	const char *why = NULL;
	char name[16];

	ck_assert_ptr_null(shared_dictionary(s, span_text(""), &why));
	ck_assert_ptr_nonnull(why);
	for (int i = 0; i < SHARED_MAX_DICTIONARIES; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		ck_assert_ptr_nonnull(
		    shared_dictionary(s, span_text(name), &why));
	}
	ck_assert_ptr_eq(shared_dictionary(s, span_text("d3"), &why),
	    shared_dictionary(s, span_text("d3"), &why));
	ck_assert_ptr_ne(shared_dictionary(s, span_text("d3"), &why),
	    shared_dictionary(s, span_text("d4"), &why));
	ck_assert_ptr_null(shared_dictionary(s, span_text("one more"), &why));
	policy_shared_free(s);
}
END_TEST

START_TEST(a_bucket_empties_and_fills)
{
	struct rates *r = rates_new();
	struct span key = span_text("192.0.2.1");
	int64_t now = 5000000;

	for (int i = 0; i < 3; i++)
		ck_assert(rates_take(r, key, 2, 3, now));
	ck_assert(!rates_take(r, key, 2, 3, now));
	ck_assert(!rates_take(r, key, 2, 3, now + 400000));
	ck_assert(rates_take(r, key, 2, 3, now + 500000));
	ck_assert(!rates_take(r, key, 2, 3, now + 500000));
	/* Never more than the burst, and a clock that goes back is no gain. */
	now += 100000000;
	for (int i = 0; i < 3; i++)
		ck_assert(rates_take(r, key, 2, 3, now));
	ck_assert(!rates_take(r, key, 2, 3, now - 50000000));
	ck_assert(!rates_take(r, key, 2, 3, now));
	ck_assert(rates_take(r, span_text("192.0.2.2"), 2, 3, now));
	rates_free(r);
}
END_TEST

START_TEST(strange_keys_push_out_the_oldest_only)
{
	struct rates *r = rates_new();
	char key[32];

	ck_assert(rates_take(r, span_text("kept"), 0, 1, 1));
	ck_assert(rates_take(r, span_text("forgotten"), 0, 1, 1));
	for (int i = 0; i < 4 * RATES_MAX_KEYS; i++) {
		snprintf(key, sizeof(key), "stranger-%d", i);
		ck_assert(rates_take(r, span_text(key), 0, 1, 2));
		if (i % 1000 == 0)
			ck_assert(!rates_take(r, span_text("kept"), 0, 1, 2));
	}
	ck_assert(!rates_take(r, span_text("kept"), 0, 1, 3));
	ck_assert(rates_take(r, span_text("forgotten"), 0, 1, 3));
	rates_free(r);
}
END_TEST

#define THREADS 4
#define TURNS 20000

static void *
count_in_thread(void *arg)
{
	struct policy_shared *s = arg;
	const char *why;
	struct dictionary *d = shared_dictionary(s, span_text("hits"), &why);
	size_t taken = 0;
	double sum;
	char key[32];

	for (int i = 0; i < TURNS; i++) {
		snprintf(key, sizeof(key), "k%d", i % 97);
		ck_assert_int_eq(
		    dictionary_add(d, span_text("n"), 1, 0, 1, &sum), 0);
		ck_assert_int_eq(
		    dictionary_add(d, span_text(key), 1, 5, (uint64_t)i, &sum),
		    0);
		dictionary_delete(d, span_text(key), (uint64_t)i);
		taken +=
		    rates_take(shared_rates(s), span_text("n"), 0, 1000, 1);
	}
	return (void *)taken;
}

START_TEST(threads_lose_no_count_and_no_token)
{
	struct policy_shared *s = policy_shared_new();
	pthread_t threads[THREADS];
	size_t taken = 0;
	const char *why;
	char buffer[8];
	struct value v;

	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, count_in_thread, s), 0);
	for (int i = 0; i < THREADS; i++) {
		void *result;

		pthread_join(threads[i], &result);
		taken += (size_t)result;
	}
	ck_assert_uint_eq(taken, 1000);
	ck_assert_int_eq(
	    dictionary_get(shared_dictionary(s, span_text("hits"), &why),
		span_text("n"), 1, &v, buffer, sizeof(buffer)),
	    0);
	ck_assert_double_eq(v.number, THREADS * TURNS);
	policy_shared_free(s);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, values_come_back_as_they_went_in);
	tcase_add_test(tcase, a_string_that_does_not_fit_tells_its_size);
	tcase_add_test(tcase, an_entry_ends_when_its_time_is_over);
	tcase_add_test(tcase, adding_counts_and_keeps_the_end_of_life);
	tcase_add_test(
	    tcase, a_full_dictionary_takes_nothing_but_keeps_what_it_has);
	tcase_add_test(tcase, what_is_over_makes_way_in_a_full_dictionary);
	tcase_add_test(tcase, everything_that_ends_goes_whatever_the_order);
	tcase_add_test(tcase, keys_and_values_have_a_largest_size);
	tcase_add_test(tcase, dictionaries_are_found_by_name_and_bounded);
	tcase_add_test(tcase, a_bucket_empties_and_fills);
	tcase_add_test(tcase, strange_keys_push_out_the_oldest_only);
	tcase_add_test(tcase, threads_lose_no_count_and_no_token);
}

UNIT_MAIN("policy_shared", add_tests)
