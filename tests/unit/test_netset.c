#include "unit.h"

#include "base/hash.h"
#include "base/netset.h"
#include "faults.h"

FAULT(realloc);

void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);

void *
__wrap_realloc(void *p, size_t size)
{
	return fault_hits(&realloc_fault) ? NULL : __real_realloc(p, size);
}

static struct network
network(const char *text)
{
	struct network n;
	const char *why = "";

	ck_assert_msg(
	    network_parse(span_text(text), &n, &why) == 0, "%s: %s", text, why);
	return n;
}

static void
add(struct netset *set, const char *text, uint32_t value)
{
	struct network n = network(text);

	ck_assert_int_eq(netset_add(set, &n, value), 0);
}

/* The value found for an address, -1 for none. */
static int64_t
find(const struct netset *set, const char *text)
{
	struct addr a;
	uint32_t value;

	ck_assert_int_eq(addr_parse(span_text(text), &a), 0);
	return netset_lookup(set, &a, &value) ? (int64_t)value : -1;
}

START_TEST(the_longest_match_wins)
{
	struct netset *set = netset_new();

	ck_assert_int_eq(find(set, "10.0.0.1"), -1);
	add(set, "10.1.2.0/24", 3);
	add(set, "10.0.0.0/8", 1);
	add(set, "10.1.0.0/16", 2);
	add(set, "10.1.2.3", 4);
	add(set, "2001:db8::/32", 5);
	add(set, "2001:db8::1", 6);
	ck_assert_int_eq(find(set, "10.9.9.9"), 1);
	ck_assert_int_eq(find(set, "10.1.9.9"), 2);
	ck_assert_int_eq(find(set, "10.1.2.9"), 3);
	ck_assert_int_eq(find(set, "10.1.2.3"), 4);
	ck_assert_int_eq(find(set, "11.0.0.0"), -1);
	ck_assert_int_eq(find(set, "2001:db8::2"), 5);
	ck_assert_int_eq(find(set, "2001:db8::1"), 6);
	ck_assert_int_eq(find(set, "2001:db9::1"), -1);
	ck_assert_int_eq(find(set, "::ffff:10.1.2.3"), 4);
	ck_assert_uint_eq(netset_count(set), 6);
	add(set, "10.0.0.0/8", 9);
	ck_assert_uint_eq(netset_count(set), 6);
	ck_assert_int_eq(find(set, "10.9.9.9"), 9);
	add(set, "0.0.0.0/0", 7);
	ck_assert_int_eq(find(set, "11.0.0.0"), 7);
	ck_assert_int_eq(find(set, "::1"), -1);
	add(set, "::/0", 8);
	ck_assert_int_eq(find(set, "::1"), 8);
	netset_free(set);
	netset_free(NULL);
}
END_TEST

START_TEST(unknown_peers_are_in_no_set)
{
	struct netset *set = netset_new();
	struct addr none = { .family = ADDR_NONE },
		    un = { .family = ADDR_UNIX };

	add(set, "0.0.0.0/0", 1);
	add(set, "::/0", 1);
	ck_assert(!netset_lookup(set, &none, NULL));
	ck_assert(!netset_lookup(set, &un, NULL));
	netset_free(set);
}
END_TEST

#define NETWORKS 600

