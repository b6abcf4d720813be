/* Sessions whose peer is made by hand: SDKs, dead links, hostile agents. */
#include "unit.h"

#include <errno.h>

#include "faults.h"
#include "session_bench.h"

FAULT(calloc);
FAULT(malloc);
FAULT(realloc);
FAULT(epoll_ctl);

struct epoll_event;

void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);
int __real_epoll_ctl(int, int, int, struct epoll_event *);
int __wrap_epoll_ctl(int, int, int, struct epoll_event *);

void *
__wrap_calloc(size_t count, size_t size)
{
	if (fault_hits(&calloc_fault))
		return NULL;
	return __real_calloc(count, size);
}

void *
__wrap_malloc(size_t size)
{
	if (fault_hits(&malloc_fault))
		return NULL;
	return __real_malloc(size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	if (fault_hits(&realloc_fault))
		return NULL;
	return __real_realloc(old, size);
}

int
__wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
	if (fault_hits(&epoll_ctl_fault))
		return -1;
	return __real_epoll_ctl(epoll_fd, op, fd, event);
}

/* An SDK: no ALPN. */
static void
setup(void)
{
	bench_open();
	bench.scene.as_server.alpn = bench.scene.as_client.alpn =
	    span_of(NULL, 0);
}

static void
teardown(void)
{
	bench_close();
}

static void
add_type(struct bytes *b, uint32_t type)
{
	b->len = 0;
	add_u16(b, type >> 16);
	add_u16(b, type);
}

/* A stream's first frame: its type, and more. */
static void
say_first(uint32_t stream, unsigned flags, uint32_t type, struct span more)
{
	static struct bytes b;

	add_type(&b, type);
	add_span(&b, more);
	raw_data(stream, FRAME_SYN | flags, bytes_span(&b));
}

/* --- requests --- */

#define AUTH "{\"Version\": [\"3\", \"2\"], \"Extra\": {\"Arch\": \"}\"}}"

START_TEST(an_sdks_request_has_no_end)
{
	struct span json = span_text(AUTH "\n");

	bench.edge.answer = "{\"Version\": \"3\"}";
	bench_greet_raw();
	ck_assert(!session_is_lunette(bench.edge.s));
	raw_data(3, FRAME_SYN, BYTES("\0\0"));
	raw_data(3, 0, BYTES("\0"));
	raw_data(3, 0, BYTES("\0"));
	for (size_t i = 0; i < json.len; i++) {
		ck_assert_uint_eq(
		    bench.edge.request_count, i < json.len - 1 ? 0 : 1);
		raw_data(3, 0, span_of(json.data + i, 1));
	}
	ck_assert(span_is(bytes_span(&bench.edge.json), AUTH));
	ck_assert_uint_eq(bench.edge.type, 0);
	raw_expect(3, FRAME_FIN, span_text(bench.edge.answer));
	raw_expect_nothing();
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 1);
	/* It drops its stream when it has read the answer. */
	raw_data(3, FRAME_FIN, span_of(NULL, 0));
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 0);
	raw_expect_nothing();
}
END_TEST

START_TEST(a_request_with_its_end_in_one_frame)
{
	bench.edge.answer = "{}";
	bench_greet_raw();
	say_first(3, FRAME_FIN, 1, span_text("{\"Id\": \"\"}"));
	raw_expect(3, FRAME_FIN, span_text("{}"));
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 0);
	/* The next one. */
	say_first(5, 0, 0x4C02, span_text("{}"));
	ck_assert_uint_eq(bench.edge.type, 0x4C02);
	raw_expect(5, FRAME_FIN, span_text("{}"));
}
END_TEST

START_TEST(a_request_that_is_none)
{
	static const struct {
		unsigned flags;
		const char *json;
	} cases[] = {
		{ 0, "Auth" },
		{ 0, "}" },
		{ FRAME_FIN, "{\"a\": " },
		{ FRAME_FIN, "" },
	};

	bench_greet_raw();
	say_first(3, cases[_i].flags, 0, span_text(cases[_i].json));
	raw_expect_rst(3, FRAME_ERROR_PROTOCOL);
	ck_assert_uint_eq(bench.edge.request_count, 0);
	say_first(5, 0, 0, span_text("{}"));
	ck_assert_uint_eq(bench.edge.request_count, 1);
}
END_TEST

