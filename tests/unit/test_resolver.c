#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dns_server.h"
#include "sys/resolver.h"

/* The program is linked with --wrap=clock_ms: minutes pass at will. */
static _Atomic uint64_t passed_ms;

uint64_t __real_clock_ms(void);
uint64_t __wrap_clock_ms(void);

uint64_t
__wrap_clock_ms(void)
{
	return __real_clock_ms() + passed_ms;
}

/* Where port 53 leads to, because c-ares takes no other port from a
 * resolv.conf. Defined here, this connect stands before the C library's. */
static _Atomic uint16_t port_53;

int
connect(int fd, const struct sockaddr *a, socklen_t len)
{
	struct sockaddr_storage to = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&to;

	memcpy(&to, a, len);
	if (to.ss_family == AF_INET && in->sin_port == htons(53))
		in->sin_port = htons(port_53);
	return (int)syscall(SYS_connect, fd, &to, len);
}

/* A resolver with a server of its own and one asker's mailbox. */
struct stage {
	struct dns_server *server;
	struct resolver *resolver;
	struct mailbox mailbox;
};

static void
stage_init(struct stage *st, uint64_t timeout_ms)
{
	char servers[64];
	struct resolver_settings settings = { .servers = servers,
		.timeout_ms = timeout_ms };
	int error;

	st->server = dns_server_new();
	snprintf(servers, sizeof(servers), "127.0.0.1:%u",
	    dns_server_port(st->server));
	st->resolver = resolver_new(&settings, &error);
	ck_assert_ptr_nonnull(st->resolver);
	ck_assert_int_eq(error, 0);
	ck_assert_int_eq(mailbox_init(&st->mailbox, 0), 0);
}

static void
stage_fini(struct stage *st)
{
	resolver_free(st->resolver);
	mailbox_fini(&st->mailbox);
	dns_server_free(st->server);
}

static void
count_answer(struct resolver_query *q, void *receiver)
{
	(void)q;
	++*(unsigned *)receiver;
}

static void
query_init(struct resolver_query *q, struct stage *st, const char *name)
{
	memset(q, 0, sizeof(*q));
	q->return_to = &st->mailbox;
	q->name.len = (uint8_t)strlen(name);
	snprintf(q->name.text, sizeof(q->name.text), "%s", name);
	q->on_answer = count_answer;
}

static void
wait_answers(struct stage *st, unsigned count)
{
	struct pollfd fd = { st->mailbox.event_fd, POLLIN, 0 };
	unsigned answered = 0;

	while (answered < count) {
		ck_assert_int_eq(poll(&fd, 1, -1), 1);
		mailbox_deliver(&st->mailbox, &answered);
	}
	ck_assert_uint_eq(answered, count);
}

/* Asks and waits; true if it came from the cache. */
static bool
ask(struct stage *st, const char *name, struct resolver_answer *out)
{
	struct resolver_query q;
	bool cached;

	query_init(&q, st, name);
	cached = resolver_ask(st->resolver, &q);
	if (!cached)
		wait_answers(st, 1);
	*out = q.answer;
	return cached;
}

static void
expect_error(const char *name, int error)
{
	struct stage st;
	struct resolver_answer a;

	stage_init(&st, 1000);
	ck_assert(!ask(&st, name, &a));
	ck_assert_int_eq(a.error, error);
	ck_assert_uint_eq(a.count, 0);
	stage_fini(&st);
}

static void
check_ip(const struct addr *a, const char *text)
{
	char out[ADDR_TEXT_SIZE];

	addr_format_ip(a, out);
	ck_assert_str_eq(out, text);
	ck_assert_uint_eq(a->port, 0);
}

START_TEST(answers_are_cached_for_their_time)
{
	struct stage st;
	struct resolver_answer a;

	stage_init(&st, 0);
	ck_assert(!ask(&st, "two.test", &a));
	ck_assert_int_eq(a.error, 0);
	ck_assert_uint_eq(a.count, 2);
	check_ip(&a.addrs[0], "192.0.2.1");
	check_ip(&a.addrs[1], "192.0.2.2");
	memset(&a, 0, sizeof(a));
	passed_ms += 58000;
	ck_assert(ask(&st, "two.test", &a));
	ck_assert_uint_eq(a.count, 2);
	check_ip(&a.addrs[1], "192.0.2.2");
	ck_assert_uint_eq(dns_server_asked(st.server, "two"), 1);
	passed_ms += 2001;
	ck_assert(!ask(&st, "two.test", &a));
	ck_assert_uint_eq(dns_server_asked(st.server, "two"), 2);
	stage_fini(&st);
}
END_TEST

