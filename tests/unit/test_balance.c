#include "unit.h"

#include <pthread.h>
#include <stdio.h>

#include "engine/balance.h"

#define NOW 1000

struct group {
	struct upstreams *table;
	struct balancer *balancer;
};

/* Upstreams "u0:1", "u1:1", ... with these weights. */
static struct group
group(enum balance method, const unsigned *weights, size_t count)
{
	struct upstream_settings *settings =
	    calloc(count, sizeof(struct upstream_settings));
	struct group g = { .table = upstreams_new() };

	for (size_t i = 0; i < count; i++) {
		snprintf(settings[i].address.text,
		    sizeof(settings[i].address.text), "u%zu:1", i);
		settings[i].weight = weights ? weights[i] : 1;
	}
	g.balancer = balancer_new(g.table, method, settings, count);
	ck_assert_ptr_nonnull(g.balancer);
	free(settings);
	return g;
}

static void
group_free(struct group *g)
{
	balancer_free(g->balancer);
	upstreams_free(g->table); /* asserts that no reference is left */
}

static size_t
index_of(const struct group *g, const struct upstream *u)
{
	for (size_t i = 0; i < balancer_count(g->balancer); i++)
		if (balancer_at(g->balancer, i) == u)
			return i;
	ck_abort_msg("not a member");
	return 0;
}

static size_t
pick(const struct group *g, const char *key)
{
	struct balancer_tried tried = { { 0 } };
	struct upstream *u =
	    balancer_pick(g->balancer, span_text(key), &tried, NOW);
	size_t index = index_of(g, u);

	ck_assert(tried.bits[index / 64] >> (index % 64) & 1);
	upstream_put(u);
	return index;
}

static void
take_down(const struct group *g, size_t index, bool down)
{
	atomic_store(&balancer_at(g->balancer, index)->down, down);
}

static void
set_active(const struct group *g, size_t index, unsigned active)
{
	atomic_store(&balancer_at(g->balancer, index)->active_count, active);
}

START_TEST(round_robin_is_smooth)
{
	static const unsigned weights[] = { 5, 1, 1 };
	static const size_t expected[] = { 0, 0, 1, 0, 2, 0, 0 };
	struct group g = group(BALANCE_ROUND_ROBIN, weights, 3);

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < ARRAY_COUNT(expected); i++)
			ck_assert_uint_eq(pick(&g, NULL), expected[i]);
	group_free(&g);
}
END_TEST

START_TEST(round_robin_shares_a_lost_members_part)
{
	struct group g = group(BALANCE_ROUND_ROBIN, NULL, 4);
	int seen[4] = { 0 };

	take_down(&g, 2, true);
	for (int i = 0; i < 300; i++)
		seen[pick(&g, NULL)]++;
	ck_assert_int_eq(seen[0], 100);
	ck_assert_int_eq(seen[1], 100);
	ck_assert_int_eq(seen[2], 0);
	ck_assert_int_eq(seen[3], 100);
	/* Back again it is not flooded to make up for its absence. */
	take_down(&g, 2, false);
	memset(seen, 0, sizeof(seen));
	for (int i = 0; i < 8; i++)
		seen[pick(&g, NULL)]++;
	ck_assert_int_eq(seen[2], 2);
	group_free(&g);
}
END_TEST

START_TEST(least_connections_counts_by_weight)
{
	static const unsigned weights[] = { 1, 4, 2 };
	struct group g = group(BALANCE_LEAST_CONNECTIONS, weights, 3);

	set_active(&g, 0, 3);  /* 3.00 a unit */
	set_active(&g, 1, 10); /* 2.50 */
	set_active(&g, 2, 6);  /* 3.00 */
	ck_assert_uint_eq(pick(&g, NULL), 1);
	set_active(&g, 1, 13); /* 3.25 */
	set_active(&g, 2, 5);  /* 2.50 */
	ck_assert_uint_eq(pick(&g, NULL), 2);
	take_down(&g, 2, true);
	ck_assert_uint_eq(pick(&g, NULL), 0);
	group_free(&g);
}
END_TEST

