/* Sessions that are taken up again, and those that must not be. */
#include "unit.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include "tls_scene.h"

static struct scene scene;
static int64_t clock_ahead_s;

time_t __real_time(time_t *out);
time_t __wrap_time(time_t *out);

/* For our code; OpenSSL's own clock goes on as it is. */
time_t
__wrap_time(time_t *out)
{
	time_t now = __real_time(NULL) + (time_t)clock_ahead_s;

	if (out)
		*out = now;
	return now;
}

static void
setup(void)
{
	clock_ahead_s = 0;
	scene_open(&scene);
	scene.as_client.address = span_text("127.0.0.1:443");
}

static void
teardown(void)
{
	scene_close(&scene);
}

static void
use_version(int i)
{
	scene.as_server.min_version = scene.as_server.max_version =
	    i ? TLS_VERSION_1_3 : TLS_VERSION_1_2;
}

static void
use_client_certificate(void)
{
	scene.as_server.auth = CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	scene_use_client(&scene, scene.client_leaf, NULL);
}

/* A handshake and what follows it; whether a session was taken up again. */
static bool
visit(void)
{
	struct tls_facts at_server, at_client;

	scene_greet(&scene);
	scene_say(scene.client, scene.server, "hello");
	scene_say(scene.server, scene.client, "hello to you");
	tls_facts(scene.server, &at_server);
	tls_facts(scene.client, &at_client);
	ck_assert(at_server.resumed == at_client.resumed);
	return at_server.resumed;
}

START_TEST(a_session_is_taken_up_again)
{
	use_version(_i);
	ck_assert(!visit());
	ck_assert(visit());
	ck_assert(visit());
	clock_ahead_s = 7000;
	ck_assert(visit());
}
END_TEST

START_TEST(what_was_known_is_known_again)
{
	struct tls_facts f;
	const struct peer *peer;

	use_version(_i);
	use_client_certificate();
	scene.as_server.alpn = scene.as_client.alpn = SCENE_ALPN;
	ck_assert(!visit());
	ck_assert(visit());
	tls_facts(scene.server, &f);
	ck_assert(f.peer_verified);
	ck_assert_ptr_null(f.signature);
	ck_assert_ptr_null(f.peer_signature);
	ck_assert_ptr_null(f.server_key);
	ck_assert_ptr_nonnull(f.cipher_suite);
	ck_assert(span_is(f.alpn, "h2"));
	peer = tls_peer(scene.server);
	ck_assert_ptr_nonnull(peer);
	ck_assert(span_is(peer->fingerprint_sha256,
	    certificate_fingerprint(scene.client_certificate)));
	ck_assert_ptr_nonnull(tls_peer(scene.client));
	tls_facts(scene.client, &f);
	ck_assert(f.peer_verified);
}
END_TEST

/* --- what a session must not cross --- */

static struct trust *second_trust;

static void
other_endpoint(void)
{
	scene.as_server.endpoint_id = "ep_2";
}

static void
other_mode(void)
{
	scene.as_server.auth = CLIENT_AUTH_REQUEST;
}

static void
other_trust(void)
{
	struct made *more = make((struct recipe){ .ca = true });

	second_trust =
	    scene_trust(join(scene.client_ca->crt, more->crt, NULL), NULL);
	scene.as_server.trust = second_trust;
}

static void
other_crls(void)
{
	second_trust = scene_trust(
	    scene.client_ca->crt, make_crl(scene.client_ca, NULL, 0, 0, 0));
	scene.as_server.trust = second_trust;
}

static void
other_versions(void)
{
	if (scene.as_server.max_version == TLS_VERSION_1_3)
		scene.as_server.min_version = TLS_VERSION_1_2;
	else
		scene.as_server.max_version = TLS_VERSION_1_3;
}

static void
past_life(void)
{
	clock_ahead_s = 7200;
}

static void
clock_set_back(void)
{
	clock_ahead_s = -10;
}

static void
shorter_life(void)
{
	clock_ahead_s = 100;
	scene.as_server.session_life_s = 100;
}