START_TEST(both_families)
{
	struct stage st;
	struct resolver_answer a;

	stage_init(&st, 0);
	ask(&st, "both.test", &a);
	ck_assert_int_eq(a.error, 0);
	ck_assert_uint_eq(a.count, 2);
	ck_assert_uint_ne(a.addrs[0].family, a.addrs[1].family);
	stage_fini(&st);
}
END_TEST

/* Or a rule on 127.0.0.1 could be walked round through the DNS. */
START_TEST(mapped_addresses_lose_their_disguise)
{
	struct stage st;
	struct resolver_answer a;

	stage_init(&st, 0);
	ask(&st, "mapped.test", &a);
	ck_assert_int_eq(a.error, 0);
	ck_assert_uint_eq(a.addrs[0].family, ADDR_IP4);
	check_ip(&a.addrs[0], "127.0.0.1");
	stage_fini(&st);
}
END_TEST

START_TEST(hosts_file_is_honoured)
{
	struct stage st;
	struct resolver_answer a;

	stage_init(&st, 0);
	ask(&st, "localhost", &a);
	ck_assert_int_eq(a.error, 0);
	ck_assert_uint_ge(a.count, 1);
	for (size_t i = 0; i < a.count; i++)
		ck_assert(addr_is_loopback(&a.addrs[i]));
	ck_assert_uint_eq(dns_server_asked(st.server, "localhost"), 0);
	stage_fini(&st);
}
END_TEST

START_TEST(of_200_addresses_32_are_kept)
{
	struct stage st;
	struct resolver_answer a;

	stage_init(&st, 0);
	ask(&st, "many.test", &a);
	ck_assert_int_eq(a.error, 0);
	ck_assert_uint_eq(a.count, RESOLVER_MAX_ADDRS);
	memset(&a, 0, sizeof(a));
	ck_assert(ask(&st, "many.test", &a));
	ck_assert_uint_eq(a.count, RESOLVER_MAX_ADDRS);
	stage_fini(&st);
}
END_TEST

START_TEST(times_to_live_are_bounded)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} rows[] = { { "zero.test", 1000 }, { "negative.test", 1000 },
		{ "eternal.test", 3600000 }, { "nx.test", 5000 } };

	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct stage st;
		struct resolver_answer a;

		stage_init(&st, 0);
		ck_assert(!ask(&st, rows[i].name, &a));
		passed_ms += rows[i].ms / 2;
		ck_assert(ask(&st, rows[i].name, &a));
		passed_ms += rows[i].ms / 2 + 1;
		ck_assert(!ask(&st, rows[i].name, &a));
		stage_fini(&st);
	}
}
END_TEST

START_TEST(failures_have_their_errors)
{
	expect_error("nx.test", -ENOENT);
	expect_error("empty.test", -ENOENT);
	expect_error("servfail.test", -EIO);
	expect_error("silent.test", -ETIMEDOUT);
}
END_TEST

/* Broken answers end in an error within the time, whichever it is. */
START_TEST(broken_answers_are_no_answers)
{
	static const char *const names[] = { "truncated.test", "garbage.test",
		"loop.test" };

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		struct stage st;
		struct resolver_answer a;

		stage_init(&st, 400);
		ask(&st, names[i], &a);
		ck_assert_int_lt(a.error, 0);
		ck_assert_uint_eq(a.count, 0);
		stage_fini(&st);
	}
}
END_TEST

START_TEST(answers_cut_at_every_length)
{
	enum { CUTS = 50 };
	static struct resolver_query queries[CUTS];
	struct stage st;
	char name[32];

	stage_init(&st, 500);
	for (int i = 0; i < CUTS; i++) {
		snprintf(name, sizeof(name), "cut%d.test", i);
		query_init(&queries[i], &st, name);
		ck_assert(!resolver_ask(st.resolver, &queries[i]));
	}
	wait_answers(&st, CUTS);
	/* 12 of header, 11 or 12 and 4 of question, 16 of answer. */
	for (int i = 0; i < CUTS; i++)
		ck_assert_int_eq(queries[i].answer.error == 0, i >= 44);
	stage_fini(&st);
}
END_TEST

START_TEST(forged_answers_are_passed_over)
{
	struct stage st;
	struct resolver_answer a;

	stage_init(&st, 0);
	ask(&st, "forged.test", &a);
	ck_assert_int_eq(a.error, 0);
	ck_assert_uint_eq(a.count, 1);
	check_ip(&a.addrs[0], "192.0.2.1");
	stage_fini(&st);
}
END_TEST

START_TEST(equal_questions_are_asked_once)
{
	enum { ASKERS = 100 };
	static struct resolver_query queries[ASKERS];
	struct stage st;

	stage_init(&st, 0);
	for (int i = 0; i < ASKERS; i++) {
		query_init(&queries[i], &st, "held.test");
		ck_assert(!resolver_ask(st.resolver, &queries[i]));
	}
	dns_server_wait_held(st.server);
	dns_server_release(st.server);
	wait_answers(&st, ASKERS);
	for (int i = 0; i < ASKERS; i++) {
		ck_assert_int_eq(queries[i].answer.error, 0);
		check_ip(&queries[i].answer.addrs[0], "192.0.2.1");
	}
	ck_assert_uint_eq(dns_server_asked(st.server, "held"), 1);
	stage_fini(&st);
}
END_TEST