START_TEST(least_connections_takes_turns_among_equals)
{
	struct group g = group(BALANCE_LEAST_CONNECTIONS, NULL, 4);
	int seen[4] = { 0 };

	set_active(&g, 3, 7);
	for (int i = 0; i < 30; i++)
		seen[pick(&g, NULL)]++;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(seen[i], 10);
	ck_assert_int_eq(seen[3], 0);
	/* Held connections spread exactly. */
	for (int i = 0; i < 400; i++) {
		size_t at = pick(&g, NULL);
		struct upstream *u = balancer_at(g.balancer, at);

		atomic_fetch_add(&u->active_count, 1);
	}
	for (size_t i = 0; i < 4; i++) {
		unsigned active =
		    atomic_load(&balancer_at(g.balancer, i)->active_count);

		ck_assert_uint_ge(active, 101);
		ck_assert_uint_le(active, 102);
	}
	group_free(&g);
}
END_TEST

START_TEST(random_two_avoids_the_busiest)
{
	struct group g = group(BALANCE_RANDOM_TWO, NULL, 4);
	int seen[4] = { 0 };

	set_active(&g, 0, 100);
	for (int i = 0; i < 6000; i++)
		seen[pick(&g, NULL)]++;
	/* The busiest of all loses against whoever else is drawn. */
	ck_assert_int_eq(seen[0], 0);
	for (int i = 1; i < 4; i++)
		ck_assert_int_gt(seen[i], 1500);
	group_free(&g);
}
END_TEST

START_TEST(random_two_draws_by_weight)
{
	static const unsigned weights[] = { 8, 1, 1 };
	struct group g = group(BALANCE_RANDOM_TWO, weights, 3);
	int seen[3] = { 0 };

	/* All idle: the first draw stands. */
	for (int i = 0; i < 10000; i++)
		seen[pick(&g, NULL)]++;
	ck_assert_int_gt(seen[0], 7600);
	ck_assert_int_lt(seen[0], 8400);
	ck_assert_int_gt(seen[1], 800);
	ck_assert_int_gt(seen[2], 800);
	group_free(&g);
}
END_TEST

#define KEYS 20000

static void
map_keys(const struct group *g, uint16_t *map)
{
	char key[32];

	for (int i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "192.0.2.%d", i);
		map[i] = (uint16_t)pick(g, key);
	}
}

START_TEST(hash_keeps_keys_and_moves_few)
{
	static uint16_t before[KEYS], during[KEYS], after[KEYS];
	struct group g = group(BALANCE_HASH, NULL, 10);
	int moved = 0, seen[10] = { 0 };

	map_keys(&g, before);
	for (int i = 0; i < KEYS; i++)
		seen[before[i]]++;
	for (int i = 0; i < 10; i++) {
		ck_assert_int_gt(seen[i], KEYS / 10 * 7 / 10);
		ck_assert_int_lt(seen[i], KEYS / 10 * 13 / 10);
	}
	take_down(&g, 4, true);
	map_keys(&g, during);
	for (int i = 0; i < KEYS; i++) {
		ck_assert_uint_ne(during[i], 4);
		if (before[i] != 4)
			ck_assert_uint_eq(during[i], before[i]);
		else
			moved++;
	}
	ck_assert_int_eq(moved, seen[4]);
	take_down(&g, 4, false);
	map_keys(&g, after);
	ck_assert(!memcmp(before, after, sizeof(before)));
	group_free(&g);
}
END_TEST

START_TEST(hash_is_the_same_in_every_list_and_process)
{
	struct upstream_settings settings[4];
	static uint16_t forward[KEYS], backward[KEYS];
	struct group g = group(BALANCE_HASH, NULL, 4), h;

	memset(settings, 0, sizeof(settings));
	for (size_t i = 0; i < 4; i++) {
		snprintf(settings[i].address.text,
		    sizeof(settings[i].address.text), "u%zu:1", 3 - i);
		settings[i].weight = 1;
	}
	h.table = upstreams_new();
	h.balancer = balancer_new(h.table, BALANCE_HASH, settings, 4);
	map_keys(&g, forward);
	map_keys(&h, backward);
	for (int i = 0; i < KEYS; i++)
		ck_assert_uint_eq(forward[i], 3u - backward[i]);
	group_free(&h);
	group_free(&g);
}
END_TEST

START_TEST(hash_follows_weights)
{
	static const unsigned weights[] = { 1, 3 };
	static uint16_t map[KEYS];
	struct group g = group(BALANCE_HASH, weights, 2);
	int second = 0;

	map_keys(&g, map);
	for (int i = 0; i < KEYS; i++)
		second += map[i];
	ck_assert_int_gt(second, KEYS * 66 / 100);
	ck_assert_int_lt(second, KEYS * 84 / 100);
	group_free(&g);
}
END_TEST

