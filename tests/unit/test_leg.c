#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/leg.h"
#include "engine_bench.h"

/* One leg in a loop, and the peer's end of its connection. */
static struct loop loop;
static struct leg leg;
static struct pipe_budget budget;
static struct pipes pipes;
static int peer;
static unsigned descriptors;
static uint8_t big[8 * 1024 * 1024];

static void
on_ready(struct watch *w, uint32_t events)
{
	leg_note(CONTAINER_OF(w, struct leg, watch), events);
}

static void
setup(void)
{
	int ends[2];

	descriptors = open_descriptors();
	ck_assert_int_eq(loop_init(&loop), 0);
	pipes_init(&pipes, &budget);
	tcp_pair(ends);
	peer = ends[0];
	ck_assert_int_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	leg_init(&leg);
	ck_assert(!leg_is_open(&leg));
	ck_assert_int_eq(leg_open(&leg, &loop, ends[1], on_ready), 0);
	ck_assert(leg_is_open(&leg));
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 31 >> 3);
}

static void
teardown(void)
{
	leg_drop_pending(&leg, &pipes);
	leg_close(&leg);
	if (peer >= 0)
		close(peer);
	pipes_fini(&pipes);
	ck_assert_int_eq(budget.open_count, 0);
	loop_fini(&loop);
	ck_assert_uint_eq(open_descriptors(), descriptors);
}

/* Turns the loop until the condition holds. */
#define TURN_UNTIL(condition)                                     \
	do {                                                      \
		for (int turns_ = 0; !(condition); turns_++) {    \
			ck_assert_msg(turns_ < 1000, #condition); \
			loop_turn(&loop, PATIENCE_MS / 1000);     \
		}                                                 \
	} while (0)

static void
read_exactly(struct leg *l, const char *expected)
{
	char data[64];
	size_t count;

	ck_assert_int_eq(leg_read(l, data, sizeof(data), &count), IO_OK);
	ck_assert_uint_eq(count, strlen(expected));
	ck_assert_int_eq(memcmp(data, expected, count), 0);
}

static enum io
read_some(size_t size, size_t *count)
{
	return leg_read(&leg, big, size, count);
}

/* Writes until the socket is full; returns how much it took. */
static size_t
fill(void)
{
	size_t total = 0, count;

	while (leg_write(&leg, span_of(big + total, sizeof(big) - total),
		   &count) == IO_OK)
		ck_assert_uint_lt(total += count, sizeof(big));
	return total + count;
}

static void
receive_pattern(size_t from, size_t len)
{
	uint8_t *data = malloc(len);

	ck_assert_ptr_nonnull(data);
	receive_bytes(peer, data, len);
	ck_assert_int_eq(memcmp(data, big + from, len), 0);
	free(data);
}

START_TEST(what_the_loop_says_is_remembered)
{
	static const struct {
		uint32_t events;
		bool readable, writable, hung_up;
	} table[] = {
		{ 0, false, false, false },
		{ EPOLLIN, true, false, false },
		{ EPOLLOUT, false, true, false },
		{ EPOLLIN | EPOLLOUT, true, true, false },
		{ EPOLLRDHUP, true, false, true },
		{ EPOLLERR, true, true, true },
		{ EPOLLHUP, true, true, true },
	};

	for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
		struct leg l;

		leg_init(&l);
		leg_note(&l, table[i].events);
		leg_note(&l, 0);
		ck_assert_int_eq(l.readable, table[i].readable);
		ck_assert_int_eq(l.writable, table[i].writable);
		ck_assert_int_eq(l.hung_up, table[i].hung_up);
		ck_assert(!l.eof && !l.shut && !l.reset && !l.failed);
	}
}
END_TEST

START_TEST(a_new_leg_becomes_writable_and_then_readable)
{
	TURN_UNTIL(leg.writable);
	ck_assert(!leg.readable);
	send_text(peer, "x");
	TURN_UNTIL(leg.readable);
	ck_assert(!leg.hung_up);
}
END_TEST

