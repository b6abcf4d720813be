/* Requests, streams and ends of sessions. */
#include "unit.h"

#include <errno.h>

#include "session_bench.h"

#define AUTH 0
#define BIND 1
#define STOP 5

static void
setup(void)
{
	bench_open();
}

static void
teardown(void)
{
	bench_close();
}

/* --- handshakes --- */

START_TEST(two_ends_meet)
{
	bench_greet();
	ck_assert(session_is_lunette(bench.agent.s));
	ck_assert(session_is_lunette(bench.edge.s));
	ck_assert_uint_eq(bench.host.count, 2);
	ck_assert_ptr_eq(session_host(bench.edge.s), &bench.host);
	ck_assert_ptr_nonnull(session_tls(bench.edge.s));
}
END_TEST

START_TEST(nothing_works_before)
{
	bench_meet();
	ck_assert(!session_is_open(bench.agent.s));
	ck_assert_int_eq(
	    session_request(bench.agent.s, AUTH, span_text("{}"), NULL, NULL),
	    -ENOTCONN);
	ck_assert_ptr_null(session_open_stream(bench.edge.s, 3));
	session_answer(bench.edge.s, 2, span_text("{}"));
	session_go_away(bench.edge.s, "no");
	session_admit(bench.edge.s);
	bench_settle();
	ck_assert_uint_eq(bench.agent.open_count, 1);
}
END_TEST

START_TEST(a_handshake_that_fails)
{
	bench.scene.as_client.server_name = span_text("other.test");
	bench_meet();
	bench_settle();
	ck_assert_int_eq(bench.agent.end, SESSION_END_HANDSHAKE);
	ck_assert_int_eq(bench.edge.end, SESSION_END_HANDSHAKE);
	ck_assert_str_ne(bench.agent.detail, "");
	ck_assert_uint_eq(bench.agent.end_count, 1);
	ck_assert_uint_eq(bench.edge.open_count, 0);
	ck_assert_uint_eq(bench.host.count, 0);
	ck_assert(list_empty(&bench.host.sessions));
}
END_TEST

START_TEST(a_handshake_that_takes_too_long)
{
	bench_meet_raw();
	bench_pass(9900);
	ck_assert_uint_eq(bench.edge.end_count, 0);
	bench_pass(200);
	ck_assert_int_eq(bench.edge.end, SESSION_END_HANDSHAKE_TIMEOUT);
	ck_assert(list_empty(&bench.host.sessions));
}
END_TEST

START_TEST(who_does_not_say_who_he_is)
{
	bench.edge.settings.admitted = false;
	bench_greet();
	bench_pass(9900);
	ck_assert_uint_eq(bench.edge.end_count, 0);
	if (_i) {
		session_admit(bench.edge.s);
		bench_pass(60000);
		ck_assert_uint_eq(bench.edge.end_count, 0);
		return;
	}
	bench_pass(200);
	ck_assert_int_eq(bench.edge.end, SESSION_END_ADMISSION_TIMEOUT);
	ck_assert_int_eq(bench.agent.end, SESSION_END_PEER_CLOSED);
}
END_TEST

/* --- requests --- */

static void
on_reply(
    struct session *s, void *owner, enum session_reply reply, struct span json)
{
	struct bench_end *e = owner;

	ck_assert_ptr_eq(session_owner(s), e);
	e->reply_count++;
	e->reply = reply;
	e->json.len = 0;
	if (json.len <= sizeof(e->json.data))
		add_span(&e->json, json);
	if (e->closes_in && strcmp(e->closes_in, "reply") == 0)
		session_close(s, "reply");
}

static void
request(struct bench_end *e, uint32_t type, const char *json)
{
	ck_assert_int_eq(
	    session_request(e->s, type, span_text(json), on_reply, e), 0);
}

static void
check_json(const struct bench_end *e, const char *text)
{
	ck_assert_uint_eq(e->json.len, strlen(text));
	ck_assert(span_is(bytes_span(&e->json), text));
}

START_TEST(a_request_and_its_response)
{
	struct bench_end *from = _i ? &bench.edge : &bench.agent;
	struct bench_end *to = _i ? &bench.agent : &bench.edge;

	bench_greet();
	to->answer = "{\"Error\": \"\"}";
	request(from, _i ? STOP : BIND, "{\"Id\": \"x\"}");
	ck_assert_uint_eq(from->reply_count, 0);
	bench_settle();
	ck_assert_uint_eq(to->request_count, 1);
	ck_assert_uint_eq(to->type, _i ? STOP : BIND);
	check_json(to, "{\"Id\": \"x\"}");
	ck_assert_uint_eq(from->reply_count, 1);
	ck_assert_int_eq(from->reply, SESSION_REPLY_OK);
	check_json(from, "{\"Error\": \"\"}");
	/* Nothing is left of it but the two heartbeats. */
	ck_assert_uint_eq(session_counters(from->s).streams_open, 2);
	ck_assert_uint_eq(session_counters(to->s).streams_open, 2);
	ck_assert_uint_eq(session_counters(to->s).streams_total, 3);
}
END_TEST