START_TEST(a_request_that_takes_too_long)
{
	bench.edge.settings.heartbeat_interval_ms = 100000;
	bench_greet_raw();
	say_first(3, 0, 0, span_text("{\"a\": "));
	raw_data(5, FRAME_SYN, BYTES("\0"));
	bench_pass(5000);
	raw_data(3, 0, span_text("\""));
	bench_pass(4900);
	raw_expect_nothing();
	bench_pass(200);
	/* Which of the two is first is not said. */
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 0);
	ck_assert_uint_eq(bench.edge.request_count, 0);
	ck_assert_uint_eq(bench.edge.end_count, 0);
}
END_TEST

START_TEST(a_peer_that_resets_its_request)
{
	bench_greet_raw();
	say_first(3, 0, 0, span_text("{\"a\": "));
	raw_rst(3, FRAME_ERROR_CANCEL);
	say_first(5, 0, 0, span_text("{}\n"));
	raw_rst(5, FRAME_ERROR_CANCEL);
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 0);
	session_answer(bench.edge.s, 5, span_text("{}"));
	session_answer(bench.edge.s, 3, span_text("{}"));
	bench_settle();
	raw_expect_nothing();
}
END_TEST

START_TEST(an_answer_that_is_not_taken)
{
	static char text[2 * MUX_WINDOW_BYTES];

	memset(text, 'x', sizeof(text) - 1);
	bench.edge.answer = text;
	bench_greet_raw();
	say_first(3, 0, 0, span_text("{}"));
	bench_pass(14900);
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 2);
	bench_pass(200);
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 1);
}
END_TEST

/* --- strangers --- */

START_TEST(a_stranger_may_not_say_much)
{
	static char half[SESSION_STRANGER_BYTES / 2];

	memset(half, ' ', sizeof(half));
	bench.edge.settings.admitted = false;
	bench_greet_raw();
	say_first(3, 0, 0, span_of(half, sizeof(half)));
	say_first(5, 0, 0, span_of(half, sizeof(half) / 2));
	raw_expect_nothing();
	say_first(7, 0, 0, span_of(half, sizeof(half) / 2 + 1));
	raw_expect_rst(7, FRAME_ERROR_LIMIT);
	/* Once it is known it may. */
	session_admit(bench.edge.s);
	say_first(9, 0, 0, span_of(half, sizeof(half)));
	raw_expect_nothing();
	ck_assert_uint_eq(bench.edge.end_count, 0);
}
END_TEST

START_TEST(all_requests_together_have_a_limit)
{
	static char part[1000 * 1000];
	uint32_t id = 3;
	struct frame f;
	struct span payload;
	bool refused = false;

	memset(part, ' ', sizeof(part));
	bench_greet_raw();
	while (id < 43 && !refused) {
		say_first(id, 0, 0, span_of(part, 100000));
		for (int i = 0; i < 9; i++)
			raw_data(id, 0, span_of(part, 100000));
		while (raw_hear(&f, &payload))
			refused |= f.type == FRAME_RST;
		id += 2;
	}
	/* A megabyte each. */
	ck_assert_uint_eq((id - 3) / 2, 9);
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 8);
	ck_assert_uint_eq(bench.edge.end_count, 0);
}
END_TEST

START_TEST(a_stranger_may_not_open_much)
{
	bench.edge.settings.admitted = false;
	bench_greet_raw();
	for (uint32_t i = 0; i < SESSION_STRANGER_STREAMS; i++)
		say_first(3 + 2 * i, 0, 0, span_text("{"));
	raw_expect_nothing();
	say_first(101, 0, 0, span_text("{"));
	raw_expect_rst(101, FRAME_ERROR_STREAM_REFUSED);
}
END_TEST

/* More would end an SDK's session. */
START_TEST(an_sdk_gets_no_more_streams_than_it_bears)
{
	static const struct mux_stream_calls none = { 0 };
	unsigned count = 0;

	bench.edge.settings.admitted = false;
	bench_greet_raw();
	session_admit(bench.edge.s);
	for (;; count++) {
		struct mux_stream *s =
		    session_open_stream(bench.edge.s, SESSION_PROXY_TYPE);

		if (!s)
			break;
		mux_own(s, &none, NULL);
	}
	ck_assert_uint_eq(count, SESSION_SDK_STREAMS);
}
END_TEST

/* --- heartbeats --- */

