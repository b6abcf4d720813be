/* Streams of agent sessions: ours at both ends, and OpenSSL's at one. */
#include "unit.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"
#include "tls/data_keys.h"
#include "tls/session_context.h"
#include "tls/token.h"
#include "tls_scene.h"

static struct scene scene;
static struct tls_session_settings as_agent;

static void
setup(void)
{
	scene_open(&scene);
	as_agent = (struct tls_session_settings){
		.trust = scene.trust,
		.server_name = span_text("a.test"),
	};
}

static void
teardown(void)
{
	scene_close(&scene);
}

static void
open_sockets(void)
{
	int fds[2];

	scene_part(&scene);
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	scene.server_fd = fds[0];
	scene.client_fd = fds[1];
}

static void
be_server(void)
{
	scene.server =
	    tls_session_accept(scene.edge, scene.server_fd, &scene.keys);
	ck_assert_ptr_nonnull(scene.server);
}

static void
be_client(void)
{
	scene.client =
	    tls_session_connect(scene.outside, scene.client_fd, &as_agent);
	ck_assert_ptr_nonnull(scene.client);
}

static void
greet(void)
{
	enum io server, client;

	open_sockets();
	be_server();
	be_client();
	scene_shake(&scene, &server, &client);
	ck_assert_msg(
	    server == IO_OK, "server: %s", tls_failure(scene.server)->detail);
	ck_assert_msg(
	    client == IO_OK, "client: %s", tls_failure(scene.client)->detail);
}

/* --- both ours --- */

START_TEST(an_agent_and_an_edge)
{
	struct tls_facts at_edge, at_agent;

	greet();
	tls_facts(scene.server, &at_edge);
	tls_facts(scene.client, &at_agent);
	ck_assert_uint_eq(at_edge.version, TLS_VERSION_1_3);
	ck_assert(span_is(at_edge.alpn, SESSION_ALPN));
	ck_assert(span_is(at_agent.alpn, SESSION_ALPN));
	ck_assert(!at_edge.resumed && !at_agent.resumed);
	ck_assert(at_agent.peer_verified && !at_edge.peer_verified);
	scene_say(scene.client, scene.server, "from the agent");
	scene_say(scene.server, scene.client, "from the edge");
	/* Nothing is kept that a second session could take up. */
	greet();
	tls_facts(scene.client, &at_agent);
	ck_assert(!at_agent.resumed);
}
END_TEST

START_TEST(the_fingerprint_of_the_edge)
{
	uint8_t hash[SHA256_BYTES], expected[SHA256_BYTES];

	X509_digest(scene.leaf->x509, EVP_sha256(), expected, NULL);
	open_sockets();
	be_server();
	be_client();
	ck_assert_int_eq(tls_peer_sha256(scene.client, hash), -ENOENT);
	greet();
	ck_assert_int_eq(tls_peer_sha256(scene.client, hash), 0);
	ck_assert_mem_eq(hash, expected, sizeof(hash));
	ck_assert_int_eq(tls_peer_sha256(scene.server, hash), -ENOENT);
}
END_TEST

/* A self-signed certificate for another name, long expired. */
START_TEST(a_pinned_edge)
{
	struct made *own = make((struct recipe){ .names = "DNS:elsewhere.test",
	    .not_before = -2 * MADE_DAY,
	    .not_after = -MADE_DAY });
	uint8_t pin[SESSION_PIN_BYTES], hash[SHA256_BYTES];
	enum io server, client;

	X509_digest(own->x509, EVP_sha256(), pin, NULL);
	key_choice_put(&scene.keys);
	scene.keys.by_kind[KEY_ECDSA] = scene_certificate(own, NULL);
	as_agent.trust = NULL;
	as_agent.pin = pin;
	greet();
	scene_say(scene.client, scene.server, "from the agent");
	ck_assert_int_eq(tls_peer_sha256(scene.client, hash), 0);
	ck_assert_mem_eq(hash, pin, sizeof(hash));
	/* A pin does without a name. */
	as_agent.server_name = span_of(NULL, 0);
	greet();
	for (size_t at = 0; at < sizeof(pin); at += 31) {
		pin[at] ^= 1;
		open_sockets();
		be_server();
		be_client();
		scene_shake(&scene, &server, &client);
		ck_assert_int_eq(client, IO_ERROR);
		ck_assert_str_eq(tls_failure(scene.client)->detail,
		    "the certificate is not the pinned one");
		ck_assert_str_eq(tls_failure(scene.client)->fingerprint,
		    certificate_fingerprint(scene.keys.by_kind[KEY_ECDSA]));
		ck_assert_int_ne(server, IO_OK);
		pin[at] ^= 1;
	}
}
END_TEST

