/* Two multiplexers that keep to the rules. */
#include "unit.h"

#include "base/clock.h"
#include "base/hash.h"
#include "bytes.h"
#include "mux_bench.h"

static struct pair pair;

static void
setup(void)
{
	pair_init(&pair);
}

static void
teardown(void)
{
	pair_fini(&pair);
}

static unsigned
open_count(struct side *s)
{
	return mux_counters(s->mux).open_count;
}

/* The next frame of an output. */
static struct frame
next_frame(struct span *rest)
{
	struct frame f;
	size_t needed;
	const char *why;

	ck_assert_int_eq(frame_parse(*rest, &f, &needed, &why), PARSE_OK);
	if (f.type == FRAME_DATA)
		f.bytes += f.length;
	rest->data += f.bytes;
	rest->len -= f.bytes;
	return f;
}

START_TEST(a_stream_from_open_to_end)
{
	struct end *e = side_open(&pair.agent, 0x01020304, 10, true), *peer;

	pair.edge.echo = true;
	ck_assert_uint_eq(mux_stream_id(e->stream), 0);
	ck_assert_uint_eq(pair.agent.output_count, 1);
	pair_settle(&pair);
	ck_assert_uint_eq(pair.edge.opened_count, 1);
	peer = pair.edge.last;
	ck_assert_uint_eq(peer->type, 0x01020304);
	ck_assert_uint_eq(peer->received, 10);
	ck_assert(peer->at_end && e->at_end);
	ck_assert_uint_eq(e->received, 10);
	ck_assert_uint_eq(mux_stream_id(e->stream), 3);
	ck_assert_ptr_eq(mux_find(pair.agent.mux, 3), e->stream);
	ck_assert_ptr_null(mux_find(pair.agent.mux, 5));
	ck_assert(mux_is_finished(e->stream));
	ck_assert_uint_eq(mux_window_bytes(e->stream), 0);
	end_release(e);
	end_release(peer);
	ck_assert_uint_eq(open_count(&pair.agent), 0);
	ck_assert_uint_eq(open_count(&pair.edge), 0);
	ck_assert(!mux_has_output(pair.agent.mux));
	ck_assert(!mux_has_output(pair.edge.mux));
	ck_assert_uint_eq(mux_counters(pair.agent.mux).opened_count, 1);
	ck_assert_uint_eq(mux_counters(pair.edge.mux).peer_count, 1);
}
END_TEST

START_TEST(ids_rise_as_they_are_sent)
{
	struct end *a = side_open(&pair.agent, 1, 0, false);
	struct end *b = side_open(&pair.agent, 2, 1, false);
	struct end *c = side_open(&pair.edge, 3, 0, true);
	struct span out;
	struct frame f;

	/* The first one is gone before anything was said of it. */
	end_reset(a, FRAME_ERROR_CANCEL);
	out = side_output(&pair.agent);
	f = next_frame(&out);
	ck_assert_uint_eq(f.stream, 3);
	ck_assert_uint_eq(f.flags, FRAME_SYN);
	ck_assert_uint_eq(f.length, 5);
	ck_assert_uint_eq(out.len, 0);
	ck_assert_uint_eq(mux_stream_id(b->stream), 3);
	out = side_output(&pair.edge);
	f = next_frame(&out);
	ck_assert_uint_eq(f.stream, 2);
	ck_assert_uint_eq(f.flags, FRAME_SYN | FRAME_FIN);
	ck_assert_uint_eq(f.length, 4);
	ck_assert_uint_eq(mux_stream_id(c->stream), 2);
}
END_TEST

START_TEST(nothing_is_sent_for_nothing)
{
	struct end *e = side_open(&pair.agent, 1, 0, false);

	ck_assert_uint_eq(side_output(&pair.agent).len, 12);
	ck_assert_uint_eq(e->turns, 1);
	mux_want(e->stream);
	mux_want(e->stream);
	ck_assert(mux_has_output(pair.agent.mux));
	ck_assert_uint_eq(side_output(&pair.agent).len, 0);
	ck_assert_uint_eq(e->turns, 2);
	ck_assert(!mux_has_output(pair.agent.mux));
}
END_TEST

