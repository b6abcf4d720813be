#include "engine/stapler.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "faults.h"
#include "renewal_bench.h"

FAULT(malloc);
FAULT(calloc);
FAULT(realloc);

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
uint64_t __real_clock_ms(void);
uint64_t __wrap_clock_ms(void);

void *
__wrap_malloc(size_t size)
{
	return fault_hits(&malloc_fault) ? NULL : __real_malloc(size);
}

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

static _Atomic uint64_t passed_ms;

uint64_t
__wrap_clock_ms(void)
{
	return __real_clock_ms() + atomic_load(&passed_ms);
}

#define STAPLED "msg=\"OCSP answer stapled\""
#define NONE "msg=\"no OCSP answer to staple\""

struct one {
	struct bench bench;
	struct responder responder;
	struct stapler *stapler;
	struct certificate *a, *b; /* of two leaves */
};

static struct certificate *
new_certificate(const struct one *o, const char *url)
{
	struct made *leaf = make((struct recipe){
	    .issuer = o->bench.ca, .names = "DNS:a.test", .ocsp_url = url });
	const char *chain = join(leaf->crt, o->bench.ca->crt, NULL);
	char storage[512];
	struct text error;
	struct certificate *c;

	text_init(&error, storage, sizeof(storage));
	c = certificate_parse(
	    span_text(chain), span_text(leaf->key_pem), &error);
	ck_assert_msg(c != NULL, "%s", error.data);
	return c;
}

static void
setup(struct one *o)
{
	renewal_bench_init(&o->bench);
	responder_init(&o->responder, &o->bench);
	o->stapler = stapler_new();
	ck_assert_ptr_nonnull(o->stapler);
	o->a = new_certificate(o, o->responder.url);
	o->b = new_certificate(o, o->responder.url);
}

static void
teardown(struct one *o)
{
	responder_fini(&o->responder);
	stapler_free(o->stapler);
	certificate_put(o->a);
	certificate_put(o->b);
	renewal_bench_fini(&o->bench);
}

static unsigned
asked(struct one *o)
{
	return atomic_load(&o->responder.asked);
}

static bool
stapled(struct certificate *c)
{
	return certificate_is_stapled(c, clock_wall_us() / 1000000);
}

static void
keep_only(struct one *o, struct certificate *c)
{
	ck_assert_int_eq(stapler_set(o->stapler, &c, 1), 0);
}

/* Lets time pass, which the thread notices when it is given the same again. */
static void
pass(struct one *o, struct certificate *c, int64_t s)
{
	atomic_fetch_add(&passed_ms, (uint64_t)s * 1000);
	keep_only(o, c);
}

START_TEST(answers_are_fetched_at_once)
{
	struct one o;

	setup(&o);
	struct certificate *both[] = { o.a, o.b };

	ck_assert_int_eq(stapler_set(o.stapler, both, 2), 0);
	WAIT_FOR(stapled(o.a) && stapled(o.b));
	WAIT_FOR(logged(&o.bench, STAPLED, NULL) == 2);
	ck_assert_uint_eq(asked(&o), 2);
	teardown(&o);
}
END_TEST

/* Half of an answer's life, an hour at least and a day at most. */
START_TEST(answers_are_fetched_again)
{
	static const struct {
		int life_s, use_s;
	} cases[] = {
		{ 7 * MADE_DAY, MADE_DAY },
		{ 10 * 3600, 5 * 3600 },
		{ 90 * 60, 3600 },
		{ 20 * 60, 10 * 60 },
		{ 90, 60 },
	};
	struct one o;

	setup(&o);
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		unsigned before = asked(&o);
		struct certificate *c = new_certificate(&o, o.responder.url);
		struct certificate *both[] = { c, o.b };

		atomic_store(&o.responder.life_s, cases[i].life_s);
		keep_only(&o, c);
		WAIT_FOR(stapled(c));
		WAIT_FOR(logged(&o.bench, STAPLED, NULL) == before + 1);
		/* Not before half of it is over: `b` is asked for, which is
		 * due later than that. */
		atomic_fetch_add(
		    &passed_ms, (uint64_t)(cases[i].use_s - 30) * 1000);
		ck_assert_int_eq(stapler_set(o.stapler, both, 2), 0);
		WAIT_FOR(logged(&o.bench, STAPLED, NULL) == before + 2);
		ck_assert_uint_eq(asked(&o), before + 2);
		pass(&o, c, 31);
		WAIT_FOR(asked(&o) == before + 3);
		WAIT_FOR(logged(&o.bench, STAPLED, NULL) == before + 3);
		keep_only(&o, o.a);
		WAIT_FOR(logged(&o.bench, STAPLED, NULL) >= before + 4);
		certificate_put(c);
		atomic_fetch_add(&passed_ms, UINT64_C(3600) * 24 * 1000);
		ck_assert_int_eq(stapler_set(o.stapler, NULL, 0), 0);
	}
	teardown(&o);
}
END_TEST

