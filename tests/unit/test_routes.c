#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "base/hash.h"
#include "bytes.h"
#include "wire/routes.h"

#define NAME_COUNT 10000

static struct host patterns[NAME_COUNT];
static size_t pattern_count;

static struct host
pattern_of(const char *text)
{
	struct host host;

	ck_assert_int_eq(host_parse_pattern(span_text(text), &host, NULL), 0);
	return host;
}

static int
add(struct routes *r, const char *text, void *value)
{
	struct host host = pattern_of(text);

	return routes_add(r, &host, value);
}

static void *
find(const struct routes *r, const char *name)
{
	return routes_find(r, span_text(name));
}

START_TEST(the_most_specific_match_wins)
{
	struct routes *r = routes_new();
	int exact, wild, deep, top;

	ck_assert_ptr_null(find(r, "a.test"));
	ck_assert_int_eq(add(r, "x.wild.test", &exact), 0);
	ck_assert_int_eq(add(r, "*.wild.test", &wild), 0);
	ck_assert_int_eq(add(r, "*.deep.wild.test", &deep), 0);
	ck_assert_ptr_null(find(r, "other.test"));
	ck_assert_ptr_null(find(r, "wild.test"));
	ck_assert_ptr_eq(find(r, "x.wild.test"), &exact);
	ck_assert_ptr_eq(find(r, "y.x.wild.test"), &wild);
	ck_assert_ptr_eq(find(r, "deep.wild.test"), &wild);
	ck_assert_ptr_eq(find(r, "a.deep.wild.test"), &deep);
	ck_assert_ptr_eq(find(r, "a.b.deep.wild.test"), &deep);
	ck_assert_ptr_null(find(r, "xwild.test"));
	ck_assert_ptr_null(find(r, "x.wild.test.org"));
	ck_assert_ptr_null(find(r, ""));
	ck_assert_ptr_null(find(r, "test"));
	ck_assert_int_eq(add(r, "*.test", &top), 0);
	ck_assert_ptr_eq(find(r, "wild.test"), &top);
	ck_assert_ptr_eq(find(r, "a.deep.wild.test"), &deep);
	ck_assert_ptr_null(find(r, "test"));
	ck_assert_uint_eq(routes_count(r), 4);
	routes_free(r);
}
END_TEST

START_TEST(a_pattern_is_kept_once)
{
	struct routes *r = routes_new();
	struct host name = pattern_of("a.test"), star = pattern_of("*.a.test");
	int first, second;

	ck_assert_int_eq(routes_add(r, &name, &first), 0);
	ck_assert_int_eq(routes_add(r, &name, &second), -EEXIST);
	ck_assert_ptr_null(routes_get(r, &star));
	ck_assert_int_eq(routes_add(r, &star, &second), 0);
	ck_assert_ptr_eq(routes_get(r, &name), &first);
	ck_assert_ptr_eq(routes_get(r, &star), &second);
	ck_assert_uint_eq(routes_count(r), 2);
	routes_free(r);
	routes_free(NULL);
}
END_TEST

/* What the header promises, the slow way: the longest wildcard that fits. */
static const struct host *
naive_find(struct span name)
{
	const struct host *best = NULL;

	for (size_t i = 0; i < pattern_count; i++) {
		struct span p = host_span(&patterns[i]);

		if (span_equal(p, name))
			return &patterns[i];
		if (!host_is_wildcard(&patterns[i]) || name.len < p.len ||
		    memcmp(name.data + name.len - (p.len - 1), p.data + 1,
			p.len - 1) != 0)
			continue;
		if (!best || best->len < p.len)
			best = &patterns[i];
	}
	return best;
}