#define MIXED 60

static void
check_mixed(struct end *const ends[MIXED])
{
	size_t sum = 0;

	for (int i = 0; i < MIXED; i++) {
		ck_assert(ends[i]->at_end);
		ck_assert_uint_eq(ends[i]->sent, ends[i]->to_send);
		ck_assert_uint_eq(ends[i]->received, ends[i]->sent);
		sum += ends[i]->received;
		end_release(ends[i]);
	}
	ck_assert_uint_gt(sum, 10000);
}

/* Many at once, of all sizes, in pieces of all sizes, there and back. */
START_TEST(many_streams_at_once)
{
	struct end *ends[MIXED];

	pair.max_piece = _i;
	pair.agent.echo = pair.edge.echo = true;
	for (int i = 0; i < MIXED; i++) {
		size_t size = random_quick() % (i % 10 ? 70000 : 900000);

		if (_i > 0 && _i < 100)
			size /= 100;

		ends[i] =
		    side_open(i % 2 ? &pair.agent : &pair.edge, 7, size, true);
		if (i % 7 == 0)
			pair_move(&pair, &pair.agent, &pair.edge);
	}
	pair_settle(&pair);
	check_mixed(ends);
	LIST_FOREACH (node, &pair.agent.ends) {
		struct end *e = LIST_ENTRY(node, struct end, node);

		if (e->stream)
			end_release(e);
	}
	ck_assert_uint_eq(open_count(&pair.agent), 0);
	ck_assert_uint_eq(mux_counters(pair.agent.mux).unread_bytes, 0);
	ck_assert_uint_eq(mux_counters(pair.edge.mux).unread_bytes, 0);
}
END_TEST

/* --- windows --- */

START_TEST(a_reader_that_takes_nothing_stops_its_sender_alone)
{
	struct end *stalled, *e, *other;

	pair.edge.stall = true;
	e = side_open(&pair.agent, 1, 1000000, true);
	pair_settle(&pair);
	stalled = pair.edge.last;
	ck_assert_uint_eq(e->sent, MUX_WINDOW_BYTES - 4);
	ck_assert_uint_eq(mux_unread_bytes(stalled->stream), MUX_WINDOW_BYTES);
	ck_assert_uint_eq(mux_window_bytes(e->stream), 0);
	ck_assert(!mux_has_output(pair.agent.mux));
	pair.edge.stall = false;
	other = side_open(&pair.agent, 1, 600000, true);
	pair_settle(&pair);
	ck_assert_uint_eq(pair.edge.last->received, 600000);
	ck_assert(other->sent == 600000 && !stalled->at_end);
	/* What was taken, and no more, is granted again. */
	end_take(stalled, MUX_WINDOW_BYTES / 2 - 1);
	pair_settle(&pair);
	ck_assert_uint_eq(e->sent, MUX_WINDOW_BYTES - 4);
	end_take(stalled, 1);
	pair_settle(&pair);
	ck_assert_uint_eq(e->sent, MUX_WINDOW_BYTES * 3 / 2 - 4);
	stalled->stalled = false;
	end_take(stalled, SIZE_MAX);
	pair_settle(&pair);
	ck_assert_uint_eq(stalled->received, 1000000);
	ck_assert(stalled->at_end);
}
END_TEST

/* The size of one burst, that fills the window. */
static size_t
burst(struct end *e, struct end *peer)
{
	size_t before = e->sent;

	peer->stalled = true;
	e->to_send += 2 * MUX_MAX_WINDOW_BYTES;
	mux_want(e->stream);
	pair_settle(&pair);
	return e->sent - before;
}

static void
take_in(struct end *peer, uint64_t ms)
{
	size_t size = mux_unread_bytes(peer->stream);

	end_take(peer, size / 2);
	bench_now_ms += ms;
	end_take(peer, SIZE_MAX);
}

