/* From a bridge at the edge through both sessions to a bridge at the agent. */
#include "unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "faults.h"
#include "session_bench.h"
#include "sys/bridge.h"
#include "sys/socket.h"
#include "tunnel/pump.h"

FAULT(calloc);
FAULT(epoll_ctl);

struct epoll_event;

void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
int __real_epoll_ctl(int, int, int, struct epoll_event *);
int __wrap_epoll_ctl(int, int, int, struct epoll_event *);

void *
__wrap_calloc(size_t count, size_t size)
{
	if (fault_hits(&calloc_fault))
		return NULL;
	return __real_calloc(count, size);
}

int
__wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
	if (fault_hits(&epoll_ctl_fault))
		return -1;
	return __real_epoll_ctl(epoll_fd, op, fd, event);
}

#define LINES 4

/* An outer end, and what its pump told. */
struct outer {
	int fd;
	struct bridge *bridge;
	struct mux_stream *stream; /* until the pump is done */
	struct pump_report report;
	unsigned done_count;
	size_t sent, received; /* of the pattern */
	bool at_end, failed;
};

struct line {
	struct outer edge, agent;
};

static struct line lines[LINES];
static size_t agent_count;
static const char *agents_first = "";

static void
on_done(void *owner, const struct pump_report *report)
{
	struct outer *o = owner;

	o->done_count++;
	o->report = *report;
	o->stream = NULL;
}

static int
start(struct outer *o, struct session *s, struct mux_stream *stream,
    const char *first)
{
	int fds[2];

	ck_assert_int_eq(bridge_open(&o->bridge, fds), 0);
	o->fd = fds[BRIDGE_OUTER];
	o->stream = stream;
	return pump_start(s, stream, span_text(first), fds[BRIDGE_INNER],
	    o->bridge, on_done, o);
}

static void
on_stream(struct session *s, struct mux_stream *stream)
{
	struct outer *o = &lines[agent_count++].agent;

	ck_assert_int_eq(start(o, s, stream, agents_first), 0);
}

static void
setup(void)
{
	bench_open();
	bench.agent.on_stream = on_stream;
	bench_greet();
	for (int i = 0; i < LINES; i++)
		lines[i].edge.fd = lines[i].agent.fd = -1;
}

static void
fini_outer(struct outer *o)
{
	if (o->fd >= 0)
		close(o->fd);
	bridge_put(o->bridge);
}

static void
teardown(void)
{
	for (int i = 0; i < LINES; i++) {
		fini_outer(&lines[i].edge);
		fini_outer(&lines[i].agent);
	}
	bench_close();
}

/* The next line; what the edge says first. */
static struct line *
connect_line(const char *first)
{
	struct line *line = &lines[agent_count];
	struct mux_stream *stream =
	    session_open_stream(bench.edge.s, SESSION_PROXY_TYPE);

	ck_assert_ptr_nonnull(stream);
	ck_assert_int_eq(start(&line->edge, bench.edge.s, stream, first), 0);
	bench_settle();
	ck_assert_ptr_nonnull(line->agent.bridge);
	return line;
}

/* --- at the outer ends --- */

static uint8_t
pattern(size_t at)
{
	return (uint8_t)(at * 13 + (at >> 8) * 7);
}

