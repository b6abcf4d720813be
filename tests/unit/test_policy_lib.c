#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/netset.h"
#include "policy_support.h"
#include "wire/routes.h"

static struct bench bench;

/* ---- memory that fails, by the linker's --wrap ---- */

static int netset_news_left, netset_adds_left, routes_news_left;
static int routes_adds_left;

static bool
fails(int *left)
{
	return *left >= 0 && (*left)-- == 0;
}

struct netset *__real_netset_new(void);
struct netset *__wrap_netset_new(void);
struct netset *
__wrap_netset_new(void)
{
	return fails(&netset_news_left) ? NULL : __real_netset_new();
}

int __real_netset_add(
    struct netset *set, const struct network *net, uint32_t value);
int __wrap_netset_add(
    struct netset *set, const struct network *net, uint32_t value);
int
__wrap_netset_add(struct netset *set, const struct network *net, uint32_t value)
{
	return fails(&netset_adds_left) ? -ENOMEM
					: __real_netset_add(set, net, value);
}

struct routes *__real_routes_new(void);
struct routes *__wrap_routes_new(void);
struct routes *
__wrap_routes_new(void)
{
	return fails(&routes_news_left) ? NULL : __real_routes_new();
}

int __real_routes_add(
    struct routes *r, const struct host *pattern, void *value);
int __wrap_routes_add(
    struct routes *r, const struct host *pattern, void *value);
int
__wrap_routes_add(struct routes *r, const struct host *pattern, void *value)
{
	return fails(&routes_adds_left) ? -ENOMEM
					: __real_routes_add(r, pattern, value);
}

/* ---- a host that counts its pools ---- */

static struct {
	int opened, closed;
	bool refuse, all_down;
	char balance[32], first[64], key[64];
	unsigned weights[4];
	size_t count;
	uint64_t every_ms;
	unsigned fall, rise;
} pools;

static void *
count_pool_open(
    void *host_data, const struct policy_pool_settings *s, struct text *error)
{
	(void)host_data;
	if (pools.refuse) {
		text_add(error, "no pool today");
		return NULL;
	}
	snprintf(pools.balance, sizeof(pools.balance), "%s", s->balance);
	snprintf(pools.first, sizeof(pools.first), "%.*s",
	    SPAN_ARG(s->addresses[0]));
	pools.count = s->count;
	for (size_t i = 0; i < s->count && i < 4; i++)
		pools.weights[i] = s->weights[i];
	pools.every_ms = s->health_every_ms;
	pools.fall = s->fall;
	pools.rise = s->rise;
	pools.opened++;
	return &pools;
}

static void
count_pool_close(void *host_data, void *pool)
{
	(void)host_data;
	ck_assert_ptr_eq(pool, &pools);
	pools.closed++;
}

static bool
count_pool_pick(void *pool, const struct addr *client, struct span key,
    char out[UPSTREAM_ADDRESS_SIZE])
{
	ck_assert_ptr_eq(pool, &pools);
	ck_assert_ptr_eq(client, &bench.conn.client);
	snprintf(pools.key, sizeof(pools.key), "%.*s", SPAN_ARG(key));
	snprintf(out, UPSTREAM_ADDRESS_SIZE, "10.9.9.9:9");
	return !pools.all_down;
}

static void
set_up(void)
{
	netset_news_left = netset_adds_left = -1;
	routes_news_left = routes_adds_left = -1;
	memset(&pools, 0, sizeof(pools));
	policy_bench_init(&bench);
	bench.host.pool_open = count_pool_open;
	bench.host.pool_close = count_pool_close;
	bench.host.pool_pick = count_pool_pick;
}

static void
tear_down(void)
{
	policy_bench_fini(&bench);
}

#define HEAD "local lunette = require 'lunette'\n"

START_TEST(a_pool_goes_to_the_host_and_back)
{
	struct policy_outcome *o = policy_bench_try(&bench,
	    HEAD "local p = lunette.pool { '10.0.0.1:1',\n"
		 "  { address = '10.0.0.2:2', weight = 7 },\n"
		 "  balance = 'hash', health = { every = 1.5, rise = 4 } }\n"
		 "return function(conn)\n"
		 "  return { upstream = p:pick(conn, 'a key') } end\n");

	ck_assert_int_eq(o->state, POLICY_DECIDED);
	ck_assert_str_eq(o->decision.upstream, "10.9.9.9:9");
	ck_assert_str_eq(pools.key, "a key");
	ck_assert_str_eq(pools.balance, "hash");
	ck_assert_str_eq(pools.first, "10.0.0.1:1");
	ck_assert_uint_eq(pools.count, 2);
	ck_assert_uint_eq(pools.weights[0], 1);
	ck_assert_uint_eq(pools.weights[1], 7);
	ck_assert_uint_eq(pools.every_ms, 1500);
	ck_assert_uint_eq(pools.fall, 3);
	ck_assert_uint_eq(pools.rise, 4);
	ck_assert_int_eq(pools.opened, 1);
	ck_assert_int_eq(pools.closed, 0);
	/* Loading another script ends the first one's state. */
	ck_assert(policy_bench_load(&bench, "return function() end"));
	ck_assert_int_eq(pools.closed, 1);
}
END_TEST

