/* Direct data connections, as the edge asks for them, takes and refuses them.
 */
#include "agents_bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "sys/socket.h"
#include "tls/data_stream.h"
#include "tunnel/edge_data.h"
#include "unit.h"

static struct agents_bench ab;
static struct agent_peer agent;

static void
wait_event(const char *text, unsigned count)
{
	AGENTS_UNTIL(&ab, events_with(&ab.edge.events, text) == count);
}

static struct edge_tunnel_counters
counters(void)
{
	struct edge_tunnel_counters c;

	edge_tunnel_counters(ab.tunnel, &c);
	return c;
}

/* Lunette's agent with a.test, which ends upstream, and own.test, for which the
 * edge has a certificate. */
static void
start(const char *agents)
{
	struct bind ends_here = { .options = { .domain = LEND("own.test"),
				      .ends_at_edge = true } };

	agents_start(&ab, agents, "", "");
	agent_join(&ab, &agent, true, TOKEN_ONE);
	ck_assert(agent.has_keys);
	ck_assert_uint_eq(agent_bind(&agent, ends_here), 0);
	ck_assert_uint_eq(agent_bind_name(&agent, "a.test"), 0);
}

static const struct data_connections *
next_ask(unsigned at)
{
	AGENTS_UNTIL(&ab, agent.ask_count > at);
	return &agent.asks[at];
}

static void
make_preface(uint64_t counter, enum data_mode mode, uint8_t *out)
{
	ck_assert_int_eq(
	    data_keys_make_preface(&agent.keys, mode, counter, out), 0);
}

static int
dial(const uint8_t preface[DATA_PREFACE_BYTES])
{
	int fd = bench_connect(&ab.edge);

	send_bytes(fd, preface, DATA_PREFACE_BYTES);
	return fd;
}

static int
link_for(uint64_t counter, uint8_t preface[DATA_PREFACE_BYTES])
{
	make_preface(counter, DATA_RAW, preface);
	return dial(preface);
}

/* OPEN as it came; its parts are left in `record` and `open`. */
static void
judge_open(const uint8_t *preface, const uint8_t *wire, size_t len,
    struct data_open *open, uint8_t *salt)
{
	static uint8_t plain[DATA_OPEN_PLAIN_MAX_BYTES];
	struct data_record record;
	const char *why = "";
	size_t needed, plain_len;

	ck_assert_int_eq(
	    data_open_record(span_of(wire, len), &record, &needed), PARSE_OK);
	ck_assert_uint_eq(record.bytes, len);
	memcpy(salt, record.salt.data, DATA_SALT_BYTES);
	ck_assert_int_eq(data_keys_unseal_open(
			     &agent.keys, preface, &record, plain, &plain_len),
	    0);
	ck_assert_msg(
	    data_open_read(span_of(plain, plain_len), open, &why) == 0, "%s",
	    why);
}

static void
read_open(int fd, const uint8_t *preface, struct data_open *open, uint8_t *salt)
{
	uint8_t wire[DATA_OPEN_MAX_BYTES];
	size_t len;

	receive_bytes(fd, wire, DATA_OPEN_HEAD_BYTES);
	len = (size_t)(wire[2] << 8 | wire[3]);
	receive_bytes(fd, wire + DATA_OPEN_HEAD_BYTES, len);
	judge_open(preface, wire, DATA_OPEN_HEAD_BYTES + len, open, salt);
}

static void
seal(const uint8_t *preface, const uint8_t *salt, enum data_reason reason,
    uint8_t out[DATA_ANSWER_BYTES])
{
	struct data_binding binding;

	memcpy(binding.preface, preface, DATA_PREFACE_BYTES);
	memcpy(binding.salt, salt, DATA_SALT_BYTES);
	ck_assert_int_eq(
	    data_keys_seal_answer(&agent.keys, &binding, reason, out), 0);
}