/* Askers are told in time; what comes later is not thrown away. */
START_TEST(a_late_answer_fills_the_cache)
{
	struct stage st;
	struct resolver_answer a;

	stage_init(&st, 0);
	{
		struct resolver_query q, other;

		query_init(&q, &st, "held.test");
		ck_assert(!resolver_ask(st.resolver, &q));
		dns_server_wait_held(st.server);
		passed_ms += 5001;
		/* Another question makes the resolver look at the clock. */
		query_init(&other, &st, "two.test");
		ck_assert(!resolver_ask(st.resolver, &other));
		wait_answers(&st, 2);
		ck_assert_int_eq(q.answer.error, -ETIMEDOUT);
		ck_assert_int_eq(other.answer.error, 0);
	}
	ck_assert(ask(&st, "held.test", &a));
	ck_assert_int_eq(a.error, -ETIMEDOUT);
	/* Its failure is over: a new asker joins the question in flight. */
	passed_ms += 5001;
	dns_server_release(st.server);
	ask(&st, "held.test", &a);
	ck_assert_int_eq(a.error, 0);
	stage_fini(&st);
}
END_TEST

static _Atomic unsigned discarded;

static void
discard_query(struct resolver_query *q)
{
	discarded++;
	free(q);
}

START_TEST(an_asker_that_has_gone_costs_nothing)
{
	struct stage st;
	struct resolver_query *q = malloc(sizeof(*q));
	struct mailbox gone;
	struct resolver_answer a;

	discarded = 0;
	stage_init(&st, 0);
	ck_assert_int_eq(mailbox_init(&gone, 0), 0);
	query_init(q, &st, "held.test");
	q->return_to = &gone;
	q->on_discard = discard_query;
	ck_assert(!resolver_ask(st.resolver, q));
	dns_server_wait_held(st.server);
	mailbox_close(&gone);
	dns_server_release(st.server);
	/* Answered behind it, so the closed mailbox has had its mail. */
	ask(&st, "held.test", &a);
	ask(&st, "two.test", &a);
	ck_assert_uint_eq(discarded, 1);
	stage_fini(&st);
	mailbox_fini(&gone);
}
END_TEST

START_TEST(freeing_answers_what_is_open)
{
	enum { OPEN = 50 };
	static struct resolver_query queries[OPEN];
	struct stage st;
	char name[32];

	stage_init(&st, 0);
	for (int i = 0; i < OPEN; i++) {
		snprintf(name, sizeof(name), "silent%d.test", i / 2);
		query_init(&queries[i], &st, name);
		ck_assert(!resolver_ask(st.resolver, &queries[i]));
	}
	resolver_free(st.resolver);
	st.resolver = NULL;
	wait_answers(&st, OPEN);
	for (int i = 0; i < OPEN; i++)
		ck_assert_int_eq(queries[i].answer.error, -EIO);
	stage_fini(&st);
}
END_TEST

static void
write_resolv_conf(const char *path, const struct dns_server *s)
{
	char next[300];
	FILE *f;

	snprintf(next, sizeof(next), "%s.new", path);
	f = fopen(next, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "nameserver 127.0.0.1\n# %u\n", dns_server_port(s));
	port_53 = dns_server_port(s);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(rename(next, path), 0);
}

/* The old server never answers; the question moves to the new one. */
START_TEST(a_new_resolv_conf_is_followed)
{
	char folder[] = "/tmp/resolver-test-XXXXXX", path[64];
	struct resolver_settings settings = { .resolv_conf = path };
	struct stage st;
	struct resolver_answer a;
	struct resolver_query q, other;
	int error;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/resolv.conf", folder);
	stage_init(&st, 0);
	resolver_free(st.resolver);
	write_resolv_conf(path, st.server);
	st.resolver = resolver_new(&settings, &error);
	ck_assert_ptr_nonnull(st.resolver);
	ck_assert(!ask(&st, "two.test", &a));
	ck_assert_uint_eq(dns_server_asked(st.server, "two"), 1);
	query_init(&q, &st, "held.test");
	ck_assert(!resolver_ask(st.resolver, &q));
	dns_server_wait_held(st.server);

	struct dns_server *second = dns_server_new();
	dns_server_release(second);
	write_resolv_conf(path, second);
	query_init(&other, &st, "one.test");
	ck_assert(!resolver_ask(st.resolver, &other));
	wait_answers(&st, 2);
	ck_assert_int_eq(q.answer.error, 0);
	ck_assert_uint_eq(dns_server_asked(second, "held"), 1);
	ck_assert_uint_eq(dns_server_asked(second, "one"), 1);
	/* What the old server said counts no more. */
	ck_assert(!ask(&st, "two.test", &a));
	ck_assert_uint_eq(dns_server_asked(second, "two"), 1);
	stage_fini(&st);
	dns_server_free(second);
	unlink(path);
	rmdir(folder);
}
END_TEST