START_TEST(a_short_read_means_empty)
{
	size_t count;

	send_text(peer, "four");
	TURN_UNTIL(leg.readable);
	ck_assert_int_eq(read_some(4, &count), IO_OK);
	ck_assert_uint_eq(count, 4);
	ck_assert(leg.readable); /* there may be more */
	ck_assert_int_eq(read_some(4, &count), IO_AGAIN);
	ck_assert(!leg.readable);
	send_text(peer, "abc");
	TURN_UNTIL(leg.readable);
	ck_assert_int_eq(read_some(4, &count), IO_OK);
	ck_assert_uint_eq(count, 3);
	ck_assert(!leg.readable); /* without asking again */
	ck_assert_uint_eq(leg.taken_bytes, 0);
}
END_TEST

START_TEST(a_short_read_is_not_the_end_when_a_fin_is_there)
{
	size_t count;

	send_text(peer, "abc");
	ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
	TURN_UNTIL(leg.hung_up);
	read_exactly(&leg, "abc");
	ck_assert(leg.readable); /* no event will come for the FIN */
	ck_assert_int_eq(read_some(4, &count), IO_EOF);
	ck_assert(!leg.reset && !leg.failed);
}
END_TEST

START_TEST(what_is_written_arrives_and_counts)
{
	size_t count;
	char data[5];

	ck_assert_int_eq(leg_write(&leg, span_text("hello"), &count), IO_OK);
	ck_assert_uint_eq(count, 5);
	ck_assert_uint_eq(leg.taken_bytes, 5);
	ck_assert(!leg.congested);
	receive_bytes(peer, data, 5);
	ck_assert_int_eq(memcmp(data, "hello", 5), 0);
}
END_TEST

START_TEST(our_own_words_do_not_count)
{
	char data[5];

	ck_assert_int_eq(leg_say(&leg, span_text("words")), IO_OK);
	ck_assert_uint_eq(leg.taken_bytes, 0);
	receive_bytes(peer, data, 5);
	ck_assert_int_eq(memcmp(data, "words", 5), 0);
}
END_TEST

START_TEST(what_was_not_taken_is_kept_and_flushed)
{
	size_t taken;

	TURN_UNTIL(leg.writable);
	taken = fill();
	ck_assert(!leg.writable && leg.congested);
	ck_assert_uint_eq(leg.taken_bytes, taken);
	ck_assert(!leg_has_pending(&leg));
	ck_assert(leg_keep(&leg, span_of(big + taken, sizeof(big) - taken)));
	ck_assert(leg_has_pending(&leg));
	ck_assert_int_eq(leg_flush(&leg, &pipes), IO_AGAIN);
	for (size_t got = 0; got < sizeof(big); got += sizeof(big) / 64) {
		receive_pattern(got, sizeof(big) / 64);
		loop_turn(&loop, 0);
		(void)leg_flush(&leg, &pipes);
	}
	ck_assert(!leg_has_pending(&leg));
	ck_assert_int_eq(leg_flush(&leg, &pipes), IO_OK);
	ck_assert_uint_eq(leg.taken_bytes, sizeof(big));
}
END_TEST

/* As many of these bytes as fit into one write. */
static size_t
put_into_pipe(size_t offset, size_t len)
{
	ssize_t n;

	leg.pipe = pipes_borrow(&pipes);
	ck_assert_ptr_nonnull(leg.pipe);
	n = write(leg.pipe->write_fd, big + offset, len);
	ck_assert_int_gt(n, 0);
	leg.pipe->bytes = (size_t)n;
	return (size_t)n;
}