/* When another one has been asked for, `a` has been dealt with; and it has not
 * been asked for again if it was not due. */
static void
ask_for_other(struct one *o, unsigned total)
{
	struct certificate *c = new_certificate(o, o->responder.url);

	ck_assert_int_eq(stapler_replace(o->stapler, NULL, c), 0);
	WAIT_FOR(asked(o) == total);
	ck_assert_int_eq(stapler_replace(o->stapler, c, NULL), 0);
	certificate_put(c);
}

START_TEST(failures_wait_longer_and_longer)
{
	static const int pauses_s[] = { 60, 120, 240, 480, 960, 1920, 3600,
		3600, 3600 };
	struct one o;

	setup(&o);
	/* Closed: nobody listens there any more. */
	struct certificate *c = new_certificate(&o, "http://127.0.0.1:1/");

	keep_only(&o, c);
	WAIT_FOR(logged(&o.bench, NONE, "failures=1 ") == 1);
	ck_assert_uint_eq(
	    logged(&o.bench, NONE, "responder=http://127.0.0.1:1/"), 1);
	ck_assert_uint_eq(logged(&o.bench, NONE, "stapled=nothing"), 1);
	certificate_put(c);
	/* The same with one that can be counted. */
	atomic_store(&o.responder.status, 500);
	keep_only(&o, o.a);
	for (unsigned i = 0; i < ARRAY_COUNT(pauses_s); i++) {
		WAIT_FOR(asked(&o) == 1 + 3 * i);
		ask_for_other(&o, 2 + 3 * i);
		atomic_fetch_add(
		    &passed_ms, (uint64_t)(pauses_s[i] - 30) * 1000);
		ask_for_other(&o, 3 + 3 * i);
		atomic_fetch_add(&passed_ms, 30000);
		ck_assert_int_eq(stapler_replace(o.stapler, NULL, NULL), 0);
	}
	WAIT_FOR(asked(&o) == 1 + 3 * ARRAY_COUNT(pauses_s));
	WAIT_FOR(logged(&o.bench, NONE, "failures=8 ") == 1);
	ck_assert_uint_eq(logged(&o.bench, NONE, "failures=3 "), 0);
	ck_assert_uint_eq(logged(&o.bench, NONE, "failures=7 "), 0);
	ck_assert(!stapled(o.a));
	teardown(&o);
}
END_TEST

START_TEST(success_after_failure_is_told)
{
	struct one o;

	setup(&o);
	atomic_store(&o.responder.status, 500);
	keep_only(&o, o.a);
	WAIT_FOR(logged(&o.bench, NONE, NULL) == 1);
	atomic_store(&o.responder.status, 200);
	/* A reload tries at once. */
	keep_only(&o, o.a);
	WAIT_FOR(stapled(o.a));
	WAIT_FOR(logged(&o.bench, "level=info", STAPLED) == 1);
	teardown(&o);
}
END_TEST

START_TEST(the_last_answer_stays)
{
	struct one o;

	setup(&o);
	keep_only(&o, o.a);
	WAIT_FOR(logged(&o.bench, STAPLED, NULL) == 1);
	atomic_store(&o.responder.status, 500);
	pass(&o, o.a, MADE_DAY + 1);
	WAIT_FOR(logged(&o.bench, NONE, NULL) == 1);
	ck_assert(stapled(o.a));
	ck_assert_uint_eq(logged(&o.bench, NONE, "still the last"), 1);
	teardown(&o);
}
END_TEST

START_TEST(who_is_revoked_is_not_stapled)
{
	struct one o;

	setup(&o);
	atomic_store(&o.responder.revoked, true);
	keep_only(&o, o.a);
	WAIT_FOR(logged(&o.bench, NONE, "revoked") == 1);
	ck_assert(!stapled(o.a));
	teardown(&o);
}
END_TEST