START_TEST(wrong_settings_are_refused)
{
	struct resolver_settings settings = { .servers = "not an address" };
	int error = 0;

	ck_assert_ptr_null(resolver_new(&settings, &error));
	ck_assert_int_eq(error, -EINVAL);
	resolver_free(NULL);
}
END_TEST

/* Names beyond the bound push out the least recently asked ones. */
START_TEST(the_cache_is_bounded)
{
	enum { AT_ONCE = 100, ROUNDS = RESOLVER_MAX_NAMES / AT_ONCE };
	static struct resolver_query queries[AT_ONCE];
	struct stage st;
	struct resolver_answer a;
	char name[32];

	stage_init(&st, 30000);
	ask(&st, "first.test", &a);
	ask(&st, "second.test", &a);
	for (int round = 0; round < ROUNDS; round++) {
		unsigned posted = 0;

		for (int i = 0; i < AT_ONCE; i++) {
			snprintf(name, sizeof(name), "nx%d.test",
			    round * AT_ONCE + i);
			query_init(&queries[i], &st, name);
			posted += !resolver_ask(st.resolver, &queries[i]);
		}
		wait_answers(&st, posted);
		ck_assert(ask(&st, "first.test", &a));
	}
	ck_assert(!ask(&st, "second.test", &a));
	ck_assert_uint_eq(dns_server_asked(st.server, "first"), 1);
	stage_fini(&st);
}
END_TEST

START_TEST(too_many_open_questions_are_refused)
{
	struct resolver_query *queries =
	    calloc(RESOLVER_MAX_NAMES + 1, sizeof(*queries));
	struct stage st;
	char name[32];

	stage_init(&st, 60000);
	for (int i = 0; i <= RESOLVER_MAX_NAMES; i++) {
		bool full = i == RESOLVER_MAX_NAMES;

		snprintf(name, sizeof(name), "silent%d.test", i);
		query_init(&queries[i], &st, name);
		ck_assert_int_eq(resolver_ask(st.resolver, &queries[i]), full);
	}
	ck_assert_int_eq(queries[RESOLVER_MAX_NAMES].answer.error, -EIO);
	resolver_free(st.resolver);
	st.resolver = NULL;
	wait_answers(&st, RESOLVER_MAX_NAMES);
	stage_fini(&st);
	free(queries);
}
END_TEST

static void *
ask_many(void *arg)
{
	struct stage st = *(struct stage *)arg;
	struct resolver_answer a;
	char name[32];

	ck_assert_int_eq(mailbox_init(&st.mailbox, 0), 0);
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "two%d.test", i % 50);
		ask(&st, name, &a);
		ck_assert_int_eq(a.error, 0);
		ck_assert_uint_eq(a.count, 2);
	}
	mailbox_fini(&st.mailbox);
	return NULL;
}

START_TEST(threads_share_a_resolver)
{
	struct stage st;
	pthread_t threads[4];

	stage_init(&st, 30000);
	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, ask_many, &st), 0);
	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	stage_fini(&st);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, answers_are_cached_for_their_time);
	tcase_add_test(tcase, both_families);
	tcase_add_test(tcase, mapped_addresses_lose_their_disguise);
	tcase_add_test(tcase, hosts_file_is_honoured);
	tcase_add_test(tcase, of_200_addresses_32_are_kept);
	tcase_add_test(tcase, times_to_live_are_bounded);
	tcase_add_test(tcase, failures_have_their_errors);
	tcase_add_test(tcase, broken_answers_are_no_answers);
	tcase_add_test(tcase, answers_cut_at_every_length);
	tcase_add_test(tcase, forged_answers_are_passed_over);
	tcase_add_test(tcase, equal_questions_are_asked_once);
	tcase_add_test(tcase, a_late_answer_fills_the_cache);
	tcase_add_test(tcase, an_asker_that_has_gone_costs_nothing);
	tcase_add_test(tcase, freeing_answers_what_is_open);
	tcase_add_test(tcase, a_new_resolv_conf_is_followed);
	tcase_add_test(tcase, wrong_settings_are_refused);
	tcase_add_test(tcase, the_cache_is_bounded);
	tcase_add_test(tcase, too_many_open_questions_are_refused);
	tcase_add_test(tcase, threads_share_a_resolver);
}

UNIT_MAIN("resolver", add_tests)