START_TEST(a_pipe_is_flushed_and_given_back)
{
	size_t taken, all;

	TURN_UNTIL(leg.writable);
	taken = fill();
	all = taken + put_into_pipe(taken, 500000);
	ck_assert(leg_has_pending(&leg));
	leg.writable = true; /* as if the loop had said so: it must find out */
	ck_assert_int_eq(leg_flush(&leg, &pipes), IO_AGAIN);
	ck_assert(!leg.writable);
	for (size_t got = 0; got < all;) {
		size_t step = all - got;

		step = step < 65536 ? step : 65536;
		receive_pattern(got, step);
		got += step;
		loop_turn(&loop, 0);
		(void)leg_flush(&leg, &pipes);
	}
	ck_assert(!leg_has_pending(&leg));
	ck_assert_uint_eq(leg.taken_bytes, all);
	ck_assert_int_eq(pipes.free_count, 1);
}
END_TEST

START_TEST(a_pipe_that_is_dropped_with_bytes_is_not_used_again)
{
	put_into_pipe(0, 1000);
	leg_drop_pending(&leg, &pipes);
	ck_assert(!leg_has_pending(&leg));
	ck_assert_int_eq(budget.open_count, 0);
	ck_assert_int_eq(pipes.free_count, 0);
	ck_assert(leg_keep(&leg, span_text("kept")));
	leg_drop_pending(&leg, &pipes);
	ck_assert(!leg_has_pending(&leg));
}
END_TEST

START_TEST(a_reset_is_remembered)
{
	size_t count;

	close_with_reset(peer);
	peer = -1;
	TURN_UNTIL(leg.readable);
	ck_assert_int_eq(read_some(4, &count), IO_ERROR);
	ck_assert_int_eq(errno, ECONNRESET);
	ck_assert(leg.reset && leg.failed);
	/* The kernel says end of file from here on; the leg knows better. */
	ck_assert_int_eq(read_some(4, &count), IO_ERROR);
	ck_assert_int_eq(leg_write(&leg, span_text("x"), &count), IO_ERROR);
	ck_assert_uint_eq(leg.taken_bytes, 0);
}
END_TEST

START_TEST(a_reset_that_a_write_met_ends_reading_with_an_error)
{
	size_t count;

	close_with_reset(peer);
	peer = -1;
	TURN_UNTIL(leg.hung_up);
	ck_assert_int_eq(leg_write(&leg, span_text("x"), &count), IO_ERROR);
	ck_assert(leg.reset && !leg.failed && leg.readable);
	ck_assert_int_eq(read_some(4, &count), IO_ERROR);
	ck_assert(leg.failed);
}
END_TEST

START_TEST(a_flush_meets_the_reset_too)
{
	put_into_pipe(0, 1000);
	close_with_reset(peer);
	peer = -1;
	TURN_UNTIL(leg.hung_up);
	leg.writable = true;
	ck_assert_int_eq(leg_flush(&leg, &pipes), IO_ERROR);
	ck_assert(leg.reset);
	leg_drop_pending(&leg, &pipes);
	ck_assert(leg_keep(&leg, span_text("x")));
	ck_assert_int_eq(leg_flush(&leg, &pipes), IO_ERROR);
}
END_TEST

START_TEST(a_fin_ends_one_direction)
{
	leg_shut(&leg);
	leg_shut(&leg);
	ck_assert(leg.shut);
	expect_end(peer);
	send_text(peer, "still");
	TURN_UNTIL(leg.readable);
	read_exactly(&leg, "still");
}
END_TEST

