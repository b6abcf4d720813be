#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "dns_server.h"
#include "engine/health.h"
#include "sys/socket.h"

/* The n-th allocation fails, 0: none does. */
static unsigned fail_calloc_at;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *
__wrap_calloc(size_t count, size_t size)
{
	if (fail_calloc_at > 0 && --fail_calloc_at == 0)
		return NULL;
	return __real_calloc(count, size);
}

/* One worker's parts, with time that passes only when the test says so. */
struct stage {
	struct loop loop;
	struct timeouts timeouts;
	struct mailbox mailbox;
	struct dns_server *server;
	struct resolver *resolver;
	struct upstreams *table;
	struct health *health;
	uint64_t now_ms;
};

static void
stage_init(struct stage *st)
{
	char servers[64];
	struct resolver_settings settings = { .servers = servers,
		.timeout_ms = 60000 };
	int error;

	memset(st, 0, sizeof(*st));
	st->now_ms = 1000000;
	st->server = dns_server_new();
	snprintf(servers, sizeof(servers), "127.0.0.1:%u",
	    dns_server_port(st->server));
	st->resolver = resolver_new(&settings, &error);
	ck_assert_ptr_nonnull(st->resolver);
	ck_assert_int_eq(loop_init(&st->loop), 0);
	ck_assert_int_eq(mailbox_init(&st->mailbox, 0), 0);
	timeouts_init(&st->timeouts, st->now_ms);
	st->table = upstreams_new();
	st->health =
	    health_new(&st->loop, &st->timeouts, st->resolver, &st->mailbox);
	ck_assert_ptr_nonnull(st->health);
}

static void
stage_fini(struct stage *st)
{
	health_free(st->health);
	ck_assert_int_eq(timeouts_wait_ms(&st->timeouts, st->now_ms), -1);
	mailbox_close(&st->mailbox);
	resolver_free(st->resolver);
	mailbox_fini(&st->mailbox);
	dns_server_free(st->server);
	loop_fini(&st->loop);
	upstreams_free(st->table); /* asserts that no reference is left */
}

static void
pass(struct stage *st, uint64_t ms)
{
	uint64_t end_ms = st->now_ms + ms;

	while (st->now_ms < end_ms) {
		st->now_ms += TIMEOUTS_SLOT_MS;
		timeouts_run(&st->timeouts, st->now_ms);
		loop_turn(&st->loop, 0);
	}
	/* On loopback the kernel has answered by now; this is for slowness. */
	loop_turn(&st->loop, 1);
}

/* To the only deadline there is, and not a moment further. */
static void
pass_to_next(struct stage *st)
{
	int wait_ms = timeouts_wait_ms(&st->timeouts, st->now_ms);

	ck_assert_int_ge(wait_ms, 0);
	st->now_ms += (uint64_t)wait_ms;
	timeouts_run(&st->timeouts, st->now_ms);
}

static void
wait_answer(struct stage *st)
{
	struct pollfd fd = { st->mailbox.event_fd, POLLIN, 0 };

	ck_assert_int_eq(poll(&fd, 1, -1), 1);
	mailbox_deliver(&st->mailbox, NULL);
	loop_turn(&st->loop, 100);
}

static int
open_listener(struct addr *out)
{
	int fd;

	ck_assert_int_eq(addr_parse(span_text("127.0.0.1"), out), 0);
	fd = socket_listen(out);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(socket_local_addr(fd, out), 0);
	return fd;
}

static unsigned
accept_all(int listener)
{
	struct addr peer, local;
	unsigned count = 0;
	int fd;

	while ((fd = socket_accept(listener, &peer, &local)) >= 0) {
		close(fd);
		count++;
	}
	return count;
}

static struct upstream *
ip_upstream(struct stage *st, const struct addr *a)
{
	struct upstream_address address = {
		.kind = UPSTREAM_IP, .addr = *a, .port = a->port
	};

	addr_format(a, address.text);
	return upstream_find(st->table, &address);
}

static struct upstream *
name_upstream(struct stage *st, const char *name, uint16_t port)
{
	struct upstream_address address = { .kind = UPSTREAM_NAME,
		.port = port };

	address.name.len = (uint8_t)strlen(name);
	strcpy(address.name.text, name);
	snprintf(address.text, sizeof(address.text), "%s:%u", name, port);
	return upstream_find(st->table, &address);
}

static void
set_one(struct stage *st, struct upstream *u, uint64_t every_ms, unsigned fall,
    unsigned rise)
{
	struct health_target t = { u, { every_ms, fall, rise } };

	ck_assert_int_eq(health_set_targets(st->health, &t, 1), 0);
}

static bool
is_up(const struct stage *st, const struct upstream *u)
{
	return upstream_is_up(u, st->now_ms);
}