static void
random_name(char out[64], uint32_t *state, bool may_star)
{
	unsigned labels;
	size_t len = 0;

	*state = *state * 1664525 + 1013904223;
	labels = 1 + (*state >> 28) % 4;
	if (may_star && (*state >> 20) % 4 == 0)
		len += (size_t)sprintf(out, "*.");
	for (unsigned i = 0; i < labels; i++) {
		*state = *state * 1664525 + 1013904223;
		len += (size_t)sprintf(out + len, "n%u.", (*state >> 16) % 40);
	}
	sprintf(out + len, "test");
}

START_TEST(ten_thousand_names_as_the_slow_way)
{
	struct routes *r = routes_new();
	uint32_t state = 7;
	char name[64];
	unsigned hits = 0;

	while (pattern_count < NAME_COUNT) {
		random_name(name, &state, true);
		struct host *p = &patterns[pattern_count];

		*p = pattern_of(name);
		if (routes_add(r, p, p) == 0)
			pattern_count++;
	}
	ck_assert_uint_eq(routes_count(r), NAME_COUNT);
	for (unsigned i = 0; i < 2000; i++) {
		random_name(name, &state, false);
		const struct host *expected = naive_find(span_text(name));

		ck_assert_ptr_eq(find(r, name), expected);
		hits += expected != NULL;
	}
	ck_assert_uint_gt(hits, 100);
	routes_free(r);
}
END_TEST

static int fail_after = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool
is_failing(void)
{
	return fail_after >= 0 && fail_after-- == 0;
}

void *
__wrap_malloc(size_t size)
{
	return is_failing() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	return is_failing() ? NULL : __real_calloc(count, size);
}

START_TEST(without_memory_the_table_stays_as_it_was)
{
	struct routes *r;
	char name[64];
	int value;

	for (int n = 0; n < 2; n++) {
		fail_after = n;
		r = routes_new();
		fail_after = -1;
		ck_assert_ptr_null(r);
	}
	r = routes_new();
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "n%d.test", i);
		struct host host = pattern_of(name);

		fail_after = 0;
		int err = routes_add(r, &host, &value);

		fail_after = -1;
		ck_assert_int_eq(err, -ENOMEM);
		ck_assert_ptr_null(find(r, name));
		ck_assert_int_eq(add(r, name, &value), 0);
		ck_assert_ptr_eq(find(r, name), &value);
		ck_assert_ptr_eq(find(r, "n0.test"), &value);
	}
	ck_assert_uint_eq(routes_count(r), 200);
	routes_free(r);
}
END_TEST

/* Comes and goes a hundred thousand times; the table says at each step what a
 * plain list would. */
START_TEST(removing_leaves_all_others)
{
	struct routes *r = routes_new();
	static int values[64];
	bool there[64] = { false };
	char name[32];
	size_t count = 0;

	for (int round = 0; round < 100000; round++) {
		size_t i = random_quick() % 64;
		struct host host;

		snprintf(name, sizeof(name), "%sn%zu.test",
		    i % 4 == 0 ? "*." : "", i);
		host = pattern_of(name);
		if (there[i]) {
			QUICK_ASSERT(routes_remove(r, &host) == &values[i]);
			QUICK_ASSERT(!routes_remove(r, &host));
			count--;
		} else {
			QUICK_ASSERT(routes_add(r, &host, &values[i]) == 0);
			count++;
		}
		there[i] = !there[i];
		QUICK_ASSERT(routes_count(r) == count);
		i = random_quick() % 64;
		snprintf(name, sizeof(name), "%sn%zu.test",
		    i % 4 == 0 ? "a." : "", i);
		QUICK_ASSERT(find(r, name) == (there[i] ? &values[i] : NULL));
	}
	routes_free(r);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, the_most_specific_match_wins);
	tcase_add_test(tcase, a_pattern_is_kept_once);
	tcase_add_test(tcase, ten_thousand_names_as_the_slow_way);
	tcase_add_test(tcase, removing_leaves_all_others);
	tcase_add_test(tcase, without_memory_the_table_stays_as_it_was);
}

UNIT_MAIN("routes", add_tests)