static void
past_leaf(void)
{
	clock_ahead_s = 3700;
}

static void
other_keys(void)
{
	tls_context_free(scene.edge);
	tickets_free(scene.tickets);
	scene.tickets = tickets_new();
	scene.edge = tls_context_new(scene.tickets, -1);
}

static void
no_sessions(void)
{
	scene.as_server.session_life_s = 0;
}

static void (*const changes[])(void) = { other_endpoint, other_mode,
	other_trust, other_crls, other_versions, past_life, clock_set_back,
	shorter_life, past_leaf, other_keys, no_sessions };

START_TEST(a_session_stays_where_it_was_made)
{
	struct made *leaf = make((struct recipe){ .issuer = scene.client_ca,
	    .not_before = -3600,
	    .not_after = 3600 });

	use_version(_i % 2);
	use_client_certificate();
	scene_use_client(&scene, leaf, NULL);
	ck_assert(!visit());
	ck_assert(visit());
	scene_part(&scene);
	changes[_i / 2]();
	ck_assert(!visit());
	ck_assert_ptr_nonnull(tls_peer(scene.server));
	scene_part(&scene);
	trust_put(second_trust);
	second_trust = NULL;
}
END_TEST

START_TEST(a_refresh_ends_sessions)
{
	char message[256];
	struct text error;
	struct made *more = make((struct recipe){ .ca = true });

	use_version(_i);
	use_client_certificate();
	ck_assert(!visit());
	ck_assert(visit());
	make_file("cas.pem", join(more->crt, scene.client_ca->crt, NULL));
	text_init(&error, message, sizeof(message));
	ck_assert_int_eq(trust_refresh(scene.client_trust, &error), 0);
	ck_assert(!visit());
}
END_TEST

/* --- clients that do what ours does not --- */

static SSL_SESSION *given;
static int given_count;

static int
on_given(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(given);
	given = session;
	given_count++;
	return 1;
}

static bool
visit_raw(const char *name)
{
	struct tls_facts f;
	enum io server, client;
	char buffer[16];

	if (!scene.raw_ctx) {
		scene.raw_ctx = SSL_CTX_new(TLS_client_method());
		SSL_CTX_set_session_cache_mode(
		    scene.raw_ctx, SSL_SESS_CACHE_CLIENT);
		SSL_CTX_sess_set_new_cb(scene.raw_ctx, on_given);
	}
	scene.as_server.name = span_text(name);
	scene_meet_raw(&scene);
	scene_ask_for(&scene, name[0] ? name : NULL);
	if (given)
		ck_assert_int_eq(SSL_set_session(scene.raw, given), 1);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
	ck_assert_int_eq(client, IO_OK);
	scene_hear(scene.server);
	SSL_read(scene.raw, buffer, sizeof(buffer));
	tls_facts(scene.server, &f);
	return f.resumed;
}

START_TEST(a_session_under_another_name)
{
	use_version(_i);
	ck_assert(!visit_raw("a.test"));
	ck_assert(visit_raw("a.test"));
	ck_assert(!visit_raw("b.test"));
	ck_assert(visit_raw("b.test"));
	ck_assert(!visit_raw(""));
	SSL_SESSION_free(given);
	given = NULL;
}
END_TEST

/* TLS 1.3 gives a new ticket each time: its age is that of the session. The
 * client's own clock stands still here. */
START_TEST(renewed_tickets_do_not_live_longer)
{
	use_version(1);
	ck_assert(!visit_raw("a.test"));
	for (int i = 1; i <= 4; i++) {
		clock_ahead_s = 1700 * i;
		ck_assert(visit_raw("a.test"));
		ck_assert_int_eq(given_count, i + 1);
		ck_assert_uint_le(SSL_SESSION_get_ticket_lifetime_hint(given),
		    7200 - 1700 * (unsigned)i);
	}
	clock_ahead_s = 7201;
	ck_assert(!visit_raw("a.test"));
	clock_ahead_s = 7201 + 7000;
	ck_assert(visit_raw("a.test"));
	SSL_SESSION_free(given);
	given = NULL;
}
END_TEST

