/* Handshakes that fail: the alert, what is said of it, and nothing more. */
#include "unit.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
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

static void
use_version(int i)
{
	scene.as_server.min_version = scene.as_server.max_version =
	    i ? TLS_VERSION_1_3 : TLS_VERSION_1_2;
}

/* The server must refuse; what it says and what the client hears. */
static const struct tls_failure *
expect_refusal(enum tls_fault fault, uint8_t alert)
{
	enum io server, client;
	const struct tls_failure *f;

	scene_shake(&scene, &server, &client);
	f = tls_failure(scene.server);
	ck_assert_int_eq(server, IO_ERROR);
	ck_assert_msg(f->fault == fault && f->alert == alert,
	    "fault %d, alert %d: %s", f->fault, f->alert, f->detail);
	ck_assert_ptr_nonnull(f->detail);
	ck_assert_int_eq(tls_handshake(scene.server), IO_ERROR);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	return f;
}

/* In TLS 1.3 the client may be done before the server judges it. */
static void
expect_heard(uint8_t alert)
{
	const struct tls_failure *f;

	if (tls_failure(scene.client)->fault == TLS_FAULT_NONE)
		ck_assert_int_eq(scene_read(scene.client), IO_ERROR);
	f = tls_failure(scene.client);
	ck_assert_int_eq(f->fault, TLS_FAULT_ALERT_RECEIVED);
	ck_assert_int_eq(f->alert, alert);
}

/* --- clients' certificates --- */

static const struct {
	const char *why;
	struct recipe recipe;
	bool foreign, own; /* of another CA, signed by itself */
	uint8_t alert;
	const char *detail;
} bad_clients[] = {
	{ "another CA", { .common_name = "x" }, true, false, 48,
	    "unable to get local issuer certificate" },
	{ "its own CA", { .common_name = "x" }, false, true, 48,
	    "self-signed certificate" },
	{ "expired", { .not_before = -2 * MADE_DAY, .not_after = -MADE_DAY },
	    false, false, 45, "certificate has expired" },
	{ "not yet valid",
	    { .not_before = MADE_DAY, .not_after = 2 * MADE_DAY }, false, false,
	    42, "certificate is not yet valid" },
	{ "for servers", { .extended_key_usage = "serverAuth" }, false, false,
	    43, "unsuitable certificate purpose" },
};

START_TEST(bad_certificates_of_clients)
{
	size_t i = (size_t)_i / 2;
	struct recipe recipe = bad_clients[i].recipe;
	struct made *leaf;
	const struct tls_failure *f;

	use_version(_i % 2);
	scene.as_server.auth =
	    i % 2 ? CLIENT_AUTH_REQUEST : CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	recipe.issuer = bad_clients[i].foreign ? scene.ca
			: bad_clients[i].own   ? NULL
					       : scene.client_ca;
	leaf = make(recipe);
	scene_use_client(&scene, leaf, NULL);
	scene_meet(&scene);
	f = expect_refusal(TLS_FAULT_CERTIFICATE_INVALID, bad_clients[i].alert);
	ck_assert_str_eq(f->detail, bad_clients[i].detail);
	ck_assert_str_eq(
	    f->fingerprint, certificate_fingerprint(scene.client_certificate));
	ck_assert_ptr_null(tls_peer(scene.server));
	expect_heard(bad_clients[i].alert);
}
END_TEST

START_TEST(a_missing_certificate)
{
	use_version(_i);
	scene.as_server.auth = CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	scene_meet(&scene);
	expect_refusal(TLS_FAULT_CERTIFICATE_MISSING, _i ? 116 : 40);
	expect_heard(_i ? 116 : 40);
}
END_TEST

