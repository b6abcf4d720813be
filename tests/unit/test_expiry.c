#include "engine/expiry.h"

#include <stdio.h>

#include "faults.h"
#include "renewal_bench.h"

FAULT(calloc);
FAULT(realloc);

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *
__wrap_calloc(size_t n, size_t size)
{
	return fault_hits(&calloc_fault) ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	return fault_hits(&realloc_fault) ? NULL : __real_realloc(p, size);
}

#define EVENT "\"event_type\":\"certificate_expiring.v0\""

struct one {
	struct bench bench;
	struct stapler *stapler;
	struct pairs *pairs;
	struct expiry *expiry;
	int64_t not_after;
};

static int64_t
not_after(const struct bench *b, size_t id)
{
	struct certificate *c = keyring_at(b->snapshot.keyring, id);
	int64_t s = certificate_not_after(c);

	certificate_put(c);
	return s;
}

static void
setup(struct one *o)
{
	renewal_bench_init(&o->bench);
	renewal_bench_add(
	    &o->bench, "a", renewal_bench_leaf(&o->bench, "a.test"));
	o->not_after = not_after(&o->bench, 0);
	o->stapler = stapler_new();
	o->pairs = pairs_new(&o->bench.snapshot, o->stapler);
	o->expiry = expiry_new(o->bench.journal);
	ck_assert_ptr_nonnull(o->expiry);
}

/* The journal's thread has written all there is. */
static void
flush(struct one *o)
{
	journal_free(o->bench.journal);
	o->bench.journal = NULL;
}

static void
teardown(struct one *o)
{
	expiry_free(o->expiry);
	pairs_free(o->pairs);
	stapler_free(o->stapler);
	renewal_bench_fini(&o->bench);
}

/* How many lines the log has after a check with so much time left. */
static unsigned
check_at(struct one *o, int64_t left_s)
{
	expiry_check(o->expiry, o->pairs, o->not_after - left_s);
	return logged(&o->bench, "level=warn", "msg=\"certificate ");
}

START_TEST(each_threshold_is_told_once)
{
	struct one o;

	setup(&o);
	ck_assert_uint_eq(check_at(&o, 90 * MADE_DAY), 0);
	ck_assert_uint_eq(check_at(&o, 14 * MADE_DAY + 1), 0);
	ck_assert_uint_eq(check_at(&o, 14 * MADE_DAY), 1);
	ck_assert_uint_eq(check_at(&o, 10 * MADE_DAY), 1);
	ck_assert_uint_eq(check_at(&o, 7 * MADE_DAY + 1), 1);
	ck_assert_uint_eq(check_at(&o, 7 * MADE_DAY), 2);
	ck_assert_uint_eq(check_at(&o, 3 * MADE_DAY + 1), 2);
	ck_assert_uint_eq(check_at(&o, 3 * MADE_DAY), 3);
	ck_assert_uint_eq(check_at(&o, MADE_DAY + 1), 3);
	ck_assert_uint_eq(check_at(&o, MADE_DAY), 4);
	ck_assert_uint_eq(check_at(&o, 0), 4);
	ck_assert_uint_eq(check_at(&o, -1), 5);
	ck_assert_uint_eq(check_at(&o, -MADE_DAY), 5);
	ck_assert_uint_eq(check_at(&o, -30 * MADE_DAY), 5);
	ck_assert_uint_eq(
	    logged(&o.bench, "certificate has expired", "a.crt"), 1);
	flush(&o);
	ck_assert_uint_eq(told(EVENT, NULL), 5);
	ck_assert_uint_eq(told(EVENT, "\"days_left\":14,"), 1);
	ck_assert_uint_eq(told(EVENT, "\"days_left\":7,"), 1);
	ck_assert_uint_eq(told(EVENT, "\"days_left\":3,"), 1);
	ck_assert_uint_eq(told(EVENT, "\"days_left\":1,"), 1);
	ck_assert_uint_eq(told(EVENT, "\"expired\":true"), 1);
	teardown(&o);
}
END_TEST