START_TEST(a_script_that_fails_later_gives_its_pools_back)
{
	ck_assert(!policy_bench_load(&bench,
	    HEAD "lunette.pool { '10.0.0.1:1' }\n"
		 "lunette.pool { '10.0.0.1:1' }\nerror 'late'"));
	ck_assert_int_eq(pools.opened, 2);
	ck_assert_int_eq(pools.closed, 2);
	pools.refuse = true;
	ck_assert(
	    !policy_bench_load(&bench, HEAD "lunette.pool { '10.0.0.1:1' }"));
	ck_assert_ptr_nonnull(strstr(bench.error.data, "no pool today"));
	ck_assert_int_eq(pools.closed, 2);
}
END_TEST

START_TEST(no_memory_for_a_set_refuses_the_script)
{
	static const char script[] =
	    HEAD "lunette.cidrs { '10.0.0.0/8', '10.1.0.0/16' }\n"
		 "lunette.domains { ['a.example'] = 1, ['b.example'] = 2 }\n"
		 "return function() end\n";
	int *const counters[] = { &netset_news_left, &netset_adds_left,
		&routes_news_left, &routes_adds_left };

	for (size_t i = 0; i < ARRAY_COUNT(counters); i++) {
		*counters[i] = 0;
		ck_assert(!policy_bench_load(&bench, script));
		ck_assert_uint_gt(bench.error.len, 0);
	}
	netset_adds_left = 1;
	ck_assert(!policy_bench_load(&bench, script));
	routes_adds_left = 1;
	ck_assert(!policy_bench_load(&bench, script));
	ck_assert_msg(
	    policy_bench_load(&bench, script), "%s", bench.error.data);
}
END_TEST

START_TEST(shared_things_survive_a_reload)
{
	struct policy_shared *shared = policy_shared_new();
	struct policy_outcome *o;

	bench.settings.shared = shared;
	o = policy_bench_body(&bench,
	    "lunette.shared('s'):set('k', 'kept')\n"
	    "return { allow = lunette.rate('r', 0, 1) }");
	ck_assert(o->decision.allow);
	o = policy_bench_body(&bench,
	    "return { reason = lunette.shared('s'):get 'k',\n"
	    "allow = lunette.rate('r', 0, 1) }");
	ck_assert_str_eq(o->decision.reason, "kept");
	ck_assert(!o->decision.allow);
	bench.settings.shared = NULL;
	o = policy_bench_body(&bench, "lunette.shared 's'");
	ck_assert_int_eq(o->state, POLICY_FAILED);
	/* No policy that knows it is left. */
	policy_shared_free(shared);
}
END_TEST

static size_t
read_log(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "r");
	size_t len;

	ck_assert_ptr_nonnull(f);
	len = fread(out, 1, size - 1, f);
	out[len] = '\0';
	fclose(f);
	return len;
}

static size_t
count_char(const char *s, char c)
{
	size_t count = 0;

	for (; *s; s++)
		count += *s == c;
	return count;
}

START_TEST(log_lines_cannot_be_forged)
{
	char path[] = "/tmp/test_policy_lib.XXXXXX";
	struct log_settings settings = { .target = path,
		.format = LOG_FORMAT_LOGFMT,
		.level = LOG_LEVEL_INFO };
	static char text[8192];
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(log_open(&settings), 0);
	policy_bench_body(&bench,
	    "lunette.log.info('one\\ntime=x level=error msg=forged',\n"
	    "  { name = 'a\\nb\"c', n = 5, yes = true })\n"
	    "lunette.log.warn(('x'):rep(100000), { v = ('y'):rep(100000) })\n"
	    "lunette.log.debug 'too quiet'");
	log_close();
	read_log(path, text, sizeof(text));
	unlink(path);
	ck_assert_uint_eq(count_char(text, '\n'), 2);
	ck_assert_ptr_nonnull(strstr(text, bench.conn.id));
	ck_assert_ptr_nonnull(strstr(text, "n=5"));
	ck_assert_ptr_nonnull(strstr(text, "yes=true"));
	ck_assert_ptr_null(strstr(text, "too quiet"));
	ck_assert_uint_lt(strlen(text), 4000);
}
END_TEST

