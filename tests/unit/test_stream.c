/* Handshakes that succeed, bytes, and ends. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls_scene.h"

static struct scene scene;

static void
setup(void)
{
	scene_open(&scene);
}

static void
teardown(void)
{
	scene_close(&scene);
}

/* --- handshakes --- */

static const uint16_t versions[] = { TLS_VERSION_1_2, TLS_VERSION_1_3 };

static void
use_version(int i)
{
	scene.as_server.min_version = scene.as_server.max_version = versions[i];
}

START_TEST(both_roles_speak)
{
	use_version(_i);
	scene_greet(&scene);
	scene_say(scene.client, scene.server, "good morning");
	scene_say(scene.server, scene.client, "good evening");
	scene_say(scene.server, scene.client, "good night");
	ck_assert_int_eq(tls_failure(scene.server)->fault, TLS_FAULT_NONE);
}
END_TEST

START_TEST(facts_of_both_versions)
{
	struct tls_facts f;

	use_version(_i);
	scene.as_server.alpn = scene.as_client.alpn = SCENE_ALPN;
	scene_greet(&scene);
	tls_facts(scene.server, &f);
	ck_assert_uint_eq(f.version, versions[_i]);
	ck_assert_str_eq(f.version_name, _i ? "TLSv1.3" : "TLSv1.2");
	ck_assert_str_eq(
	    f.cipher_suite, _i ? "TLS_AES_128_GCM_SHA256"
			       : "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
	if (_i)
		ck_assert_str_eq(f.group, "x25519");
	ck_assert_str_eq(f.signature, "ecdsa_secp256r1_sha256");
	ck_assert_ptr_null(f.peer_signature);
	ck_assert_str_eq(f.server_key, "EC256");
	ck_assert_str_eq(f.server_signature, "ecdsa-with-SHA256");
	ck_assert_str_eq(f.cipher_name,
	    _i ? "TLS_AES_128_GCM_SHA256" : "ECDHE-ECDSA-AES128-GCM-SHA256");
	ck_assert(span_is(f.alpn, "h2"));
	ck_assert(!f.resumed && !f.peer_verified);
	ck_assert_ptr_null(tls_peer(scene.server));
	tls_facts(scene.client, &f);
	ck_assert(span_is(f.alpn, "h2"));
	ck_assert(f.peer_verified);
	ck_assert_str_eq(f.peer_signature, "ecdsa_secp256r1_sha256");
}
END_TEST

START_TEST(a_client_with_a_certificate)
{
	struct tls_facts f;

	use_version(_i);
	scene.as_server.auth = CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	scene_use_client(&scene, scene.client_leaf, NULL);
	scene_greet(&scene);
	scene_say(scene.client, scene.server, "it is me");
	tls_facts(scene.server, &f);
	ck_assert(f.peer_verified);
	ck_assert_str_eq(f.peer_signature, "ecdsa_secp256r1_sha256");
	ck_assert_ptr_nonnull(tls_peer(scene.server));
	ck_assert_ptr_eq(tls_peer(scene.server), tls_peer(scene.server));
	tls_trim(scene.server);
	scene_say(scene.client, scene.server, "still me");
	scene_say(scene.server, scene.client, "still you");
	ck_assert_ptr_nonnull(tls_peer(scene.server));
}
END_TEST

START_TEST(a_client_that_is_asked_and_has_none)
{
	use_version(_i);
	scene.as_server.auth = CLIENT_AUTH_REQUEST;
	scene.as_server.trust = scene.client_trust;
	scene_greet(&scene);
	ck_assert_ptr_null(tls_peer(scene.server));
}
END_TEST

START_TEST(a_client_whose_ca_is_an_intermediate)
{
	struct made *middle =
	    make((struct recipe){ .ca = true, .issuer = scene.client_ca });
	struct made *leaf = make((struct recipe){ .issuer = middle });

	use_version(_i);
	scene.as_server.auth = CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	scene_use_client(&scene, leaf, middle);
	scene_greet(&scene);
	ck_assert_ptr_nonnull(tls_peer(scene.server));
}
END_TEST

START_TEST(the_certificate_that_the_client_can_use)
{
	struct tls_facts f;
	struct made *leaf = make((struct recipe){
	    .kind = MADE_RSA2048, .issuer = scene.ca, .names = "DNS:a.test" });

	use_version(_i);
	scene.keys.by_kind[KEY_RSA] = scene_certificate(leaf, NULL);
	scene_greet(&scene);
	tls_facts(scene.server, &f);
	ck_assert_str_eq(f.server_key, "EC256");
	scene_meet_raw(&scene);
	ck_assert_int_eq(SSL_set1_sigalgs_list(
			     scene.raw, "rsa_pss_rsae_sha256:rsa_pkcs1_sha256"),
	    1);
	enum io server, client;
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
	tls_facts(scene.server, &f);
	ck_assert_str_eq(f.server_key, "RSA2048");
	ck_assert_str_eq(f.signature, "rsa_pss_rsae_sha256");
}
END_TEST

START_TEST(an_address_as_the_servers_name)
{
	struct made *leaf = make((struct recipe){
	    .issuer = scene.ca, .names = "IP:127.0.0.1,IP:::1" });

	key_choice_put(&scene.keys);
	scene.keys.by_kind[KEY_ECDSA] = scene_certificate(leaf, NULL);
	scene.as_client.server_name = span_text(_i ? "::1" : "127.0.0.1");
	scene.as_server.name = span_text("");
	scene_greet(&scene);
}
END_TEST

START_TEST(a_client_that_does_not_verify)
{
	struct tls_facts f;

	scene.as_client.trust = NULL;
	scene.as_client.server_name = span_text("elsewhere.test");
	scene.as_server.name = span_text("elsewhere.test");
	scene_greet(&scene);
	tls_facts(scene.client, &f);
	ck_assert(!f.peer_verified);
	ck_assert_ptr_null(tls_peer(scene.client));
}
END_TEST

START_TEST(the_name_in_other_letters)
{
	enum io server, client;

	scene_meet_raw(&scene);
	scene_ask_for(&scene, _i ? "A.TEST" : "a.Test.");
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
	ck_assert_int_eq(client, IO_OK);
}
END_TEST

START_TEST(a_handshake_byte_by_byte)
{
	enum io server = IO_AGAIN;
	int fds[2];
	char byte;

	use_version(_i);
	scene_meet(&scene);
	/* The client's bytes pass through a second pair, one at a time. */
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	tls_free(scene.server);
	scene.server = tls_accept(scene.edge, fds[0], &scene.as_server);
	for (int i = 0; i < 100000 && server == IO_AGAIN; i++) {
		tls_handshake(scene.client);
		if (recv(scene.server_fd, &byte, 1, 0) == 1)
			ck_assert_int_eq(send(fds[1], &byte, 1, 0), 1);
		server = tls_handshake(scene.server);
		if (recv(fds[1], &byte, 1, 0) == 1)
			ck_assert_int_eq(send(scene.server_fd, &byte, 1, 0), 1);
	}
	ck_assert_int_eq(server, IO_OK);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(a_handshake_through_a_needle)
{
	enum io server, client;

	use_version(_i);
	scene.as_server.auth = CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	scene_use_client(&scene, scene.client_leaf, scene.client_ca);
	scene_meet(&scene);
	scene_narrow(&scene);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
	ck_assert_int_eq(client, IO_OK);
}
END_TEST

START_TEST(a_long_flight)
{
	enum io server, client;
	char text[1500];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	use_version(_i);
	scene.as_server.auth = CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	scene_meet_raw(&scene);
	SSL_use_certificate(scene.raw, scene.client_leaf->x509);
	SSL_use_PrivateKey(scene.raw, scene.client_leaf->key);
	for (int i = 0; i < 14; i++) {
		struct made *large = make((struct recipe){ .ca = true,
		    .common_name = "one that is of no use",
		    .extension = "nsComment",
		    .extension_value = text });

		ck_assert_int_eq(
		    SSL_add1_chain_cert(scene.raw, large->x509), 1);
	}
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
}
END_TEST

START_TEST(what_comes_with_the_last_flight)
{
	enum io io;

	scene_meet(&scene);
	ck_assert_int_eq(tls_handshake(scene.client), IO_AGAIN);
	ck_assert_int_eq(tls_handshake(scene.server), IO_AGAIN);
	ck_assert_uint_eq(tls_blocked_on(scene.server), TLS_BLOCKED_READ);
	ck_assert_int_eq(tls_handshake(scene.client), IO_OK);
	ck_assert_int_eq(
	    tls_write(scene.client, span_text("early bird")), IO_OK);
	ck_assert_int_eq(tls_shut(scene.client), IO_OK);
	io = tls_handshake(scene.server);
	ck_assert_int_eq(io, IO_OK);
	ck_assert_str_eq(scene_hear(scene.server), "early bird");
	ck_assert_int_eq(scene_read(scene.server), IO_EOF);
	ck_assert(!tls_truncated(scene.server));
}
END_TEST

static struct span staple;

bool __wrap_certificate_staple_copy(
    struct certificate *c, int64_t now, uint8_t **der, size_t *len);

bool
__wrap_certificate_staple_copy(
    struct certificate *c, int64_t now, uint8_t **der, size_t *len)
{
	ck_assert_ptr_eq(c, scene.keys.by_kind[KEY_ECDSA]);
	ck_assert_int_gt(now, 1700000000);
	if (staple.len == 0)
		return false;
	*der = OPENSSL_memdup(staple.data, staple.len);
	*len = staple.len;
	return true;
}

START_TEST(a_staple_for_a_client_that_asks)
{
	enum io server, client;
	unsigned char *got;
	long len;

	use_version(_i % 2);
	staple = span_text(_i / 2 ? "response" : "");
	scene_meet_raw(&scene);
	ck_assert_int_eq(
	    SSL_set_tlsext_status_type(scene.raw, TLSEXT_STATUSTYPE_ocsp), 1);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
	len = SSL_get_tlsext_status_ocsp_resp(scene.raw, &got);
	ck_assert_int_eq(len, _i / 2 ? 8 : -1);
	if (len > 0)
		ck_assert(!memcmp(got, "response", 8));
}
END_TEST

START_TEST(secrets_are_logged_where_that_is_wanted)
{
	char lines[4096];
	int fds[2];
	ssize_t len;

	use_version(_i);
	ck_assert_int_eq(pipe(fds), 0);
	tls_context_free(scene.edge);
	scene.edge = tls_context_new(scene.tickets, fds[1]);
	scene_greet(&scene);
	len = read(fds[0], lines, sizeof(lines) - 1);
	ck_assert_int_gt(len, 0);
	lines[len] = '\0';
	ck_assert_ptr_nonnull(
	    strstr(lines, _i ? "SERVER_TRAFFIC_SECRET_0 " : "CLIENT_RANDOM "));
	ck_assert_int_eq(lines[len - 1], '\n');
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* --- bytes --- */

#define BULK_BYTES (10 * 1024 * 1024)

/* One direction: what was written and what came, each byte by its place. */
struct flow {
	struct tls_stream *from, *to;
	size_t sent, received;
	unsigned refusals;
};

static uint8_t
byte_at(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static void
push(struct flow *f, size_t size)
{
	static uint8_t data[TLS_WRITE_MAX_BYTES];
	enum io io;

	if (tls_has_unsent(f->from) && tls_flush(f->from) == IO_AGAIN) {
		ck_assert(tls_blocked_on(f->from) & TLS_BLOCKED_WRITE);
		return;
	}
	if (size > BULK_BYTES - f->sent)
		size = BULK_BYTES - f->sent;
	if (size == 0)
		return;
	for (size_t i = 0; i < size; i++)
		data[i] = byte_at(f->sent + i);
	io = tls_write(f->from, span_of(data, size));
	ck_assert_int_ne(io, IO_ERROR);
	ck_assert(tls_has_unsent(f->from) == (io == IO_AGAIN));
	f->refusals += io == IO_AGAIN;
	f->sent += size;
}

static void
pull(struct flow *f, size_t size)
{
	static uint8_t data[TLS_WRITE_MAX_BYTES];
	size_t count;
	enum io io = tls_read(f->to, data, size, &count);

	ck_assert(io == IO_OK || io == IO_AGAIN);
	ck_assert((io == IO_OK) == (count > 0));
	if (io == IO_AGAIN)
		ck_assert_uint_eq(
		    tls_blocked_on(f->to) & TLS_BLOCKED_READ, TLS_BLOCKED_READ);
	for (size_t i = 0; i < count; i++)
		QUICK_ASSERT(data[i] == byte_at(f->received + i));
	f->received += count;
}

static const struct {
	size_t write, read;
	bool narrow;
} bulks[] = {
	{ TLS_WRITE_MAX_BYTES, TLS_WRITE_MAX_BYTES, false },
	{ TLS_WRITE_MAX_BYTES, TLS_READ_MIN_BYTES, true },
	{ 100000, TLS_READ_MIN_BYTES + 1, false },
	{ 16384, TLS_READ_MIN_BYTES, true },
	{ 1400, TLS_READ_MIN_BYTES, false },
};

START_TEST(ten_megabytes_each_way)
{
	struct flow there, back;

	use_version(_i % 2);
	scene_greet(&scene);
	if (bulks[_i / 2].narrow)
		scene_narrow(&scene);
	there = (struct flow){ scene.client, scene.server, 0, 0, 0 };
	back = (struct flow){ scene.server, scene.client, 0, 0, 0 };
	while (there.received < BULK_BYTES || back.received < BULK_BYTES) {
		push(&there, bulks[_i / 2].write);
		push(&back, bulks[_i / 2].write);
		pull(&there, bulks[_i / 2].read);
		pull(&back, bulks[_i / 2].read);
	}
	if (bulks[_i / 2].narrow)
		ck_assert_uint_gt(there.refusals, 0);
}
END_TEST

START_TEST(nothing_written_is_nothing_sent)
{
	char byte;

	scene_greet(&scene);
	scene_hear(scene.server); /* lets the ticket go */
	scene_hear(scene.client);
	ck_assert_int_eq(tls_write(scene.server, span_of(NULL, 0)), IO_OK);
	ck_assert_int_eq(recv(scene.client_fd, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}
END_TEST

START_TEST(unsent_bytes_can_be_dropped)
{
	static uint8_t zeros[TLS_WRITE_MAX_BYTES];

	scene_greet(&scene);
	scene_narrow(&scene);
	ck_assert_int_eq(
	    tls_write(scene.server, span_of(zeros, sizeof(zeros))), IO_AGAIN);
	ck_assert(tls_has_unsent(scene.server));
	tls_drop_unsent(scene.server);
	ck_assert(!tls_has_unsent(scene.server));
	ck_assert_int_eq(tls_write(scene.server, span_text("x")), IO_ERROR);
	scene_say(scene.client, scene.server, "I can still speak");
}
END_TEST

/* --- ends --- */

START_TEST(either_end_first)
{
	struct tls_stream *first, *second;

	use_version(_i % 2);
	scene_greet(&scene);
	first = _i / 2 ? scene.server : scene.client;
	second = _i / 2 ? scene.client : scene.server;
	ck_assert_int_eq(tls_shut(first), IO_OK);
	ck_assert_int_eq(scene_read(second), IO_EOF);
	ck_assert_int_eq(scene_read(second), IO_EOF);
	ck_assert(!tls_truncated(second));
	scene_say(second, first, "the other direction goes on");
	ck_assert_int_eq(tls_shut(second), IO_OK);
	ck_assert_int_eq(scene_read(first), IO_EOF);
	ck_assert(!tls_truncated(first));
}
END_TEST

START_TEST(both_ends_at_once)
{
	use_version(_i);
	scene_greet(&scene);
	ck_assert_int_eq(tls_shut(scene.server), IO_OK);
	ck_assert_int_eq(tls_shut(scene.client), IO_OK);
	ck_assert_int_eq(tls_shut(scene.client), IO_OK);
	ck_assert_int_eq(scene_read(scene.server), IO_EOF);
	ck_assert_int_eq(scene_read(scene.client), IO_EOF);
	ck_assert_int_eq(tls_write(scene.client, span_text("x")), IO_ERROR);
	ck_assert_int_eq(errno, EPIPE);
}
END_TEST

START_TEST(an_end_without_a_word)
{
	use_version(_i);
	scene_greet(&scene);
	ck_assert_int_eq(tls_write(scene.client, span_text("and")), IO_OK);
	shutdown(scene.client_fd, SHUT_WR);
	ck_assert_str_eq(scene_hear(scene.server), "and");
	ck_assert_int_eq(scene_read(scene.server), IO_EOF);
	ck_assert(tls_truncated(scene.server));
	/* The client can still hear. */
	scene_say(scene.server, scene.client, "the answer");
	ck_assert_int_eq(tls_shut(scene.server), IO_OK);
	ck_assert_int_eq(scene_read(scene.client), IO_EOF);
}
END_TEST

START_TEST(an_end_within_a_record)
{
	char record[4096];
	ssize_t size;

	use_version(_i);
	scene_greet(&scene);
	scene_hear(scene.server);
	scene_hear(scene.client);
	/* Caught on its way and sent on in part. */
	ck_assert_int_eq(tls_write(scene.client, span_text("a secret")), IO_OK);
	size = recv(scene.server_fd, record, sizeof(record), 0);
	ck_assert_int_gt(size, 8);
	ck_assert_int_eq(
	    send(scene.client_fd, record, (size_t)size - 1, 0), size - 1);
	shutdown(scene.client_fd, SHUT_WR);
	ck_assert_int_eq(scene_read(scene.server), IO_EOF);
	ck_assert(tls_truncated(scene.server));
}
END_TEST

START_TEST(nothing_is_heard_behind_the_end)
{
	char records[4096];
	ssize_t size;

	use_version(_i);
	scene_greet(&scene);
	ck_assert_int_eq(
	    tls_write(scene.client, span_text("last words")), IO_OK);
	ck_assert_int_eq(tls_shut(scene.client), IO_OK);
	size = recv(scene.server_fd, records, sizeof(records), 0);
	ck_assert_int_gt(size, 0);
	memcpy(records + size, "GET / HTTP/1.0\r\n\r\n", 18);
	ck_assert_int_eq(
	    send(scene.client_fd, records, (size_t)size + 18, 0), size + 18);
	ck_assert_str_eq(scene_hear(scene.server), "last words");
	ck_assert_int_eq(scene_read(scene.server), IO_EOF);
	ck_assert_int_eq(send(scene.client_fd, "more", 4, 0), 4);
	ck_assert_int_eq(scene_read(scene.server), IO_EOF);
	ck_assert(!tls_truncated(scene.server));
}
END_TEST

START_TEST(a_broken_record)
{
	char record[4096];
	ssize_t size;

	use_version(_i);
	scene_greet(&scene);
	scene_hear(scene.server);
	scene_hear(scene.client);
	ck_assert_int_eq(tls_write(scene.client, span_text("good")), IO_OK);
	ck_assert_int_eq(tls_write(scene.client, span_text("bad")), IO_OK);
	size = recv(scene.server_fd, record, sizeof(record), 0);
	record[size - 1] ^= 1;
	ck_assert_int_eq(send(scene.client_fd, record, (size_t)size, 0), size);
	ck_assert_int_eq(scene_read(scene.server), IO_OK);
	ck_assert_int_eq(scene_read(scene.server), IO_ERROR);
	ck_assert_int_eq(tls_failure(scene.server)->fault, TLS_FAULT_PROTOCOL);
	ck_assert_int_eq(tls_failure(scene.server)->alert, 20);
	ck_assert_int_eq(tls_write(scene.server, span_text("x")), IO_ERROR);
	ck_assert_int_eq(scene_read(scene.client), IO_ERROR);
	ck_assert_int_eq(
	    tls_failure(scene.client)->fault, TLS_FAULT_ALERT_RECEIVED);
	ck_assert_int_eq(tls_failure(scene.client)->alert, 20);
}
END_TEST

START_TEST(a_peer_that_is_gone)
{
	scene_greet(&scene);
	close(scene.client_fd);
	scene.client_fd = -1;
	ck_assert_int_eq(tls_write(scene.server, span_text("x")), IO_ERROR);
	ck_assert_int_eq(errno, EPIPE);
	ck_assert_int_eq(tls_failure(scene.server)->fault, TLS_FAULT_RESET);
	ck_assert_int_eq(tls_shut(scene.server), IO_OK);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, both_roles_speak, 0, 2);
	tcase_add_loop_test(tcase, facts_of_both_versions, 0, 2);
	tcase_add_loop_test(tcase, a_client_with_a_certificate, 0, 2);
	tcase_add_loop_test(tcase, a_client_that_is_asked_and_has_none, 0, 2);
	tcase_add_loop_test(tcase, a_client_whose_ca_is_an_intermediate, 0, 2);
	tcase_add_loop_test(
	    tcase, the_certificate_that_the_client_can_use, 0, 2);
	tcase_add_loop_test(tcase, an_address_as_the_servers_name, 0, 2);
	tcase_add_test(tcase, a_client_that_does_not_verify);
	tcase_add_loop_test(tcase, the_name_in_other_letters, 0, 2);
	tcase_add_loop_test(tcase, a_handshake_byte_by_byte, 0, 2);
	tcase_add_loop_test(tcase, a_handshake_through_a_needle, 0, 2);
	tcase_add_loop_test(tcase, a_long_flight, 0, 2);
	tcase_add_loop_test(tcase, a_staple_for_a_client_that_asks, 0, 4);
	tcase_add_loop_test(
	    tcase, secrets_are_logged_where_that_is_wanted, 0, 2);
	tcase_add_test(tcase, what_comes_with_the_last_flight);
	tcase_add_loop_test(
	    tcase, ten_megabytes_each_way, 0, 2 * ARRAY_COUNT(bulks));
	tcase_add_test(tcase, nothing_written_is_nothing_sent);
	tcase_add_test(tcase, unsent_bytes_can_be_dropped);
	tcase_add_loop_test(tcase, either_end_first, 0, 4);
	tcase_add_loop_test(tcase, both_ends_at_once, 0, 2);
	tcase_add_loop_test(tcase, an_end_without_a_word, 0, 2);
	tcase_add_loop_test(tcase, an_end_within_a_record, 0, 2);
	tcase_add_loop_test(tcase, nothing_is_heard_behind_the_end, 0, 2);
	tcase_add_loop_test(tcase, a_broken_record, 0, 2);
	tcase_add_test(tcase, a_peer_that_is_gone);
}

UNIT_MAIN_TOGETHER("stream", add_tests)