START_TEST(nobody_to_trust)
{
	open_sockets();
	as_agent.server_name = span_of(NULL, 0);
	ck_assert_ptr_null(
	    tls_session_connect(scene.outside, scene.client_fd, &as_agent));
	as_agent.server_name = BYTES("a\0test");
	ck_assert_ptr_null(
	    tls_session_connect(scene.outside, scene.client_fd, &as_agent));
}
END_TEST

START_TEST(an_edge_by_its_address)
{
	enum io server, client;

	key_choice_put(&scene.keys);
	scene.keys.by_kind[KEY_ECDSA] =
	    scene_certificate(make((struct recipe){ .issuer = scene.ca,
				  .names = "IP:192.0.2.1,IP:::1" }),
		NULL);
	as_agent.server_name = span_text("192.0.2.1");
	greet();
	as_agent.server_name = span_text("::1");
	greet();
	as_agent.server_name = span_text("192.0.2.2");
	open_sockets();
	be_server();
	be_client();
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(client, IO_ERROR);
}
END_TEST

/* --- the edge and other clients --- */

static void
be_raw_client(void)
{
	if (!scene.raw_ctx)
		scene.raw_ctx = SSL_CTX_new(TLS_client_method());
	scene.raw = SSL_new(scene.raw_ctx);
	ck_assert_ptr_nonnull(scene.raw);
	ck_assert_int_eq(SSL_set_fd(scene.raw, scene.client_fd), 1);
	SSL_set_connect_state(scene.raw);
}

#define OUR "\x09lunette/1"

static const struct {
	const char *offered;  /* NULL: no ALPN at all */
	const char *selected; /* NULL: alert 120 */
} offers[] = {
	{ NULL, "" },
	{ OUR, SESSION_ALPN },
	{ "\2h2" OUR, SESSION_ALPN },
	{ OUR "\2h2\x08http/1.1", SESSION_ALPN },
	{ "\2h2", NULL },
	{ "\x0elunette-data/1", NULL },
	{ "\x0alunette/11", NULL },
	{ "\x08lunette/", NULL },
	{ "\x09Lunette/1", NULL },
	{ "\x0a"
	  "acme-tls/1",
	    NULL },
};

/* Each with TLS 1.2 and TLS 1.3. */
START_TEST(what_clients_offer)
{
	const char *offered = offers[_i / 2].offered;
	const char *selected = offers[_i / 2].selected;
	int version = _i % 2 ? TLS1_3_VERSION : TLS1_2_VERSION;
	struct tls_facts facts;
	enum io server, client;

	open_sockets();
	be_server();
	be_raw_client();
	SSL_set_min_proto_version(scene.raw, version);
	SSL_set_max_proto_version(scene.raw, version);
	if (offered)
		ck_assert_int_eq(
		    SSL_set_alpn_protos(scene.raw, (const uint8_t *)offered,
			(unsigned)strlen(offered)),
		    0);
	scene_shake(&scene, &server, &client);
	if (!selected) {
		ck_assert_int_eq(server, IO_ERROR);
		ck_assert_uint_eq(tls_failure(scene.server)->alert, 120);
		return;
	}
	ck_assert_int_eq(server, IO_OK);
	ck_assert_int_eq(client, IO_OK);
	tls_facts(scene.server, &facts);
	ck_assert_uint_eq(facts.version, (unsigned)version);
	ck_assert(span_is(facts.alpn, selected));
	ck_assert_int_eq(SSL_write(scene.raw, "hello", 5), 5);
	ck_assert_str_eq(scene_hear(scene.server), "hello");
}
END_TEST