START_TEST(an_answer_may_come_late)
{
	bench_greet();
	request(&bench.agent, BIND, "{}");
	bench_pass(5000);
	ck_assert_uint_eq(bench.edge.request_count, 1);
	ck_assert_uint_eq(bench.agent.reply_count, 0);
	session_answer(bench.edge.s, bench.edge.id, span_text("{\"a\": 1}"));
	session_answer(bench.edge.s, bench.edge.id, span_text("{\"b\": 1}"));
	session_refuse(bench.edge.s, bench.edge.id, 1);
	session_answer(bench.edge.s, bench.edge.id + 2, span_text("{}"));
	bench_settle();
	ck_assert_uint_eq(bench.agent.reply_count, 1);
	check_json(&bench.agent, "{\"a\": 1}");
	session_answer(bench.edge.s, bench.edge.id, span_text("{}"));
	bench_settle();
	ck_assert_uint_eq(bench.agent.reply_count, 1);
}
END_TEST

START_TEST(a_request_is_refused)
{
	bench_greet();
	request(&bench.agent, BIND, "{}");
	bench_settle();
	session_refuse(bench.edge.s, bench.edge.id, FRAME_ERROR_STREAM_REFUSED);
	bench_settle();
	ck_assert_uint_eq(bench.agent.reply_count, 1);
	ck_assert_int_eq(bench.agent.reply, SESSION_REPLY_RESET);
	ck_assert_uint_eq(bench.agent.json.len, 0);
}
END_TEST

START_TEST(an_answer_that_does_not_come)
{
	bench_greet();
	request(&bench.agent, BIND, "{}");
	bench_pass(14900);
	ck_assert_uint_eq(bench.agent.reply_count, 0);
	bench_pass(200);
	ck_assert_uint_eq(bench.agent.reply_count, 1);
	ck_assert_int_eq(bench.agent.reply, SESSION_REPLY_TIMEOUT);
	/* Too late. */
	session_answer(bench.edge.s, bench.edge.id, span_text("{}"));
	bench_settle();
	ck_assert_uint_eq(bench.agent.reply_count, 1);
	ck_assert_uint_eq(bench.agent.end_count + bench.edge.end_count, 0);
}
END_TEST

/* In JSON of this length, which is more than a window. */
static char *
long_json(size_t len)
{
	char *text = malloc(len + 1);

	memset(text, 'x', len);
	memcpy(text, "{\"a\": \"", 7);
	memcpy(text + len - 2, "\"}", 3);
	return text;
}

START_TEST(requests_may_be_long_and_not_too_long)
{
	char *longest = long_json(SESSION_MAX_JSON_BYTES);
	char *longer = long_json(SESSION_MAX_JSON_BYTES + 1);

	bench_greet();
	bench.edge.answer = longest;
	request(&bench.agent, BIND, longest);
	bench_settle();
	ck_assert_uint_eq(bench.edge.request_count, 1);
	ck_assert_int_eq(bench.agent.reply, SESSION_REPLY_OK);
	ck_assert_uint_eq(bench.agent.reply_count, 1);
	request(&bench.agent, BIND, longer);
	bench_settle();
	ck_assert_uint_eq(bench.edge.request_count, 1);
	ck_assert_uint_eq(bench.agent.reply_count, 2);
	ck_assert_int_eq(bench.agent.reply, SESSION_REPLY_RESET);
	bench.edge.answer = longer;
	request(&bench.agent, BIND, "{}");
	bench_settle();
	ck_assert_uint_eq(bench.agent.reply_count, 3);
	ck_assert_int_eq(bench.agent.reply, SESSION_REPLY_RESET);
	ck_assert_uint_eq(bench.agent.end_count + bench.edge.end_count, 0);
	free(longest);
	free(longer);
}
END_TEST