/* The same leaf read again, as a reload does. */
static struct certificate *
read_again(const struct one *o, struct made *leaf)
{
	const char *chain = join(leaf->crt, o->bench.ca->crt, NULL);
	char storage[512];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	return certificate_parse(
	    span_text(chain), span_text(leaf->key_pem), &error);
}

START_TEST(the_same_leaf_inherits)
{
	struct one o;
	struct made *leaf;
	struct certificate *first, *second, *third;

	setup(&o);
	leaf = make((struct recipe){ .issuer = o.bench.ca,
	    .names = "DNS:a.test",
	    .ocsp_url = o.responder.url });
	first = read_again(&o, leaf);
	second = read_again(&o, leaf);
	third = read_again(&o, leaf);
	keep_only(&o, first);
	WAIT_FOR(logged(&o.bench, STAPLED, NULL) == 1);
	keep_only(&o, second);
	ck_assert(stapled(second));
	ck_assert_int_eq(stapler_replace(o.stapler, second, third), 0);
	ck_assert(stapled(third));
	ck_assert_uint_eq(asked(&o), 1);
	/* And its answer is fetched again in time. */
	atomic_fetch_add(&passed_ms, UINT64_C(1000) * (MADE_DAY + 1));
	ck_assert_int_eq(stapler_replace(o.stapler, NULL, NULL), 0);
	WAIT_FOR(asked(&o) == 2);
	WAIT_FOR(logged(&o.bench, STAPLED, NULL) == 2);
	certificate_put(first);
	certificate_put(second);
	certificate_put(third);
	teardown(&o);
}
END_TEST

/* Whoever has not been asked for when `b` is stapled was not due: it would have
 * been its turn before. */
static void
nobody_else_is_due(struct one *o, unsigned total)
{
	ck_assert_int_eq(stapler_replace(o->stapler, NULL, o->b), 0);
	WAIT_FOR(stapled(o->b));
	ck_assert_uint_eq(asked(o), total + 1);
}

/* Read again by a reload, or since its files were touched, while the responder
 * was asked: who has its place then needs the answer. */
START_TEST(an_answer_is_for_who_came_meanwhile)
{
	struct one o;
	struct made *leaf;
	struct certificate *first, *second;

	setup(&o);
	leaf = make((struct recipe){ .issuer = o.bench.ca,
	    .names = "DNS:a.test",
	    .ocsp_url = o.responder.url });
	first = read_again(&o, leaf);
	second = read_again(&o, leaf);
	atomic_store(&o.responder.held, true);
	keep_only(&o, first);
	WAIT_FOR(asked(&o) == 1);
	if (_i == 0)
		keep_only(&o, second);
	else
		ck_assert_int_eq(stapler_replace(o.stapler, first, second), 0);
	ck_assert(!stapled(second));
	responder_release(&o.responder);
	WAIT_FOR(stapled(second));
	nobody_else_is_due(&o, 1);
	certificate_put(first);
	certificate_put(second);
	teardown(&o);
}
END_TEST

/* Labels that share a certificate have one each when they are read again. */
START_TEST(who_shared_inherits)
{
	struct one o;
	struct made *leaf;
	struct certificate *shared, *first, *second;

	setup(&o);
	leaf = make((struct recipe){ .issuer = o.bench.ca,
	    .names = "DNS:a.test",
	    .ocsp_url = o.responder.url });
	shared = read_again(&o, leaf);
	first = read_again(&o, leaf);
	second = read_again(&o, leaf);
	keep_only(&o, shared);
	WAIT_FOR(logged(&o.bench, STAPLED, NULL) == 1);
	ck_assert_int_eq(stapler_replace(o.stapler, shared, first), 0);
	ck_assert(stapled(first));
	ck_assert_int_eq(stapler_replace(o.stapler, shared, second), 0);
	ck_assert(stapled(second));
	nobody_else_is_due(&o, 1);
	certificate_put(shared);
	certificate_put(first);
	certificate_put(second);
	teardown(&o);
}
END_TEST

