/* Who is let in, and what becomes of those who are not. */
#include "agents_bench.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "tls/token.h"
#include "tunnel/edge_private.h"
#include "unit.h"

static struct agents_bench ab;

static void
start(const char *agents)
{
	agents_start(&ab, agents, "", "");
}

static struct edge_tunnel_counters
counters(void)
{
	struct edge_tunnel_counters c;

	edge_tunnel_counters(ab.tunnel, &c);
	return c;
}

static void
wait_event(const char *text, unsigned count)
{
	AGENTS_UNTIL(&ab, events_with(&ab.edge.events, text) == count);
}

static struct auth
plain(const char *token)
{
	return (struct auth){ .auth_token = LEND(token) };
}

START_TEST(welcome)
{
	struct agent_peer p;

	start("");
	agent_connect(&ab, &p, false);
	agent_say_text(&p, MESSAGE_SRV_INFO, "{}");
	ck_assert_str_eq(p.json, "{\"Region\":\"self\"}");
	ck_assert_uint_eq(agent_auth(&p, plain(TOKEN_ONE)), 0);
	ck_assert(!p.has_keys);
	ck_assert_ptr_nonnull(strstr(p.json, "\"SessionDuration\":0"));
	ck_assert_int_eq(strncmp(p.id, "ts_", 3), 0);
	ck_assert_uint_eq(counters().sessions_open, 1);
	agent_close(&p);
	events_wait(&ab.edge.events, 2);
	ck_assert_uint_eq(
	    events_with(&ab.edge.events, "agent_session_start.v0"), 1);
	ck_assert_uint_eq(
	    events_with(&ab.edge.events, "agent_session_stop.v0"), 1);
	ck_assert_uint_eq(events_with(&ab.edge.events, p.id), 2);
	ck_assert_uint_eq(
	    events_with(&ab.edge.events, "\"metadata\":\"meta \\\"data\\\"\""),
	    2);
	ck_assert_uint_eq(events_with(&ab.edge.events, "\"error\""), 0);
	agents_stop(&ab);
}
END_TEST

/* Lunette's agent proves its token, and is offered data connections. */
START_TEST(proved)
{
	uint8_t binding[TOKEN_BINDING_BYTES], id[TOKEN_ID_BYTES];
	uint8_t proof[sizeof(TOKEN_ONE) - 1];
	struct agent_peer p;
	struct auth a = {
		.token_id = { id, sizeof(id) },
		.proof = { proof, sizeof(proof) },
	};

	start("");
	for (int wrong = 0; wrong < 3; wrong++) {
		agent_connect(&ab, &p, true);
		ck_assert_int_eq(
		    token_binding(session_tls(p.session), binding), 0);
		ck_assert_int_eq(token_id(span_text(TOKEN_ONE), id), 0);
		/* Another session's proof is none here. */
		binding[0] ^= wrong == 1;
		ck_assert_int_eq(
		    token_prove(binding, span_text(TOKEN_ONE), proof), 0);
		proof[3] ^= wrong == 2;
		ck_assert_uint_eq(agent_auth(&p, a), wrong ? 107 : 0);
		ck_assert(wrong || p.has_keys);
		if (wrong)
			agent_wait_end(&p);
		else
			agent_close(&p);
	}
	/* Without our ALPN there is nothing that it could be bound to. */
	agent_connect(&ab, &p, false);
	ck_assert_uint_eq(agent_auth(&p, a), 107);
	agent_wait_end(&p);
	agents_stop(&ab);
}
END_TEST

static const struct {
	struct auth a;
	unsigned number;
	const char *error;
} refusals[] = {
	{ { .auth_token = LEND("a token that nobody has") }, 107,
	    "does not know it" },
	{ { .auth_token = LEND("") }, 4018, "needs an authtoken" },
	{ { .auth_token = LEND("a\ttoken\nof control characters") }, 105,
	    "does not look like" },
	{ { .auth_token = LEND(TOKEN_ONE), .heartbeat_interval_ns = 99999999 },
	    111, "interval must be at least 100ms" },
	{ { .auth_token = LEND(TOKEN_ONE), .heartbeat_tolerance_ns = 1 }, 112,
	    "tolerance must be at least 100ms" },
	{ { .auth_token = LEND(TOKEN_ONE), .heartbeat_interval_ns = INT64_MAX },
	    111, "interval" },
};

