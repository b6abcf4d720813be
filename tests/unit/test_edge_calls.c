/* Clients on their way to agents by streams of the session. */
#include "agents_bench.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "sys/socket.h"
#include "tunnel/stream_header.h"
#include "unit.h"

static struct agents_bench ab;

static void
start(void)
{
	agents_start(&ab, "", "", "");
}

static void
wait_event(const char *text, unsigned count)
{
	AGENTS_UNTIL(&ab, events_with(&ab.edge.events, text) == count);
}

/* The header of a stream, and then the hello of the client, byte for byte. */
static void
expect_client(struct agent_peer *p, unsigned at, const char *name)
{
	struct stream_header_reader r = { .done = false };
	char storage[MESSAGE_ERROR_SIZE], hello[65536];
	struct span sent = hello_for(name);
	struct stream_header h;
	struct text error;
	enum parse parse;
	uint8_t byte;
	size_t used;

	text_init(&error, storage, sizeof(storage));
	AGENTS_UNTIL(&ab, p->stream_count > at);
	do {
		agent_stream_read(p, p->streams[at], &byte, 1);
		parse = stream_header_feed(
		    &r, span_of(&byte, 1), &used, &h, &error);
	} while (parse == PARSE_MORE);
	ck_assert_msg(parse == PARSE_OK, "%s", storage);
	ck_assert_str_eq(h.id, p->bind_id);
	ck_assert_str_eq(h.proto, "tls");
	ck_assert_str_eq(h.edge_type, "0");
	ck_assert(h.passthrough_tls);
	ck_assert_int_eq(strncmp(h.client_addr, "127.0.0.1:", 10), 0);
	ck_assert_uint_eq(h.open.len > 0, session_is_lunette(p->session));
	stream_header_fini(&h);
	agent_stream_read(p, p->streams[at], hello, sent.len);
	ck_assert_mem_eq(hello, sent.data, sent.len);
}

static void
expect_text(int fd, const char *text)
{
	char data[64];

	receive_bytes(fd, data, strlen(text));
	ck_assert_mem_eq(data, text, strlen(text));
}

START_TEST(there_and_back)
{
	struct agent_peer p;
	char data[16];
	int client;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	client = bench_client(&ab.edge, "a.test");
	expect_client(&p, 0, "a.test");
	agent_stream_write(&p, p.streams[0], "answer", false);
	AGENTS_UNTIL(&ab, socket_unread_bytes(client) == 6);
	expect_text(client, "answer");
	send_text(client, "more");
	agent_stream_read(&p, p.streams[0], data, 4);
	ck_assert_mem_eq(data, "more", 4);
	/* Half-closes, one and then the other. */
	shutdown(client, SHUT_WR);
	AGENTS_UNTIL(&ab, mux_at_end(p.streams[0]));
	agent_stream_write(&p, p.streams[0], "last", true);
	AGENTS_UNTIL(&ab, socket_unread_bytes(client) == 4);
	expect_text(client, "last");
	expect_end(client);
	close(client);
	wait_event("\"transport\":\"stream\"", 1);
	ck_assert_uint_eq(events_with(&ab.edge.events, p.id), 3);
	agents_stop(&ab);
}
END_TEST

/* What was accepted goes on when the endpoint is unbound; the next is not. */
START_TEST(unbound)
{
	struct agent_peer p;
	int client;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	client = bench_client(&ab.edge, "a.test");
	expect_client(&p, 0, "a.test");
	agent_stream_write(&p, p.streams[0], "a", false);
	agent_unbind(&p, p.bind_id);
	agent_stream_write(&p, p.streams[0], "b", false);
	AGENTS_UNTIL(&ab, socket_unread_bytes(client) == 2);
	close(client);
	client = bench_client(&ab.edge, "a.test");
	wait_event("unknown_name", 1);
	close(client);
	agents_stop(&ab);
}
END_TEST