static void
clear_beyond(struct network *n)
{
	unsigned bits = n->base.family == ADDR_IP4 ? 32 : 128;

	for (unsigned i = n->prefix; i < bits; i++)
		n->base.bytes[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

/* Few different bytes, so that networks nest and share long prefixes. */
static struct addr
random_addr(bool ip4)
{
	static const uint8_t bytes[] = { 0x00, 0x01, 0x80, 0xff };
	struct addr a = { .family = ip4 ? ADDR_IP4 : ADDR_IP6 };

	for (int i = 0; i < (ip4 ? 4 : 16); i++)
		a.bytes[i] = i < 8 || random_quick() % 2
				 ? bytes[random_quick() % 4]
				 : (uint8_t)random_quick();
	return a;
}

static int64_t
naive_find(const struct network *list, size_t count, const struct addr *a)
{
	int64_t best = -1, best_prefix = -1;

	for (size_t i = 0; i < count; i++) {
		if (!network_contains(&list[i], a))
			continue;
		if (list[i].prefix >= best_prefix) {
			best_prefix = list[i].prefix;
			best = (int64_t)i;
		}
	}
	return best;
}

static size_t
naive_count(const struct network *list, size_t count)
{
	size_t distinct = 0;

	for (size_t i = 0; i < count; i++) {
		size_t at = 0;

		while (list[at].prefix != list[i].prefix ||
		       !addr_same_ip(&list[at].base, &list[i].base))
			at++;
		distinct += at == i;
	}
	return distinct;
}

START_TEST(lookups_agree_with_a_plain_list)
{
	static struct network list[NETWORKS];
	struct netset *set = netset_new();

	for (uint32_t i = 0; i < NETWORKS; i++) {
		bool ip4 = random_quick() % 2;

		list[i].base = random_addr(ip4);
		list[i].prefix = (uint8_t)(random_quick() % (ip4 ? 33 : 129));
		if (random_quick() % 4 == 0)
			list[i].prefix = ip4 ? 32 : 128;
		clear_beyond(&list[i]);
		ck_assert_int_eq(netset_add(set, &list[i], i), 0);
	}
	ck_assert_uint_eq(netset_count(set), naive_count(list, NETWORKS));
	for (int round = 0; round < 5000; round++) {
		struct addr a = round < NETWORKS ? list[round].base
						 : random_addr(round % 2);
		int64_t expected = naive_find(list, NETWORKS, &a);
		uint32_t value;

		ck_assert(netset_lookup(set, &a, &value) == (expected >= 0));
		if (expected >= 0)
			ck_assert_int_eq(value, expected);
	}
	netset_free(set);
}
END_TEST

START_TEST(without_memory_the_set_stays)
{
	struct netset *set = netset_new();
	uint32_t added = 0;

	fault_set(&realloc_fault, 2, ENOMEM);
	for (uint32_t i = 0; i < 1000; i++) {
		struct network n = {
			{ .family = ADDR_IP4,
			    .bytes = { 10, (uint8_t)(i >> 8), (uint8_t)i } },
			24
		};
		int err;
		uint32_t value = i + 1;

		UNDER_FAULTS(err = netset_add(set, &n, i));
		ck_assert(err == 0 || err == -ENOMEM);
		ck_assert(netset_lookup(set, &n.base, &value) == (err == 0));
		added += err == 0;
		ck_assert_uint_eq(netset_count(set), added);
	}
	ck_assert_uint_gt(atomic_load(&realloc_fault.hits), 0);
	fault_set(&realloc_fault, 0, 0);
	netset_free(set);
}
END_TEST

START_TEST(a_hundred_thousand_networks_stay_compact)
{
	struct netset *set = netset_new();
	uint32_t value;

	for (uint32_t i = 0; i < 100000; i++) {
		uint32_t mixed = i * 2654435761u;
		struct network n = { { .family = ADDR_IP4,
					 .bytes = { (uint8_t)(mixed >> 24),
					     (uint8_t)(mixed >> 16),
					     (uint8_t)(mixed >> 8),
					     (uint8_t)mixed } },
			32 };

		ck_assert_int_eq(netset_add(set, &n, i), 0);
		ck_assert(netset_lookup(set, &n.base, &value) && value == i);
	}
	ck_assert_uint_eq(netset_count(set), 100000);
	ck_assert_uint_lt(netset_bytes(set), 16 * 1024 * 1024);
	netset_free(set);
}
END_TEST

static bool
copy_network(const struct network *net, void *arg)
{
	return netset_add(arg, net, 77) == 0;
}

static bool
stop_at_third(const struct network *net, void *arg)
{
	(void)net;
	return ++*(int *)arg < 3;
}

/* Added in another order and with other values it is still the same set. */
START_TEST(walked_and_compared)
{
	struct netset *set = netset_new(), *copy = netset_new();
	struct network extra = { { .family = ADDR_IP6 }, 0 };
	int seen = 0;

	ck_assert(netset_same(set, copy));
	for (uint32_t i = 0; i < NETWORKS; i++) {
		bool ip4 = random_quick() % 2;
		struct network n = { random_addr(ip4),
			(uint8_t)(1 + random_quick() % (ip4 ? 32 : 128)) };

		clear_beyond(&n);
		ck_assert_int_eq(netset_add(set, &n, i), 0);
	}
	ck_assert(!netset_same(set, copy));
	ck_assert(netset_walk(set, copy_network, copy));
	ck_assert_uint_eq(netset_count(copy), netset_count(set));
	ck_assert(netset_same(set, copy));
	ck_assert_int_eq(netset_add(copy, &extra, 0), 0);
	ck_assert(!netset_same(set, copy));
	ck_assert(!netset_walk(set, stop_at_third, &seen));
	ck_assert_int_eq(seen, 3);
	netset_free(set);
	netset_free(copy);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, the_longest_match_wins);
	tcase_add_test(tcase, unknown_peers_are_in_no_set);
	tcase_add_loop_test(tcase, lookups_agree_with_a_plain_list, 0, 10);
	tcase_add_loop_test(tcase, walked_and_compared, 0, 10);
	tcase_add_test(tcase, without_memory_the_set_stays);
	tcase_add_test(tcase, a_hundred_thousand_networks_stay_compact);
}

UNIT_MAIN("netset", add_tests)