START_TEST(one_check_a_period)
{
	struct stage st;
	struct addr a;
	int listener = open_listener(&a);
	struct upstream *u;

	stage_init(&st);
	u = ip_upstream(&st, &a);
	set_one(&st, u, 1000, 3, 2);
	pass(&st, 10000);
	ck_assert(is_up(&st, u));
	ck_assert_uint_ge(accept_all(listener), 9);
	pass(&st, 10000);
	ck_assert_uint_le(accept_all(listener), 10);
	upstream_put(u);
	stage_fini(&st);
	close(listener);
}
END_TEST

START_TEST(falls_after_fall_and_rises_after_rise)
{
	struct stage st;
	struct addr a, again;
	int listener = open_listener(&a);
	struct upstream *u;

	stage_init(&st);
	u = ip_upstream(&st, &a);
	set_one(&st, u, 1000, 3, 2);
	pass(&st, 2000);
	close(listener);
	pass(&st, 2000);
	ck_assert(is_up(&st, u));
	pass(&st, 2000);
	ck_assert(!is_up(&st, u));
	again = a;
	listener = socket_listen(&again);
	ck_assert_int_ge(listener, 0);
	pass(&st, 900);
	ck_assert(!is_up(&st, u));
	pass(&st, 2200);
	ck_assert(is_up(&st, u));
	upstream_put(u);
	stage_fini(&st);
	close(listener);
}
END_TEST

START_TEST(a_check_that_works_ends_shunning)
{
	struct stage st;
	struct addr a;
	int listener = open_listener(&a);
	struct upstream *u;

	stage_init(&st);
	u = ip_upstream(&st, &a);
	for (int i = 0; i < UPSTREAM_SHUN_FAILURES; i++)
		upstream_failed(u, st.now_ms);
	ck_assert(!is_up(&st, u));
	set_one(&st, u, 1000, 3, 2);
	pass(&st, 1100);
	ck_assert(is_up(&st, u));
	upstream_put(u);
	stage_fini(&st);
	close(listener);
}
END_TEST

/* A listener whose queue is full drops SYNs: nothing comes back. */
START_TEST(silence_is_a_failure_after_three_seconds)
{
	struct stage st;
	struct addr a;
	int listener = open_listener(&a), fill[8];
	struct upstream *u;

	ck_assert_int_eq(listen(listener, 0), 0);
	for (size_t i = 0; i < ARRAY_COUNT(fill); i++) {
		fill[i] = socket_connect(&a);
		ck_assert_int_ge(fill[i], 0);
	}
	stage_init(&st);
	u = ip_upstream(&st, &a);
	set_one(&st, u, 10000, 1, 1);
	timeouts_run(&st.timeouts, st.now_ms);
	for (int i = 0; is_up(&st, u); i++) {
		ck_assert_int_lt(i, 13200 / TIMEOUTS_SLOT_MS);
		pass(&st, TIMEOUTS_SLOT_MS);
	}
	upstream_put(u);
	stage_fini(&st);
	for (size_t i = 0; i < ARRAY_COUNT(fill); i++)
		close(fill[i]);
	close(listener);
}
END_TEST

START_TEST(names_are_resolved_for_the_check)
{
	struct stage st;
	struct addr a;
	int listener = open_listener(&a);
	struct upstream *u;

	stage_init(&st);
	u = name_upstream(&st, "mapped.test", a.port);
	set_one(&st, u, 4000, 1, 1);
	atomic_store(&u->down, true);
	pass_to_next(&st);
	wait_answer(&st);
	ck_assert(is_up(&st, u));
	ck_assert_uint_eq(accept_all(listener), 1);
	upstream_put(u);
	stage_fini(&st);
	close(listener);
}
END_TEST

START_TEST(a_name_without_address_is_down)
{
	struct stage st;
	struct upstream *u;

	stage_init(&st);
	u = name_upstream(&st, "nx.test", 1);
	set_one(&st, u, 4000, 1, 1);
	pass_to_next(&st);
	wait_answer(&st);
	ck_assert(!is_up(&st, u));
	/* From the resolver's cache this time. */
	atomic_store(&u->down, false);
	pass(&st, 4016);
	ck_assert(!is_up(&st, u));
	upstream_put(u);
	stage_fini(&st);
}
END_TEST

START_TEST(a_silent_name_server_is_not_waited_for)
{
	struct stage st;
	struct upstream *u;

	stage_init(&st);
	u = name_upstream(&st, "silent.test", 1);
	set_one(&st, u, 1000, 2, 1);
	pass(&st, 5000);
	ck_assert(!is_up(&st, u));
	upstream_put(u);
	/* Questions are open: the mailbox closes, the resolver answers. */
	stage_fini(&st);
}
END_TEST