START_TEST(the_peers_heartbeat_is_answered)
{
	bench_greet_raw();
	say_first(3, 0, SESSION_HEARTBEAT_TYPE, span_text("abcd"));
	raw_expect(3, 0, span_text("abcd"));
	raw_data(3, 0, span_text("ef"));
	raw_expect_nothing();
	raw_data(3, 0, span_text("ghijkl"));
	raw_expect(3, 0, span_text("efghijkl"));
	raw_data(3, FRAME_FIN, span_of(NULL, 0));
	raw_expect(3, FRAME_FIN, span_of(NULL, 0));
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 0);
}
END_TEST

/* Our heartbeat: what is to be said back. */
static struct span
hear_beat(uint32_t stream, bool first)
{
	struct frame f;
	struct span payload;

	ck_assert(raw_hear(&f, &payload));
	ck_assert_int_eq(f.type, FRAME_DATA);
	ck_assert_uint_eq(f.stream, stream);
	ck_assert_uint_eq(f.flags, first ? FRAME_SYN : 0);
	ck_assert_uint_eq(payload.len, first ? 8 : 4);
	if (first)
		ck_assert_mem_eq(payload.data, "\xff\xff\xff\xff", 4);
	return span_of(payload.data + payload.len - 4, 4);
}

START_TEST(our_heartbeat_goes_on_as_long_as_it_is_answered)
{
	int64_t latency_us;

	bench_greet_raw();
	bench_pass(9900);
	raw_expect_nothing();
	ck_assert_int_eq(session_counters(bench.edge.s).latency_us, -1);
	for (int i = 0; i < 30; i++) {
		struct span beat;

		bench_pass(200);
		beat = hear_beat(2, i == 0);
		raw_expect_nothing();
		bench_now_us += 40000;
		raw_data(2, 0, beat);
		latency_us = session_counters(bench.edge.s).latency_us;
		ck_assert_int_ge(latency_us, 40000);
		ck_assert_int_le(latency_us, 240000);
		bench_pass(9900);
		raw_expect_nothing();
	}
	ck_assert_uint_eq(bench.edge.end_count, 0);
}
END_TEST

START_TEST(a_dead_link_is_noticed)
{
	bench_greet_raw();
	bench_pass(24900);
	ck_assert_uint_eq(bench.edge.end_count, 0);
	bench_pass(200);
	ck_assert_int_eq(bench.edge.end, SESSION_END_HEARTBEAT);
	ck_assert(list_empty(&bench.host.sessions));
}
END_TEST

/* Its answer to the last heartbeat was the last that came. */
START_TEST(a_link_that_dies_later_is_noticed)
{
	bench_greet_raw();
	bench_pass(10100);
	raw_data(2, 0, hear_beat(2, true));
	bench_pass(24800);
	ck_assert_uint_eq(bench.edge.end_count, 0);
	bench_pass(300);
	ck_assert_int_eq(bench.edge.end, SESSION_END_HEARTBEAT);
}
END_TEST

START_TEST(a_stall_is_survived)
{
	bench_greet_raw();
	bench_pass(10100);
	bench_pass(10000);
	raw_data(2, 0, hear_beat(2, true));
	ck_assert_uint_eq(bench.edge.end_count, 0);
	ck_assert_int_ge(session_counters(bench.edge.s).latency_us, 10000000);
	bench_pass(10100);
	raw_data(2, 0, hear_beat(2, false));
	bench_pass(20000);
	ck_assert_uint_eq(bench.edge.end_count, 0);
}
END_TEST

/* A slow link brings other things first; but not for ever. */
START_TEST(an_answer_that_waits_behind_others)
{
	static char block[60000];

	memset(block, ' ', sizeof(block));
	bench.edge.settings.request_ms = 1000000;
	bench_greet_raw();
	say_first(3, 0, 0, span_of(NULL, 0));
	for (int i = 0; i < 12; i++) {
		bench_pass(8000);
		raw_data(3, 0, span_of(block, sizeof(block)));
		ck_assert_uint_eq(bench.edge.end_count, 0);
	}
	bench_pass(5000);
	ck_assert_int_eq(bench.edge.end, SESSION_END_HEARTBEAT);
}
END_TEST

START_TEST(a_wrong_answer)
{
	bench_greet_raw();
	bench_pass(10100);
	(void)hear_beat(2, true);
	raw_data(2, 0, span_text("nope"));
	ck_assert_int_eq(bench.edge.end, SESSION_END_PROTOCOL);
}
END_TEST