/* OPEN, the hello of a.test, and the answer that all is well. */
static void
accept_client(int fd, const uint8_t *preface)
{
	uint8_t salt[DATA_SALT_BYTES], answer[DATA_ANSWER_BYTES];
	struct span sent = hello_for("a.test");
	static char hello[65536];
	struct data_open open;

	read_open(fd, preface, &open, salt);
	ck_assert_int_eq(open.termination, DATA_ENDS_AT_UPSTREAM);
	ck_assert_uint_eq(open.hello_bytes, sent.len);
	ck_assert(span_is(open.endpoint_id, agent.bind_id));
	receive_bytes(fd, hello, sent.len);
	ck_assert_mem_eq(hello, sent.data, sent.len);
	seal(preface, salt, DATA_ACCEPTED, answer);
	send_bytes(fd, answer, sizeof(answer));
}

static void
expect_text(int fd, const char *text)
{
	char data[64];

	receive_bytes(fd, data, strlen(text));
	ck_assert_mem_eq(data, text, strlen(text));
}

/* A client that was asked a connection for, which has come. */
static int
serve(unsigned ask, int *client, uint8_t *preface)
{
	int fd;

	*client = bench_client(&ab.edge, "a.test");
	fd = link_for(next_ask(ask)->first, preface);
	accept_client(fd, preface);
	send_text(fd, "hi");
	expect_text(*client, "hi");
	return fd;
}

START_TEST(raw)
{
	uint8_t preface[DATA_PREFACE_BYTES];
	int client, fd;

	start("");
	fd = serve(0, &client, preface);
	ck_assert_uint_eq(agent.asks[0].first, 1);
	ck_assert_uint_eq(agent.asks[0].count, 1);
	ck_assert_uint_eq(agent.asks[0].mode, DATA_RAW);
	send_text(client, "there");
	expect_text(fd, "there");
	shutdown(client, SHUT_WR);
	expect_end(fd);
	send_text(fd, "back");
	close(fd);
	expect_text(client, "back");
	expect_end(client);
	close(client);
	wait_event("\"transport\":\"data\"", 1);
	ck_assert_uint_eq(counters().data_connections, 1);
	ck_assert_uint_eq(counters().streams, 0);
	agents_stop(&ab);
}
END_TEST

/* An agent that refuses: the client is told, and nobody else is. */
START_TEST(refusal)
{
	uint8_t preface[DATA_PREFACE_BYTES], salt[DATA_SALT_BYTES],
	    answer[DATA_ANSWER_BYTES];
	struct data_open open;
	int client, fd;

	start("");
	client = bench_client(&ab.edge, "a.test");
	fd = link_for(next_ask(0)->first, preface);
	read_open(fd, preface, &open, salt);
	seal(preface, salt, DATA_DENIED, answer);
	send_bytes(fd, answer, sizeof(answer));
	wait_event("\"detail\":\"denied\"", 1);
	close(fd);
	close(client);
	agents_stop(&ab);
}
END_TEST

/* The knocks that are closed without a byte, and what they are counted as. */
enum wrong {
	REPLAYED,
	RACED,
	UNKNOWN,
	BAD_MAC,
	NOT_ASKED,
	FLIPPED,
	MALFORMED,
	WRONG_COUNT
};

static uint64_t
refused_as(enum wrong wrong)
{
	struct edge_tunnel_counters c = counters();

	switch (wrong) {
	case UNKNOWN:
		return c.preface_unknown_session;
	case BAD_MAC:
	case FLIPPED:
		return c.preface_bad_mac + c.preface_malformed;
	case MALFORMED:
		return c.preface_malformed;
	default:
		return c.preface_not_asked;
	}
}

/* Waits until the edge has taken a knock, then true, or closed it. */
static bool
taken(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK) == 1;
}

