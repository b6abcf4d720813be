#include "engine/registry.h"

#include "config/schema.h"
#include "unit.h"

struct way {
	struct uplink uplink;
	unsigned freed;
};

static void
on_free(struct uplink *u)
{
	CONTAINER_OF(u, struct way, uplink)->freed++;
}

static struct way
way(void)
{
	return (struct way){ .uplink = { .refs = 1, .free = on_free } };
}

static struct endpoint *
endpoint(const char *pattern, bool pools)
{
	struct endpoint *e = endpoint_new();

	ck_assert_ptr_nonnull(e);
	ck_assert_int_eq(
	    host_parse_pattern(span_text(pattern), &e->domain, NULL), 0);
	e->terminate_at = TERMINATE_UPSTREAM;
	e->pooling_enabled = pools;
	return e;
}

static enum bind_result
bind_to(struct registry *r, struct endpoint *e, const char *owner,
    struct way *w, struct endpoint **bound)
{
	enum bind_result result = registry_bind(r, e, owner, &w->uplink, bound);

	endpoint_put(e);
	return result;
}

static void
found(struct registry *r, const char *name, const char *pattern)
{
	struct endpoint *e = registry_find(r, span_text(name));

	if (!pattern) {
		ck_assert_ptr_null(e);
		return;
	}
	ck_assert_ptr_nonnull(e);
	ck_assert_str_eq(e->domain.text, pattern);
	endpoint_put(e);
}

START_TEST(bound_and_unbound)
{
	struct registry *r = registry_new();
	struct way w = way();
	struct endpoint *e;

	found(r, "a.test", NULL);
	ck_assert_int_eq(
	    bind_to(r, endpoint("a.test", false), "me", &w, &e), BIND_FIRST);
	ck_assert_uint_eq(registry_count(r), 1);
	found(r, "a.test", "a.test");
	found(r, "b.a.test", NULL);
	ck_assert_uint_eq(agent_pool_size(e->agents), 1);
	ck_assert(registry_unbind(r, e, &w.uplink));
	found(r, "a.test", NULL);
	/* The connections that have it go on. */
	ck_assert_ptr_null(agent_pool_pick(e->agents, NULL, 0));
	endpoint_put(e);
	ck_assert_uint_eq(w.freed, 0);
	uplink_put(&w.uplink);
	ck_assert_uint_eq(w.freed, 1);
	registry_free(r);
}
END_TEST

START_TEST(exact_before_wildcards)
{
	static const char *const patterns[] = { "*.test", "*.b.test",
		"a.b.test" };
	struct registry *r = registry_new();
	struct endpoint *e[3];
	struct way w = way();
	struct host base;

	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(
		    bind_to(r, endpoint(patterns[i], false), "me", &w, &e[i]),
		    BIND_FIRST);
	found(r, "a.b.test", "a.b.test");
	found(r, "c.b.test", "*.b.test");
	found(r, "b.test", "*.test");
	found(r, "test", NULL);
	found(r, "", NULL);
	ck_assert_int_eq(
	    host_parse_pattern(span_text("*.b.test"), &base, NULL), 0);
	endpoint_put(registry_get(r, &base));
	/* Whichever goes first, the others are still found. */
	for (size_t i = 0; i < 3; i++) {
		ck_assert(registry_unbind(r, e[i], &w.uplink));
		endpoint_put(e[i]);
		if (i < 2)
			found(r, "a.b.test", "a.b.test");
		found(r, "c.b.test", i == 0 ? "*.b.test" : NULL);
	}
	registry_free(r);
}
END_TEST

START_TEST(who_comes_second)
{
	struct registry *r = registry_new();
	struct way w = way(), v = way();
	struct endpoint *e, *f = NULL;

	ck_assert_int_eq(
	    bind_to(r, endpoint("a.test", true), "me", &w, &e), BIND_FIRST);
	ck_assert_int_eq(
	    bind_to(r, endpoint("a.test", false), "me", &v, &f), BIND_TAKEN);
	ck_assert_int_eq(
	    bind_to(r, endpoint("a.test", true), "you", &v, &f), BIND_TAKEN);
	ck_assert_ptr_null(f);
	ck_assert_int_eq(
	    bind_to(r, endpoint("a.test", true), "me", &v, &f), BIND_JOINED);
	ck_assert_ptr_eq(e, f);
	ck_assert_uint_eq(agent_pool_size(e->agents), 2);
	ck_assert(!registry_unbind(r, e, &w.uplink));
	found(r, "a.test", "a.test");
	ck_assert(registry_unbind(r, f, &v.uplink));
	endpoint_put(e);
	endpoint_put(f);
	registry_free(r);
}
END_TEST

static struct netset *
networks(const char *text)
{
	struct netset *set = netset_new();
	struct network net;

	ck_assert_int_eq(network_parse(span_text(text), &net, NULL), 0);
	ck_assert_int_eq(netset_add(set, &net, 0), 0);
	return set;
}

