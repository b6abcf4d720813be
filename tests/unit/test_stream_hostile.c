#include "unit.h"

#include "config.h"

#include <openssl/err.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "tls_scene.h"

static struct scene scene;

static void
meet_raw_and_shake(void)
{
	enum io server, client;

	scene_meet_raw(&scene);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
	ck_assert_int_eq(client, IO_OK);
}

/* As many as the socket takes, at most `count`. */
static unsigned
update_keys(unsigned count)
{
	unsigned sent = 0;

	while (sent < count &&
	       SSL_key_update(scene.raw, SSL_KEY_UPDATE_REQUESTED) == 1 &&
	       SSL_do_handshake(scene.raw) == 1)
		sent++;
	ERR_clear_error();
	return sent;
}

/* Each costs us a thousand times what it costs a client to send. */
START_TEST(a_flood_of_key_updates)
{
	static uint8_t buffer[256 * 1024];
	int size = 1 << 20;
	uint64_t before, spent;
	size_t count;

	scene_open(&scene);
	meet_raw_and_shake();
	setsockopt(scene.client_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	ck_assert_uint_gt(update_keys(100000), 1000);
	before = clock_thread_cpu_ns();
	ck_assert_int_eq(
	    tls_read(scene.server, buffer, sizeof(buffer), &count), IO_ERROR);
	spent = clock_thread_cpu_ns() - before;
#ifndef SANITIZED /* they make it slow, not longer */
	ck_assert_uint_lt(spent, 20 * 1000 * 1000);
#else
	(void)spent;
#endif
	ck_assert_int_eq(tls_failure(scene.server)->fault, TLS_FAULT_PROTOCOL);
	ck_assert_str_eq(
	    tls_failure(scene.server)->detail, "too many key updates");
	scene_close(&scene);
}
END_TEST

START_TEST(some_key_updates)
{
	scene_open(&scene);
	meet_raw_and_shake();
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(update_keys(10), 10);
		ck_assert_int_eq(SSL_write(scene.raw, "hello", 5), 5);
		ck_assert_str_eq(scene_hear(scene.server), "hello");
	}
	scene_close(&scene);
}
END_TEST

static SSL_SESSION *ticket;

static int
keep_ticket(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(ticket);
	ticket = session;
	return 1;
}

static SSL *
one_end(SSL_CTX *ctx, BIO *bio)
{
	SSL *ssl = SSL_new(ctx);

	SSL_set_bio(ssl, bio, bio);
	return ssl;
}

/* A ticket for a.test of another server, which takes early data. */
static void
be_served_elsewhere(void)
{
	SSL_CTX *there = SSL_CTX_new(TLS_server_method());
	SSL_CTX *here = SSL_CTX_new(TLS_client_method());
	SSL *server, *client;
	BIO *one, *two;
	char byte;

	SSL_CTX_use_certificate(there, scene.leaf->x509);
	SSL_CTX_use_PrivateKey(there, scene.leaf->key);
	SSL_CTX_set_max_early_data(there, 16384);
	SSL_CTX_set_options(there, SSL_OP_NO_ANTI_REPLAY);
	SSL_CTX_set_session_cache_mode(
	    here, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(here, keep_ticket);
	ck_assert_int_eq(BIO_new_bio_pair(&one, 0, &two, 0), 1);
	server = one_end(there, one);
	client = one_end(here, two);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (int i = 0; i < 10; i++) {
		SSL_do_handshake(client);
		SSL_do_handshake(server);
	}
	SSL_read(client, &byte, 1);
	ck_assert_ptr_nonnull(ticket);
	ck_assert_uint_gt(SSL_SESSION_get_max_early_data(ticket), 0);
	SSL_set_shutdown(client, SSL_SENT_SHUTDOWN);
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(here);
	SSL_CTX_free(there);
}

/* RFC 8446 section 4.2.10: the first visit after a move must not fail. */
START_TEST(early_data_for_another_server)
{
	static const char early[] = "GET / HTTP/1.0\r\n\r\n";
	enum io server, client;
	size_t count;

	scene_open(&scene);
	be_served_elsewhere();
	scene_meet_raw(&scene);
	ck_assert_int_eq(SSL_set_session(scene.raw, ticket), 1);
	ck_assert_int_eq(
	    SSL_write_early_data(scene.raw, early, sizeof(early) - 1, &count),
	    1);
	scene_shake(&scene, &server, &client);
	ck_assert_msg(server == IO_OK, "%s", tls_failure(scene.server)->detail);
	ck_assert_int_eq(client, IO_OK);
	ck_assert_int_eq(
	    SSL_get_early_data_status(scene.raw), SSL_EARLY_DATA_REJECTED);
	/* Nothing of it is passed on. */
	ck_assert_int_eq(SSL_write(scene.raw, "hello", 5), 5);
	ck_assert_str_eq(scene_hear(scene.server), "hello");
	SSL_SESSION_free(ticket);
	scene_close(&scene);
}
END_TEST

/* A name that is no host name counts as another one than none. */
START_TEST(an_address_as_the_name_after_none)
{
	enum io server, client;

	scene_open(&scene);
	scene.as_server.name = span_of(NULL, 0);
	scene_meet_raw(&scene);
	scene_ask_for(&scene, "192.0.2.1");
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_ERROR);
	ck_assert_str_eq(
	    tls_failure(scene.server)->detail, "the server name has changed");
	scene_close(&scene);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_flood_of_key_updates);
	tcase_add_test(tcase, some_key_updates);
	tcase_add_test(tcase, early_data_for_another_server);
	tcase_add_test(tcase, an_address_as_the_name_after_none);
}

UNIT_MAIN("stream: hostile peers", add_tests)
