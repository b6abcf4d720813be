#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/edge_private.h"
#include "engine/relay.h"
#include "engine/throttle.h"
#include "engine_bench.h"
#include "sys/socket.h"

#define STREAM_BYTES (6 * 1024 * 1024)

/* A worker without a thread, one connection on it, and the far ends. */
static struct edge edge;
static struct worker *worker;
static struct conn conn;
static int client, upstream; /* the far ends */
static unsigned descriptors;
static uint8_t *stream, *received;
/* Both directions are done: the stage would close, and that sends what FIN is
 * still to be sent. */
static bool closed;

static void
on_client(struct watch *w, uint32_t events)
{
	leg_note(CONTAINER_OF(w, struct leg, watch), events);
}

static void
open_leg(struct leg *l, int *far_end)
{
	int ends[2];

	tcp_pair(ends);
	*far_end = ends[0];
	ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	leg_init(l);
	ck_assert_int_eq(leg_open(l, &worker->loop, ends[1], on_client), 0);
}

static void
setup(void)
{
	/* splice(2) knows no MSG_NOSIGNAL; the program ignores it too. */
	signal(SIGPIPE, SIG_IGN);
	closed = false;
	descriptors = open_descriptors();
	worker = calloc(1, sizeof(*worker));
	stream = malloc(STREAM_BYTES);
	received = malloc(STREAM_BYTES);
	ck_assert(worker && stream && received);
	for (size_t i = 0; i < STREAM_BYTES; i++)
		stream[i] = (uint8_t)random_below(256);
	/* Not the first one: that would check health. */
	ck_assert_int_eq(worker_init(worker, &edge, 1), 0);
	conn = (struct conn){ .magic = CONN_MAGIC, .worker = worker };
	conn.stage = STAGE_RELAY;
	conn.start_us = clock_us();
	list_init(&conn.queue);
	open_leg(&conn.client, &client);
	open_leg(&conn.upstream, &upstream);
}