START_TEST(an_answer_to_nothing)
{
	bench_greet_raw();
	bench_pass(10100);
	raw_data(2, 0, hear_beat(2, true));
	ck_assert_uint_eq(bench.edge.end_count, 0);
	raw_data(2, 0, span_text("more"));
	ck_assert_int_eq(bench.edge.end, SESSION_END_PROTOCOL);
}
END_TEST

START_TEST(a_heartbeat_that_was_reset_is_tried_again)
{
	bench_greet_raw();
	bench_pass(10100);
	(void)hear_beat(2, true);
	raw_rst(2, FRAME_ERROR_ACCEPT_QUEUE);
	bench_pass(10000);
	raw_data(4, 0, hear_beat(4, true));
	bench_pass(14000);
	ck_assert_uint_eq(bench.edge.end_count, 0);
}
END_TEST

START_TEST(other_times_for_heartbeats)
{
	bench.edge.settings.heartbeat_interval_ms = 2000;
	bench.edge.settings.heartbeat_tolerance_ms = 3000;
	bench_greet_raw();
	bench_pass(2100);
	raw_data(2, 0, hear_beat(2, true));
	session_set_heartbeat(bench.edge.s, 1000, 1000);
	bench_pass(1900);
	ck_assert_uint_eq(bench.edge.end_count, 0);
	bench_pass(200);
	ck_assert_int_eq(bench.edge.end, SESSION_END_HEARTBEAT);
}
END_TEST

START_TEST(two_of_our_own_keep_each_other_alive)
{
	bench.scene.as_server.alpn = bench.scene.as_client.alpn =
	    BYTES("\x09lunette/1");
	bench_greet();
	/* At once, since they know each other's manners. */
	ck_assert_int_ge(session_counters(bench.edge.s).latency_us, 0);
	bench_pass(600000);
	ck_assert_uint_eq(bench.agent.end_count + bench.edge.end_count, 0);
	ck_assert_uint_eq(session_counters(bench.edge.s).streams_open, 2);
}
END_TEST

/* --- hostile --- */

START_TEST(frames_that_may_not_be)
{
	struct frame f;
	struct span payload;

	bench_greet_raw();
	raw_data(2, FRAME_SYN, span_text("mine"));
	ck_assert_int_eq(bench.edge.end, SESSION_END_PROTOCOL);
	ck_assert_str_ne(bench.edge.detail, "");
	ck_assert(raw_hear(&f, &payload));
	ck_assert_int_eq(f.type, FRAME_GOAWAY);
	ck_assert_uint_eq(f.error, FRAME_ERROR_PROTOCOL);
	ck_assert(span_is(f.text, bench.edge.detail));
}
END_TEST

START_TEST(http_in_tls)
{
	bench_greet_raw();
	raw_say(span_text("GET / HTTP/1.1\r\nHost: edge\r\n\r\n"));
	ck_assert_int_eq(bench.edge.end, SESSION_END_PROTOCOL);
}
END_TEST

START_TEST(a_peer_that_is_gone)
{
	bench_greet_raw();
	say_first(3, 0, 0, span_text("{"));
	raw_cut();
	ck_assert_uint_eq(bench.edge.end_count, 1);
	ck_assert_int_eq(bench.edge.end, SESSION_END_PEER_CLOSED);
	ck_assert_str_eq(bench.edge.detail, "without close_notify");
	ck_assert(list_empty(&bench.host.sessions));
}
END_TEST

/* Refusals are provoked without end, and none is read. */
START_TEST(a_peer_that_takes_no_answers)
{
	static struct bytes flood;
	uint32_t id = 3;
	size_t sent = 0;
	enum io io = IO_OK;
	uint8_t header[FRAME_HEADER_BYTES];

	bench.edge.settings.admitted = false;
	bench_greet_raw();
	session_admit(bench.edge.s);
	while (io == IO_OK && sent < 100 * 1024 * 1024) {
		flood.len = 0;
		for (int i = 0; i < 4000; i++, id += 2)
			add_span(&flood,
			    span_of(header, frame_write_data(header, id, 0,
						FRAME_SYN | FRAME_FIN)));
		io = tls_write(bench.scene.client, bytes_span(&flood));
		sent += flood.len;
		bench_settle();
	}
	/* It is read no more, and in the end its silence is noticed. */
	ck_assert_int_eq(io, IO_AGAIN);
	ck_assert_uint_eq(bench.edge.end_count, 0);
	bench_pass(25100);
	ck_assert_int_eq(bench.edge.end, SESSION_END_HEARTBEAT);
}
END_TEST

