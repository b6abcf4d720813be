/* What an edge waits for with its agents, and for how long: minutes that pass
 * in a leap. */
#include "agents_bench.h"

#include <sys/socket.h>
#include <unistd.h>

#include "sys/socket.h"
#include "still_time.h"
#include "tunnel/edge_data.h"
#include "tunnel/edge_private.h"
#include "unit.h"

#define HOUR_MS (60 * 60 * 1000)
#define ANSWER_MS 5000 /* that an agent has for its ANSWER */

static struct agents_bench ab;
static struct agent_peer agent;

int64_t __real_clock_us(void);
int64_t __wrap_clock_us(void);

/* The same clock in microseconds: arrivals are stamped by it. */
int64_t
__wrap_clock_us(void)
{
	return __real_clock_us() - (int64_t)atomic_load(&lost_ms) * 1000;
}

/* No heartbeat is missed in a leap. */
static void
start(void)
{
	agents_start(
	    &ab, "heartbeat_interval: 1h, heartbeat_tolerance: 1h", "", "");
	ab.heartbeat_ms = HOUR_MS;
}

static void
start_with_agent(void)
{
	start();
	agent_join(&ab, &agent, true, TOKEN_ONE);
	ck_assert(agent.has_keys);
	ck_assert_uint_eq(agent_bind_name(&agent, "a.test"), 0);
}

/* Every worker looks at the clock after it. */
static void
leap(uint64_t ms)
{
	time_leaps(ms);
	edge_sweep(ab.edge.edge);
}

static struct edge_tunnel_counters
counters(void)
{
	struct edge_tunnel_counters c;

	edge_tunnel_counters(ab.tunnel, &c);
	return c;
}

/* A client for whom a connection was asked, and who goes by a stream since
 * none has come. */
static const struct data_connections *
ask_in_vain(unsigned number, int *client)
{
	*client = bench_client(&ab.edge, "a.test");
	AGENTS_UNTIL(&ab, agent.stream_count == number);
	return &agent.asks[agent.ask_count - 1];
}

static int
knock(uint64_t counter)
{
	uint8_t preface[DATA_PREFACE_BYTES];
	int fd = bench_connect(&ab.edge);

	ck_assert_int_eq(
	    data_keys_make_preface(&agent.keys, DATA_RAW, counter, preface), 0);
	send_bytes(fd, preface, sizeof(preface));
	return fd;
}

/* By a FIN, or by a reset since something was not read. */
static bool
is_over(int fd)
{
	uint8_t byte;
	size_t count;
	enum io io = socket_peek(fd, &byte, 1, &count);

	return io == IO_EOF || io == IO_ERROR;
}

/* One that waits at the edge. It was taken once its counter is used up. */
static int
park(uint64_t counter)
{
	int first = knock(counter), second;

	for (second = -1; counters().preface_not_asked == 0;) {
		if (second < 0)
			second = knock(counter);
		agents_turn(&ab);
	}
	if (is_over(first)) {
		close(first);
		return second;
	}
	close(second);
	return first;
}

/* The next client is given this connection; then both are closed. */
static void
serve_next(int fd)
{
	static uint8_t bytes[65536];
	int client = bench_client(&ab.edge, "a.test");
	size_t count;

	AGENTS_UNTIL(&ab, socket_unread_bytes(fd) > DATA_OPEN_HEAD_BYTES);
	/* Nobody answers, and it is waited for no longer. */
	leap(ANSWER_MS);
	close(client);
	while (socket_read(fd, bytes, sizeof(bytes), &count) == IO_OK)
		;
}

/* An agent that does not say who it is has ten seconds. */
START_TEST(who_it_is)
{
	start();
	agent_connect(&ab, &agent, _i == 1);
	/* The edge has seen the handshake end, and its time runs. */
	agent_say_text(&agent, MESSAGE_SRV_INFO, "{}");
	leap(EDGE_AUTH_MS - 1000);
	agent_say_text(&agent, MESSAGE_SRV_INFO, "{}");
	leap(1000);
	agent_wait_end(&agent);
	AGENTS_UNTIL(
	    &ab, events_with(&ab.edge.events, "agent_session_start") == 0 &&
		     counters().sessions_open == 0);
	agents_stop(&ab);
}
END_TEST

/* A counter is good for ten seconds. */
START_TEST(counters_expire)
{
	int client, fd;

	start_with_agent();
	fd = (int)ask_in_vain(1, &client)->first;
	leap(_i == 0 ? EDGE_DATA_COUNTER_MS - 1000 : EDGE_DATA_COUNTER_MS);
	fd = knock((uint64_t)fd);
	if (_i == 0)
		serve_next(fd);
	AGENTS_UNTIL(&ab, is_over(fd));
	ck_assert_uint_eq(counters().preface_not_asked, _i);
	close(fd);
	close(client);
	agents_stop(&ab);
}
END_TEST

/* What is not needed may stay for 45 to 60 seconds. */
START_TEST(parking_ends)
{
	int client, fd;

	start_with_agent();
	fd = park(ask_in_vain(1, &client)->first);
	leap(EDGE_DATA_PARKED_MS - 1000);
	if (_i == 1)
		leap(1000 + EDGE_DATA_PARKED_MS / 3);
	else
		serve_next(fd);
	AGENTS_UNTIL(&ab, is_over(fd));
	close(fd);
	close(client);
	agents_stop(&ab);
}
END_TEST

/* A mode that does not work is tried again after five minutes. */
START_TEST(modes_rest)
{
	int clients[AGENT_MAX_ASKS];
	unsigned count = 0;
	enum data_mode mode = DATA_RAW;

	start_with_agent();
	/* A slow machine's clients share an ask. */
	while (mode == DATA_RAW) {
		ck_assert_uint_lt(count, AGENT_MAX_ASKS - 1);
		mode = ask_in_vain(count + 1, &clients[count])->mode;
		count++;
	}
	ck_assert_uint_gt(count, EDGE_DATA_ASKS);
	leap(EDGE_DATA_REST_MS);
	mode = ask_in_vain(count + 1, &clients[count])->mode;
	ck_assert_uint_eq(mode, DATA_RAW);
	for (unsigned i = 0; i <= count; i++)
		close(clients[i]);
	agents_stop(&ab);
}
END_TEST

static void
add(TCase *t)
{
	tcase_add_loop_test(t, who_it_is, 0, 2);
	tcase_add_loop_test(t, counters_expire, 0, 2);
	tcase_add_loop_test(t, parking_ends, 0, 2);
	tcase_add_test(t, modes_rest);
}

UNIT_MAIN("edge_deadlines", add)