START_TEST(stopped_checks_count_as_up)
{
	struct stage st;
	struct addr a;
	int listener = open_listener(&a);
	struct upstream *u;

	close(listener);
	stage_init(&st);
	u = ip_upstream(&st, &a);
	set_one(&st, u, 1000, 1, 1);
	pass(&st, 1100);
	ck_assert(!is_up(&st, u));
	ck_assert_int_eq(health_set_targets(st.health, NULL, 0), 0);
	ck_assert(is_up(&st, u));
	pass(&st, 3000);
	ck_assert(is_up(&st, u));
	ck_assert_uint_eq(atomic_load(&u->refs), 1);
	/* A period of 0 is no check either. */
	set_one(&st, u, 0, 1, 1);
	pass(&st, 3000);
	ck_assert(is_up(&st, u));
	upstream_put(u);
	stage_fini(&st);
}
END_TEST

START_TEST(known_targets_keep_their_state)
{
	struct stage st;
	struct addr a, b;
	int listener = open_listener(&a), other = open_listener(&b);
	struct upstream *u, *v;
	struct health_target both[3];

	close(listener);
	stage_init(&st);
	u = ip_upstream(&st, &a);
	v = ip_upstream(&st, &b);
	set_one(&st, u, 1000, 1, 1);
	pass(&st, 1100);
	ck_assert(!is_up(&st, u));
	/* One upstream twice: the shorter period wins. */
	both[0] = (struct health_target){ v, { 8000, 1, 1 } };
	both[1] = (struct health_target){ u, { 1000, 1, 1 } };
	both[2] = (struct health_target){ v, { 500, 1, 1 } };
	ck_assert_int_eq(health_set_targets(st.health, both, 3), 0);
	ck_assert(!is_up(&st, u));
	pass(&st, 4000);
	ck_assert(!is_up(&st, u));
	ck_assert_uint_ge(accept_all(other), 6);
	ck_assert_uint_eq(atomic_load(&v->refs), 2);
	upstream_put(u);
	upstream_put(v);
	stage_fini(&st);
	close(other);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
	struct stage st;
	struct addr a, b;
	int first = open_listener(&a), second = open_listener(&b);
	struct upstream *u, *v;
	struct health_target both[2];
	unsigned n = 1;

	stage_init(&st);
	u = ip_upstream(&st, &a);
	v = ip_upstream(&st, &b);
	set_one(&st, u, 1000, 1, 1);
	both[0] = (struct health_target){ u, { 1000, 1, 1 } };
	both[1] = (struct health_target){ v, { 1000, 1, 1 } };
	for (;; n++) {
		int err;

		fail_calloc_at = n;
		err = health_set_targets(st.health, both, 2);
		fail_calloc_at = 0;
		if (err == 0)
			break;
		ck_assert_int_eq(err, -ENOMEM);
		ck_assert_uint_eq(atomic_load(&v->refs), 1);
		pass(&st, 1100);
		ck_assert_uint_ge(accept_all(first), 1);
		ck_assert_uint_eq(accept_all(second), 0);
	}
	ck_assert_uint_gt(n, 2);
	upstream_put(u);
	upstream_put(v);
	stage_fini(&st);
	close(first);
	close(second);
}
END_TEST

/* Stopped in the middle of connecting and of resolving. */
START_TEST(checks_stop_in_the_middle)
{
	struct stage st;
	struct addr a;
	int listener = open_listener(&a);
	struct health_target both[2];

	stage_init(&st);
	both[0] =
	    (struct health_target){ ip_upstream(&st, &a), { 1000, 1, 1 } };
	both[1] = (struct health_target){ name_upstream(&st, "held.test", 1),
		{ 1000, 1, 1 } };
	ck_assert_int_eq(health_set_targets(st.health, both, 2), 0);
	st.now_ms += 1008;
	timeouts_run(&st.timeouts, st.now_ms);
	ck_assert_int_eq(health_set_targets(st.health, NULL, 0), 0);
	loop_turn(&st.loop, 1);
	dns_server_wait_held(st.server);
	dns_server_release(st.server);
	wait_answer(&st);
	pass(&st, 2000);
	for (int i = 0; i < 2; i++) {
		ck_assert(is_up(&st, both[i].upstream));
		upstream_put(both[i].upstream);
	}
	stage_fini(&st);
	close(listener);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, one_check_a_period);
	tcase_add_test(tcase, falls_after_fall_and_rises_after_rise);
	tcase_add_test(tcase, a_check_that_works_ends_shunning);
	tcase_add_test(tcase, silence_is_a_failure_after_three_seconds);
	tcase_add_test(tcase, names_are_resolved_for_the_check);
	tcase_add_test(tcase, a_name_without_address_is_down);
	tcase_add_test(tcase, a_silent_name_server_is_not_waited_for);
	tcase_add_test(tcase, stopped_checks_count_as_up);
	tcase_add_test(tcase, known_targets_keep_their_state);
	tcase_add_test(tcase, without_memory_nothing_changes);
	tcase_add_test(tcase, checks_stop_in_the_middle);
}

UNIT_MAIN("health", add_tests)