START_TEST(who_asks_hears_of_the_end)
{
	bench_greet();
	request(&bench.agent, BIND, "{}");
	request(&bench.agent, BIND, "{}");
	bench_settle();
	if (_i)
		session_close(bench.agent.s, "enough");
	else
		session_close(bench.edge.s, "enough");
	ck_assert_uint_eq(bench.agent.reply_count, 0);
	bench_settle();
	ck_assert_uint_eq(bench.agent.reply_count, 2);
	ck_assert_int_eq(bench.agent.reply, SESSION_REPLY_ENDED);
}
END_TEST

START_TEST(too_many_requests)
{
	int error = 0;
	unsigned count = 0;

	bench.edge.settings.admitted = false;
	bench_greet();
	while (error == 0 && count < 2000) {
		error = session_request(bench.agent.s, BIND, span_text("{}"),
		    on_reply, &bench.agent);
		count += error == 0;
	}
	ck_assert_int_eq(error, -EAGAIN);
	ck_assert_uint_eq(count, MUX_MAX_STREAMS - 2);
	bench_settle();
	/* To the edge we are strangers. */
	ck_assert_uint_eq(
	    bench.edge.request_count, SESSION_STRANGER_STREAMS - 2);
	ck_assert_uint_eq(
	    bench.agent.reply_count, count - bench.edge.request_count);
}
END_TEST

/* --- streams of type 3 --- */

static const struct mux_stream_calls no_calls = { 0 };

START_TEST(the_edge_opens_raw_streams)
{
	struct mux_stream *s;

	bench_greet();
	s = session_open_stream(bench.edge.s, SESSION_PROXY_TYPE);
	ck_assert_ptr_nonnull(s);
	mux_own(s, &no_calls, NULL);
	mux_want(s);
	bench_settle();
	ck_assert_uint_eq(bench.agent.stream_count, 1);
	ck_assert_uint_eq(mux_stream_id(bench.agent.stream), mux_stream_id(s));
	ck_assert_uint_eq(mux_unread_bytes(bench.agent.stream), 0);
	mux_reset(bench.agent.stream, 0x104);
	bench_settle();
	ck_assert_ptr_null(mux_find(session_mux(bench.edge.s), 4));
}
END_TEST

static uint32_t reset_error;

static void
note_reset(struct mux_stream *s, uint32_t error)
{
	(void)s;
	reset_error = error;
}

static const struct mux_stream_calls noting = { .on_reset = note_reset };

START_TEST(who_must_not_open_them_is_refused)
{
	struct bench_end *from = _i ? &bench.edge : &bench.agent;
	struct mux_stream *s;

	bench.agent.leaves_streams = true;
	bench_greet();
	s = session_open_stream(from->s, SESSION_PROXY_TYPE);
	mux_own(s, &noting, NULL);
	mux_want(s);
	bench_settle();
	ck_assert_uint_eq(reset_error, FRAME_ERROR_STREAM_REFUSED);
	ck_assert_uint_eq(bench.agent.stream_count, _i);
	ck_assert_uint_eq(bench.edge.stream_count, 0);
}
END_TEST

/* --- ends --- */

START_TEST(a_close_is_told)
{
	bench_greet();
	session_close(bench.edge.s, "by the operator");
	session_close(bench.edge.s, "again");
	ck_assert_uint_eq(bench.edge.end_count, 0);
	ck_assert(!session_is_open(bench.edge.s));
	bench_turn();
	ck_assert_uint_eq(bench.edge.end_count, 1);
	ck_assert_int_eq(bench.edge.end, SESSION_END_CLOSED);
	ck_assert_str_eq(bench.edge.detail, "by the operator");
	ck_assert_int_ge(bench.edge.counters.latency_us, 0);
	bench_settle();
	ck_assert_str_eq(bench.agent.gone_text, "by the operator");
	ck_assert_int_eq(bench.agent.end, SESSION_END_PEER_CLOSED);
	ck_assert_str_eq(bench.agent.detail, "");
	ck_assert_uint_eq(bench.agent.end_count, 1);
	ck_assert(list_empty(&bench.host.sessions));
}
END_TEST

/* A refusal is an answer and a close right behind it. */
START_TEST(an_answer_arrives_before_the_end)
{
	bench_greet();
	bench.edge.answer = "{\"Error\": \"no\"}";
	bench.edge.closes_in = "answer";
	request(&bench.agent, AUTH, "{}");
	bench_settle();
	ck_assert_uint_eq(bench.agent.reply_count, 1);
	ck_assert_int_eq(bench.agent.reply, SESSION_REPLY_OK);
	check_json(&bench.agent, "{\"Error\": \"no\"}");
	ck_assert_int_eq(bench.agent.end, SESSION_END_PEER_CLOSED);
}
END_TEST

