#include "unit.h"

#include "base/hash.h"
#include "sys/timeouts.h"

static struct timeouts ts;

struct probe {
	struct timeout timeout;
	unsigned fired;
	uint64_t again_ms;    /* set again for then by the handler */
	struct probe *clears; /* cleared by the handler */
	struct probe *delays; /* moved an hour off by the handler */
};

static void
on_probe(struct timeout *t)
{
	struct probe *p = CONTAINER_OF(t, struct probe, timeout);

	ck_assert(!timeout_is_set(t));
	p->fired++;
	if (p->again_ms > 0)
		timeouts_set(&ts, t, p->again_ms);
	if (p->clears)
		timeouts_clear(&ts, &p->clears->timeout);
	if (p->delays)
		timeouts_set(&ts, &p->delays->timeout, ts.now_ms + 3600000);
}

static void
probe_init(struct probe *p)
{
	*p = (struct probe){ .fired = 0 };
	timeout_init(&p->timeout, on_probe);
}

START_TEST(a_deadline_fires_within_a_slot_after_its_time)
{
	/* Below, at and beyond one rotation of 8,192 ms. */
	static const uint64_t durations[] = { 1, 15, 16, 17, 100, 8175, 8176,
		8191, 8192, 8193, 20000, 86400000 };
	uint64_t start = 1000003, deadline = start + durations[_i], now = start;
	struct probe p;

	timeouts_init(&ts, start);
	probe_init(&p);
	ck_assert_int_eq(timeouts_wait_ms(&ts, now), -1);
	timeouts_set(&ts, &p.timeout, deadline);
	ck_assert(timeout_is_set(&p.timeout));
	while (p.fired == 0) {
		int wait = timeouts_wait_ms(&ts, now);

		ck_assert_int_gt(wait, 0);
		now += (uint64_t)wait;
		timeouts_run(&ts, now);
	}
	ck_assert_uint_ge(now, deadline);
	ck_assert_uint_lt(now, deadline + TIMEOUTS_SLOT_MS);
	ck_assert_int_eq(timeouts_wait_ms(&ts, now), -1);
}
END_TEST

START_TEST(a_passed_deadline_fires_at_the_next_run)
{
	struct probe p;

	timeouts_init(&ts, 5000);
	probe_init(&p);
	timeouts_set(&ts, &p.timeout, 10);
	ck_assert_int_eq(timeouts_wait_ms(&ts, 5000), 0);
	timeouts_run(&ts, 5000);
	ck_assert_uint_eq(p.fired, 1);
	timeouts_set(&ts, &p.timeout, 0);
	timeouts_run(&ts, 4000);
	ck_assert_uint_eq(p.fired, 2);
}
END_TEST

START_TEST(a_handler_may_set_itself_for_the_past)
{
	struct probe p;

	timeouts_init(&ts, 5000);
	probe_init(&p);
	p.again_ms = 1;
	timeouts_set(&ts, &p.timeout, 1);
	for (unsigned i = 1; i < 5; i++) {
		timeouts_run(&ts, 5000);
		ck_assert_uint_eq(p.fired, i);
		ck_assert_int_eq(timeouts_wait_ms(&ts, 5000), 0);
	}
	timeouts_clear(&ts, &p.timeout);
	ck_assert_int_eq(timeouts_wait_ms(&ts, 5000), -1);
}
END_TEST

START_TEST(a_handler_may_touch_others_that_are_due)
{
	struct probe first, cleared, delayed;

	timeouts_init(&ts, 5000);
	probe_init(&first);
	probe_init(&cleared);
	probe_init(&delayed);
	first.clears = &cleared;
	first.delays = &delayed;
	timeouts_set(&ts, &first.timeout, 5010);
	timeouts_set(&ts, &cleared.timeout, 5011);
	timeouts_set(&ts, &delayed.timeout, 5012);
	timeouts_run(&ts, 5040);
	ck_assert_uint_eq(first.fired, 1);
	ck_assert_uint_eq(cleared.fired, 0);
	ck_assert_uint_eq(delayed.fired, 0);
	ck_assert(timeout_is_set(&delayed.timeout));
	ck_assert_uint_eq(ts.count, 1);
	timeouts_run(&ts, 5040 + 3600016);
	ck_assert_uint_eq(delayed.fired, 1);
	ck_assert_uint_eq(ts.count, 0);
}
END_TEST

static int wait_in_handler;

static void
ask_for_wait(struct timeout *t)
{
	(void)t;
	wait_in_handler = timeouts_wait_ms(&ts, ts.now_ms);
}

START_TEST(a_handler_may_ask_how_long_to_wait)
{
	struct timeout a, b;

	timeouts_init(&ts, 5000);
	timeout_init(&a, ask_for_wait);
	timeout_init(&b, ask_for_wait);
	timeouts_set(&ts, &a, 5001);
	timeouts_set(&ts, &b, 5002);
	wait_in_handler = 77;
	timeouts_run(&ts, 5100);
	ck_assert_int_eq(wait_in_handler, -1);
}
END_TEST