/* Each rule that a client meets must be the same in the whole pool. */
START_TEST(rules_that_differ)
{
	struct registry *r = registry_new();
	struct way w = way(), v = way();
	struct endpoint *e, *f, *other;

	e = endpoint("a.test", true);
	e->allow = networks("192.0.2.0/24");
	ck_assert_int_eq(bind_to(r, e, "me", &w, &e), BIND_FIRST);
	for (int i = 0; i < 5; i++) {
		other = endpoint("a.test", true);
		if (i != 1)
			other->allow =
			    networks(i == 0 ? "192.0.2.0/25" : "192.0.2.0/24");
		if (i == 2)
			other->terminate_at = TERMINATE_EDGE;
		if (i == 3)
			other->termination.auth = CLIENT_AUTH_REQUIRE;
		if (i == 4)
			other->proxy_proto = 2;
		ck_assert_int_eq(bind_to(r, other, "me", &v, &f), BIND_DIFFERS);
	}
	other = endpoint("a.test", true);
	other->allow = networks("192.0.2.0/24");
	ck_assert_int_eq(bind_to(r, other, "me", &v, &f), BIND_JOINED);
	endpoint_put(f);
	(void)!registry_unbind(r, e, &w.uplink);
	(void)!registry_unbind(r, e, &v.uplink);
	endpoint_put(e);
	registry_free(r);
}
END_TEST

static struct uplink *
pick(struct endpoint *e, struct uplink *const tried[], size_t count)
{
	struct uplink *u = agent_pool_pick(e->agents, tried, count);

	if (u)
		uplink_put(u);
	return u;
}

START_TEST(picked_in_turn)
{
	struct registry *r = registry_new();
	struct way w[3] = { way(), way(), way() };
	struct endpoint *e[3];
	unsigned times[3] = { 0 };
	struct uplink *tried[3];

	for (int i = 0; i < 3; i++)
		ck_assert_int_le(
		    bind_to(r, endpoint("a.test", true), "me", &w[i], &e[i]),
		    BIND_JOINED);
	for (int i = 0; i < 300; i++) {
		struct uplink *u = pick(e[0], NULL, 0);

		for (int j = 0; j < 3; j++)
			times[j] += u == &w[j].uplink;
	}
	for (int j = 0; j < 3; j++)
		ck_assert_uint_eq(times[j], 100);
	/* The busy one is left alone, the dead and the tried ones too. */
	atomic_store(&w[0].uplink.active_count, 5);
	atomic_store(&w[1].uplink.gone, true);
	tried[0] = &w[1].uplink;
	for (int i = 0; i < 10; i++)
		ck_assert_ptr_eq(pick(e[0], tried, 1), &w[2].uplink);
	tried[1] = &w[2].uplink;
	ck_assert_ptr_eq(pick(e[0], tried, 2), &w[0].uplink);
	tried[2] = &w[0].uplink;
	ck_assert_ptr_null(pick(e[0], tried, 3));
	for (int i = 0; i < 3; i++) {
		(void)!registry_unbind(r, e[i], &w[i].uplink);
		endpoint_put(e[i]);
	}
	registry_free(r);
}
END_TEST

START_TEST(a_full_pool)
{
	static struct way w[POOL_MAX_UPLINKS + 1];
	struct registry *r = registry_new();
	struct endpoint *e[POOL_MAX_UPLINKS + 1];

	for (size_t i = 0; i <= POOL_MAX_UPLINKS; i++) {
		enum bind_result result;

		w[i] = way();
		result =
		    bind_to(r, endpoint("a.test", true), "me", &w[i], &e[i]);
		ck_assert_int_eq(result, i == 0			 ? BIND_FIRST
					 : i == POOL_MAX_UPLINKS ? BIND_FULL
								 : BIND_JOINED);
	}
	for (size_t i = 0; i < POOL_MAX_UPLINKS; i++) {
		ck_assert_int_eq(registry_unbind(r, e[i], &w[i].uplink),
		    i + 1 == POOL_MAX_UPLINKS);
		endpoint_put(e[i]);
	}
	registry_free(r);
}
END_TEST

/* configured, is it the default, bound, the name, does the bound one win? */
static const struct {
	const char *configured;
	bool fallback;
	const char *bound, *name;
	bool wins;
} orders[] = {
	{ NULL, false, "*.test", "a.test", true },
	{ "a.test", false, "*.test", "a.test", false },
	{ "a.test", true, "*.test", "a.test", false },
	{ "*.test", false, "a.test", "a.test", true },
	{ "*.test", false, "*.b.test", "a.b.test", true },
	{ "*.b.test", false, "*.test", "a.b.test", false },
	{ "other.test", true, "*.b.test", "a.b.test", true },
};

START_TEST(order_of_tables)
{
	struct endpoint *c = orders[_i].configured
				 ? endpoint(orders[_i].configured, false)
				 : NULL;
	struct endpoint *b = endpoint(orders[_i].bound, false);

	ck_assert_int_eq(
	    endpoint_goes_before(b, c, orders[_i].fallback ? c : NULL,
		span_text(orders[_i].name)),
	    orders[_i].wins);
	endpoint_put(c);
	endpoint_put(b);
}
END_TEST

static void
add_tests(TCase *t)
{
	tcase_add_test(t, bound_and_unbound);
	tcase_add_test(t, exact_before_wildcards);
	tcase_add_test(t, who_comes_second);
	tcase_add_test(t, rules_that_differ);
	tcase_add_test(t, picked_in_turn);
	tcase_add_test(t, a_full_pool);
	tcase_add_loop_test(t, order_of_tables, 0, ARRAY_COUNT(orders));
}

UNIT_MAIN("registry", add_tests)