START_TEST(as_many_addresses_as_an_answer_has)
{
	struct resolver_answer answer = { .count = RESOLVER_MAX_ADDRS };
	struct policy_outcome *o;

	for (size_t i = 0; i < RESOLVER_MAX_ADDRS; i++)
		ck_assert_int_eq(
		    addr_parse(span_text("2001:db8::1"), &answer.addrs[i]), 0);
	o = policy_bench_body(&bench,
	    "local list, why = lunette.resolve 'a.example'\n"
	    "return { reason = list and #list .. list[32] or why }");
	policy_resume(bench.run, &answer);
	ck_assert_str_eq(o->decision.reason, "322001:db8::1");
	answer = (struct resolver_answer){ .error = -ETIMEDOUT };
	o = policy_bench_run(&bench);
	policy_resume(bench.run, &answer);
	ck_assert_str_eq(o->decision.reason, "timeout");
	o = policy_bench_run(&bench);
	policy_resume(bench.run, NULL);
	ck_assert_str_eq(o->decision.reason, "failed");
}
END_TEST

START_TEST(a_sleep_asks_for_its_time)
{
	struct policy_outcome *o =
	    policy_bench_body(&bench, "lunette.sleep(0.0015)");

	ck_assert_int_eq(o->state, POLICY_WAITING);
	ck_assert_int_eq(o->wait, POLICY_WAIT_SLEEP);
	ck_assert_uint_eq(o->sleep_ms, 2);
	policy_resume(bench.run, NULL);
	ck_assert_int_eq(o->state, POLICY_DECIDED);
	ck_assert(!o->decided);
}
END_TEST

/* ---- one state a thread, one shared store ---- */

#define THREADS 4
#define RUNS 200

static struct bench *
new_bench(struct policy_shared *shared)
{
	struct bench *b = calloc(1, sizeof(*b));

	ck_assert_ptr_nonnull(b);
	policy_bench_init(b);
	b->settings.shared = shared;
	ck_assert(policy_bench_load(b,
	    HEAD "return function()\n"
		 "local s = lunette.shared 's'\n"
		 "s:incr 'n' s:set('t', 'x', 0.001) s:get 't' s:delete 't'\n"
		 "return { allow = lunette.rate('r', 0, 100) } end"));
	return b;
}

/* The policy was made on another thread and belongs to this one now. */
static void *
run_in_thread(void *arg)
{
	struct bench *b = arg;
	size_t allowed = 0;

	for (int i = 0; i < RUNS; i++) {
		struct policy_run *run =
		    policy_start(b->policy, 0, &b->conn, NULL);
		struct policy_outcome *o = policy_outcome(run);

		allowed += o->state == POLICY_DECIDED && o->decision.allow;
		policy_finish(run);
	}
	return (void *)allowed;
}

START_TEST(states_share_across_threads)
{
	struct policy_shared *shared = policy_shared_new();
	struct bench *benches[THREADS];
	pthread_t threads[THREADS];
	size_t allowed = 0;
	struct policy_outcome *o;

	for (int i = 0; i < THREADS; i++)
		benches[i] = new_bench(shared);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
				     run_in_thread, benches[i]),
		    0);
	for (int i = 0; i < THREADS; i++) {
		void *result;

		pthread_join(threads[i], &result);
		allowed += (size_t)result;
		policy_bench_fini(benches[i]);
		free(benches[i]);
	}
	ck_assert_uint_eq(allowed, 100);
	bench.settings.shared = shared;
	o = policy_bench_body(&bench,
	    "return { reason = tostring(lunette.shared('s'):get 'n') }");
	ck_assert_int_eq(atoi(o->decision.reason), THREADS * RUNS);
	ck_assert(policy_bench_load(&bench, "return function() end"));
	policy_shared_free(shared);
}
END_TEST

/* What __index makes up belongs to nobody and may be collected before the pool
 * is opened with it. */
START_TEST(a_pools_settings_are_read_raw)
{
	ck_assert(!policy_bench_load(&bench,
	    HEAD "local made_up = setmetatable({}, { __index = function(t, k)\n"
		 "if k == 'address' then return '10.0.0.' .. #k end end })\n"
		 "lunette.pool { made_up }"));
	ck_assert_ptr_nonnull(strstr(bench.error.data, "must be a string"));
	ck_assert(policy_bench_load(&bench,
	    HEAD "local s = setmetatable({ '10.0.0.1:1' }, { __index = "
		 "function(t, k) return k .. 'x' end })\n"
		 "lunette.pool(s) return function() end"));
	ck_assert_str_eq(pools.balance, "round_robin");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, a_pools_settings_are_read_raw);
	tcase_add_test(tcase, a_pool_goes_to_the_host_and_back);
	tcase_add_test(tcase, a_script_that_fails_later_gives_its_pools_back);
	tcase_add_test(tcase, no_memory_for_a_set_refuses_the_script);
	tcase_add_test(tcase, shared_things_survive_a_reload);
	tcase_add_test(tcase, log_lines_cannot_be_forged);
	tcase_add_test(tcase, as_many_addresses_as_an_answer_has);
	tcase_add_test(tcase, a_sleep_asks_for_its_time);
	tcase_add_test(tcase, states_share_across_threads);
}

UNIT_MAIN("policy_lib", add_tests)