START_TEST(a_revoked_certificate)
{
	const struct made *revoked[] = { scene.client_leaf };
	const struct tls_failure *f;

	use_version(_i);
	trust_put(scene.client_trust);
	scene.client_trust = scene_trust(
	    scene.client_ca->crt, make_crl(scene.client_ca, revoked, 1, 0, 0));
	scene.as_server.auth = CLIENT_AUTH_REQUEST;
	scene.as_server.trust = scene.client_trust;
	scene_use_client(&scene, scene.client_leaf, NULL);
	scene_meet(&scene);
	f = expect_refusal(TLS_FAULT_CERTIFICATE_INVALID, 44);
	ck_assert_str_eq(f->detail, "certificate revoked");
	expect_heard(44);
	/* Another of the same CA is good. */
	scene_use_client(
	    &scene, make((struct recipe){ .issuer = scene.client_ca }), NULL);
	scene_greet(&scene);
}
END_TEST

START_TEST(a_certificate_is_asked_for_and_nobody_trusted)
{
	scene.as_server.auth = CLIENT_AUTH_REQUEST;
	scene.as_server.trust = NULL;
	ck_assert_ptr_null(tls_accept(scene.edge, 0, &scene.as_server));
}
END_TEST

/* --- what should cost us nothing --- */

static BIGNUM *
mersenne(int exponent)
{
	BIGNUM *n = BN_new();

	ck_assert_int_eq(BN_set_bit(n, exponent), 1);
	ck_assert_int_eq(BN_sub_word(n, 1), 1);
	return n;
}

static void
push(OSSL_PARAM_BLD *build, const char *name, const BIGNUM *n)
{
	ck_assert_int_eq(OSSL_PARAM_BLD_push_BN(build, name, n), 1);
}