START_TEST(a_window_that_is_soon_used_up_grows)
{
	struct end *e = side_open(&pair.agent, 1, 0, false), *peer;
	size_t window = MUX_WINDOW_BYTES;

	pair_settle(&pair);
	peer = pair.edge.last;
	mux_set_round_trip(pair.edge.mux, 100);
	ck_assert_uint_eq(burst(e, peer) + 4, window);
	for (int i = 0; i < 10; i++) {
		take_in(peer, 150);
		window = window * 2 > MUX_MAX_WINDOW_BYTES
			     ? MUX_MAX_WINDOW_BYTES
			     : window * 2;
		(void)burst(e, peer);
		ck_assert_uint_eq(mux_unread_bytes(peer->stream), window);
	}
	ck_assert_uint_eq(window, MUX_MAX_WINDOW_BYTES);
}
END_TEST

START_TEST(a_window_that_is_slowly_used_up_stays)
{
	struct end *e = side_open(&pair.agent, 1, 0, false), *peer;

	pair_settle(&pair);
	peer = pair.edge.last;
	mux_set_round_trip(pair.edge.mux, 100);
	(void)burst(e, peer);
	for (int i = 0; i < 5; i++) {
		take_in(peer, 300);
		(void)burst(e, peer);
		ck_assert_uint_eq(
		    mux_unread_bytes(peer->stream), MUX_WINDOW_BYTES);
	}
}
END_TEST

START_TEST(windows_grow_within_half_of_the_memory)
{
	struct end *ends[8], *peers[8];
	size_t sum = 0;

	mux_set_limits(pair.edge.mux, 0, 8 * 1024 * 1024);
	for (int i = 0; i < 8; i++) {
		ends[i] = side_open(&pair.agent, 1, 0, false);
		pair_settle(&pair);
		peers[i] = pair.edge.last;
		(void)burst(ends[i], peers[i]);
	}
	for (int round = 0; round < 10; round++)
		for (int i = 0; i < 8; i++) {
			take_in(peers[i], 0);
			(void)burst(ends[i], peers[i]);
		}
	for (int i = 0; i < 8; i++)
		sum += mux_unread_bytes(peers[i]->stream);
	ck_assert_uint_le(sum, 8 * MUX_WINDOW_BYTES + 4 * 1024 * 1024);
	ck_assert_uint_gt(sum, 8 * MUX_WINDOW_BYTES + 3 * 1024 * 1024);
	/* What one had is free for others when it is gone. */
	for (int i = 0; i < 7; i++)
		end_reset(ends[i], FRAME_ERROR_CANCEL);
	for (int i = 0; i < 7; i++)
		end_take(peers[i], SIZE_MAX);
	pair_settle(&pair);
	for (int round = 0; round < 10; round++) {
		take_in(peers[7], 0);
		(void)burst(ends[7], peers[7]);
	}
	ck_assert_uint_eq(
	    mux_unread_bytes(peers[7]->stream), MUX_MAX_WINDOW_BYTES);
}
END_TEST

START_TEST(the_stream_that_holds_most_pays_for_all)
{
	struct end *small, *large, *peers[2];

	pair.edge.stall = true;
	mux_set_limits(pair.edge.mux, 0, 300000);
	small = side_open(&pair.agent, 1, 100000, false);
	pair_settle(&pair);
	peers[0] = pair.edge.last;
	large = side_open(&pair.agent, 1, 1, false);
	pair_settle(&pair);
	peers[1] = pair.edge.last;
	large->to_send = 250000;
	mux_want(large->stream);
	pair_settle(&pair);
	ck_assert(peers[1]->was_reset && large->was_reset);
	ck_assert_uint_eq(peers[1]->error, FRAME_ERROR_LIMIT);
	ck_assert_uint_eq(large->error, FRAME_ERROR_LIMIT);
	ck_assert(!peers[0]->was_reset && !small->was_reset);
	ck_assert_uint_eq(mux_counters(pair.edge.mux).unread_bytes, 100004);
	ck_assert_uint_eq(mux_counters(pair.edge.mux).limit_reset_count, 1);
}
END_TEST