/* Nothing arrives until the FIN does, and then both: one segment. */
START_TEST(what_is_followed_by_the_fin_goes_with_it)
{
	char data[8];
	size_t count;

	leg_expect_more(&leg, true);
	ck_assert_int_eq(leg_write(&leg, span_text("bye"), &count), IO_OK);
	ck_assert_int_eq(recv(peer, data, sizeof(data), MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	leg_shut(&leg);
	ck_assert_int_eq(recv(peer, data, sizeof(data), 0), 3);
	ck_assert_int_eq(recv(peer, data, sizeof(data), 0), 0);
}
END_TEST

START_TEST(an_announced_fin_is_an_end_only_without_an_error)
{
	leg_note(&leg, EPOLLIN | EPOLLRDHUP);
	ck_assert(leg.ending);
	leg_note(&leg, EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
	ck_assert(!leg.ending);
	ck_assert(leg.hung_up);
}
END_TEST

START_TEST(closing_says_fin_and_forgets)
{
	size_t count;

	ck_assert_int_eq(leg_write(&leg, span_text("bye"), &count), IO_OK);
	leg.failed = true;
	leg_close(&leg);
	leg_close(&leg);
	leg_abort(&leg);
	ck_assert(!leg_is_open(&leg));
	ck_assert(!leg.readable && !leg.writable && !leg.shut);
	ck_assert(leg.failed); /* for those that ask why it ended */
	ck_assert_uint_eq(leg.taken_bytes, 3);
	receive_bytes(peer, big, 3);
	expect_end(peer);
	leg_shut(&leg);
}
END_TEST

START_TEST(aborting_says_reset)
{
	leg_abort(&leg);
	leg_abort(&leg);
	ck_assert(!leg_is_open(&leg));
	expect_reset(peer);
}
END_TEST

START_TEST(an_event_that_was_under_way_finds_nobody)
{
	send_text(peer, "x");
	leg_close(&leg);
	loop_turn(&loop, 0);
	ck_assert(!leg.readable);
}
END_TEST

/* The next upstream is not to blame for the one before. */
START_TEST(a_failure_ends_with_the_next_descriptor)
{
	int ends[2];

	close_with_reset(peer);
	TURN_UNTIL(leg.hung_up);
	ck_assert_int_eq(read_some(4, &(size_t){ 0 }), IO_ERROR);
	leg_close(&leg);
	ck_assert(leg.failed);
	tcp_pair(ends);
	peer = ends[0];
	ck_assert_int_eq(leg_open(&leg, &loop, ends[1], on_ready), 0);
	ck_assert(!leg.failed && !leg.reset);
}
END_TEST

START_TEST(a_descriptor_that_cannot_be_watched_is_closed)
{
	struct leg l;
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	leg_init(&l);
	ck_assert_int_eq(leg_open(&l, &loop, null_fd, on_ready), -EPERM);
	ck_assert(!leg_is_open(&l));
	ck_assert_int_eq(fcntl(null_fd, F_GETFD), -1);
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_the_loop_says_is_remembered);
	tcase_add_test(tcase, a_new_leg_becomes_writable_and_then_readable);
	tcase_add_test(tcase, a_short_read_means_empty);
	tcase_add_test(tcase, a_short_read_is_not_the_end_when_a_fin_is_there);
	tcase_add_test(tcase, what_is_written_arrives_and_counts);
	tcase_add_test(tcase, our_own_words_do_not_count);
	tcase_add_test(tcase, what_was_not_taken_is_kept_and_flushed);
	tcase_add_test(tcase, a_pipe_is_flushed_and_given_back);
	tcase_add_test(
	    tcase, a_pipe_that_is_dropped_with_bytes_is_not_used_again);
	tcase_add_test(tcase, a_reset_is_remembered);
	tcase_add_test(
	    tcase, a_reset_that_a_write_met_ends_reading_with_an_error);
	tcase_add_test(tcase, a_flush_meets_the_reset_too);
	tcase_add_test(tcase, a_fin_ends_one_direction);
	tcase_add_test(tcase, what_is_followed_by_the_fin_goes_with_it);
	tcase_add_test(tcase, an_announced_fin_is_an_end_only_without_an_error);
	tcase_add_test(tcase, closing_says_fin_and_forgets);
	tcase_add_test(tcase, aborting_says_reset);
	tcase_add_test(tcase, an_event_that_was_under_way_finds_nobody);
	tcase_add_test(tcase, a_failure_ends_with_the_next_descriptor);
	tcase_add_test(tcase, a_descriptor_that_cannot_be_watched_is_closed);
}

UNIT_MAIN("leg", add)