START_TEST(refused)
{
	char text[64];
	struct agent_peer p;

	start("");
	agent_connect(&ab, &p, _i % 2);
	ck_assert_uint_eq(agent_auth(&p, refusals[_i].a), refusals[_i].number);
	ck_assert_ptr_nonnull(strstr(p.json, refusals[_i].error));
	snprintf(text, sizeof(text), "ERR_NGROK_%u", refusals[_i].number);
	ck_assert_ptr_nonnull(strstr(p.json, text));
	agent_wait_end(&p);
	events_wait(&ab.edge.events, 1);
	ck_assert_uint_eq(
	    events_with(&ab.edge.events, "agent_session_stop.v0"), 1);
	ck_assert_uint_eq(events_with(&ab.edge.events, refusals[_i].error), 1);
	ck_assert_uint_eq(counters().sessions_refused, 1);
	ck_assert_uint_eq(counters().sessions_open, 0);
	agents_stop(&ab);
}
END_TEST

START_TEST(versions)
{
	char *old[] = { LEND("1"), LEND("0") };
	char *mixed[] = { LEND("4"), LEND("2") };
	struct agent_peer p;
	struct auth a = plain(TOKEN_ONE);

	start("");
	agent_connect(&ab, &p, false);
	a.versions = (struct message_texts){ old, 2 };
	ck_assert_uint_eq(agent_auth(&p, a), 1);
	ck_assert_ptr_nonnull(strstr(p.json, "protocol versions"));
	agent_wait_end(&p);
	agent_connect(&ab, &p, false);
	a.versions = (struct message_texts){ mixed, 2 };
	ck_assert_uint_eq(agent_auth(&p, a), 0);
	ck_assert_ptr_nonnull(strstr(p.json, "\"Version\":\"2\""));
	agents_stop(&ab);
}
END_TEST

/* Eleven wrong ones from one address, and even the right one has to wait. */
START_TEST(attempts)
{
	struct agent_peer p;

	start("");
	for (int i = 0; i < 10; i++) {
		agent_connect(&ab, &p, false);
		ck_assert_uint_eq(
		    agent_auth(&p, plain("wrong, wrong, wrong")), 107);
		agent_wait_end(&p);
	}
	agent_connect(&ab, &p, false);
	ck_assert_uint_eq(agent_auth(&p, plain(TOKEN_ONE)), 1);
	ck_assert_ptr_nonnull(strstr(p.json, "Too many failed attempts"));
	agent_wait_end(&p);
	ck_assert_uint_eq(counters().auth_failures, 10);
	agents_stop(&ab);
}
END_TEST

START_TEST(session_limit)
{
	struct agent_peer p, q;
	struct auth a = plain(TOKEN_ONE);

	start("limits: { sessions: 1 }");
	agent_join(&ab, &p, false, TOKEN_ONE);
	agent_connect(&ab, &q, false);
	ck_assert_uint_eq(agent_auth(&q, plain(TOKEN_TWO)), 108);
	agent_wait_end(&q);
	/* The same client is no other one. */
	a.client_id = p.client_id;
	a.cookie = p.cookie;
	agent_connect(&ab, &q, false);
	ck_assert_uint_eq(agent_auth(&q, a), 0);
	agent_wait_end(&p);
	agent_close(&q);
	events_wait(&ab.edge.events, 5);
	agent_join(&ab, &q, false, TOKEN_TWO);
	agents_stop(&ab);
}
END_TEST

/* Before Auth nothing else is said; and it is said once. */
START_TEST(order)
{
	static const uint32_t types[] = { MESSAGE_BIND, MESSAGE_UNBIND,
		MESSAGE_START_LABELLED, MESSAGE_DATA_END, 77, MESSAGE_AUTH };
	struct agent_peer p;

	start("");
	agent_connect(&ab, &p, true);
	if (types[_i] == MESSAGE_AUTH)
		ck_assert_uint_eq(agent_auth(&p, plain(TOKEN_ONE)), 0);
	agent_say_text(&p, types[_i], "{}");
	ck_assert_int_ne(p.reply, SESSION_REPLY_OK);
	agent_wait_end(&p);
	wait_event("agent_session_stop.v0", 1);
	agents_stop(&ab);
}
END_TEST

/* What a newer agent may ask is refused, and that is all. */
START_TEST(unknown_request)
{
	struct agent_peer p;

	start("");
	agent_join(&ab, &p, false, TOKEN_ONE);
	agent_say_text(&p, 10, "{}");
	ck_assert_int_eq(p.reply, SESSION_REPLY_RESET);
	agent_say_text(&p, MESSAGE_DATA_END, "{}");
	ck_assert_int_eq(p.reply, SESSION_REPLY_RESET);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	agents_stop(&ab);
}
END_TEST