START_TEST(streams_take_turns)
{
	struct end *ends[5];
	struct span out;

	for (int i = 0; i < 5; i++)
		ends[i] = side_open(&pair.agent, 1, 200000, false);
	out = side_output(&pair.agent);
	ck_assert_uint_gt(out.len, 250000);
	for (uint32_t i = 0; i < 15; i++) {
		struct frame f = next_frame(&out);

		ck_assert_uint_eq(f.stream, 3 + 2 * (i % 5));
		ck_assert_uint_eq(f.length, 16 * 1024);
	}
	/* Alone it gets more at a time. */
	for (int i = 0; i < 4; i++)
		end_reset(ends[i], FRAME_ERROR_CANCEL);
	out = side_output(&pair.agent);
	while (out.len > 0) {
		struct frame f = next_frame(&out);

		ck_assert(f.type == FRAME_RST || f.length == 64 * 1024 ||
			  out.len < 64 * 1024);
	}
}
END_TEST

/* --- ends --- */

START_TEST(what_came_before_a_reset_is_read_first)
{
	struct end *e = side_open(&pair.agent, 1, 30000, false), *peer;

	pair.edge.stall = true;
	pair_settle(&pair);
	peer = pair.edge.last;
	end_reset(e, 0x105);
	pair_settle(&pair);
	ck_assert(!peer->was_reset);
	ck_assert_uint_eq(mux_window_bytes(peer->stream), 0);
	end_take(peer, 30003);
	pair_settle(&pair);
	ck_assert(!peer->was_reset);
	end_take(peer, 1);
	ck_assert(mux_has_output(pair.edge.mux));
	pair_settle(&pair);
	ck_assert(peer->was_reset && !peer->at_end);
	ck_assert_uint_eq(peer->error, 0x105);
	ck_assert_uint_eq(peer->received, 30000);
	ck_assert_uint_eq(open_count(&pair.edge), 0);
	ck_assert_uint_eq(open_count(&pair.agent), 0);
}
END_TEST

START_TEST(a_reset_behind_a_fin_leaves_a_whole_stream)
{
	struct end *e = side_open(&pair.agent, 1, 30000, true), *peer;

	pair.edge.stall = true;
	pair_settle(&pair);
	peer = pair.edge.last;
	end_reset(e, FRAME_ERROR_STREAM_CLOSED);
	pair_settle(&pair);
	end_take(peer, SIZE_MAX);
	ck_assert(peer->at_end);
	pair_settle(&pair);
	ck_assert(peer->was_reset);
}
END_TEST

START_TEST(who_leaves_quietly_waits_for_the_peers_end)
{
	struct end *e, *peer;

	e = side_open(&pair.agent, 1, 10, false);
	pair_settle(&pair);
	peer = pair.edge.last;
	peer->to_send = 100;
	peer->send_fin = true;
	mux_want(peer->stream);
	pair_settle(&pair);
	end_release(peer);
	pair_settle(&pair);
	/* No reset has overtaken what it said. */
	ck_assert(e->at_end && !e->was_reset);
	ck_assert_uint_eq(e->received, 100);
	ck_assert_uint_eq(open_count(&pair.edge), 1);
	e->send_fin = true;
	mux_want(e->stream);
	pair_settle(&pair);
	ck_assert_uint_eq(open_count(&pair.edge), 0);
	end_release(e);
	ck_assert_uint_eq(open_count(&pair.agent), 0);
}
END_TEST

/* An SDK's line end may come behind the answer: no reset for that. */
START_TEST(what_comes_for_who_has_left_is_dropped)
{
	struct end *e = side_open(&pair.agent, 1, 10, false), *peer;

	pair_settle(&pair);
	peer = pair.edge.last;
	peer->send_fin = true;
	mux_want(peer->stream);
	pair_settle(&pair);
	end_release(peer);
	e->to_send += MUX_WINDOW_BYTES;
	e->send_fin = true;
	mux_want(e->stream);
	pair_settle(&pair);
	ck_assert(!e->was_reset);
	/* No more is granted. */
	ck_assert_uint_eq(e->sent, MUX_WINDOW_BYTES - 4);
	ck_assert_uint_eq(open_count(&pair.edge), 1);
	ck_assert_uint_eq(mux_counters(pair.edge.mux).unread_bytes, 0);
}
END_TEST

START_TEST(who_leaves_early_resets)
{
	struct end *e = side_open(&pair.agent, 1, 10, true);

	pair_settle(&pair);
	end_release(pair.edge.last);
	pair_settle(&pair);
	ck_assert(e->was_reset);
	ck_assert_uint_eq(e->error, FRAME_ERROR_CANCEL);
}
END_TEST