/* The session goes: so do its streams, by a reset. */
START_TEST(session_lost)
{
	struct agent_peer p;
	int client;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	client = bench_client(&ab.edge, "a.test");
	expect_client(&p, 0, "a.test");
	agent_stream_write(&p, p.streams[0], "a", false);
	AGENTS_UNTIL(&ab, socket_unread_bytes(client) == 1);
	expect_text(client, "a");
	agent_close(&p);
	expect_reset(client);
	close(client);
	wait_event("tcp_connection_closed.v0", 1);
	agents_stop(&ab);
}
END_TEST

/* An SDK that ends the stream before it says anything did not take it: the next
 * agent of the pool is tried. */
START_TEST(next_of_pool)
{
	const struct bind b = { .options = { .domain = LEND("a.test") },
		.pooling_enabled = true };
	struct agent_peer p, q;
	struct mux_stream *s;
	int client;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	agent_join(&ab, &q, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind(&p, b), 0);
	ck_assert_uint_eq(agent_bind(&q, b), 0);
	client = bench_client(&ab.edge, "a.test");
	AGENTS_UNTIL(&ab, p.stream_count + q.stream_count == 1);
	if (p.stream_count > 0) {
		s = p.streams[0];
		expect_client(&p, 0, "a.test");
		agent_stream_write(&p, s, "", true);
		expect_client(&q, 0, "a.test");
		agent_stream_write(&q, q.streams[0], "q", true);
	} else {
		s = q.streams[0];
		expect_client(&q, 0, "a.test");
		agent_stream_write(&q, s, "", true);
		expect_client(&p, 0, "a.test");
		agent_stream_write(&p, p.streams[0], "p", true);
	}
	AGENTS_UNTIL(&ab, socket_unread_bytes(client) == 1);
	close(client);
	agents_stop(&ab);
}
END_TEST

/* Many at once, through both workers. */
START_TEST(many)
{
	int clients[200];
	struct agent_peer p;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	for (size_t i = 0; i < ARRAY_COUNT(clients); i++)
		clients[i] = bench_client(&ab.edge, "a.test");
	for (unsigned i = 0; i < ARRAY_COUNT(clients); i++) {
		expect_client(&p, i, "a.test");
		agent_stream_write(&p, p.streams[i], "ok", true);
	}
	for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
		AGENTS_UNTIL(&ab, socket_unread_bytes(clients[i]) == 2);
		close(clients[i]);
	}
	wait_event("tcp_connection_closed.v0", ARRAY_COUNT(clients));
	agents_stop(&ab);
}
END_TEST

/* The edge stops in the middle: everything has its event. */
START_TEST(stopped)
{
	struct agent_peer p, q, r;
	int client, other;

	start();
	agent_join(&ab, &p, false, TOKEN_ONE);
	agent_join(&ab, &q, true, TOKEN_TWO);
	agent_connect(&ab, &r, false); /* a stranger */
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	client = bench_client(&ab.edge, "a.test");
	expect_client(&p, 0, "a.test");
	agent_stream_write(&p, p.streams[0], "a", false);
	other = bench_client(&ab.edge, "a.test");
	AGENTS_UNTIL(&ab, p.stream_count == 2);
	edge_free(ab.edge.edge);
	ab.edge.edge = NULL;
	agent_wait_end(&p);
	agent_wait_end(&q);
	agent_wait_end(&r);
	ck_assert_uint_eq(
	    events_with(&ab.edge.events, "agent_session_stop.v0"), 3);
	ck_assert_uint_eq(
	    events_with(&ab.edge.events, "tcp_connection_closed.v0"), 2);
	ck_assert_uint_eq(
	    events_with(&ab.edge.events, "endpoint_offline.v0"), 1);
	close(client);
	close(other);
	agents_stop(&ab);
}
END_TEST

static void
add(TCase *t)
{
	tcase_add_test(t, there_and_back);
	tcase_add_test(t, unbound);
	tcase_add_test(t, session_lost);
	tcase_add_test(t, next_of_pool);
	tcase_add_test(t, many);
	tcase_add_test(t, stopped);
}

UNIT_MAIN("edge_calls", add)
