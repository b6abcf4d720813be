#include "unit.h"

#include <stdio.h>

#include "base/clock.h"
#include "engine/edge_private.h"
#include "engine/event.h"
#include "engine_bench.h"

/* A connection that never was, on a worker without a thread. */
static struct edge edge;
static struct worker *worker;
static struct events events;
static struct conn conn;

static void
setup(void)
{
	struct log_settings off = { .target = "false" };

	ck_assert_int_eq(log_open(&off), 0);
	events_init(&events);
	edge.journal = journal_new(events_sink(&events));
	ck_assert_ptr_nonnull(edge.journal);
	atomic_store(&edge.wants_events, true);
	pthread_mutex_init(&edge.recent_lock, NULL);
	worker = calloc(1, sizeof(*worker));
	ck_assert_ptr_nonnull(worker);
	ck_assert_int_eq(worker_init(worker, &edge, 1), 0);
	conn = (struct conn){ .magic = CONN_MAGIC, .worker = worker };
	leg_init(&conn.client);
	leg_init(&conn.upstream);
	conn.reason = REASON_CLIENT_CLOSED;
	conn.start_us = clock_us();
	ck_assert_int_eq(
	    addr_parse(span_text("192.0.2.1"), &conn.facts.client), 0);
	conn.facts.peer = conn.facts.server = conn.facts.client;
	conn.facts.listener = "127.0.0.1:0";
	worker_make_id(worker, "cn_", conn.facts.id);
}

static void
teardown(void)
{
	if (edge.journal)
		journal_free(edge.journal);
	edge.journal = NULL;
	worker_fini(worker);
	free(worker);
	events_fini(&events);
	pthread_mutex_destroy(&edge.recent_lock);
}

static char *
event(void)
{
	event_connection_closed(&conn);
	journal_free(edge.journal);
	edge.journal = NULL;
	ck_assert_uint_eq(events.count, 1);
	return events_line(&events, 0);
}

static void
has(const char *line, const char *part)
{
	ck_assert_msg(strstr(line, part) != NULL, "no %s in %s", part, line);
}

static void
lacks(const char *line, const char *part)
{
	ck_assert_msg(strstr(line, part) == NULL, "%s in %s", part, line);
}

START_TEST(what_does_not_apply_is_left_out)
{
	static const char *const absent[] = { "server_name", "ip_policy",
		"ja4_fingerprint", "traffic_policy", "\"detail\"", "\"alert\"",
		"endpoint\":", "upstream\":", "\"policy\":", "tags", "hello_ms",
		"policy_ms", "dial_ms", "first_byte_ms", "null" };
	char *line = event();

	for (size_t i = 0; i < ARRAY_COUNT(absent); i++)
		lacks(line, absent[i]);
	has(line, "\"event_id\":\"ev_");
	has(line, "\"event_type\":\"tcp_connection_closed.v0\"");
	has(line, "\"close\":{\"reason\":\"client_closed\"}");
	has(line, "\"client_ip\":\"192.0.2.1\"");
	has(line, "\"total_ms\":");
	has(line, "\"bytes_in\":0,\"bytes_out\":0");
	free(line);
}
END_TEST

START_TEST(what_applies_is_there)
{
	struct endpoint endpoint = {
		.id = "ep_x",
		.url = (char[]){ "tls://a.test" },
		.terminate_at = TERMINATE_UPSTREAM,
	};
	struct upstream target = { .address.text = "10.0.0.1:443" };
	struct policy_slot slot = { .version = "0123456789abcdef" };
	struct record record = {
		.reason = (char[]){ "because" },
		.tags = (char[]){ "\"k\":\"v\"" },
		.logs = (char[]){ "{\"a\":1},{\"b\":2}" },
		.logs_len = 15,
		.ja4 = "t13d",
	};
	char *line;

	conn.endpoint = &endpoint;
	conn.target = &target;
	conn.policy = &slot;
	conn.record = &record;
	conn.scripted = conn.denied = conn.restricted = true;
	conn.proxy_proto = 2;
	conn.decision_line = 7;
	conn.alert = 49;
	conn.detail = "why";
	conn.upstream.taken_bytes = 10;
	conn.client.taken_bytes = 20;
	conn.timings_us[TIMING_HELLO] = 1000;
	conn.timings_us[TIMING_POLICY] = 3500;
	conn.timings_us[TIMING_FIRST_BYTE] = 9000;
	line = event();
	has(line, "\"bytes_in\":10,\"bytes_out\":20");
	has(line, "\"detail\":\"why\",\"alert\":\"access_denied\"");
	has(line, "\"ip_policy\":{\"decision\":\"allow\"}");
	has(line, "\"endpoint\":{\"id\":\"ep_x\",\"url\":\"tls://a.test\",");
	has(line, "\"address\":\"10.0.0.1:443\",\"proxy_proto\":2");
	has(line, "\"version\":\"0123456789abcdef\",\"decision\":\"deny\","
		  "\"reason\":\"because\",\"line\":7");
	has(line, "\"ja4_fingerprint\":\"t13d\"");
	has(line, "\"traffic_policy\":{\"logs\":[{\"a\":1},{\"b\":2}]}");
	has(line, "\"tags\":{\"k\":\"v\"}");
	has(line, "\"hello_ms\":1.000,\"policy_ms\":2.500,"
		  "\"first_byte_ms\":9.000");
	lacks(line, "dial_ms");
	free(line);
}
END_TEST