START_TEST(not_too_many_wait_for_the_peers_end)
{
	struct end *ends[100];

	for (int i = 0; i < 100; i++) {
		ends[i] = side_open(&pair.agent, 1, 0, false);
		pair_settle(&pair);
		pair.edge.last->send_fin = true;
		mux_want(pair.edge.last->stream);
		pair_settle(&pair);
		end_release(pair.edge.last);
	}
	pair_settle(&pair);
	ck_assert_uint_eq(open_count(&pair.edge), 64);
	for (int i = 0; i < 100; i++)
		ck_assert(ends[i]->was_reset == (i < 36));
}
END_TEST

START_TEST(who_gets_no_owner_is_refused)
{
	struct end *e = side_open(&pair.agent, 1, 10, false);

	pair.edge.refuse = true;
	pair_settle(&pair);
	ck_assert(e->was_reset);
	ck_assert_uint_eq(e->error, FRAME_ERROR_STREAM_REFUSED);
	ck_assert_uint_eq(open_count(&pair.edge), 0);
}
END_TEST

START_TEST(the_end_of_the_session_is_told_to_all)
{
	struct end *e = side_open(&pair.agent, 1, 10, true);
	struct end *f = side_open(&pair.agent, 1, 10, false);

	pair_settle(&pair);
	end_reset(side_open(&pair.agent, 1, 10, false), 0);
	mux_free(pair.agent.mux);
	ck_assert(e->was_reset && f->was_reset);
	ck_assert_uint_eq(e->error, FRAME_ERROR_TRANSPORT);
	side_init(&pair.agent, true);
}
END_TEST

START_TEST(after_a_goaway_only_what_is_open_goes_on)
{
	struct end *e = side_open(&pair.agent, 1, 10, false), *late, *own;

	pair_settle(&pair);
	late = side_open(&pair.agent, 1, 10, false);
	mux_go_away(pair.edge.mux, FRAME_ERROR_NONE, "moving");
	/* The edge may still open, and the agent does not know yet. */
	own = side_open(&pair.edge, 3, 10, true);
	pair_move(&pair, &pair.agent, &pair.edge);
	pair_settle(&pair);
	ck_assert(late->was_reset && !e->was_reset);
	ck_assert_uint_eq(late->error, FRAME_ERROR_STREAM_REFUSED);
	ck_assert_uint_eq(pair.agent.gone_count, 1);
	ck_assert_uint_eq(pair.agent.gone_error, FRAME_ERROR_NONE);
	ck_assert_str_eq(pair.agent.gone_text, "moving");
	ck_assert(!mux_may_open(pair.agent.mux));
	ck_assert_ptr_null(side_open(&pair.agent, 1, 1, false)->stream);
	ck_assert_uint_eq(pair.agent.last->received, 10);
	ck_assert(!own->was_reset);
	e->to_send += 100;
	e->send_fin = true;
	mux_want(e->stream);
	pair_settle(&pair);
	ck_assert_uint_eq(pair.edge.last->received, 110);
	ck_assert(pair.edge.last->at_end);
}
END_TEST

START_TEST(what_was_not_sent_before_a_goaway_never_is)
{
	struct end *e;

	mux_go_away(pair.edge.mux, FRAME_ERROR_NONE, "moving");
	e = side_open(&pair.agent, 1, 10, false);
	pair_move(&pair, &pair.edge, &pair.agent);
	ck_assert(e->was_reset);
	ck_assert_uint_eq(e->error, FRAME_ERROR_STREAM_REFUSED);
	ck_assert_uint_eq(side_output(&pair.agent).len, 0);
}
END_TEST