static unsigned
auth_again(struct agent_peer *p, const char *token, const char *client,
    const char *cookie)
{
	struct auth a = plain(token);

	a.client_id = LEND(client);
	a.cookie = LEND(cookie);
	agent_connect(&ab, p, false);
	return agent_auth(p, a);
}

/* The same client takes its own place at once, on whatever worker, and finds
 * its names free. */
START_TEST(replaced)
{
	struct agent_peer p, q;

	start("");
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	for (int i = 0; i < 20; i++) {
		ck_assert_uint_eq(
		    auth_again(&q, TOKEN_ONE, p.client_id, p.cookie), 0);
		ck_assert_str_eq(q.client_id, p.client_id);
		ck_assert_uint_eq(agent_bind_name(&q, "a.test"), 0);
		agent_wait_end(&p);
		/* Its callbacks have the address. */
		ck_assert_uint_eq(
		    auth_again(&p, TOKEN_ONE, q.client_id, q.cookie), 0);
		ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
		agent_wait_end(&q);
	}
	ck_assert_uint_eq(counters().sessions_open, 1);
	agent_close(&p);
	wait_event("replaced by the same client", 40);
	agents_stop(&ab);
}
END_TEST

/* Several at once that claim the same place: the last one has it. */
START_TEST(replaced_in_a_row)
{
	struct agent_peer first, many[6];
	unsigned left = 0;

	start("");
	agent_join(&ab, &first, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&first, "a.test"), 0);
	for (size_t i = 0; i < ARRAY_COUNT(many); i++)
		agent_connect(&ab, &many[i], false);
	for (size_t i = 0; i < ARRAY_COUNT(many); i++) {
		struct auth a = plain(TOKEN_ONE);

		a.client_id = first.client_id;
		a.cookie = first.cookie;
		(void)agent_auth(&many[i], a);
	}
	AGENTS_UNTIL(&ab, counters().sessions_open == 1 && !first.session);
	for (size_t i = 0; i < ARRAY_COUNT(many); i++)
		AGENTS_UNTIL(
		    &ab, i + 1 == ARRAY_COUNT(many) || !many[i].session);
	for (size_t i = 0; i < ARRAY_COUNT(many); i++)
		left += many[i].session != NULL;
	ck_assert_uint_eq(left, 1);
	ck_assert_uint_eq(agent_bind_name(&many[5], "a.test"), 0);
	agents_stop(&ab);
}
END_TEST

/* An id alone proves nothing, nor does somebody else's cookie. */
START_TEST(not_replaced)
{
	struct agent_peer p, q;

	start("");
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	ck_assert_uint_eq(auth_again(&q, TOKEN_ONE, p.client_id, ""), 0);
	ck_assert_str_ne(q.client_id, p.client_id);
	ck_assert_uint_eq(agent_bind_name(&q, "a.test"), 334);
	agent_close(&q);
	ck_assert_uint_eq(auth_again(&q, TOKEN_TWO, p.client_id, p.cookie), 0);
	ck_assert_str_ne(q.client_id, p.client_id);
	agent_close(&q);
	ck_assert_uint_eq(
	    auth_again(&q, TOKEN_ONE,
		"an id that is longer than any that we give", p.cookie),
	    0);
	agent_close(&q);
	ck_assert_ptr_nonnull(p.session);
	agents_stop(&ab);
}
END_TEST

/* The token is gone: so are its sessions; the others stay. */
START_TEST(revoked)
{
	struct agent_peer p, q;

	start("");
	agent_join(&ab, &p, false, TOKEN_ONE);
	agent_join(&ab, &q, true, TOKEN_TWO);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	ck_assert_uint_eq(agent_bind_name(&q, "b.test"), 0);
	agents_tokens(&ab, "tokens:\n- { name: two, token: " TOKEN_TWO " }\n");
	ck_assert(agents_reload(&ab, "", "", ""));
	agent_wait_end(&p);
	wait_event("credential one was revoked", 1);
	agent_connect(&ab, &p, false);
	ck_assert_uint_eq(agent_auth(&p, plain(TOKEN_ONE)), 107);
	ck_assert_uint_eq(agent_bind_name(&q, "a.test"), 0);
	agents_stop(&ab);
}
END_TEST

/* Fewer rights: what is not allowed any more is let go, and said. */
START_TEST(narrowed)
{
	struct agent_peer p;
	char id[80];

	start("");
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	snprintf(id, sizeof(id), "%s", p.bind_id);
	ck_assert_uint_eq(agent_bind_name(&p, "b.test"), 0);
	ck_assert_uint_eq(agent_bind(&p, (struct bind){ 0 }), 0);
	agents_tokens(&ab, "tokens:\n- { name: one, token: " TOKEN_ONE
			   ", acl: [ \"bind:b.test\" ] }\n");
	ck_assert(agents_reload(&ab, "", "", ""));
	AGENTS_UNTIL(&ab, p.stopped_id[0]);
	ck_assert_str_eq(p.stopped_id, id);
	ck_assert_uint_eq(registry_count(edge_registry(ab.edge.edge)), 2);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 316);
	agents_stop(&ab);
}
END_TEST