static void
close_far(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void
teardown(void)
{
	throttle_free(conn.throttle);
	leg_drop_pending(&conn.client, &worker->pipes);
	leg_drop_pending(&conn.upstream, &worker->pipes);
	leg_close(&conn.client);
	leg_close(&conn.upstream);
	list_remove(&conn.queue);
	worker_fini(worker);
	ck_assert_int_eq(edge.pipe_budget.open_count, 0);
	free(worker);
	free(stream);
	free(received);
	close_far(&client);
	close_far(&upstream);
	ck_assert_uint_eq(open_descriptors(), descriptors);
}

struct flows {
	enum flow in, out;
};

static struct flows
turn(void)
{
	struct flows f = { FLOW_DONE, FLOW_DONE };

	if (closed)
		return f;

	loop_turn(&worker->loop, 0);
	worker->now_ms = clock_ms();
	timeouts_run(&worker->timeouts, worker->now_ms);
	f.in = relay_step(&conn, &conn.client, &conn.upstream);
	f.out = relay_step(&conn, &conn.upstream, &conn.client);
	closed = f.in == FLOW_DONE && f.out == FLOW_DONE;
	if (closed) {
		leg_close(&conn.client);
		leg_close(&conn.upstream);
	}
	return f;
}

#define TURN_UNTIL(condition)                                           \
	do {                                                            \
		uint64_t until_ = clock_ms() + PATIENCE_MS;             \
		while (turn(), !(condition))                            \
			ck_assert_msg(clock_ms() < until_, #condition); \
	} while (0)

/* One direction of a test: a stream that is put in and taken out in pieces of
 * at most so many bytes. */
struct way {
	int from, to;
	size_t len, sent, got;
	size_t send_most, take_most;
	bool ended; /* the receiver has seen the FIN */
};

static void
put_in(struct way *w)
{
	size_t piece = random_below(w->send_most) + 1;
	ssize_t n;

	if (w->sent == w->len)
		return;
	if (piece > w->len - w->sent)
		piece = w->len - w->sent;
	n = send(w->from, stream + w->sent, piece, MSG_NOSIGNAL);
	QUICK_ASSERT(n > 0 || errno == EAGAIN);
	if (n > 0)
		w->sent += (size_t)n;
	if (w->sent == w->len)
		QUICK_ASSERT(shutdown(w->from, SHUT_WR) == 0);
}

static void
take_out(struct way *w)
{
	uint8_t data[64 * 1024];
	size_t piece = random_below(w->take_most) + 1;
	ssize_t n;

	n = recv(w->to, data, piece < sizeof(data) ? piece : sizeof(data), 0);
	QUICK_ASSERT(n >= 0 || errno == EAGAIN);
	if (n == 0)
		w->ended = true;
	if (n <= 0)
		return;
	QUICK_ASSERT(w->got + (size_t)n <= w->len);
	QUICK_ASSERT(memcmp(data, stream + w->got, (size_t)n) == 0);
	w->got += (size_t)n;
}

/* What is kept for a leg is bounded whatever the far ends do. */
static void
check_bound(void)
{
	const struct leg *legs[] = { &conn.client, &conn.upstream };

	for (size_t i = 0; i < 2; i++) {
		const struct leg_buffer *b = legs[i]->pending;

		if (b)
			QUICK_ASSERT(b->end <= WORKER_BUFFER_BYTES);
		QUICK_ASSERT(!(legs[i]->pending && legs[i]->pipe));
	}
}

static void
run_ways(struct way *in, struct way *out)
{
	uint64_t until = clock_ms() + PATIENCE_MS;
	struct flows f;

	do {
		put_in(in);
		put_in(out);
		f = turn();
		check_bound();
		take_out(in);
		take_out(out);
		QUICK_ASSERT(clock_ms() < until);
	} while (!in->ended || !out->ended);
	ck_assert_int_eq(f.in, FLOW_DONE);
	ck_assert_int_eq(f.out, FLOW_DONE);
	ck_assert_uint_eq(in->got, in->len);
	ck_assert_uint_eq(out->got, out->len);
	ck_assert_uint_eq(conn.upstream.taken_bytes, in->len);
	ck_assert_uint_eq(conn.client.taken_bytes, out->len);
}

static const struct {
	size_t send_most, take_most, len;
} sizes[] = {
	{ 1, 1, 300 },
	{ 1460, 1460, 200 * 1024 },
	{ 100 * 1024, 700, 500 * 1024 }, /* a slow reader */
	{ 300, 100 * 1024, 200 * 1024 },
	{ 2 * 1024 * 1024, 64 * 1024, STREAM_BYTES }, /* spliced */
	{ 2 * 1024 * 1024, 9000, 2 * 1024 * 1024 },
};

START_TEST(every_byte_arrives_both_ways)
{
	struct way in = { client, upstream, sizes[_i].len, 0, 0,
		sizes[_i].send_most, sizes[_i].take_most, false };
	struct way out = { upstream, client, sizes[_i].len / 2, 0, 0,
		sizes[_i].take_most, sizes[_i].send_most, false };

	run_ways(&in, &out);
}
END_TEST

START_TEST(a_half_close_leaves_the_other_way_open)
{
	int closer = _i ? upstream : client, other = _i ? client : upstream;
	char data[8] = "";

	ck_assert_int_eq(send(closer, "last", 4, 0), 4);
	ck_assert_int_eq(shutdown(closer, SHUT_WR), 0);
	TURN_UNTIL(recv(other, data, 4, 0) == 4);
	ck_assert_str_eq(data, "last");
	TURN_UNTIL(recv(other, data, 1, 0) == 0);
	ck_assert_int_eq(send(other, "reply", 5, 0), 5);
	TURN_UNTIL(recv(closer, data, 5, 0) == 5);
	ck_assert_int_eq(recv(closer, data, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(shutdown(other, SHUT_WR), 0);
	TURN_UNTIL(recv(closer, data, 1, 0) == 0);
	ck_assert(closed);
}
END_TEST

/* Moves large pieces until the direction splices. */
static void
move_until_spliced(struct way *w, struct leg *to)
{
	uint64_t until = clock_ms() + PATIENCE_MS;

	while (to->streak_bytes < RELAY_SPLICE_AFTER ||
	       edge.pipe_budget.open_count == 0) {
		/* In one piece before the next turn: large reads. */
		for (int i = 0; i < 4; i++)
			put_in(w);
		turn();
		for (int i = 0; i < 8; i++)
			take_out(w);
		QUICK_ASSERT(clock_ms() < until);
	}
}

static struct way
large_way(void)
{
	return (struct way){ client, upstream, STREAM_BYTES, 0, 0, 512 * 1024,
		64 * 1024, false };
}

START_TEST(much_is_spliced_and_little_is_copied)
{
	struct way w = large_way();

	move_until_spliced(&w, &conn.upstream);
	while (w.got < w.sent) {
		turn();
		take_out(&w);
	}
	ck_assert_int_gt(worker->pipes.free_count, 0);
	w.len = w.sent + 5;
	w.send_most = 1;
	for (int i = 0; i < 5; i++) {
		put_in(&w);
		TURN_UNTIL((take_out(&w), w.got == w.sent));
	}
	ck_assert_uint_eq(conn.upstream.streak_bytes, 0);
	ck_assert_ptr_null(conn.upstream.pipe);
	TURN_UNTIL((take_out(&w), w.ended));
}
END_TEST

START_TEST(without_a_pipe_it_copies)
{
	struct way in = large_way();
	struct way out = { upstream, client, 1000, 0, 0, 100, 100, false };

	edge.pipe_budget.open_count = PIPES_MAX;
	run_ways(&in, &out);
	ck_assert_int_eq(edge.pipe_budget.open_count, PIPES_MAX);
	ck_assert_uint_ge(conn.upstream.streak_bytes, 0);
	edge.pipe_budget.open_count = 0;
}
END_TEST

START_TEST(urgent_data_stops_no_spliced_stream)
{
	struct way w = large_way();
	uint8_t tail[4];

	move_until_spliced(&w, &conn.upstream);
	while (w.got < w.sent) {
		turn();
		take_out(&w);
	}
	/* The urgent byte leaves the stream; what is before and behind it
	 * stays, and the FIN behind is the end and no earlier. */
	ck_assert_int_eq(send(client, "ab", 2, 0), 2);
	ck_assert_int_eq(send(client, "!", 1, MSG_OOB), 1);
	ck_assert_int_eq(send(client, "cd", 2, 0), 2);
	ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
	for (size_t got = 0; got < 4;) {
		ssize_t n;

		TURN_UNTIL((n = recv(upstream, tail + got, 4 - got, 0)) >= 0);
		ck_assert_int_gt(n, 0);
		got += (size_t)n;
	}
	ck_assert_int_eq(memcmp(tail, "abcd", 4), 0);
	TURN_UNTIL(recv(upstream, tail, 1, 0) == 0);
	ck_assert(!conn.client.reset);
}
END_TEST

/* When a far end resets, in the test below. */
enum moment { BEFORE_ALL, BYTES_WAIT, SPLICED, HALF_CLOSED, MOMENT_COUNT };

static void
bring_about(enum moment m, struct way *w, struct leg *to)
{
	switch (m) {
	case BYTES_WAIT:
		ck_assert_int_eq(send(w->from, stream, 9, 0), 9);
		break;
	case SPLICED:
		move_until_spliced(w, to);
		break;
	case HALF_CLOSED:
		ck_assert_int_eq(shutdown(w->from, SHUT_WR), 0);
		TURN_UNTIL(to->shut);
		break;
	default:
		break;
	}
}

START_TEST(a_reset_is_noticed_and_not_taken_for_the_end)
{
	enum moment m = (enum moment)(_i % MOMENT_COUNT);
	bool from_client = _i / MOMENT_COUNT;
	struct leg *hit = from_client ? &conn.client : &conn.upstream;
	struct way w = large_way();

	bring_about(m, &w, &conn.upstream);
	if (from_client && m != HALF_CLOSED) {
		close_with_reset(client);
		client = -1;
	} else {
		close_with_reset(upstream);
		upstream = -1;
		hit = &conn.upstream;
	}
	TURN_UNTIL(hit->reset && hit->failed);
	ck_assert(!(hit == &conn.client && conn.upstream.shut));
}
END_TEST

START_TEST(what_was_sent_before_a_reset_by_the_reader_is_delivered)
{
	char data[8];

	/* The upstream answers and resets while the client still sends. */
	ck_assert_int_eq(send(upstream, "answer", 6, 0), 6);
	TURN_UNTIL(recv(client, data, 6, 0) == 6);
	ck_assert_int_eq(memcmp(data, "answer", 6), 0);
	ck_assert_int_eq(send(client, stream, 100, 0), 100);
	close_with_reset(upstream);
	upstream = -1;
	TURN_UNTIL(conn.upstream.failed);
	ck_assert(!leg_has_pending(&conn.upstream));
}
END_TEST

START_TEST(a_stalled_reader_costs_little)
{
	struct way w = large_way();
	size_t before;

	w.send_most = STREAM_BYTES;
	do { /* until all buffers are full */
		before = w.sent;
		for (int i = 0; i < 50; i++) {
			put_in(&w);
			turn();
			check_bound();
		}
	} while (w.sent != before && w.sent < w.len);
	ck_assert(w.sent < w.len || leg_has_pending(&conn.upstream) ||
		  conn.upstream.taken_bytes == w.len);
	ck_assert_int_le(edge.pipe_budget.open_count, 1);
	TURN_UNTIL((put_in(&w), take_out(&w), w.ended));
	ck_assert_uint_eq(w.got, w.len);
}
END_TEST

START_TEST(a_turn_has_its_share_and_no_more)
{
	struct flows f;

	ck_assert_int_eq(setsockopt(upstream, SOL_SOCKET, SO_RCVBUF,
			     &(int){ 8 << 20 }, sizeof(int)),
	    0);
	send(client, stream, STREAM_BYTES, 0);
	f = turn();
	for (int i = 0; f.in != FLOW_MORE && i < 1000; i++) {
		size_t before = conn.upstream.taken_bytes;

		send(client, stream, STREAM_BYTES, 0);
		f = turn();
		ck_assert_uint_le(conn.upstream.taken_bytes - before,
		    RELAY_TURN_BYTES + PIPE_BYTES);
		while (recv(upstream, received, STREAM_BYTES, 0) > 0)
			;
	}
	ck_assert_int_eq(f.in, FLOW_MORE);
}
END_TEST

START_TEST(a_throttle_lets_no_more_through)
{
	size_t rate = 200 * 1000, got = 0;
	uint64_t begin;

	conn.throttle = throttle_new(&conn, rate);
	ck_assert_ptr_nonnull(conn.throttle);
	begin = clock_ms();
	ck_assert_int_gt(send(client, stream, 100 * 1000, 0), 0);
	TURN_UNTIL(({
		ssize_t n = recv(upstream, received, STREAM_BYTES, 0);
		uint64_t passed = clock_ms() - begin;

		got += n > 0 ? (size_t)n : 0;
		/* A bucket's worth more than the time that has passed. */
		QUICK_ASSERT(got <= rate * (passed + 116) / 1000 + rate / 10);
		got >= 80 * 1000;
	}));
	ck_assert_uint_ge(clock_ms() - begin, 190);
	ck_assert_uint_lt(conn.upstream.streak_bytes, RELAY_SPLICE_AFTER);
}
END_TEST

START_TEST(a_throttle_serves_each_way_for_itself)
{
	char data[64];

	conn.throttle = throttle_new(&conn, 100);
	ck_assert_int_eq(send(client, stream, 64, 0), 64);
	TURN_UNTIL(recv(upstream, data, sizeof(data), 0) > 0);
	ck_assert_uint_eq(throttle_allowance(conn.throttle, DIRECTION_OUT), 10);
	ck_assert_int_eq(send(upstream, "x", 1, 0), 1);
	TURN_UNTIL(recv(client, data, sizeof(data), 0) == 1);
	throttle_free(conn.throttle);
	/* The slowest of all still moves. */
	conn.throttle = throttle_new(&conn, 1);
	ck_assert_uint_eq(throttle_allowance(conn.throttle, DIRECTION_IN), 1);
	throttle_free(NULL);
}
END_TEST

START_TEST(pending_bytes_are_known)
{
	ck_assert(!relay_has_pending(&conn));
	ck_assert(leg_keep(&conn.client, span_text("x")));
	ck_assert(relay_has_pending(&conn));
	leg_drop_pending(&conn.client, &worker->pipes);
	/* In the kernel is on the way too. */
	TURN_UNTIL((send(client, stream, STREAM_BYTES, MSG_NOSIGNAL),
	    socket_unsent_bytes(conn.upstream.watch.fd) > 0));
	leg_drop_pending(&conn.upstream, &worker->pipes);
	ck_assert(relay_has_pending(&conn));
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(
	    tcase, every_byte_arrives_both_ways, 0, ARRAY_COUNT(sizes));
	tcase_add_loop_test(
	    tcase, a_half_close_leaves_the_other_way_open, 0, 2);
	tcase_add_test(tcase, much_is_spliced_and_little_is_copied);
	tcase_add_test(tcase, without_a_pipe_it_copies);
	tcase_add_test(tcase, urgent_data_stops_no_spliced_stream);
	tcase_add_loop_test(tcase, a_reset_is_noticed_and_not_taken_for_the_end,
	    0, 2 * MOMENT_COUNT);
	tcase_add_test(
	    tcase, what_was_sent_before_a_reset_by_the_reader_is_delivered);
	tcase_add_test(tcase, a_stalled_reader_costs_little);
	tcase_add_test(tcase, a_turn_has_its_share_and_no_more);
	tcase_add_test(tcase, a_throttle_lets_no_more_through);
	tcase_add_test(tcase, a_throttle_serves_each_way_for_itself);
	tcase_add_test(tcase, pending_bytes_are_known);
}

UNIT_MAIN("relay", add)