/* A key of over 8,192 bits without a search for primes: of two known ones. */
static EVP_PKEY *
make_huge_key(void)
{
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *p = mersenne(4423), *q = mersenne(4253), *n = BN_new(),
	       *e = BN_new(), *p1 = BN_dup(p), *q1 = BN_dup(q), *phi = BN_new(),
	       *d = BN_new(), *dp = BN_new(), *dq = BN_new(), *qi = BN_new();
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *make_ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;
	OSSL_PARAM *params;
	BIGNUM *all[] = { p, q, n, e, p1, q1, phi, d, dp, dq, qi };

	BN_mul(n, p, q, ctx);
	BN_set_word(e, 65537);
	BN_sub_word(p1, 1);
	BN_sub_word(q1, 1);
	BN_mul(phi, p1, q1, ctx);
	ck_assert_ptr_nonnull(BN_mod_inverse(d, e, phi, ctx));
	BN_mod(dp, d, p1, ctx);
	BN_mod(dq, d, q1, ctx);
	ck_assert_ptr_nonnull(BN_mod_inverse(qi, q, p, ctx));
	push(build, OSSL_PKEY_PARAM_RSA_N, n);
	push(build, OSSL_PKEY_PARAM_RSA_E, e);
	push(build, OSSL_PKEY_PARAM_RSA_D, d);
	push(build, OSSL_PKEY_PARAM_RSA_FACTOR1, p);
	push(build, OSSL_PKEY_PARAM_RSA_FACTOR2, q);
	push(build, OSSL_PKEY_PARAM_RSA_EXPONENT1, dp);
	push(build, OSSL_PKEY_PARAM_RSA_EXPONENT2, dq);
	push(build, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, qi);
	params = OSSL_PARAM_BLD_to_param(build);
	ck_assert_int_eq(EVP_PKEY_fromdata_init(make_ctx), 1);
	ck_assert_int_eq(
	    EVP_PKEY_fromdata(make_ctx, &key, EVP_PKEY_KEYPAIR, params), 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(make_ctx);
	BN_CTX_free(ctx);
	for (size_t i = 0; i < ARRAY_COUNT(all); i++)
		BN_free(all[i]);
	return key;
}

START_TEST(a_huge_key)
{
	EVP_PKEY *key = make_huge_key();
	struct made *leaf =
	    make((struct recipe){ .key = key, .issuer = scene.client_ca });
	const struct tls_failure *f;

	use_version(_i % 2);
	scene.as_server.auth = CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	scene_meet_raw(&scene);
	if (_i / 2) { /* of a certificate that comes along */
		SSL_use_certificate(scene.raw, scene.client_leaf->x509);
		SSL_use_PrivateKey(scene.raw, scene.client_leaf->key);
		ck_assert_int_eq(SSL_add1_chain_cert(scene.raw, leaf->x509), 1);
	} else {
		SSL_use_certificate(scene.raw, leaf->x509);
		SSL_use_PrivateKey(scene.raw, key);
	}
	f = expect_refusal(TLS_FAULT_CERTIFICATE_INVALID, 42);
	ck_assert_str_eq(f->detail, "the key of a certificate is too large");
	EVP_PKEY_free(key);
}
END_TEST

START_TEST(an_explicit_curve)
{
	struct made *leaf = make((struct recipe){
	    .kind = MADE_P256_EXPLICIT, .issuer = scene.client_ca });
	const struct tls_failure *f;

	use_version(_i);
	scene.as_server.auth = CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	scene_meet_raw(&scene);
	ck_assert_int_eq(SSL_use_certificate(scene.raw, leaf->x509), 1);
	ck_assert_int_eq(SSL_use_PrivateKey(scene.raw, leaf->key), 1);
	f = expect_refusal(TLS_FAULT_CERTIFICATE_INVALID, 42);
	ck_assert_str_eq(f->detail, "a certificate has an explicit curve");
}
END_TEST

static void
send_along(size_t count)
{
	scene.as_server.auth = CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	scene_meet_raw(&scene);
	SSL_use_certificate(scene.raw, scene.client_leaf->x509);
	SSL_use_PrivateKey(scene.raw, scene.client_leaf->key);
	for (size_t i = 0; i < count; i++)
		ck_assert_int_eq(
		    SSL_add1_chain_cert(scene.raw, scene.client_ca->x509), 1);
}

START_TEST(many_certificates)
{
	const struct tls_failure *f;

	use_version(_i);
	send_along(30);
	f = expect_refusal(TLS_FAULT_CERTIFICATE_INVALID, 42);
	ck_assert_str_eq(f->detail, "there are too many certificates");
}
END_TEST

START_TEST(a_chain_of_a_hundred)
{
	use_version(_i);
	send_along(100);
	expect_refusal(TLS_FAULT_PROTOCOL, 47);
}
END_TEST

/* --- hellos --- */

START_TEST(an_older_version)
{
	enum io server, client;

	scene_meet_raw(&scene);
	SSL_set_max_proto_version(scene.raw, TLS1_1_VERSION);
	SSL_set_security_level(scene.raw, 0);
	expect_refusal(TLS_FAULT_PROTOCOL, 70);
	use_version(1);
	scene_meet_raw(&scene);
	SSL_set_max_proto_version(scene.raw, TLS1_2_VERSION);
	expect_refusal(TLS_FAULT_PROTOCOL, 70);
	use_version(0);
	scene_meet_raw(&scene);
	SSL_set_min_proto_version(scene.raw, TLS1_3_VERSION);
	expect_refusal(TLS_FAULT_PROTOCOL, 70);
	scene_meet_raw(&scene);
	SSL_set_max_proto_version(scene.raw, TLS1_2_VERSION);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
}
END_TEST

START_TEST(nothing_in_common)
{
	const struct tls_failure *f;

	use_version(_i);
	scene_meet_raw(&scene);
	if (_i)
		SSL_set1_groups_list(scene.raw, "X448");
	else
		SSL_set_cipher_list(scene.raw, "AES128-SHA256");
	f = expect_refusal(TLS_FAULT_PROTOCOL, 40);
	ck_assert_str_eq(
	    f->detail, _i ? "no suitable key share" : "no shared cipher");
}
END_TEST

START_TEST(another_protocol)
{
	use_version(_i);
	scene.as_server.alpn = SCENE_ALPN;
	scene.as_client.alpn = BYTES_OF("\3ftp\2xx");
	scene_meet(&scene);
	expect_refusal(TLS_FAULT_PROTOCOL, 120);
	expect_heard(120);
	scene.as_client.alpn = BYTES_OF("\3ftp\x08http/1.1");
	scene_greet(&scene);
	scene.as_client.alpn = span_text("");
	scene_greet(&scene);
	scene.as_server.alpn = span_text("");
	scene.as_client.alpn = SCENE_ALPN;
	scene_greet(&scene);
}
END_TEST

START_TEST(another_name)
{
	const char *judged[] = { "b.test", "" };
	const struct tls_failure *f;

	use_version(_i % 2);
	scene.as_server.name = span_text(judged[_i / 2]);
	scene_meet(&scene);
	f = expect_refusal(TLS_FAULT_PROTOCOL, 47);
	ck_assert_str_eq(f->detail, "the server name has changed");
	expect_heard(47);
}
END_TEST

START_TEST(another_name_after_a_retry)
{
	const struct tls_failure *f;

	scene_meet_raw(&scene);
	SSL_set1_groups_list(scene.raw, "X448:X25519");
	SSL_do_handshake(scene.raw);
	ck_assert_int_eq(tls_handshake(scene.server), IO_AGAIN);
	scene_ask_for(&scene, "b.test");
	f = expect_refusal(TLS_FAULT_PROTOCOL, 47);
	ck_assert_str_eq(f->detail, "the server name has changed");
}
END_TEST

START_TEST(the_same_name_after_a_retry)
{
	enum io server, client;

	scene_meet_raw(&scene);
	SSL_set1_groups_list(scene.raw, "X448:X25519");
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
}
END_TEST

START_TEST(no_tls_at_all)
{
	static const struct {
		const char *bytes;
		size_t len;
	} words[] = {
		{ "GET / HTTP/1.0\r\n\r\n", 18 },
		{ "SSH-2.0-x\r\n", 11 },
		{ "\x16\x03\x01\xff\xff", 5 },
		{ "\x17\x03\x03\0\1x", 6 },
	};
	const struct tls_failure *f;

	scene_meet(&scene);
	send(scene.client_fd, words[_i].bytes, words[_i].len, 0);
	ck_assert_int_eq(tls_handshake(scene.server), IO_ERROR);
	f = tls_failure(scene.server);
	ck_assert_int_eq(f->fault, TLS_FAULT_PROTOCOL);
	ck_assert_ptr_nonnull(f->detail);
}
END_TEST

/* --- sockets --- */

START_TEST(a_client_that_leaves)
{
	scene_meet(&scene);
	if (_i > 0)
		tls_handshake(scene.client);
	if (_i > 1)
		tls_handshake(scene.server);
	shutdown(scene.client_fd, SHUT_WR);
	/* What somebody else left in OpenSSL's queue is not our reason. */
	ERR_raise(ERR_LIB_SSL, SSL_R_NO_SHARED_CIPHER);
	ck_assert_int_eq(tls_handshake(scene.server), IO_ERROR);
	ck_assert_int_eq(tls_failure(scene.server)->fault, TLS_FAULT_CLOSED);
	ck_assert_int_eq(tls_failure(scene.server)->alert, 0);
}
END_TEST

START_TEST(a_client_that_resets)
{
	scene_meet(&scene);
	tls_handshake(scene.client);
	ck_assert_int_eq(tls_handshake(scene.server), IO_AGAIN);
	/* A socket of this family resets when it is closed unread. */
	close(scene.client_fd);
	scene.client_fd = -1;
	ck_assert_int_eq(tls_handshake(scene.server), IO_ERROR);
	ck_assert_int_eq(tls_failure(scene.server)->fault, TLS_FAULT_RESET);
}
END_TEST

START_TEST(a_half_hello)
{
	char hello[1024];
	ssize_t size;

	scene_meet(&scene);
	tls_handshake(scene.client);
	size = recv(scene.server_fd, hello, sizeof(hello), 0);
	ck_assert_int_gt(size, 200);
	send(scene.client_fd, hello, 200, 0);
	ck_assert_int_eq(tls_handshake(scene.server), IO_AGAIN);
	shutdown(scene.client_fd, SHUT_WR);
	ck_assert_int_eq(tls_handshake(scene.server), IO_ERROR);
	ck_assert_int_eq(tls_failure(scene.server)->fault, TLS_FAULT_CLOSED);
}
END_TEST

/* --- servers --- */

static const struct {
	struct recipe recipe;
	bool foreign;
	const char *asked;
	uint8_t alert;
	const char *detail;
} bad_servers[] = {
	{ { .names = "DNS:a.test" }, true, "a.test", 48,
	    "unable to get local issuer certificate" },
	{ { .names = "DNS:c.test" }, false, "a.test", 42, "hostname mismatch" },
	{ { .names = "DNS:*.a.test" }, false, "b.c.a.test", 42,
	    "hostname mismatch" },
	{ { .names = "IP:127.0.0.2" }, false, "127.0.0.1", 42,
	    "IP address mismatch" },
	{ { .names = "DNS:127.0.0.1" }, false, "127.0.0.1", 42,
	    "IP address mismatch" },
	{ { .names = "DNS:a.test",
	      .not_before = -2 * MADE_DAY,
	      .not_after = -MADE_DAY },
	    false, "a.test", 45, "certificate has expired" },
	{ { .names = "DNS:a.test", .extended_key_usage = "clientAuth" }, false,
	    "a.test", 43, "unsuitable certificate purpose" },
};

START_TEST(bad_certificates_of_servers)
{
	size_t i = (size_t)_i / 2;
	struct recipe recipe = bad_servers[i].recipe;
	struct made *leaf;
	enum io server, client;
	const struct tls_failure *f;

	use_version(_i % 2);
	recipe.issuer = bad_servers[i].foreign ? scene.client_ca : scene.ca;
	leaf = make(recipe);
	key_choice_put(&scene.keys);
	scene.keys.by_kind[KEY_ECDSA] = scene_certificate(leaf, NULL);
	scene.as_client.server_name = span_text(bad_servers[i].asked);
	scene.as_server.name = span_text(
	    bad_servers[i].asked[0] == '1' ? "" : bad_servers[i].asked);
	scene_meet(&scene);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(client, IO_ERROR);
	f = tls_failure(scene.client);
	ck_assert_int_eq(f->fault, TLS_FAULT_CERTIFICATE_INVALID);
	ck_assert_int_eq(f->alert, bad_servers[i].alert);
	ck_assert_str_eq(f->detail, bad_servers[i].detail);
	ck_assert_str_eq(f->fingerprint,
	    certificate_fingerprint(scene.keys.by_kind[KEY_ECDSA]));
	ck_assert_int_eq(server, IO_ERROR);
	f = tls_failure(scene.server);
	ck_assert_int_eq(f->fault, TLS_FAULT_ALERT_RECEIVED);
	ck_assert_int_eq(f->alert, bad_servers[i].alert);
}
END_TEST

START_TEST(bytes_before_the_servers_hello)
{
	scene_meet(&scene);
	ck_assert_int_eq(tls_handshake(scene.client), IO_AGAIN);
	ck_assert_int_eq(
	    send(scene.server_fd, "220 mail.test ESMTP\r\n", 21, 0), 21);
	ck_assert_int_eq(tls_handshake(scene.client), IO_ERROR);
	ck_assert_int_eq(tls_failure(scene.client)->fault, TLS_FAULT_PROTOCOL);
}
END_TEST

START_TEST(names_that_cannot_be)
{
	static const struct span names[] = {
		{ (const uint8_t *)"a\0b.test", 8 },
		{ NULL, 300 },
	};
	static uint8_t long_name[300];

	memset(long_name, 'a', sizeof(long_name));
	scene.as_client.server_name = names[_i];
	if (!names[_i].data)
		scene.as_client.server_name.data = long_name;
	ck_assert_ptr_null(tls_connect(scene.outside, 0, &scene.as_client));
	scene.as_server.name = scene.as_client.server_name;
	ck_assert_ptr_null(tls_accept(scene.edge, 0, &scene.as_server));
}
END_TEST

/* --- renegotiation --- */

static int heard_alert;

static void
on_info(const SSL *ssl, int where, int value)
{
	(void)ssl;
	if ((where & SSL_CB_ALERT) && (where & SSL_CB_READ))
		heard_alert = value & 0xff;
}

START_TEST(renegotiation_is_refused)
{
	enum io server, client;

	use_version(0);
	scene_meet_raw(&scene);
	SSL_set_info_callback(scene.raw, on_info);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(client, IO_OK);
	ck_assert_int_eq(SSL_renegotiate(scene.raw), 1);
	SSL_do_handshake(scene.raw);
	ck_assert_int_eq(scene_read(scene.server), IO_AGAIN);
	SSL_do_handshake(scene.raw);
	ck_assert_int_eq(heard_alert, 100);
	/* No harm is done to what is being said. */
	ck_assert_int_eq(tls_write(scene.server, span_text("go on")), IO_OK);
	ck_assert_int_eq(tls_failure(scene.server)->fault, TLS_FAULT_NONE);
}
END_TEST

/* --- a peer that only makes work --- */

/* All in one piece: a socket of this family holds few small ones. */
static void
update_keys(size_t count)
{
	BIO *records = BIO_new(BIO_s_mem());
	char *data;
	long len;

	SSL_set0_wbio(scene.raw, records);
	for (size_t i = 0; i < count; i++) {
		ck_assert_int_eq(
		    SSL_key_update(scene.raw, SSL_KEY_UPDATE_REQUESTED), 1);
		ck_assert_int_eq(SSL_do_handshake(scene.raw), 1);
	}
	len = BIO_get_mem_data(records, &data);
	ck_assert_int_eq(send(scene.client_fd, data, (size_t)len, 0), len);
	SSL_set0_wbio(scene.raw, BIO_new_socket(scene.client_fd, BIO_NOCLOSE));
}

START_TEST(a_few_new_keys_are_good)
{
	enum io server, client;
	char answer[8];

	use_version(1);
	scene_meet_raw(&scene);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(client, IO_OK);
	update_keys(20);
	ck_assert_int_eq(scene_read(scene.server), IO_AGAIN);
	ck_assert_int_eq(SSL_write(scene.raw, "hello", 5), 5);
	ck_assert_str_eq(scene_hear(scene.server), "hello");
	ck_assert_int_eq(tls_write(scene.server, span_text("good")), IO_OK);
	ck_assert_int_eq(SSL_read(scene.raw, answer, sizeof(answer)), 4);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, bad_certificates_of_clients, 0,
	    2 * ARRAY_COUNT(bad_clients));
	tcase_add_loop_test(tcase, a_missing_certificate, 0, 2);
	tcase_add_loop_test(tcase, a_revoked_certificate, 0, 2);
	tcase_add_test(tcase, a_certificate_is_asked_for_and_nobody_trusted);
	tcase_add_loop_test(tcase, a_huge_key, 0, 4);
	tcase_add_loop_test(tcase, an_explicit_curve, 0, 2);
	tcase_add_loop_test(tcase, many_certificates, 0, 2);
	tcase_add_loop_test(tcase, a_chain_of_a_hundred, 0, 2);
	tcase_add_test(tcase, an_older_version);
	tcase_add_loop_test(tcase, nothing_in_common, 0, 2);
	tcase_add_loop_test(tcase, another_protocol, 0, 2);
	tcase_add_loop_test(tcase, another_name, 0, 4);
	tcase_add_test(tcase, another_name_after_a_retry);
	tcase_add_test(tcase, the_same_name_after_a_retry);
	tcase_add_loop_test(tcase, no_tls_at_all, 0, 4);
	tcase_add_loop_test(tcase, a_client_that_leaves, 0, 3);
	tcase_add_test(tcase, a_client_that_resets);
	tcase_add_test(tcase, a_half_hello);
	tcase_add_loop_test(tcase, bad_certificates_of_servers, 0,
	    2 * ARRAY_COUNT(bad_servers));
	tcase_add_test(tcase, bytes_before_the_servers_hello);
	tcase_add_loop_test(tcase, names_that_cannot_be, 0, 2);
	tcase_add_test(tcase, renegotiation_is_refused);
	tcase_add_test(tcase, a_few_new_keys_are_good);
}

UNIT_MAIN_TOGETHER("stream failures", add_tests)