START_TEST(labels_narrowed)
{
	struct agent_peer p;

	start("");
	agent_join(&ab, &p, false, TOKEN_ONE);
	agent_say_text(
	    &p, MESSAGE_START_LABELLED, "{\"Labels\":{\"k\":\"kept\"}}");
	agent_say_text(
	    &p, MESSAGE_START_LABELLED, "{\"Labels\":{\"k\":\"gone\"}}");
	wait_event("\"labels\":{\"k\":\"gone\"}", 1);
	agents_tokens(&ab, "tokens:\n- { name: one, token: " TOKEN_ONE
			   ", acl: [ \"bind:k=kept\" ] }\n");
	ck_assert(agents_reload(&ab, "", "", ""));
	wait_event("\"labels\":{\"k\":\"gone\"}", 2);
	AGENTS_UNTIL(&ab, p.stopped_id[0]);
	agent_say_text(
	    &p, MESSAGE_START_LABELLED, "{\"Labels\":{\"k\":\"gone\"}}");
	ck_assert_ptr_nonnull(strstr(p.json, "ERR_NGROK_399"));
	wait_event("\"labels\":{\"k\":\"kept\"}", 1);
	agents_stop(&ab);
}
END_TEST

/* A file that is broken changes nothing. */
START_TEST(broken_tokens)
{
	struct agent_peer p;

	start("");
	agent_join(&ab, &p, false, TOKEN_ONE);
	agents_tokens(&ab, "tokens: [ { name: one } ]\n");
	ck_assert(!agents_reload(&ab, "", "", ""));
	ck_assert_ptr_nonnull(strstr(ab.edge.error, "tokens.yaml"));
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	agents_tokens(&ab, AGENTS_TOKENS);
	ck_assert(agents_reload(&ab, "", "", ""));
	ck_assert_ptr_nonnull(p.session);
	agents_stop(&ab);
}
END_TEST

/* An operator's stop: told, and gone. */
START_TEST(stopped)
{
	struct agent_peer p;

	start("");
	agent_join(&ab, &p, false, TOKEN_ONE);
	ck_assert(!edge_session_stop(ab.tunnel, "ts_nobody", "go"));
	ck_assert(edge_session_restart(ab.tunnel, p.id));
	ck_assert(edge_session_stop(ab.tunnel, p.id, "go away"));
	agent_wait_end(&p);
	ck_assert_uint_eq(p.stop_count, 1);
	wait_event("go away", 1);
	agents_stop(&ab);
}
END_TEST

/* The edge is about to stop: Lunette's agent is told, an idle SDK let go. */
START_TEST(drained)
{
	struct agent_peer p, q;
	int client;

	start("");
	agent_join(&ab, &p, true, TOKEN_ONE);
	agent_join(&ab, &q, false, TOKEN_TWO);
	ck_assert_uint_eq(agent_bind_name(&p, "a.test"), 0);
	client = bench_client(&ab.edge, "a.test");
	AGENTS_UNTIL(&ab, p.ask_count > 0);
	edge_drain(ab.edge.edge);
	AGENTS_UNTIL(&ab, p.moving_count == 1);
	agent_wait_end(&q);
	ck_assert_ptr_nonnull(p.session);
	ck_assert_uint_eq(agent_bind_name(&p, "b.test"), 1);
	close(client);
	agents_stop(&ab);
}
END_TEST

static void
add(TCase *t)
{
	tcase_add_test(t, welcome);
	tcase_add_test(t, proved);
	tcase_add_loop_test(t, refused, 0, ARRAY_COUNT(refusals));
	tcase_add_test(t, versions);
	tcase_add_test(t, attempts);
	tcase_add_test(t, session_limit);
	tcase_add_loop_test(t, order, 0, 6);
	tcase_add_test(t, unknown_request);
	tcase_add_test(t, replaced);
	tcase_add_test(t, replaced_in_a_row);
	tcase_add_test(t, not_replaced);
	tcase_add_test(t, revoked);
	tcase_add_test(t, narrowed);
	tcase_add_test(t, labels_narrowed);
	tcase_add_test(t, broken_tokens);
	tcase_add_test(t, stopped);
	tcase_add_test(t, drained);
}

UNIT_MAIN("edge_auth", add)