START_TEST(who_is_found_late_is_told_of_once)
{
	struct one o;

	setup(&o);
	ck_assert_uint_eq(check_at(&o, 2 * MADE_DAY), 1);
	ck_assert_uint_eq(check_at(&o, 2 * MADE_DAY - 60), 1);
	ck_assert_uint_eq(check_at(&o, MADE_DAY - 60), 2);
	/* The clock may go back. */
	ck_assert_uint_eq(check_at(&o, 10 * MADE_DAY), 2);
	ck_assert_uint_eq(check_at(&o, MADE_DAY - 120), 2);
	teardown(&o);
}
END_TEST

START_TEST(the_event_says_who)
{
	struct one o;
	struct made *leaf;
	const char *mark;

	setup(&o);
	leaf = make((struct recipe){ .issuer = o.bench.ca,
	    .names = "DNS:b.test,DNS:*.c.test,IP:10.0.0.1" });
	renewal_bench_add(&o.bench, "b", leaf);
	pairs_free(o.pairs);
	o.bench.pairs[1].label = strdup("main \"one\"");
	o.pairs = pairs_new(&o.bench.snapshot, o.stapler);
	ck_assert_uint_eq(check_at(&o, 6 * MADE_DAY), 2);
	mark = fingerprint(leaf);
	ck_assert_uint_eq(
	    logged(&o.bench, "certificate expires soon", mark), 1);
	flush(&o);
	ck_assert_uint_eq(told(EVENT, mark), 1);
	ck_assert_uint_eq(told(mark, "\"label\":\"main \\\"one\\\"\""), 1);
	ck_assert_uint_eq(told(mark, "/b.crt\""), 1);
	ck_assert_uint_eq(told(mark, "\"names\":[\"b.test\",\"*.c.test\"]"), 1);
	ck_assert_uint_eq(told(mark, "\"not_after\":\"20"), 1);
	ck_assert_uint_eq(told(mark, "\"event_id\":\"ev_"), 1);
	ck_assert_uint_eq(told(mark, "\"event_timestamp\":\"20"), 1);
	ck_assert_uint_eq(told(mark, "\"expired\":false"), 1);
	ck_assert_uint_eq(told("\"object\":{\"certificate\":{", mark), 1);
	ck_assert_uint_eq(told("\"label\"", NULL), 1);
	free(o.bench.pairs[1].label);
	teardown(&o);
}
END_TEST

START_TEST(one_certificate_in_two_places)
{
	struct one o;

	setup(&o);
	o.bench.pairs[1] = o.bench.pairs[0];
	o.bench.snapshot.certificate_count = 2;
	pairs_free(o.pairs);
	o.pairs = pairs_new(&o.bench.snapshot, o.stapler);
	ck_assert_uint_eq(check_at(&o, MADE_DAY), 1);
	o.bench.snapshot.certificate_count = 1;
	teardown(&o);
}
END_TEST

/* Another configuration with the same files does not repeat it. */
START_TEST(a_reload_repeats_nothing)
{
	struct one o;
	struct bench next;
	struct pairs *old;

	setup(&o);
	ck_assert_uint_eq(check_at(&o, MADE_DAY), 1);
	renewal_bench_copy(&o.bench, &next);
	old = o.pairs;
	o.pairs = pairs_new(&next.snapshot, o.stapler);
	ck_assert_uint_eq(check_at(&o, MADE_DAY), 1);
	pairs_free(o.pairs);
	o.pairs = old;
	renewal_bench_copy_fini(&next);
	teardown(&o);
}
END_TEST

START_TEST(who_is_renewed_is_watched_anew)
{
	struct one o;
	const atomic_bool stop = false;

	setup(&o);
	ck_assert_uint_eq(check_at(&o, MADE_DAY), 1);
	renewal_bench_write(&o.bench, "a",
	    make((struct recipe){ .issuer = o.bench.ca,
		.names = "DNS:a.test",
		.not_before = -3600,
		.not_after = 180 * MADE_DAY }));
	o.pairs->list[0].due = true;
	pairs_read(o.pairs, &stop);
	ck_assert_uint_eq(check_at(&o, -1), 1);
	o.not_after = not_after(&o.bench, 0);
	ck_assert_uint_eq(check_at(&o, 14 * MADE_DAY), 2);
	teardown(&o);
}
END_TEST