START_TEST(hash_without_a_key_takes_turns)
{
	struct group g = group(BALANCE_HASH, NULL, 3);
	int seen[3] = { 0 };

	for (int i = 0; i < 30; i++)
		seen[pick(&g, NULL)]++;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(seen[i], 10);
	group_free(&g);
}
END_TEST

START_TEST(the_heaviest_ring_is_bounded)
{
	unsigned weights[BALANCER_MAX_UPSTREAMS];
	struct group g;

	for (size_t i = 0; i < ARRAY_COUNT(weights); i++)
		weights[i] = i == 0 ? 100000 : 256;
	g = group(BALANCE_HASH, weights, ARRAY_COUNT(weights));
	ck_assert_uint_eq(pick(&g, "key"), pick(&g, "key"));
	group_free(&g);
}
END_TEST

/* Every method gives every member exactly once, those that are up first, and
 * then NULL. */
START_TEST(each_is_tried_once_and_the_ones_that_are_up_first)
{
	struct group g = group((enum balance)_i, NULL, 100);
	struct balancer_tried tried = { { 0 } };
	bool seen[100] = { false };
	struct upstream *u;

	for (size_t i = 0; i < 100; i += 2)
		take_down(&g, i, true);
	for (int n = 0; n < 100; n++) {
		size_t at;

		u = balancer_pick(g.balancer, span_text("k"), &tried, NOW);
		ck_assert_ptr_nonnull(u);
		at = index_of(&g, u);
		ck_assert(!seen[at]);
		ck_assert_uint_eq(at % 2, n < 50);
		seen[at] = true;
		upstream_put(u);
	}
	ck_assert_ptr_null(
	    balancer_pick(g.balancer, span_text("k"), &tried, NOW));
	group_free(&g);
}
END_TEST

START_TEST(all_down_still_answers)
{
	struct group g = group((enum balance)_i, NULL, 3);

	for (size_t i = 0; i < 3; i++)
		take_down(&g, i, true);
	for (int i = 0; i < 20; i++)
		ck_assert_uint_lt(pick(&g, "k"), 3);
	group_free(&g);
}
END_TEST

START_TEST(one_alone)
{
	struct group g = group((enum balance)_i, NULL, 1);

	ck_assert_uint_eq(pick(&g, "k"), 0);
	ck_assert_uint_eq(pick(&g, NULL), 0);
	group_free(&g);
}
END_TEST

static void *
pick_many(void *arg)
{
	struct group *g = arg;

	for (int i = 0; i < 10000; i++)
		pick(g, i % 2 ? "k" : NULL);
	return NULL;
}

START_TEST(threads_share_a_balancer)
{
	struct group g = group((enum balance)_i, NULL, 5);
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, pick_many, &g), 0);
	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	group_free(&g);
}
END_TEST

START_TEST(words)
{
	enum balance b;

	for (int i = 0; i <= BALANCE_HASH; i++) {
		ck_assert_int_eq(
		    balance_parse(span_text(balance_name((enum balance)i)), &b),
		    0);
		ck_assert_int_eq(b, i);
	}
	ck_assert_str_eq(
	    balance_name(BALANCE_LEAST_CONNECTIONS), "least_connections");
	ck_assert_int_lt(balance_parse(span_text("Hash"), &b), 0);
	ck_assert_int_lt(balance_parse(span_text(""), &b), 0);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	int methods = BALANCE_HASH + 1;

	tcase_add_test(tcase, round_robin_is_smooth);
	tcase_add_test(tcase, round_robin_shares_a_lost_members_part);
	tcase_add_test(tcase, least_connections_counts_by_weight);
	tcase_add_test(tcase, least_connections_takes_turns_among_equals);
	tcase_add_test(tcase, random_two_avoids_the_busiest);
	tcase_add_test(tcase, random_two_draws_by_weight);
	tcase_add_test(tcase, hash_keeps_keys_and_moves_few);
	tcase_add_test(tcase, hash_is_the_same_in_every_list_and_process);
	tcase_add_test(tcase, hash_follows_weights);
	tcase_add_test(tcase, hash_without_a_key_takes_turns);
	tcase_add_test(tcase, the_heaviest_ring_is_bounded);
	tcase_add_loop_test(tcase,
	    each_is_tried_once_and_the_ones_that_are_up_first, 0, methods);
	tcase_add_loop_test(tcase, all_down_still_answers, 0, methods);
	tcase_add_loop_test(tcase, one_alone, 0, methods);
	tcase_add_loop_test(tcase, threads_share_a_balancer, 0, methods);
	tcase_add_test(tcase, words);
}

UNIT_MAIN_TOGETHER("balance", add_tests)