START_TEST(tickets_are_given_where_they_are_of_use)
{
	use_version(1);
	visit_raw("a.test");
	ck_assert_int_eq(given_count, 1);
	scene.as_server.wants_tickets = false;
	visit_raw("a.test");
	ck_assert_int_eq(given_count, 1);
	scene.as_server.wants_tickets = true;
	scene.as_server.session_life_s = 0;
	visit_raw("a.test");
	ck_assert_int_eq(given_count, 1);
	SSL_SESSION_free(given);
	given = NULL;
}
END_TEST

/* No early data, whatever the client thinks. */
START_TEST(tickets_do_not_offer_early_data)
{
	use_version(1);
	visit_raw("a.test");
	ck_assert_ptr_nonnull(given);
	ck_assert_uint_eq(SSL_SESSION_get_max_early_data(given), 0);
	ck_assert_uint_le(SSL_SESSION_get_ticket_lifetime_hint(given), 7200);
	SSL_SESSION_free(given);
	given = NULL;
}
END_TEST

/* --- tickets and what they go with --- */

START_TEST(a_ticket_waits_for_the_answer)
{
	char bytes[4096];
	ssize_t with, without;

	use_version(1);
	scene_greet(&scene);
	ck_assert(!tls_has_unsent(scene.server));
	ck_assert_int_eq(recv(scene.client_fd, bytes, 1, MSG_PEEK), -1);
	ck_assert_int_eq(tls_write(scene.client, span_text("?")), IO_OK);
	ck_assert_str_eq(scene_hear(scene.server), "?");
	ck_assert_int_eq(recv(scene.client_fd, bytes, 1, MSG_PEEK), -1);
	ck_assert_int_eq(tls_write(scene.server, span_text("!")), IO_OK);
	with = recv(scene.client_fd, bytes, sizeof(bytes), MSG_PEEK);
	ck_assert_str_eq(scene_hear(scene.client), "!");
	ck_assert_int_eq(tls_write(scene.server, span_text("!")), IO_OK);
	without = recv(scene.client_fd, bytes, sizeof(bytes), MSG_PEEK);
	ck_assert_int_gt(with, without + 100);
}
END_TEST

START_TEST(a_ticket_does_not_wait_for_ever)
{
	char byte;

	use_version(1);
	scene_greet(&scene);
	/* Nothing is said: it goes at once. */
	ck_assert_int_eq(scene_read(scene.server), IO_AGAIN);
	ck_assert_int_eq(recv(scene.client_fd, &byte, 1, MSG_PEEK), 1);
	/* Nothing is answered: it goes before long. */
	scene_greet(&scene);
	for (int i = 0; i < 3; i++) {
		tls_write(scene.client, span_text("and then"));
		scene_hear(scene.server);
	}
	ck_assert_int_eq(recv(scene.client_fd, &byte, 1, MSG_PEEK), 1);
	/* It ends: it goes with the end. */
	scene_greet(&scene);
	ck_assert_int_eq(tls_shut(scene.server), IO_OK);
	ck_assert_int_eq(scene_read(scene.client), IO_EOF);
	ck_assert(visit());
}
END_TEST

/* --- the client's role --- */

static void
address_of_another(void)
{
	scene.as_client.address = span_text("127.0.0.2:443");
}

static void
name_of_another(void)
{
	scene.as_client.server_name = scene.as_server.name =
	    span_text("b.test");
}

static void
nobody_to_trust(void)
{
	scene.as_client.trust = NULL;
}

static void
others_to_trust(void)
{
	struct made *more = make((struct recipe){ .ca = true });

	second_trust = scene_trust(join(scene.ca->crt, more->crt, NULL), NULL);
	scene.as_client.trust = second_trust;
}

static void
other_certificate(void)
{
	scene_use_client(&scene, scene.client_leaf, NULL);
}

static void
other_protocols(void)
{
	scene.as_client.alpn = SCENE_ALPN;
}

static void
no_address(void)
{
	scene.as_client.address = span_text("");
}