START_TEST(a_move_later_is_one_store)
{
	struct probe p;

	timeouts_init(&ts, 5000);
	probe_init(&p);
	timeouts_set(&ts, &p.timeout, 5100);
	uint64_t queued = p.timeout.queued_ms;
	timeouts_set(&ts, &p.timeout, 9000);
	ck_assert_uint_eq(p.timeout.queued_ms, queued);
	timeouts_run(&ts, 5200);
	ck_assert_uint_eq(p.fired, 0);
	ck_assert_int_gt(timeouts_wait_ms(&ts, 5200), 3700);
	timeouts_set(&ts, &p.timeout, 5300);
	ck_assert_int_le(timeouts_wait_ms(&ts, 5200), 116);
	timeouts_run(&ts, 5316);
	ck_assert_uint_eq(p.fired, 1);
}
END_TEST

START_TEST(clearing_twice_is_harmless)
{
	struct probe p;

	timeouts_init(&ts, 0);
	probe_init(&p);
	timeouts_clear(&ts, &p.timeout);
	timeouts_set(&ts, &p.timeout, 50);
	timeouts_clear(&ts, &p.timeout);
	timeouts_clear(&ts, &p.timeout);
	ck_assert(!timeout_is_set(&p.timeout));
	ck_assert_int_eq(timeouts_wait_ms(&ts, 0), -1);
	timeouts_run(&ts, 100000);
	ck_assert_uint_eq(p.fired, 0);
}
END_TEST

#define PROBES 200

/* What the wheel must do, said with a plain list of deadlines. */
static uint64_t deadlines[PROBES];

static uint64_t
random_duration(void)
{
	switch (random_quick() % 4) {
	case 0:
		return random_quick() % 40;
	case 1:
		return random_quick() % 9000;
	case 2:
		return 8150 + random_quick() % 80;
	default:
		return random_quick() % 100000;
	}
}

static uint64_t
nearest_deadline(void)
{
	uint64_t nearest = UINT64_MAX;

	for (int i = 0; i < PROBES; i++)
		if (deadlines[i] != 0 && deadlines[i] < nearest)
			nearest = deadlines[i];
	return nearest;
}

static void
check_run(struct probe *probes, uint64_t now)
{
	for (int i = 0; i < PROBES; i++) {
		bool fired = probes[i].fired > 0;

		/* Deadlines of the last slot may still be to come. */
		if (deadlines[i] == 0 || deadlines[i] > now)
			QUICK_ASSERT(!fired);
		else if (deadlines[i] + TIMEOUTS_SLOT_MS <= now)
			QUICK_ASSERT(fired);
		if (fired)
			deadlines[i] = 0;
		probes[i].fired = 0;
		QUICK_ASSERT(
		    timeout_is_set(&probes[i].timeout) == (deadlines[i] != 0));
	}
}

START_TEST(the_wheel_agrees_with_a_plain_list)
{
	static struct probe probes[PROBES];
	uint64_t now = 1 + random_quick() % 100000;

	timeouts_init(&ts, now);
	for (int i = 0; i < PROBES; i++)
		probe_init(&probes[i]);
	for (int round = 0; round < 30000; round++) {
		size_t at = random_quick() % PROBES;

		if (random_quick() % 8 == 0) {
			timeouts_clear(&ts, &probes[at].timeout);
			deadlines[at] = 0;
		} else {
			deadlines[at] = now + random_duration();
			timeouts_set(&ts, &probes[at].timeout, deadlines[at]);
		}
		int wait = timeouts_wait_ms(&ts, now);
		uint64_t nearest = nearest_deadline();

		if (nearest == UINT64_MAX)
			QUICK_ASSERT(wait == -1);
		else
			QUICK_ASSERT(
			    wait >= 0 && now + (uint64_t)wait <
					     (nearest > now ? nearest : now) +
						 TIMEOUTS_SLOT_MS);
		if (random_quick() % 4)
			continue;
		now += random_quick() % 16 ? random_quick() % 60
					   : random_quick() % 20000;
		timeouts_run(&ts, now);
		check_run(probes, now);
	}
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, a_deadline_fires_within_a_slot_after_its_time, 0, 12);
	tcase_add_test(tcase, a_passed_deadline_fires_at_the_next_run);
	tcase_add_test(tcase, a_handler_may_set_itself_for_the_past);
	tcase_add_test(tcase, a_handler_may_touch_others_that_are_due);
	tcase_add_test(tcase, a_handler_may_ask_how_long_to_wait);
	tcase_add_test(tcase, a_move_later_is_one_store);
	tcase_add_test(tcase, clearing_twice_is_harmless);
	tcase_add_loop_test(tcase, the_wheel_agrees_with_a_plain_list, 0, 5);
}

UNIT_MAIN("timeouts", add_tests)