START_TEST(an_old_client)
{
	enum io server, client;

	open_sockets();
	be_server();
	be_raw_client();
	SSL_set_security_level(scene.raw, 0);
	SSL_set_min_proto_version(scene.raw, TLS1_1_VERSION);
	SSL_set_max_proto_version(scene.raw, TLS1_1_VERSION);
	SSL_set_cipher_list(scene.raw, "ALL:@SECLEVEL=0");
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_ERROR);
	ck_assert_uint_eq(tls_failure(scene.server)->alert, 70);
}
END_TEST

static unsigned tickets_seen;
static SSL_SESSION *session_seen;

static int
on_new_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	(void)session;
	tickets_seen++;
	return 0;
}

/* Neither a ticket nor, with TLS 1.2, a session id that is known again. */
START_TEST(nothing_to_take_up_again)
{
	int version = _i ? TLS1_3_VERSION : TLS1_2_VERSION;
	enum io server, client;
	char byte;

	for (int round = 0; round < 2; round++) {
		open_sockets();
		be_server();
		be_raw_client();
		SSL_CTX_set_session_cache_mode(scene.raw_ctx,
		    SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		if (version == TLS1_3_VERSION)
			SSL_CTX_sess_set_new_cb(scene.raw_ctx, on_new_session);
		SSL_set_max_proto_version(scene.raw, version);
		if (round > 0)
			SSL_set_session(scene.raw, session_seen);
		scene_shake(&scene, &server, &client);
		ck_assert_int_eq(server, IO_OK);
		ck_assert_int_eq(client, IO_OK);
		ck_assert_int_eq(
		    tls_write(scene.server, span_text("x")), IO_OK);
		ck_assert_int_eq(SSL_read(scene.raw, &byte, 1), 1);
		ck_assert_int_eq(SSL_session_reused(scene.raw), 0);
		SSL_SESSION_free(session_seen);
		session_seen = SSL_get1_session(scene.raw);
		ck_assert_int_eq(SSL_SESSION_has_ticket(session_seen), 0);
	}
	SSL_SESSION_free(session_seen);
	ck_assert_uint_eq(tickets_seen, 0);
}
END_TEST

/* The keys were chosen by the caller; whatever stands in the hello, also in a
 * second one, is a name that he has seen. */
START_TEST(any_name_and_a_retry)
{
	static const char *const names[] = { NULL, "a.test", "other.test" };
	enum io server, client;

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		open_sockets();
		be_server();
		be_raw_client();
		scene_ask_for(&scene, names[i]);
		/* The share is of a group that the server does not have. */
		ck_assert_int_eq(
		    SSL_set1_groups_list(scene.raw, "P-521:P-256"), 1);
		scene_shake(&scene, &server, &client);
		ck_assert_int_eq(server, IO_OK);
		ck_assert_int_eq(client, IO_OK);
	}
}
END_TEST

/* --- the agent and other servers: what it has said --- */

static struct bytes said;

static void
take_what_was_said(BIO *in)
{
	uint8_t buffer[4096];
	ssize_t n;

	while ((n = recv(scene.server_fd, buffer, sizeof(buffer), 0)) > 0) {
		add_span(&said, span_of(buffer, (size_t)n));
		BIO_write(in, buffer, (int)n);
	}
}

static void
answer(BIO *out)
{
	uint8_t buffer[4096];
	int n;

	while ((n = BIO_read(out, buffer, sizeof(buffer))) > 0)
		ck_assert_int_eq(
		    send(scene.server_fd, buffer, (size_t)n, 0), n);
}

/* Until the agent is done, or has failed. */
static enum io
shake_with(SSL *server)
{
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	enum io io = IO_AGAIN;

	said.len = 0;
	SSL_set_bio(server, in, out);
	SSL_set_accept_state(server);
	for (int i = 0; i < 20 && io == IO_AGAIN; i++) {
		io = tls_handshake(scene.client);
		take_what_was_said(in);
		SSL_do_handshake(server);
		ERR_clear_error();
		answer(out);
	}
	return io;
}