START_TEST(another_leaf_is_asked_for)
{
	struct one o;

	setup(&o);
	keep_only(&o, o.a);
	WAIT_FOR(logged(&o.bench, STAPLED, NULL) == 1);
	ck_assert_int_eq(stapler_replace(o.stapler, o.a, o.b), 0);
	ck_assert(!stapled(o.b));
	WAIT_FOR(stapled(o.b));
	WAIT_FOR(logged(&o.bench, STAPLED, NULL) == 2);
	ck_assert_uint_eq(asked(&o), 2);
	teardown(&o);
}
END_TEST

/* An old answer is of no use to who comes after. */
START_TEST(an_answer_that_ran_out_is_not_inherited)
{
	struct one o;
	struct made *leaf;
	struct certificate *first, *second;

	setup(&o);
	leaf = make((struct recipe){ .issuer = o.bench.ca,
	    .names = "DNS:a.test",
	    .ocsp_url = o.responder.url });
	first = read_again(&o, leaf);
	second = read_again(&o, leaf);
	atomic_store(&o.responder.status, 500);
	keep_only(&o, first);
	WAIT_FOR(logged(&o.bench, NONE, NULL) == 1);
	keep_only(&o, second);
	ck_assert(!stapled(second));
	WAIT_FOR(asked(&o) == 2);
	certificate_put(first);
	certificate_put(second);
	teardown(&o);
}
END_TEST

START_TEST(it_ends_while_it_asks)
{
	struct one o;
	uint64_t begun_ms;

	setup(&o);
	atomic_store(&o.responder.silent, true);
	keep_only(&o, o.a);
	WAIT_FOR(asked(&o) == 1);
	begun_ms = __real_clock_ms();
	stapler_free(o.stapler);
	o.stapler = NULL;
	ck_assert_uint_lt(__real_clock_ms() - begun_ms, 5000);
	teardown(&o);
}
END_TEST

/* What comes for one that was dropped meanwhile hurts nobody. */
START_TEST(a_late_answer)
{
	struct one o;

	setup(&o);
	atomic_store(&o.responder.silent, true);
	keep_only(&o, o.a);
	WAIT_FOR(asked(&o) == 1);
	ck_assert_int_eq(stapler_set(o.stapler, NULL, 0), 0);
	shutdown(atomic_load(&o.responder.talking_to), 2);
	atomic_store(&o.responder.silent, false);
	keep_only(&o, o.b);
	WAIT_FOR(stapled(o.b));
	ck_assert_uint_eq(logged(&o.bench, NONE, "failures=1 "), 0);
	teardown(&o);
}
END_TEST

START_TEST(without_memory)
{
	struct one o;
	struct stapler *s;
	unsigned done = 0;

	setup(&o);
	for (unsigned every = 1; every < 12; every++) {
		int r = -ENOMEM;

		fault_set(&malloc_fault, every, ENOMEM);
		fault_set(&calloc_fault, every, ENOMEM);
		fault_set(&realloc_fault, every, ENOMEM);
		UNDER_FAULTS(s = stapler_new());
		if (!s)
			continue;
		UNDER_FAULTS(r = stapler_set(s, &o.a, 1));
		ck_assert(r == 0 || r == -ENOMEM);
		UNDER_FAULTS(r = stapler_replace(s, o.a, o.b));
		ck_assert(r == 0 || r == -ENOMEM);
		UNDER_FAULTS(r = stapler_set(s, &o.b, 1));
		done += r == 0;
		stapler_free(s);
	}
	ck_assert_uint_gt(done, 0);
	stapler_free(NULL);
	teardown(&o);
}
END_TEST

static void
add_tests(TCase *t)
{
	tcase_add_test(t, answers_are_fetched_at_once);
	tcase_add_test(t, answers_are_fetched_again);
	tcase_add_test(t, failures_wait_longer_and_longer);
	tcase_add_test(t, success_after_failure_is_told);
	tcase_add_test(t, the_last_answer_stays);
	tcase_add_test(t, who_is_revoked_is_not_stapled);
	tcase_add_test(t, the_same_leaf_inherits);
	tcase_add_loop_test(t, an_answer_is_for_who_came_meanwhile, 0, 2);
	tcase_add_test(t, who_shared_inherits);
	tcase_add_test(t, another_leaf_is_asked_for);
	tcase_add_test(t, an_answer_that_ran_out_is_not_inherited);
	tcase_add_test(t, it_ends_while_it_asks);
	tcase_add_test(t, a_late_answer);
	tcase_add_test(t, without_memory);
}

UNIT_MAIN("stapler", add_tests)