/* --- memory --- */

static void
check_no_session(void)
{
	struct session *s;

	scene_meet(&bench.scene);
	UNDER_FAULTS(s = session_new(&bench.host, bench.scene.server_fd,
			 bench.scene.server, &bench.edge.settings));
	bench.scene.server_fd = -1;
	bench.scene.server = NULL;
	ck_assert_ptr_null(s);
	ck_assert(list_empty(&bench.host.sessions));
}

START_TEST(no_memory_for_a_session)
{
	fault_set(&calloc_fault, 1, ENOMEM);
	check_no_session();
	fault_set(&calloc_fault, 2, ENOMEM);
	check_no_session();
	fault_set(&calloc_fault, 0, 0);
	fault_set(&epoll_ctl_fault, 1, ENOSPC);
	check_no_session();
	fault_set(&epoll_ctl_fault, 0, 0);
}
END_TEST

static void
on_reply(
    struct session *s, void *owner, enum session_reply reply, struct span json)
{
	unsigned *count = owner;

	(void)s;
	(void)reply;
	(void)json;
	++*count;
}

/* Requests there and back while every n-th allocation of a kind fails: each is
 * replied to once, and what ends is told. */
static void
ask_under_faults(void)
{
	unsigned asked = 0, replied = 0;

	bench.agent.answer = bench.edge.answer = "{\"Error\": \"\"}";
	for (int i = 0; i < 10; i++) {
		struct bench_end *from = i % 2 ? &bench.agent : &bench.edge;
		int error = -ENOTCONN;

		if (from->s)
			UNDER_FAULTS(error = session_request(from->s, 1,
					 span_text("{}"), on_reply, &replied));
		asked += error == 0;
		UNDER_FAULTS(bench_settle());
	}
	fault_set(&malloc_fault, 0, 0);
	fault_set(&calloc_fault, 0, 0);
	fault_set(&realloc_fault, 0, 0);
	bench_pass(16000);
	ck_assert_uint_eq(replied, asked);
	ck_assert_uint_le(bench.agent.end_count, 1);
	ck_assert_uint_le(bench.edge.end_count, 1);
}

START_TEST(requests_without_memory)
{
	struct fault *const faults[] = { &malloc_fault, &calloc_fault,
		&realloc_fault };
	unsigned every = (unsigned)_i / 3 + 1;

	bench_greet();
	fault_set(faults[_i % 3], every, ENOMEM);
	ask_under_faults();
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, an_sdks_request_has_no_end);
	tcase_add_test(tcase, a_request_with_its_end_in_one_frame);
	tcase_add_loop_test(tcase, a_request_that_is_none, 0, 4);
	tcase_add_test(tcase, a_request_that_takes_too_long);
	tcase_add_test(tcase, a_peer_that_resets_its_request);
	tcase_add_test(tcase, an_answer_that_is_not_taken);
	tcase_add_test(tcase, a_stranger_may_not_say_much);
	tcase_add_test(tcase, all_requests_together_have_a_limit);
	tcase_add_test(tcase, a_stranger_may_not_open_much);
	tcase_add_test(tcase, an_sdk_gets_no_more_streams_than_it_bears);
	tcase_add_test(tcase, the_peers_heartbeat_is_answered);
	tcase_add_test(tcase, our_heartbeat_goes_on_as_long_as_it_is_answered);
	tcase_add_test(tcase, a_dead_link_is_noticed);
	tcase_add_test(tcase, a_link_that_dies_later_is_noticed);
	tcase_add_test(tcase, a_stall_is_survived);
	tcase_add_test(tcase, an_answer_that_waits_behind_others);
	tcase_add_test(tcase, a_wrong_answer);
	tcase_add_test(tcase, an_answer_to_nothing);
	tcase_add_test(tcase, a_heartbeat_that_was_reset_is_tried_again);
	tcase_add_test(tcase, other_times_for_heartbeats);
	tcase_add_test(tcase, two_of_our_own_keep_each_other_alive);
	tcase_add_test(tcase, frames_that_may_not_be);
	tcase_add_test(tcase, http_in_tls);
	tcase_add_test(tcase, a_peer_that_is_gone);
	tcase_add_test(tcase, a_peer_that_takes_no_answers);
	tcase_add_test(tcase, no_memory_for_a_session);
	tcase_add_loop_test(tcase, requests_without_memory, 0, 21);
}

UNIT_MAIN("session_raw", add_tests)