START_TEST(knocks)
{
	enum wrong wrong = (enum wrong)_i;
	uint8_t preface[DATA_PREFACE_BYTES], copy[DATA_PREFACE_BYTES];
	int client, fd, bad;

	start("");
	client = bench_client(&ab.edge, "a.test");
	make_preface(next_ask(0)->first, DATA_RAW, preface);
	memcpy(copy, preface, sizeof(copy));
	fd = wrong == REPLAYED ? dial(preface) : -1;
	ck_assert(fd < 0 || taken(fd));
	if (wrong == UNKNOWN)
		copy[8] ^= 1;
	if (wrong == BAD_MAC)
		copy[40] ^= 1;
	if (wrong == FLIPPED)
		copy[7] ^= 1;
	if (wrong == MALFORMED)
		copy[5] ^= 1;
	if (wrong == NOT_ASKED)
		make_preface(1000, DATA_RAW, copy);
	bad = dial(copy);
	if (wrong == RACED) {
		/* One of them, whichever, is the first. */
		fd = dial(copy);
		if (taken(bad)) {
			int swap = bad;

			bad = fd;
			fd = swap;
		}
	}
	if (wrong == MALFORMED)
		(void)!receive_all(bad, copy, sizeof(copy), &(size_t){ 0 });
	else
		expect_end(bad);
	AGENTS_UNTIL(&ab, refused_as(wrong) == 1);
	close(bad);
	/* Nobody is disturbed. */
	if (fd < 0)
		fd = dial(preface);
	accept_client(fd, preface);
	send_text(fd, "hi");
	expect_text(client, "hi");
	close(fd);
	close(client);
	ck_assert_ptr_nonnull(agent.session);
	agents_stop(&ab);
}
END_TEST

/* Each byte on its own; and never more than the preface is taken. */
START_TEST(in_pieces)
{
	uint8_t preface[DATA_PREFACE_BYTES];
	int client, fd;

	start("");
	client = bench_client(&ab.edge, "a.test");
	make_preface(next_ask(0)->first, DATA_RAW, preface);
	fd = bench_connect(&ab.edge);
	for (size_t i = 0; i < sizeof(preface); i++)
		send_bytes(fd, preface + i, 1);
	accept_client(fd, preface);
	close(fd);
	close(client);
	agents_stop(&ab);
}
END_TEST

/* A byte before OPEN, of one that is parked: closed. */
START_TEST(early_bytes)
{
	uint8_t preface[DATA_PREFACE_BYTES];
	int client, fd;

	start("");
	client = bench_client(&ab.edge, "a.test");
	(void)next_ask(0);
	/* It has waited long enough and goes by a stream. */
	AGENTS_UNTIL(&ab, agent.stream_count == 1);
	make_preface(1, DATA_RAW, preface);
	fd = dial(preface);
	send_text(fd, "x");
	ck_assert_int_ge(
	    receive_all(fd, preface, sizeof(preface), &(size_t){ 0 }), 0);
	close(fd);
	close(client);
	agents_stop(&ab);
}
END_TEST

/* What comes too late for its client is there for the next. */
START_TEST(parked)
{
	uint8_t preface[DATA_PREFACE_BYTES];
	int client, other, fd;

	start("");
	client = bench_client(&ab.edge, "a.test");
	fd = link_for(next_ask(0)->first, preface);
	AGENTS_UNTIL(
	    &ab, agent.stream_count == 1 || socket_unread_bytes(fd) > 0);
	if (agent.stream_count == 0) { /* a slow test, not a slow agent */
		accept_client(fd, preface);
		close(fd);
		fd = link_for(99, preface);
	} else {
		other = bench_client(&ab.edge, "a.test");
		accept_client(fd, preface);
		close(other);
	}
	close(fd);
	close(client);
	agents_stop(&ab);
}
END_TEST

/* Three in a row that do not come: another way. */
START_TEST(fallback)
{
	int clients[8];

	start("");
	for (unsigned i = 0; i < 8; i++) {
		clients[i] = bench_client(&ab.edge, "a.test");
		AGENTS_UNTIL(&ab, agent.stream_count == i + 1);
	}
	ck_assert_uint_eq(agent.ask_count, 6);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_uint_eq(
		    agent.asks[i].mode, i < 3 ? DATA_RAW : DATA_TLS);
	for (unsigned i = 0; i < 8; i++)
		close(clients[i]);
	agents_stop(&ab);
}
END_TEST