static void
say(struct outer *o, const char *text)
{
	ck_assert_int_eq(
	    send(o->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	bench_settle();
}

static void
expect(struct outer *o, const char *text)
{
	char got[100];
	ssize_t n = recv(o->fd, got, sizeof(got), 0);

	ck_assert_int_eq(n, strlen(text));
	ck_assert_mem_eq(got, text, strlen(text));
}

static void
expect_nothing(struct outer *o)
{
	char got[1];

	ck_assert_int_eq(recv(o->fd, got, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static void
expect_fin(struct outer *o)
{
	char got[1];

	ck_assert_int_eq(recv(o->fd, got, 1, 0), 0);
	ck_assert(!bridge_was_reset(o->bridge, BRIDGE_INNER));
}

/* The end of the stream, or an error, and the note. */
static void
expect_reset(struct outer *o)
{
	char got[1];

	ck_assert_int_le(recv(o->fd, got, 1, 0), 0);
	ck_assert(bridge_was_reset(o->bridge, BRIDGE_INNER));
}

static void
fin(struct outer *o)
{
	shutdown(o->fd, SHUT_WR);
	bench_settle();
}

static void
close_outer(struct outer *o, bool by_reset)
{
	if (by_reset)
		bridge_note_reset(o->bridge, BRIDGE_OUTER);
	close(o->fd);
	o->fd = -1;
	bench_settle();
}

static void
check_done(struct outer *o, uint64_t in, uint64_t out)
{
	ck_assert_uint_eq(o->done_count, 1);
	ck_assert_uint_eq(o->report.bytes_in, in);
	ck_assert_uint_eq(o->report.bytes_out, out);
}

/* As much of the pattern as is taken, up to `total`. */
static bool
send_some(struct outer *o, size_t total)
{
	static uint8_t block[50000];
	size_t len = total - o->sent, n;

	if (len > sizeof(block))
		len = 1 + random_quick() % sizeof(block);
	for (size_t i = 0; i < len; i++)
		block[i] = pattern(o->sent + i);
	if (len == 0 || socket_write(o->fd, block, len, &n) != IO_OK)
		return false;
	o->sent += n;
	return true;
}

static bool
receive_some(struct outer *o)
{
	static uint8_t block[50000];
	size_t n;
	enum io io =
	    socket_read(o->fd, block, 1 + random_quick() % sizeof(block), &n);

	o->at_end |= io == IO_EOF;
	o->failed |= io == IO_ERROR;
	if (io != IO_OK)
		return false;
	for (size_t i = 0; i < n; i++)
		if (block[i] != pattern(o->received + i))
			ck_abort_msg("byte %zu is wrong", o->received + i);
	o->received += n;
	return true;
}

/* Both ways, until nothing moves. */
static void
exchange(struct line *line, size_t to_agent, size_t to_edge)
{
	bool moved;

	do {
		moved = send_some(&line->edge, to_agent);
		moved |= send_some(&line->agent, to_edge);
		bench_settle();
		moved |= receive_some(&line->agent);
		moved |= receive_some(&line->edge);
		bench_settle();
	} while (moved);
}

/* --- whole streams --- */

START_TEST(words_and_ends_both_ways)
{
	struct line *l = connect_line("hello, ");

	say(&l->edge, "world");
	expect(&l->agent, "hello, world");
	say(&l->agent, "good evening");
	expect(&l->edge, "good evening");
	expect_nothing(&l->agent);
	fin(&l->edge);
	expect_fin(&l->agent);
	/* Half of it goes on. */
	say(&l->agent, "and more");
	expect(&l->edge, "and more");
	ck_assert_uint_eq(l->edge.done_count + l->agent.done_count, 0);
	fin(&l->agent);
	expect_fin(&l->edge);
	check_done(&l->edge, 20, 5);
	check_done(&l->agent, 12, 20);
	ck_assert_uint_eq(l->edge.report.error, 0);
	ck_assert(!l->edge.report.reset_by_us);
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 2);
	ck_assert_uint_eq(session_counters(bench.agent.s).streams_open, 2);
}
END_TEST

START_TEST(the_agent_may_be_first_in_all)
{
	struct line *l;

	agents_first = "welcome";
	l = connect_line("");
	expect(&l->edge, "welcome");
	fin(&l->agent);
	expect_fin(&l->edge);
	say(&l->edge, "thanks");
	expect(&l->agent, "thanks");
	fin(&l->edge);
	expect_fin(&l->agent);
	ck_assert_uint_eq(l->edge.done_count + l->agent.done_count, 2);
}
END_TEST

/* Closed whole once the peer's end was delivered: a good end. */
START_TEST(a_close_behind_the_peers_end)
{
	struct line *l = connect_line("");

	say(&l->agent, "last words");
	fin(&l->agent);
	expect(&l->edge, "last words");
	expect_fin(&l->edge);
	ck_assert_int_eq(send(l->edge.fd, "bye", 3, MSG_NOSIGNAL), 3);
	close_outer(&l->edge, false);
	expect(&l->agent, "bye");
	expect_fin(&l->agent);
	check_done(&l->edge, 10, 3);
}
END_TEST

START_TEST(megabytes_both_ways)
{
	struct line *l = connect_line("");
	size_t size = 6 * 1000 * 1000 + 7;

	exchange(l, size, size / 2);
	ck_assert_uint_eq(l->agent.received, size);
	ck_assert_uint_eq(l->edge.received, size / 2);
	fin(&l->edge);
	fin(&l->agent);
	exchange(l, size, size / 2);
	ck_assert(l->agent.at_end && l->edge.at_end);
	check_done(&l->edge, size / 2, size);
	check_done(&l->agent, size, size / 2);
}
END_TEST

START_TEST(the_end_comes_behind_all_that_waits)
{
	struct line *l = connect_line("");
	size_t before;

	while (send_some(&l->edge, 10 * 1000 * 1000))
		bench_settle();
	ck_assert_uint_gt(l->edge.sent, 600000);
	before = l->edge.sent;
	fin(&l->edge);
	while (receive_some(&l->agent))
		bench_settle();
	ck_assert_uint_eq(l->agent.received, before);
	ck_assert(l->agent.at_end);
	ck_assert(!bridge_was_reset(l->agent.bridge, BRIDGE_INNER));
}
END_TEST

START_TEST(who_does_not_read_stops_only_himself)
{
	struct line *slow = connect_line(""), *quick = connect_line("");
	size_t stuck;

	while (send_some(&slow->edge, 100 * 1000 * 1000))
		bench_settle();
	stuck = slow->edge.sent;
	/* Two bridges, and a window that has grown once. */
	ck_assert_uint_lt(stuck, 3 * 1024 * 1024);
	ck_assert_uint_le(mux_counters(session_mux(bench.agent.s)).unread_bytes,
	    2 * MUX_WINDOW_BYTES);
	exchange(quick, 3000000, 3000000);
	ck_assert_uint_eq(quick->agent.received, 3000000);
	ck_assert_uint_eq(quick->edge.received, 3000000);
	ck_assert(!send_some(&slow->edge, 100 * 1000 * 1000));
	bench_pass(60000);
	ck_assert_uint_eq(bench.edge.end_count, 0);
	exchange(slow, stuck + 1000000, 10);
	ck_assert_uint_eq(slow->agent.received, stuck + 1000000);
}
END_TEST

/* --- resets --- */

START_TEST(a_reset_at_one_end_is_one_at_the_other)
{
	struct line *l = connect_line("");
	struct outer *from = _i ? &l->edge : &l->agent;
	struct outer *to = _i ? &l->agent : &l->edge;

	ck_assert_int_eq(send(from->fd, "until here", 10, MSG_NOSIGNAL), 10);
	close_outer(from, true);
	expect(to, "until here");
	expect_reset(to);
	ck_assert(from->report.reset_by_us);
	ck_assert_uint_eq(from->report.error, 0);
	ck_assert_uint_eq(to->report.error, FRAME_ERROR_CANCEL);
	ck_assert(!to->report.reset_by_us);
	check_done(to, 10, 0);
}
END_TEST

START_TEST(a_close_before_the_peers_end_is_a_reset)
{
	struct line *l = connect_line("");

	say(&l->edge, "enough");
	close_outer(&l->edge, false);
	expect(&l->agent, "enough");
	expect_reset(&l->agent);
}
END_TEST

/* The other direction has had its good end already. */
START_TEST(a_reset_is_one_behind_the_peers_end_too)
{
	struct line *l = connect_line("");

	fin(&l->agent);
	expect_fin(&l->edge);
	say(&l->edge, "cut sh");
	close_outer(&l->edge, true);
	expect(&l->agent, "cut sh");
	expect_reset(&l->agent);
}
END_TEST

/* It had sent its FIN, and then was gone before all had come. */
START_TEST(a_close_behind_ones_own_end_is_a_reset)
{
	struct line *l = connect_line("");

	fin(&l->edge);
	expect_fin(&l->agent);
	close_outer(&l->edge, false);
	ck_assert(l->edge.report.reset_by_us);
	ck_assert_uint_eq(l->agent.report.error, FRAME_ERROR_CANCEL);
	ck_assert_int_eq(send(l->agent.fd, "x", 1, MSG_NOSIGNAL), -1);
}
END_TEST

START_TEST(what_was_not_read_makes_a_close_a_reset)
{
	struct line *l = connect_line("");

	say(&l->agent, "listen");
	close_outer(&l->edge, false);
	expect_reset(&l->agent);
}
END_TEST

/* The reset does not wait for a peer that takes nothing. */
START_TEST(a_reset_passes_a_peer_that_takes_nothing)
{
	struct line *l = connect_line("");

	while (send_some(&l->edge, 100 * 1000 * 1000))
		bench_settle();
	close_outer(&l->edge, true);
	ck_assert_uint_eq(l->edge.done_count, 1);
	while (receive_some(&l->agent))
		bench_settle();
	ck_assert(bridge_was_reset(l->agent.bridge, BRIDGE_INNER));
	ck_assert_uint_eq(l->agent.done_count, 1);
}
END_TEST

/* The peer has said all and is gone: what it said is a whole stream, although
 * more was said to it. */
START_TEST(a_reset_behind_the_end_takes_nothing_back)
{
	struct line *l = connect_line("");

	say(&l->agent, "all of it");
	fin(&l->agent);
	while (send_some(&l->edge, 100 * 1000 * 1000))
		bench_settle();
	close_outer(&l->agent, true);
	ck_assert_uint_eq(l->edge.done_count, 1);
	expect(&l->edge, "all of it");
	expect_fin(&l->edge);
}
END_TEST

START_TEST(a_refusal_tells_its_reason)
{
	struct line *l = &lines[0];
	struct mux_stream *stream;

	bench.agent.on_stream = NULL;
	stream = session_open_stream(bench.edge.s, SESSION_PROXY_TYPE);
	ck_assert_int_eq(start(&l->edge, bench.edge.s, stream, "x"), 0);
	bench_settle();
	mux_take(bench.agent.stream, 1, 0);
	mux_reset(bench.agent.stream, FRAME_ERROR_REFUSAL + 4);
	bench_settle();
	expect_reset(&l->edge);
	ck_assert_uint_eq(l->edge.report.error, FRAME_ERROR_REFUSAL + 4);
	ck_assert(!l->edge.report.reset_by_us);
}
END_TEST

START_TEST(the_sessions_end_is_a_reset)
{
	struct line *l = connect_line("x");

	if (_i)
		session_host_fini(&bench.host);
	else
		session_close(bench.agent.s, "");
	bench_settle();
	expect(&l->agent, "x");
	expect_reset(&l->agent);
	expect_reset(&l->edge);
	check_done(&l->edge, 0, 0);
	check_done(&l->agent, 1, 0);
	ck_assert_uint_eq(l->agent.report.error, FRAME_ERROR_TRANSPORT);
	ck_assert_uint_eq(l->edge.report.error, FRAME_ERROR_TRANSPORT);
}
END_TEST

/* --- without memory --- */

START_TEST(a_pump_that_cannot_be)
{
	struct mux_stream *stream =
	    session_open_stream(bench.edge.s, SESSION_PROXY_TYPE);
	struct outer *o = &lines[0].edge;
	int error, fds[2];

	ck_assert_int_eq(bridge_open(&o->bridge, fds), 0);
	o->fd = fds[BRIDGE_OUTER];
	fault_set(&calloc_fault, _i == 0, ENOMEM);
	fault_set(&epoll_ctl_fault, _i == 1, ENOSPC);
	UNDER_FAULTS(error = pump_start(bench.edge.s, stream, span_text("x"),
			 fds[BRIDGE_INNER], o->bridge, on_done, o));
	fault_set(&calloc_fault, 0, 0);
	fault_set(&epoll_ctl_fault, 0, 0);
	ck_assert_int_eq(error, _i ? -ENOSPC : -ENOMEM);
	bench_settle();
	ck_assert_uint_eq(o->done_count, 0);
	expect_reset(o);
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 2);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, words_and_ends_both_ways);
	tcase_add_test(tcase, the_agent_may_be_first_in_all);
	tcase_add_test(tcase, a_close_behind_the_peers_end);
	tcase_add_test(tcase, megabytes_both_ways);
	tcase_add_test(tcase, the_end_comes_behind_all_that_waits);
	tcase_add_test(tcase, who_does_not_read_stops_only_himself);
	tcase_add_loop_test(
	    tcase, a_reset_at_one_end_is_one_at_the_other, 0, 2);
	tcase_add_test(tcase, a_close_before_the_peers_end_is_a_reset);
	tcase_add_test(tcase, a_reset_is_one_behind_the_peers_end_too);
	tcase_add_test(tcase, a_close_behind_ones_own_end_is_a_reset);
	tcase_add_test(tcase, what_was_not_read_makes_a_close_a_reset);
	tcase_add_test(tcase, a_reset_passes_a_peer_that_takes_nothing);
	tcase_add_test(tcase, a_reset_behind_the_end_takes_nothing_back);
	tcase_add_test(tcase, a_refusal_tells_its_reason);
	tcase_add_loop_test(tcase, the_sessions_end_is_a_reset, 0, 2);
	tcase_add_loop_test(tcase, a_pump_that_cannot_be, 0, 2);
}

UNIT_MAIN("pump", add_tests)