static void
forgotten(void)
{
	tls_context_forget_sessions(scene.outside);
}

static void
session_is_old(void)
{
	clock_ahead_s = 7201;
}

static void (*const client_changes[])(void) = { address_of_another,
	name_of_another, nobody_to_trust, others_to_trust, other_certificate,
	other_protocols, no_address, forgotten, session_is_old };

/* Seen at the client: none of these is even offered. */
START_TEST(sessions_of_upstreams_are_kept_apart)
{
	use_version(_i % 2);
	ck_assert(!visit());
	ck_assert(visit());
	client_changes[_i / 2]();
	/* The server alone would take it. */
	scene.as_server.session_life_s = 100000;
	ck_assert(!visit());
	scene_part(&scene);
	trust_put(second_trust);
	second_trust = NULL;
}
END_TEST

START_TEST(sessions_that_were_not_verified_are_kept_apart)
{
	use_version(_i);
	scene.as_client.trust = NULL;
	ck_assert(!visit());
	ck_assert(visit());
	scene.as_client.trust = scene.trust;
	ck_assert(!visit());
	ck_assert(visit());
}
END_TEST

START_TEST(a_ticket_is_used_once)
{
	struct tls_facts f;

	use_version(1);
	ck_assert(!visit());
	scene_greet(&scene);
	tls_facts(scene.client, &f);
	ck_assert(f.resumed);
	/* Its new ticket has not come yet. */
	scene_greet(&scene);
	tls_facts(scene.client, &f);
	ck_assert(!f.resumed);
}
END_TEST

START_TEST(the_upstreams_certificate_has_expired_since)
{
	struct made *leaf = make((struct recipe){ .issuer = scene.ca,
	    .names = "DNS:a.test",
	    .not_before = -3600,
	    .not_after = 3600 });

	use_version(_i);
	key_choice_put(&scene.keys);
	scene.keys.by_kind[KEY_ECDSA] = scene_certificate(leaf, NULL);
	ck_assert(!visit());
	ck_assert(visit());
	clock_ahead_s = 3601;
	ck_assert(!visit());
}
END_TEST

START_TEST(many_upstreams)
{
	char address[32];

	use_version(1);
	for (int i = 0; i < 257; i++) {
		snprintf(address, sizeof(address), "10.0.0.%d:1", i);
		scene.as_client.address = span_text(address);
		ck_assert(!visit());
	}
	/* The last is known, the first had to go. */
	ck_assert(visit());
	scene.as_client.address = span_text("10.0.0.1:1");
	ck_assert(visit());
	scene.as_client.address = span_text("10.0.0.0:1");
	ck_assert(!visit());
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, a_session_is_taken_up_again, 0, 2);
	tcase_add_loop_test(tcase, what_was_known_is_known_again, 0, 2);
	tcase_add_loop_test(tcase, a_session_stays_where_it_was_made, 0,
	    2 * ARRAY_COUNT(changes));
	tcase_add_test(tcase, renewed_tickets_do_not_live_longer);
	tcase_add_loop_test(tcase, a_refresh_ends_sessions, 0, 2);
	tcase_add_loop_test(tcase, a_session_under_another_name, 0, 2);
	tcase_add_test(tcase, tickets_are_given_where_they_are_of_use);
	tcase_add_test(tcase, tickets_do_not_offer_early_data);
	tcase_add_test(tcase, a_ticket_waits_for_the_answer);
	tcase_add_test(tcase, a_ticket_does_not_wait_for_ever);
	tcase_add_loop_test(tcase, sessions_of_upstreams_are_kept_apart, 0,
	    2 * ARRAY_COUNT(client_changes));
	tcase_add_loop_test(
	    tcase, sessions_that_were_not_verified_are_kept_apart, 0, 2);
	tcase_add_test(tcase, a_ticket_is_used_once);
	tcase_add_loop_test(
	    tcase, the_upstreams_certificate_has_expired_since, 0, 2);
	tcase_add_test(tcase, many_upstreams);
}

UNIT_MAIN("stream sessions", add_tests)