/* Behind the hello only a ChangeCipherSpec, which says nothing, and an alert:
 * in the clear or sealed (two bytes, the type and the tag). */
static bool
only_a_hello_was_said(void)
{
	struct span rest = bytes_span(&said);
	unsigned hellos = 0, alerts = 0, others = 0;

	while (rest.len > 0) {
		size_t len = 5 + (size_t)(rest.data[3] << 8 | rest.data[4]);

		ck_assert_uint_le(len, rest.len);
		if (rest.data[0] == SSL3_RT_HANDSHAKE)
			hellos++;
		else if (rest.data[0] == SSL3_RT_ALERT ||
			 (rest.data[0] == SSL3_RT_APPLICATION_DATA &&
			     len == 5 + 2 + 1 + 16))
			alerts++;
		else if (rest.data[0] != SSL3_RT_CHANGE_CIPHER_SPEC)
			others++;
		rest = span_of(rest.data + len, rest.len - len);
	}
	return hellos == 1 && alerts <= 1 && others == 0;
}

static int
select_ours(SSL *ssl, const unsigned char **out, unsigned char *len,
    const unsigned char *offered, unsigned offered_len, void *arg)
{
	(void)ssl;
	(void)arg;
	ck_assert_uint_eq(offered_len, 10);
	ck_assert_mem_eq(offered, OUR, 10);
	*out = offered + 1;
	*len = offered[0];
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *
other_server(const struct made *leaf)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	ck_assert_ptr_nonnull(ctx);
	ck_assert_int_eq(SSL_CTX_use_certificate(ctx, leaf->x509), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, leaf->key), 1);
	SSL_CTX_set_alpn_select_cb(ctx, select_ours, NULL);
	return ctx;
}

static enum io
meet_other(SSL_CTX *ctx)
{
	SSL *server = SSL_new(ctx);
	enum io io;

	open_sockets();
	be_client();
	io = shake_with(server);
	if (io == IO_OK) {
		ck_assert_int_eq(
		    tls_write(scene.client, span_text("a secret")), IO_OK);
	} else {
		ck_assert_int_eq(
		    tls_handshake(scene.client), IO_ERROR); /* and stays so */
	}
	take_what_was_said(SSL_get_rbio(server));
	SSL_free(server);
	return io;
}

/* So that the tests below can fail. */
START_TEST(a_good_server_is_told_something)
{
	SSL_CTX *ctx = other_server(scene.leaf);

	ck_assert_int_eq(meet_other(ctx), IO_OK);
	ck_assert(!only_a_hello_was_said());
	SSL_CTX_free(ctx);
}
END_TEST

static void
check_refused(SSL_CTX *ctx, enum tls_fault fault, const char *detail)
{
	ck_assert_int_eq(meet_other(ctx), IO_ERROR);
	ck_assert_int_eq(tls_failure(scene.client)->fault, fault);
	if (detail)
		ck_assert_str_eq(tls_failure(scene.client)->detail, detail);
	ck_assert(only_a_hello_was_said());
	SSL_CTX_free(ctx);
}

START_TEST(a_server_of_another_ca)
{
	struct made *ca = make((struct recipe){ .ca = true });

	check_refused(other_server(make((struct recipe){
			  .issuer = ca, .names = "DNS:a.test" })),
	    TLS_FAULT_CERTIFICATE_INVALID, NULL);
	ck_assert_str_ne(tls_failure(scene.client)->fingerprint, "");
}
END_TEST

START_TEST(a_server_of_another_name)
{
	check_refused(other_server(make((struct recipe){ .issuer = scene.ca,
			  .names = "DNS:b.test,DNS:*.a.test" })),
	    TLS_FAULT_CERTIFICATE_INVALID, "hostname mismatch");
}
END_TEST

START_TEST(a_server_that_has_expired)
{
	check_refused(other_server(make((struct recipe){ .issuer = scene.ca,
			  .names = "DNS:a.test",
			  .not_before = -2 * MADE_DAY,
			  .not_after = -MADE_DAY })),
	    TLS_FAULT_CERTIFICATE_INVALID, "certificate has expired");
}
END_TEST