START_TEST(one_stream_too_many_is_refused_and_no_more)
{
	struct end *e, *first = NULL;

	for (int i = 0; i < MUX_MAX_STREAMS; i++) {
		e = side_open(&pair.agent, 1, 1, false);
		ck_assert_ptr_nonnull(e->stream);
		first = first ? first : e;
		pair_settle(&pair);
	}
	ck_assert(!mux_may_open(pair.agent.mux));
	mux_set_limits(pair.agent.mux, 2000, 0);
	e = side_open(&pair.agent, 1, 1, false);
	pair_settle(&pair);
	ck_assert(e->was_reset);
	ck_assert_uint_eq(e->error, FRAME_ERROR_STREAM_REFUSED);
	ck_assert_uint_eq(mux_counters(pair.edge.mux).refused_count, 1);
	ck_assert_uint_eq(open_count(&pair.edge), MUX_MAX_STREAMS);
	end_reset(first, FRAME_ERROR_CANCEL);
	e = side_open(&pair.agent, 1, 1, false);
	pair_settle(&pair);
	ck_assert(!e->was_reset);
}
END_TEST

#define ROUNDS 1000
#define OPENINGS 100

/* What opening and resetting so many costs, in CPU time. */
static uint64_t
storm(void)
{
	uint64_t began = clock_thread_cpu_ns();
	struct mux_stream *s[OPENINGS];

	for (int i = 0; i < OPENINGS; i++) {
		s[i] = mux_open(pair.agent.mux, 1, NULL, NULL);
		mux_want(s[i]);
	}
	pair_settle(&pair);
	for (int i = 0; i < OPENINGS; i++)
		mux_reset(s[i], FRAME_ERROR_CANCEL);
	pair_settle(&pair);
	return clock_thread_cpu_ns() - began;
}

/* AG-10. The quickest of many rounds, since others use the machine too. */
START_TEST(a_hundred_thousand_streams_cost_the_same_each)
{
	uint64_t first = UINT64_MAX, last = UINT64_MAX;

	pair.edge.nameless = true;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t cost = storm();

		if (i < ROUNDS / 10 && cost < first)
			first = cost;
		if (i >= ROUNDS * 9 / 10 && cost < last)
			last = cost;
	}
	ck_assert_uint_eq(pair.edge.opened_count, ROUNDS * OPENINGS);
	ck_assert_uint_eq(open_count(&pair.edge), 0);
	ck_assert_uint_eq(open_count(&pair.agent), 0);
	ck_assert_msg(last <= 2 * first, "%lu ns, then %lu ns",
	    (unsigned long)first, (unsigned long)last);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_stream_from_open_to_end);
	tcase_add_test(tcase, ids_rise_as_they_are_sent);
	tcase_add_test(tcase, nothing_is_sent_for_nothing);
	tcase_add_loop_test(tcase, many_streams_at_once, 0, 4);
	tcase_add_loop_test(tcase, many_streams_at_once, 5000, 5004);
	tcase_add_test(
	    tcase, a_reader_that_takes_nothing_stops_its_sender_alone);
	tcase_add_test(tcase, a_window_that_is_soon_used_up_grows);
	tcase_add_test(tcase, a_window_that_is_slowly_used_up_stays);
	tcase_add_test(tcase, windows_grow_within_half_of_the_memory);
	tcase_add_test(tcase, the_stream_that_holds_most_pays_for_all);
	tcase_add_test(tcase, streams_take_turns);
	tcase_add_test(tcase, what_came_before_a_reset_is_read_first);
	tcase_add_test(tcase, a_reset_behind_a_fin_leaves_a_whole_stream);
	tcase_add_test(tcase, who_leaves_quietly_waits_for_the_peers_end);
	tcase_add_test(tcase, what_comes_for_who_has_left_is_dropped);
	tcase_add_test(tcase, who_leaves_early_resets);
	tcase_add_test(tcase, not_too_many_wait_for_the_peers_end);
	tcase_add_test(tcase, who_gets_no_owner_is_refused);
	tcase_add_test(tcase, the_end_of_the_session_is_told_to_all);
	tcase_add_test(tcase, after_a_goaway_only_what_is_open_goes_on);
	tcase_add_test(tcase, what_was_not_sent_before_a_goaway_never_is);
	tcase_add_test(tcase, one_stream_too_many_is_refused_and_no_more);
	tcase_add_test(tcase, a_hundred_thousand_streams_cost_the_same_each);
}

UNIT_MAIN_TOGETHER("mux", add_tests)
