#include "unit.h"

#include <pthread.h>
#include <stdio.h>

#include "engine/reason.h"
#include "engine/upstream.h"

static struct upstream_address
address(const char *text)
{
	struct upstream_address a = { .kind = UPSTREAM_NAME };

	snprintf(a.text, sizeof(a.text), "%s", text);
	return a;
}

static struct upstream *
find(struct upstreams *t, const char *text)
{
	struct upstream_address a = address(text);

	return upstream_find(t, &a);
}

START_TEST(one_object_an_address)
{
	struct upstreams *t = upstreams_new();
	struct upstream *a = find(t, "a:1"), *again = find(t, "a:1");
	struct upstream *b = find(t, "b:1");

	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_eq(a, again);
	ck_assert_ptr_ne(a, b);
	ck_assert_uint_eq(atomic_load(&a->refs), 2);
	upstream_put(a);
	ck_assert_ptr_eq(find(t, "a:1"), again);
	upstream_put(a);
	upstream_put(a);
	upstream_put(b);
	upstream_put(NULL);
	upstreams_free(t);
}
END_TEST

START_TEST(a_gone_upstream_starts_afresh)
{
	struct upstreams *t = upstreams_new();
	struct upstream *a = find(t, "a:1");

	atomic_store(&a->down, true);
	upstream_put(a);
	a = find(t, "a:1");
	ck_assert(upstream_is_up(a, 0));
	upstream_put(a);
	upstreams_free(t);
}
END_TEST

START_TEST(the_table_grows_and_shrinks_to_nothing)
{
	enum { COUNT = 5000 };
	struct upstreams *t = upstreams_new();
	struct upstream **all = calloc(COUNT, sizeof(struct upstream *));
	char name[32];

	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "host%d:1", i);
		all[i] = find(t, name);
	}
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "host%d:1", i);
		ck_assert_ptr_eq(find(t, name), all[i]);
		upstream_put(all[i]);
	}
	for (int i = 0; i < COUNT; i++)
		upstream_put(all[i]);
	free(all);
	upstreams_free(t);
}
END_TEST

START_TEST(three_failed_dials_shun_for_ten_seconds)
{
	struct upstreams *t = upstreams_new();
	struct upstream *u = find(t, "a:1");

	upstream_failed(u, 1000);
	upstream_failed(u, 1000);
	ck_assert(upstream_is_up(u, 1000));
	upstream_failed(u, 1000);
	ck_assert(!upstream_is_up(u, 1000));
	ck_assert(!upstream_is_up(u, 1000 + UPSTREAM_SHUN_MS - 1));
	ck_assert(upstream_is_up(u, 1000 + UPSTREAM_SHUN_MS));
	/* One more attempt; it fails too. */
	upstream_failed(u, 20000);
	ck_assert(!upstream_is_up(u, 20001));
	upstream_worked(u);
	ck_assert(upstream_is_up(u, 20001));
	upstream_failed(u, 30000);
	ck_assert(upstream_is_up(u, 30000));
	upstream_put(u);
	upstreams_free(t);
}
END_TEST

START_TEST(a_success_between_failures_starts_the_count_again)
{
	struct upstreams *t = upstreams_new();
	struct upstream *u = find(t, "a:1");

	for (int i = 0; i < 10; i++) {
		upstream_failed(u, 5);
		upstream_failed(u, 5);
		upstream_worked(u);
	}
	ck_assert(upstream_is_up(u, 5));
	upstream_put(u);
	upstreams_free(t);
}
END_TEST

START_TEST(active_checks_rule_alone)
{
	struct upstreams *t = upstreams_new();
	struct upstream *u = find(t, "a:1");

	atomic_store(&u->down, true);
	upstream_worked(u);
	ck_assert(!upstream_is_up(u, 99));
	atomic_store(&u->down, false);
	ck_assert(upstream_is_up(u, 99));
	upstream_put(u);
	upstreams_free(t);
}
END_TEST

/* Threads that find and drop the same few addresses all the time: the last
 * reference and the next find meet often. */
static void *
find_and_put(void *arg)
{
	struct upstreams *t = arg;
	const char *const names[] = { "a:1", "b:1", "c:1" };

	for (int i = 0; i < 20000; i++) {
		struct upstream *u = find(t, names[i % 3]);

		ck_assert_str_eq(u->address.text, names[i % 3]);
		if (i % 2 == 0) {
			upstream_get(u);
			upstream_failed(u, 1);
			upstream_worked(u);
			upstream_put(u);
		}
		upstream_put(u);
	}
	return NULL;
}

START_TEST(threads_share_the_table)
{
	struct upstreams *t = upstreams_new();
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, find_and_put, t), 0);
	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	upstreams_free(t); /* asserts that nothing is left */
}
END_TEST

START_TEST(every_reason_has_its_own_word_and_a_meaning)
{
	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
		const char *word = reason_word((enum reason)i);

		ck_assert(strlen(word) > 0);
		ck_assert_uint_eq(
		    strspn(word, "abcdefghijklmnopqrstuvwxyz_"), strlen(word));
		ck_assert(strlen(reason_meaning((enum reason)i)) > 0);
		for (int k = REASON_NONE + 1; k < i; k++)
			ck_assert_str_ne(word, reason_word((enum reason)k));
	}
	ck_assert_str_eq(reason_word(REASON_DENIED_IP), "denied_ip");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, one_object_an_address);
	tcase_add_test(tcase, a_gone_upstream_starts_afresh);
	tcase_add_test(tcase, the_table_grows_and_shrinks_to_nothing);
	tcase_add_test(tcase, three_failed_dials_shun_for_ten_seconds);
	tcase_add_test(
	    tcase, a_success_between_failures_starts_the_count_again);
	tcase_add_test(tcase, active_checks_rule_alone);
	tcase_add_test(tcase, threads_share_the_table);
	tcase_add_test(tcase, every_reason_has_its_own_word_and_a_meaning);
}

UNIT_MAIN("upstream", add_tests)
