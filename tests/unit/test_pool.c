#include "unit.h"

#include <stdio.h>

#include "engine/pool.h"

static struct upstreams *upstreams;
static struct pools *pools;
static char message[256];
static struct text error;

static const struct span some[] = {
	{ (const uint8_t *)"192.0.2.1:1", 11 },
	{ (const uint8_t *)"192.0.2.2:1", 11 },
	{ (const uint8_t *)"192.0.2.3:1", 11 },
};
static const unsigned weights[] = { 1, 2, 3 };

static void
setup(void)
{
	upstreams = upstreams_new();
	pools = pools_new(upstreams);
	ck_assert(upstreams && pools);
	text_init(&error, message, sizeof(message));
}

/* Both assert that nothing is left. */
static void
teardown(void)
{
	pools_free(pools);
	upstreams_free(upstreams);
}

static struct policy_pool_settings
plain(void)
{
	return (struct policy_pool_settings){
		.balance = "round_robin",
		.addresses = some,
		.count = 2,
	};
}

START_TEST(the_same_settings_are_the_same_pool)
{
	struct policy_pool_settings s = plain();
	struct pool *one = pool_open(pools, &s, &error);
	struct pool *two = pool_open(pools, &s, &error);

	ck_assert_ptr_nonnull(one);
	ck_assert_ptr_eq(one, two);
	pool_close(one);
	ck_assert_uint_eq(balancer_count(pool_balancer(two)), 2);
	pool_close(two);
	one = pool_open(pools, &s, &error); /* made again */
	ck_assert_ptr_nonnull(one);
	pool_close(one);
}
END_TEST

START_TEST(other_settings_are_another_pool)
{
	struct policy_pool_settings s[6];
	struct pool *opened[6];

	for (int i = 0; i < 6; i++)
		s[i] = plain();
	s[1].balance = "hash";
	s[2].count = 1;
	s[3].addresses = some + 1;
	s[4].weights = weights;
	s[5].health_every_ms = 1000;
	s[5].fall = s[5].rise = 1;
	for (int i = 0; i < 6; i++) {
		opened[i] = pool_open(pools, &s[i], &error);
		ck_assert_ptr_nonnull(opened[i]);
		for (int j = 0; j < i; j++)
			ck_assert_ptr_ne(opened[i], opened[j]);
	}
	/* But an upstream is one, whoever leads to it. */
	ck_assert_ptr_eq(balancer_at(pool_balancer(opened[0]), 1),
	    balancer_at(pool_balancer(opened[3]), 0));
	for (int i = 0; i < 6; i++)
		pool_close(opened[i]);
}
END_TEST

START_TEST(wrong_settings_are_explained)
{
	static const struct span bad[] = {
		{ (const uint8_t *)"192.0.2.1:1", 11 },
		{ (const uint8_t *)"nonsense", 8 },
	};
	struct policy_pool_settings s = plain();

	s.balance = "best";
	ck_assert_ptr_null(pool_open(pools, &s, &error));
	ck_assert_str_eq(message, "unknown balance method 'best'");
	s = plain();
	s.addresses = bad;
	text_clear(&error);
	ck_assert_ptr_null(pool_open(pools, &s, &error));
	ck_assert_uint_gt(error.len, 0);
	text_clear(&error);
	s.count = 0;
	ck_assert_ptr_null(pool_open(pools, &s, &error));
	ck_assert_str_eq(message, "a pool takes 1 to 256 upstreams");
}
END_TEST

START_TEST(too_many_are_explained)
{
	static struct span many[BALANCER_MAX_UPSTREAMS + 1];
	static char texts[BALANCER_MAX_UPSTREAMS + 1][32];
	struct policy_pool_settings s = plain();
	struct pool *pool;

	for (unsigned i = 0; i < ARRAY_COUNT(many); i++) {
		snprintf(texts[i], sizeof(texts[i]), "192.0.2.1:%u", i + 1);
		many[i] = span_text(texts[i]);
	}
	s.addresses = many;
	s.count = BALANCER_MAX_UPSTREAMS + 1;
	ck_assert_ptr_null(pool_open(pools, &s, &error));
	ck_assert_uint_gt(error.len, 0);
	s.count--;
	pool = pool_open(pools, &s, &error);
	ck_assert_ptr_nonnull(pool);
	pool_close(pool);
}
END_TEST

START_TEST(what_is_to_be_checked_is_listed)
{
	struct policy_pool_settings s = plain(), t = plain();
	struct health_target targets[8];
	struct pool *checked, *other;
	size_t count;

	s.health_every_ms = 500;
	s.fall = 3;
	s.rise = 2;
	s.count = 3;
	checked = pool_open(pools, &s, &error);
	other = pool_open(pools, &t, &error);
	ck_assert(checked && other);
	count = pools_health_targets(pools, targets, 8);
	ck_assert_uint_eq(count, 3);
	for (size_t i = 0; i < count; i++) {
		ck_assert_uint_eq(targets[i].settings.fall, 3);
		upstream_put(targets[i].upstream);
	}
	/* Too little room: as many as fit, and how many there are. */
	ck_assert_uint_eq(pools_health_targets(pools, targets, 1), 3);
	upstream_put(targets[0].upstream);
	pool_close(checked);
	ck_assert_uint_eq(pools_health_targets(pools, targets, 8), 0);
	pool_close(other);
	pools_free(NULL);
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, the_same_settings_are_the_same_pool);
	tcase_add_test(tcase, other_settings_are_another_pool);
	tcase_add_test(tcase, wrong_settings_are_explained);
	tcase_add_test(tcase, too_many_are_explained);
	tcase_add_test(tcase, what_is_to_be_checked_is_listed);
}

UNIT_MAIN("pool", add)