START_TEST(a_server_without_the_pinned_certificate)
{
	static const uint8_t pin[SESSION_PIN_BYTES] = { 1 };

	as_agent.trust = NULL;
	as_agent.pin = pin;
	check_refused(other_server(scene.leaf), TLS_FAULT_CERTIFICATE_INVALID,
	    "the certificate is not the pinned one");
}
END_TEST

/* OpenSSL itself goes on without ALPN. */
START_TEST(a_server_that_selects_no_protocol)
{
	SSL_CTX *ctx = other_server(scene.leaf);

	SSL_CTX_set_alpn_select_cb(ctx, NULL, NULL);
	check_refused(
	    ctx, TLS_FAULT_PROTOCOL, "the peer does not speak our protocol");
}
END_TEST

START_TEST(a_server_of_tls_1_2)
{
	SSL_CTX *ctx = other_server(scene.leaf);

	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	check_refused(ctx, TLS_FAULT_ALERT_RECEIVED, NULL);
	ck_assert_uint_eq(tls_failure(scene.client)->alert, 70);
}
END_TEST

/* --- keying material --- */

START_TEST(both_ends_export_the_same)
{
	struct span context = BYTES("context"), empty = BYTES("");
	uint8_t a[48], b[48];

	greet();
	ck_assert_int_eq(
	    tls_export(scene.server, "EXPORTER-x", &context, a, 48), 0);
	ck_assert_int_eq(
	    tls_export(scene.client, "EXPORTER-x", &context, b, 48), 0);
	ck_assert_mem_eq(a, b, 48);
	ck_assert_int_eq(
	    tls_export(scene.client, "EXPORTER-y", &context, b, 48), 0);
	ck_assert_mem_ne(a, b, 48);
	ck_assert_int_eq(
	    tls_export(scene.client, "EXPORTER-x", NULL, b, 48), 0);
	ck_assert_mem_ne(a, b, 48);
	ck_assert_int_eq(
	    tls_export(scene.server, "EXPORTER-x", &empty, a, 48), 0);
	ck_assert_mem_eq(a, b, 48); /* so it is in TLS 1.3 */
	greet();
	ck_assert_int_eq(
	    tls_export(scene.client, "EXPORTER-x", NULL, b, 48), 0);
	ck_assert_mem_ne(a, b, 48);
}
END_TEST

/* As RFC 8446 section 7.5 has it: OpenSSL's own end gives the same. */
START_TEST(the_export_is_that_of_the_standard)
{
	SSL_CTX *ctx = other_server(scene.leaf);
	SSL *server = SSL_new(ctx);
	struct span context = BYTES("0123456789abcdef");
	uint8_t ours[32], theirs[32];

	open_sockets();
	be_client();
	ck_assert_int_eq(shake_with(server), IO_OK);
	take_what_was_said(SSL_get_rbio(server));
	ck_assert_int_eq(SSL_do_handshake(server), 1);
	ck_assert_int_eq(tls_export(scene.client, "EXPORTER-lunette-data",
			     &context, ours, 32),
	    0);
	ck_assert_int_eq(
	    SSL_export_keying_material(server, theirs, 32,
		"EXPORTER-lunette-data", 21, context.data, context.len, 1),
	    1);
	ck_assert_mem_eq(ours, theirs, 32);
	SSL_free(server);
	SSL_CTX_free(ctx);
}
END_TEST

START_TEST(both_ends_have_the_keys)
{
	static const uint8_t id[DATA_SESSION_BYTES] = "0123456789abcdef";
	static const uint8_t other_id[DATA_SESSION_BYTES] = "0123456789abcdeg";
	struct span context = span_of(id, sizeof(id));
	struct data_keys edge, agent;
	uint8_t root[SHA256_BYTES];

	greet();
	ck_assert_int_eq(data_keys_init(&edge, scene.server, id), 0);
	ck_assert_int_eq(data_keys_init(&agent, scene.client, id), 0);
	ck_assert_mem_eq(&edge, &agent, sizeof(edge));
	ck_assert_int_eq(tls_export(scene.client, "EXPORTER-lunette-data",
			     &context, root, sizeof(root)),
	    0);
	ck_assert_mem_eq(root, agent.root, sizeof(root));
	ck_assert_int_eq(data_keys_init(&agent, scene.client, other_id), 0);
	ck_assert_mem_ne(edge.root, agent.root, sizeof(root));
}
END_TEST