/* An agent that says that it cannot: the client waits no longer. */
START_TEST(given_up)
{
	struct data_end end = { .reason = "refused" };
	struct span json;
	int client;

	start("");
	client = bench_client(&ab.edge, "a.test");
	end.counter = next_ask(0)->first;
	ck_assert_int_eq(data_end_write(&end, &json), 0);
	agent_say(&agent, MESSAGE_DATA_END, json);
	agent_say(&agent, MESSAGE_DATA_END, json);
	message_wipe(&json);
	AGENTS_UNTIL(&ab, agent.stream_count == 1);
	agent_say_text(&agent, MESSAGE_DATA_END, "{\"Counter\":99}");
	agent_say_text(&agent, MESSAGE_DATA_END, "[]");
	close(client);
	agents_stop(&ab);
}
END_TEST

/* Inside of TLS, where it ends at the edge: as many handshakes as a test of
 * OpenSSL's needs are elsewhere. */
static struct tls_stream *
knock_tls(uint64_t counter, int *fd, uint8_t preface[DATA_PREFACE_BYTES])
{
	uint8_t psk[SHA256_BYTES];
	struct tls_stream *tls;
	enum io io;

	make_preface(counter, DATA_TLS, preface);
	ck_assert_int_eq(data_keys_psk(&agent.keys, preface, psk), 0);
	*fd = bench_connect(&ab.edge);
	ck_assert_int_eq(fcntl(*fd, F_SETFL, O_NONBLOCK), 0);
	tls = tls_data_connect(
	    ab.tls, *fd, preface, psk, span_text("connect.test"));
	while ((io = tls_handshake(tls)) == IO_AGAIN)
		agents_turn(&ab);
	ck_assert_int_eq(io, IO_OK);
	return tls;
}

static size_t
read_tls(struct tls_stream *tls, uint8_t *data, size_t size)
{
	static uint8_t buffer[TLS_READ_MIN_BYTES];
	size_t count;
	enum io io;

	while ((io = tls_read(tls, buffer, sizeof(buffer), &count)) == IO_AGAIN)
		agents_turn(&ab);
	ck_assert_int_eq(io, IO_OK);
	ck_assert_uint_le(count, size);
	memcpy(data, buffer, count);
	return count;
}

START_TEST(inside_tls)
{
	uint8_t preface[DATA_PREFACE_BYTES], salt[DATA_SALT_BYTES],
	    answer[DATA_ANSWER_BYTES], wire[DATA_OPEN_MAX_BYTES];
	int client, fd, again;
	struct tls_stream *tls;
	struct data_open open;
	size_t len;

	start("data_encryption: always");
	client = bench_client(&ab.edge, "a.test");
	ck_assert_uint_eq(next_ask(0)->mode, DATA_TLS);
	tls = knock_tls(agent.asks[0].first, &fd, preface);
	len = read_tls(tls, wire, sizeof(wire));
	/* OPEN and the hello may come in one record. */
	ck_assert_uint_ge(len, DATA_OPEN_HEAD_BYTES);
	judge_open(preface, wire,
	    (size_t)(wire[2] << 8 | wire[3]) + DATA_OPEN_HEAD_BYTES, &open,
	    salt);
	seal(preface, salt, DATA_ACCEPTED, answer);
	ck_assert_int_eq(
	    tls_write(tls, span_of(answer, sizeof(answer))), IO_OK);
	ck_assert_int_eq(tls_write(tls, span_text("hi")), IO_OK);
	expect_text(client, "hi");
	/* A counter is good once, also when the handshake is. */
	tls_free(tls);
	close(fd);
	tls = knock_tls(agent.asks[0].first, &again, preface);
	AGENTS_UNTIL(&ab, counters().preface_not_asked == 1);
	tls_free(tls);
	close(again);
	close(client);
	wait_event("\"transport\":\"data_tls\"", 1);
	agents_stop(&ab);
}
END_TEST