START_TEST(hostile_names_forge_nothing)
{
	struct record record = { .reason = (char[]){ "\"}\n\x1b[2J\xff" } };
	struct policy_slot slot = { .version = "v" };
	char *line;

	conn.facts.sni = span_text("a\"}\n{\"event_type\":\"x\\\xc3\x28");
	conn.record = &record;
	conn.policy = &slot;
	conn.scripted = true;
	atomic_store(&edge.keep_recent, true);
	line = event(); /* one line: events.count is 1 */
	has(line, "\"server_name\":\"a\\\"}\\");
	has(line, "{\\\"event_type\\\":\\\"x\\\\");
	has(line, "\"reason\":\"\\\"}");
	for (const char *at = line; *at; at++)
		ck_assert_uint_ge((unsigned char)*at, ' ');
	lacks(line, "\xc3\x28");
	free(line);
	for (const char *at = edge.recent[0].name; *at; at++)
		ck_assert(*at >= ' ' && *at <= '~');
}
END_TEST

START_TEST(the_largest_record_fits)
{
	struct record record = { 0 };
	struct policy_slot slot = { .version = "v" };
	char *tags = malloc(8192), *logs = malloc(RECORD_MAX_LOG_BYTES);
	static char reason[256];
	char *line;

	memset(tags, 'x', 8191);
	memcpy(tags, "\"k\":\"", 5);
	memcpy(tags + 8190, "\"", 2);
	memset(logs, '1', RECORD_MAX_LOG_BYTES);
	memset(reason, 1, sizeof(reason) - 1);
	record.tags = tags;
	record.logs = logs;
	record.logs_len = RECORD_MAX_LOG_BYTES;
	record.reason = reason;
	conn.record = &record;
	conn.policy = &slot;
	conn.scripted = true;
	line = event();
	ck_assert_str_eq(line + strlen(line) - 3, "}}}");
	free(line);
	free(tags);
	free(logs);
}
END_TEST

START_TEST(our_own_header_never_makes_bytes_negative)
{
	char *line;

	conn.upstream.taken_bytes -= 52;
	line = event();
	has(line, "\"bytes_in\":0,");
	free(line);
}
END_TEST

START_TEST(an_errno_is_told_in_words)
{
	char *line;

	conn.reason = REASON_UPSTREAM_REFUSED;
	conn.failed_errno = 111;
	line = event();
	has(line, "\"reason\":\"upstream_refused\",\"detail\":\"");
	ck_assert_uint_eq(
	    counter_read(&worker->counters.reasons[REASON_UPSTREAM_REFUSED]),
	    1);
	free(line);
}
END_TEST

START_TEST(without_a_sink_nothing_is_written)
{
	atomic_store(&edge.wants_events, false);
	event_connection_closed(&conn);
	journal_free(edge.journal);
	edge.journal = NULL;
	ck_assert_uint_eq(events.count, 0);
	ck_assert_uint_eq(
	    counter_read(&worker->counters.reasons[REASON_CLIENT_CLOSED]), 1);
}
END_TEST

START_TEST(a_lost_connection_has_its_event)
{
	struct listener listener = { .name = "127.0.0.1:0" };
	struct arrival a = { .listener = &listener, .peer = conn.facts.peer };
	char *line;

	event_lost(&edge, &a, REASON_LIMIT);
	event_lost(&edge, &a, REASON_NO_MEMORY);
	ck_assert_uint_eq(counter_read(&edge.lost_count), 2);
	journal_free(edge.journal);
	edge.journal = NULL;
	ck_assert_uint_eq(events.count, 2);
	line = events_line(&events, 0);
	has(line, "\"close\":{\"reason\":\"limit\"}");
	has(line, "\"peer_ip\":\"192.0.2.1\"");
	ck_assert_str_eq(line + strlen(line) - 3, "}}}");
	free(line);
}
END_TEST

START_TEST(every_reason_is_in_the_manual)
{
	static char page[64 * 1024];
	char row[64];
	FILE *f = fopen(TOP_SRCDIR "/man/lunette.1.in", "re");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_gt(fread(page, 1, sizeof(page) - 1, f), 0);
	fclose(f);
	for (enum reason r = REASON_NONE + 1; r < REASON_COUNT; r++) {
		snprintf(row, sizeof(row), "\n.TP\n.B %s\n", reason_word(r));
		ck_assert_msg(strstr(page, row), "%s", reason_word(r));
	}
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_does_not_apply_is_left_out);
	tcase_add_test(tcase, what_applies_is_there);
	tcase_add_test(tcase, hostile_names_forge_nothing);
	tcase_add_test(tcase, the_largest_record_fits);
	tcase_add_test(tcase, our_own_header_never_makes_bytes_negative);
	tcase_add_test(tcase, an_errno_is_told_in_words);
	tcase_add_test(tcase, without_a_sink_nothing_is_written);
	tcase_add_test(tcase, a_lost_connection_has_its_event);
	tcase_add_test(tcase, every_reason_is_in_the_manual);
}

UNIT_MAIN("event", add)