START_TEST(who_may_have_no_keys)
{
	static const uint8_t id[DATA_SESSION_BYTES];
	static const struct data_keys zeros;
	uint8_t binding[TOKEN_BINDING_BYTES];
	struct data_keys keys;
	enum io server, client;

	for (int i = 0; i < 2; i++) {
		open_sockets();
		be_server();
		be_raw_client();
		/* An SDK has no ALPN; and nobody has keys with TLS 1.2. */
		if (i == 1) {
			SSL_set_max_proto_version(scene.raw, TLS1_2_VERSION);
			SSL_set_alpn_protos(
			    scene.raw, (const uint8_t *)OUR, 10);
		}
		scene_shake(&scene, &server, &client);
		ck_assert_int_eq(server, IO_OK);
		memset(&keys, 0xee, sizeof(keys));
		ck_assert_int_eq(
		    data_keys_init(&keys, scene.server, id), -EPERM);
		ck_assert_mem_eq(&keys, &zeros, sizeof(keys));
		ck_assert_int_eq(
		    token_binding(scene.server, binding), i == 1 ? -EPERM : 0);
	}
}
END_TEST

#define TOKEN "a token of Lunette's agent"

/* The agent has met an impostor, who hands on what he got. */
START_TEST(a_proof_cannot_be_relayed)
{
	uint8_t binding[TOKEN_BINDING_BYTES], hash[SHA256_BYTES];
	uint8_t proof[sizeof(TOKEN)], token[sizeof(TOKEN)];
	struct span s = span_of(proof, strlen(TOKEN));

	ck_assert_int_eq(sha256_bytes(span_text(TOKEN), hash), 0);
	greet();
	ck_assert_int_eq(token_binding(scene.client, binding), 0);
	ck_assert_int_eq(token_prove(binding, span_text(TOKEN), proof), 0);
	ck_assert_int_eq(token_binding(scene.server, binding), 0);
	ck_assert_int_eq(token_recover(binding, hash, s, token), 0);
	ck_assert_mem_eq(token, TOKEN, strlen(TOKEN));
	greet();
	ck_assert_int_eq(token_binding(scene.server, binding), 0);
	ck_assert_int_eq(token_recover(binding, hash, s, token), -EACCES);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, an_agent_and_an_edge);
	tcase_add_test(tcase, the_fingerprint_of_the_edge);
	tcase_add_test(tcase, a_pinned_edge);
	tcase_add_test(tcase, nobody_to_trust);
	tcase_add_test(tcase, an_edge_by_its_address);
	tcase_add_loop_test(
	    tcase, what_clients_offer, 0, 2 * (int)ARRAY_COUNT(offers));
	tcase_add_test(tcase, an_old_client);
	tcase_add_loop_test(tcase, nothing_to_take_up_again, 0, 2);
	tcase_add_test(tcase, any_name_and_a_retry);
	tcase_add_test(tcase, a_good_server_is_told_something);
	tcase_add_test(tcase, a_server_of_another_ca);
	tcase_add_test(tcase, a_server_of_another_name);
	tcase_add_test(tcase, a_server_that_has_expired);
	tcase_add_test(tcase, a_server_without_the_pinned_certificate);
	tcase_add_test(tcase, a_server_that_selects_no_protocol);
	tcase_add_test(tcase, a_server_of_tls_1_2);
	tcase_add_test(tcase, both_ends_export_the_same);
	tcase_add_test(tcase, the_export_is_that_of_the_standard);
	tcase_add_test(tcase, both_ends_have_the_keys);
	tcase_add_test(tcase, who_may_have_no_keys);
	tcase_add_test(tcase, a_proof_cannot_be_relayed);
}

UNIT_MAIN("session context", add_tests)