START_TEST(who_does_not_end_his_side_is_not_waited_for)
{
	bench_greet_raw();
	session_close(bench.edge.s, "");
	bench_settle();
	ck_assert_uint_eq(bench.edge.end_count, 1);
	ck_assert(!list_empty(&bench.host.sessions));
	bench_pass(900);
	ck_assert(!list_empty(&bench.host.sessions));
	bench_pass(200);
	ck_assert(list_empty(&bench.host.sessions));
}
END_TEST

START_TEST(it_may_be_closed_in_every_call)
{
	static const char *const places[] = { "open", "request", "answer",
		"reply", "stream", "go_away" };
	struct mux_stream *s;

	bench.agent.closes_in = bench.edge.closes_in = places[_i];
	bench.agent.answer = bench.edge.answer = "{}";
	bench_meet();
	bench_settle();
	if (_i == 0) {
		ck_assert_int_eq(bench.edge.end, SESSION_END_CLOSED);
		return;
	}
	request(&bench.agent, BIND, "{}");
	request(&bench.agent, BIND, "{}");
	request(&bench.edge, STOP, "{}");
	s = session_open_stream(bench.edge.s, SESSION_PROXY_TYPE);
	mux_own(s, &no_calls, NULL);
	mux_want(s);
	session_go_away(bench.edge.s, "moving");
	bench_settle();
	ck_assert_uint_eq(bench.agent.end_count, 1);
	ck_assert_uint_eq(bench.edge.end_count, 1);
	ck_assert_uint_eq(bench.agent.reply_count, 2);
	ck_assert_uint_eq(bench.edge.reply_count, 1);
	ck_assert(bench.agent.end == SESSION_END_CLOSED ||
		  bench.edge.end == SESSION_END_CLOSED);
}
END_TEST

START_TEST(after_a_goaway_no_request_is_made)
{
	bench_greet();
	session_go_away(bench.edge.s, "moving");
	bench_settle();
	ck_assert_str_eq(bench.agent.gone_text, "moving");
	ck_assert_int_eq(session_request(bench.agent.s, BIND, span_text("{}"),
			     on_reply, &bench.agent),
	    -EAGAIN);
	bench.agent.answer = "{}";
	request(&bench.edge, STOP, "{}");
	bench_settle();
	ck_assert_int_eq(bench.edge.reply, SESSION_REPLY_OK);
}
END_TEST

START_TEST(all_end_with_their_host)
{
	bench_greet();
	request(&bench.agent, BIND, "{}");
	session_host_fini(&bench.host);
	ck_assert_int_eq(bench.agent.end, SESSION_END_STOPPED);
	ck_assert_int_eq(bench.edge.end, SESSION_END_STOPPED);
	ck_assert_int_eq(bench.agent.reply, SESSION_REPLY_ENDED);
	ck_assert_uint_eq(bench.agent.reply_count, 1);
}
END_TEST

START_TEST(words)
{
	ck_assert_str_eq(
	    session_end_word(SESSION_END_HEARTBEAT), "heartbeat_timeout");
	ck_assert_str_eq(session_end_word(SESSION_END_STOPPED), "stopped");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, two_ends_meet);
	tcase_add_test(tcase, nothing_works_before);
	tcase_add_test(tcase, a_handshake_that_fails);
	tcase_add_test(tcase, a_handshake_that_takes_too_long);
	tcase_add_loop_test(tcase, who_does_not_say_who_he_is, 0, 2);
	tcase_add_loop_test(tcase, a_request_and_its_response, 0, 2);
	tcase_add_test(tcase, an_answer_may_come_late);
	tcase_add_test(tcase, a_request_is_refused);
	tcase_add_test(tcase, an_answer_that_does_not_come);
	tcase_add_test(tcase, requests_may_be_long_and_not_too_long);
	tcase_add_loop_test(tcase, who_asks_hears_of_the_end, 0, 2);
	tcase_add_test(tcase, too_many_requests);
	tcase_add_test(tcase, the_edge_opens_raw_streams);
	tcase_add_loop_test(tcase, who_must_not_open_them_is_refused, 0, 2);
	tcase_add_test(tcase, a_close_is_told);
	tcase_add_test(tcase, an_answer_arrives_before_the_end);
	tcase_add_test(tcase, who_does_not_end_his_side_is_not_waited_for);
	tcase_add_loop_test(tcase, it_may_be_closed_in_every_call, 0, 6);
	tcase_add_test(tcase, after_a_goaway_no_request_is_made);
	tcase_add_test(tcase, all_end_with_their_host);
	tcase_add_test(tcase, words);
}

UNIT_MAIN("session", add_tests)