/* Or the table would grow for ever where certificates live for hours. */
START_TEST(who_is_gone_is_forgotten)
{
	struct one o;
	size_t count;

	setup(&o);
	count = o.pairs->count;
	ck_assert_uint_eq(check_at(&o, -10), 1);
	o.pairs->count = 0;
	ck_assert_uint_eq(check_at(&o, -MADE_DAY), 1);
	o.pairs->count = count;
	ck_assert_uint_eq(check_at(&o, -MADE_DAY), 1);
	o.pairs->count = 0;
	ck_assert_uint_eq(check_at(&o, -MADE_DAY - 1), 1);
	o.pairs->count = count;
	ck_assert_uint_eq(check_at(&o, -MADE_DAY - 2), 2);
	teardown(&o);
}
END_TEST

START_TEST(an_event_is_never_too_long)
{
	struct one o;
	static char names[400 * 260];
	size_t len = 0;
	char longest[200], label[2000];

	setup(&o);
	memset(longest, 'x', sizeof(longest));
	for (size_t i = 60; i < sizeof(longest); i += 60)
		longest[i] = '.';
	longest[sizeof(longest) - 1] = '\0';
	for (int i = 0; i < 400; i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len,
		    "%sDNS:n%d.%s.test", i ? "," : "", i, longest);
	renewal_bench_add(&o.bench, "b",
	    make((struct recipe){ .issuer = o.bench.ca, .names = names }));
	memset(label, '\1', sizeof(label));
	label[sizeof(label) - 1] = '\0';
	o.bench.pairs[1].label = label;
	pairs_free(o.pairs);
	o.pairs = pairs_new(&o.bench.snapshot, o.stapler);
	ck_assert_uint_eq(check_at(&o, MADE_DAY), 2);
	flush(&o);
	ck_assert_uint_eq(told("\"n99.", NULL), 1);
	ck_assert_uint_eq(told("\"n100.", NULL), 0);
	teardown(&o);
}
END_TEST

/* What cannot be remembered is told all the same, and told again. */
START_TEST(without_memory)
{
	struct expiry *x;
	unsigned lines = 0;

	for (unsigned every = 1; every < 5; every++) {
		struct one o;

		setup(&o);
		fault_set(&calloc_fault, every, ENOMEM);
		fault_set(&realloc_fault, every, ENOMEM);
		UNDER_FAULTS(x = expiry_new(o.bench.journal));
		expiry_free(x);
		for (int i = 0; i < 4; i++) {
			UNDER_FAULTS(expiry_check(
			    o.expiry, o.pairs, o.not_after - MADE_DAY));
			ck_assert_uint_gt(check_at(&o, MADE_DAY), lines);
		}
		lines = check_at(&o, MADE_DAY);
		teardown(&o);
	}
	expiry_free(NULL);
}
END_TEST

START_TEST(what_is_in_no_place_has_no_end)
{
	struct one o;

	setup(&o);
	o.pairs->list[0].id = PAIR_NO_PLACE;
	ck_assert_uint_eq(check_at(&o, -1), 0);
	teardown(&o);
}
END_TEST

static void
add_tests(TCase *t)
{
	tcase_add_test(t, each_threshold_is_told_once);
	tcase_add_test(t, who_is_found_late_is_told_of_once);
	tcase_add_test(t, the_event_says_who);
	tcase_add_test(t, one_certificate_in_two_places);
	tcase_add_test(t, a_reload_repeats_nothing);
	tcase_add_test(t, who_is_renewed_is_watched_anew);
	tcase_add_test(t, who_is_gone_is_forgotten);
	tcase_add_test(t, an_event_is_never_too_long);
	tcase_add_test(t, without_memory);
	tcase_add_test(t, what_is_in_no_place_has_no_end);
}

UNIT_MAIN("expiry", add_tests)