/* A session that is lost leaves alone what relays, and closes what is parked.
 */
START_TEST(session_lost)
{
	uint8_t preface[DATA_PREFACE_BYTES], second[DATA_PREFACE_BYTES];
	int client, other, fd, idle;

	start("");
	fd = serve(0, &client, preface);
	other = bench_client(&ab.edge, "a.test");
	(void)next_ask(1);
	AGENTS_UNTIL(&ab, agent.stream_count == 1);
	idle = link_for(agent.asks[1].first, second);
	session_close(agent.session, "");
	AGENTS_UNTIL(&ab, !agent.session);
	(void)!receive_all(idle, second, sizeof(second), &(size_t){ 0 });
	send_text(client, "goes on");
	expect_text(fd, "goes on");
	send_text(fd, "as well");
	expect_text(client, "as well");
	close(fd);
	close(idle);
	close(client);
	close(other);
	wait_event("tcp_connection_closed.v0", 2);
	agents_stop(&ab);
}
END_TEST

/* One whose credential is revoked does not, even if the session is gone. */
START_TEST(revoked)
{
	uint8_t preface[DATA_PREFACE_BYTES];
	int client, fd;

	start("");
	fd = serve(0, &client, preface);
	if (_i == 1)
		agent_close(&agent);
	agents_tokens(&ab, "tokens:\n- { name: two, token: " TOKEN_TWO " }\n");
	ck_assert(agents_reload(&ab, "", "", ""));
	expect_reset(client);
	expect_reset(fd);
	wait_event("closed_by_operator", 1);
	close(fd);
	close(client);
	agent_wait_end(&agent);
	agents_stop(&ab);
}
END_TEST

/* So does a protocol that is broken. */
START_TEST(violated)
{
	uint8_t preface[DATA_PREFACE_BYTES];
	int client, fd;

	start("");
	fd = serve(0, &client, preface);
	agent_say_text(&agent, MESSAGE_AUTH, "{}");
	agent_wait_end(&agent);
	expect_reset(client);
	expect_reset(fd);
	wait_event("\"reason\":\"agent_lost\"", 1);
	close(fd);
	close(client);
	agents_stop(&ab);
}
END_TEST

/* Many at once: asked for together, and used each for one. */
START_TEST(burst)
{
	uint8_t prefaces[40][DATA_PREFACE_BYTES];
	int clients[40], links[40];
	unsigned asked = 0, at = 0;

	start("");
	for (unsigned i = 0; i < 40; i++)
		clients[i] = bench_client(&ab.edge, "a.test");
	while (asked < 40) {
		const struct data_connections *ask = next_ask(at++);

		for (unsigned i = 0; i < ask->count && asked < 40; i++) {
			links[asked] =
			    link_for(ask->first + i, prefaces[asked]);
			asked++;
		}
	}
	ck_assert_uint_lt(at, 40);
	for (unsigned i = 0; i < 40; i++) {
		accept_client(links[i], prefaces[i]);
		send_text(links[i], "hi");
	}
	for (unsigned i = 0; i < 40; i++)
		expect_text(clients[i], "hi");
	for (unsigned i = 0; i < 40; i++) {
		close(clients[i]);
		close(links[i]);
	}
	agents_stop(&ab);
}
END_TEST

static void
add(TCase *t)
{
	tcase_add_test(t, raw);
	tcase_add_test(t, refusal);
	tcase_add_loop_test(t, knocks, 0, WRONG_COUNT);
	tcase_add_test(t, in_pieces);
	tcase_add_test(t, early_bytes);
	tcase_add_test(t, parked);
	tcase_add_test(t, fallback);
	tcase_add_test(t, given_up);
	tcase_add_test(t, inside_tls);
	tcase_add_test(t, session_lost);
	tcase_add_loop_test(t, revoked, 0, 2);
	tcase_add_test(t, violated);
	tcase_add_test(t, burst);
}

UNIT_MAIN("edge_data", add)
