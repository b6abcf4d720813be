/* Data connections with a PSK: ours at both ends, and OpenSSL's at one. */
#include "unit.h"

#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"
#include "tls/data_keys.h"
#include "tls/data_stream.h"
#include "tls_scene.h"

static struct scene scene;
static struct data_keys keys;
static uint8_t preface[DATA_PREFACE_BYTES];
static uint8_t psk[SHA256_BYTES];

/* What the edge knows: the keys of one session. */
static struct {
	unsigned asked;
	bool knows_nothing;
} lookup;

static bool
find_psk(void *arg, const uint8_t asked[DATA_PREFACE_BYTES],
    uint8_t out[SHA256_BYTES])
{
	ck_assert_ptr_eq(arg, &lookup);
	lookup.asked++;
	return !lookup.knows_nothing &&
	       data_keys_check_preface(&keys, asked) == 0 &&
	       data_keys_psk(&keys, asked, out) == 0;
}

static void
make_preface(enum data_mode mode, uint64_t counter)
{
	ck_assert_int_eq(
	    data_keys_make_preface(&keys, mode, counter, preface), 0);
	ck_assert_int_eq(data_keys_psk(&keys, preface, psk), 0);
}

static void
setup(void)
{
	static const uint8_t root[SHA256_BYTES] = "root";
	static const uint8_t session[DATA_SESSION_BYTES] = "a session";

	scene_open(&scene);
	ck_assert_int_eq(data_keys_from_root(&keys, root, session), 0);
	make_preface(DATA_TLS, 1);
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
	lookup.asked = 0;
}

static void
be_edge(void)
{
	scene.server =
	    tls_data_accept(scene.edge, scene.server_fd, find_psk, &lookup);
	ck_assert_ptr_nonnull(scene.server);
}

static void
be_agent(void)
{
	scene.client = tls_data_connect(scene.outside, scene.client_fd, preface,
	    psk, span_text("edge.test"));
	ck_assert_ptr_nonnull(scene.client);
}

static void
shake(enum io *server, enum io *client)
{
	open_sockets();
	be_edge();
	be_agent();
	ck_assert_ptr_null(tls_data_preface(scene.server));
	scene_shake(&scene, server, client);
}

static void
greet(void)
{
	enum io server, client;

	shake(&server, &client);
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
	ck_assert_mem_eq(
	    tls_data_preface(scene.server), preface, sizeof(preface));
	ck_assert_mem_eq(
	    tls_data_preface(scene.client), preface, sizeof(preface));
	ck_assert_uint_eq(lookup.asked, 1);
	tls_facts(scene.server, &at_edge);
	tls_facts(scene.client, &at_agent);
	ck_assert_uint_eq(at_edge.version, TLS_VERSION_1_3);
	ck_assert(span_is(at_edge.alpn, DATA_ALPN));
	ck_assert(span_is(at_agent.alpn, DATA_ALPN));
	ck_assert_str_eq(at_agent.cipher_suite, "TLS_AES_128_GCM_SHA256");
	/* Not by the PSK alone: the past stays closed if a root is lost. */
	ck_assert_str_eq(at_agent.group, "x25519");
	ck_assert(at_edge.resumed && at_agent.resumed);
	scene_say(scene.client, scene.server, "from the agent");
	scene_say(scene.server, scene.client, "from the edge");
}
END_TEST

/* That a counter is good once is for the caller to see, who asks for the
 * preface afterwards. */
START_TEST(the_same_preface_again)
{
	greet();
	greet();
	ck_assert_mem_eq(
	    tls_data_preface(scene.server), preface, sizeof(preface));
}
END_TEST

START_TEST(names_to_ask_for)
{
	static const char *const names[] = { "", "192.0.2.1", "::1", "a.test" };

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		enum io server, client;

		open_sockets();
		be_edge();
		scene.client = tls_data_connect(scene.outside, scene.client_fd,
		    preface, psk, span_text(names[i]));
		ck_assert_ptr_nonnull(scene.client);
		scene_shake(&scene, &server, &client);
		ck_assert_int_eq(server, IO_OK);
		ck_assert_int_eq(client, IO_OK);
	}
	open_sockets();
	ck_assert_ptr_null(tls_data_connect(
	    scene.outside, scene.client_fd, preface, psk, BYTES("a\0test")));
}
END_TEST

static void
check_failure(uint8_t alert)
{
	enum io server, client;

	shake(&server, &client);
	ck_assert_int_eq(server, IO_ERROR);
	ck_assert_int_ne(client, IO_OK);
	ck_assert_int_eq(tls_failure(scene.server)->fault, TLS_FAULT_PROTOCOL);
	ck_assert_uint_eq(tls_failure(scene.server)->alert, alert);
	ck_assert_ptr_null(tls_data_preface(scene.server));
	ck_assert_int_eq(tls_handshake(scene.client), IO_ERROR);
	ck_assert_uint_eq(tls_failure(scene.client)->alert, alert);
	ck_assert_ptr_null(tls_data_preface(scene.client));
}

START_TEST(a_psk_that_is_wrong)
{
	psk[31] ^= 1;
	check_failure(SSL_AD_ILLEGAL_PARAMETER);
	ck_assert_uint_eq(lookup.asked, 1);
}
END_TEST

/* From outside all of them look the same. */
START_TEST(a_preface_that_is_not_known)
{
	lookup.knows_nothing = true;
	check_failure(SSL_AD_HANDSHAKE_FAILURE);
	ck_assert_uint_eq(lookup.asked, 1);
	lookup.knows_nothing = false;
	preface[63] ^= 1;
	check_failure(SSL_AD_HANDSHAKE_FAILURE);
	ck_assert_uint_eq(lookup.asked, 1);
	/* Of the other mode, and what is no preface at all. */
	make_preface(DATA_RAW, 1);
	check_failure(SSL_AD_HANDSHAKE_FAILURE);
	ck_assert_uint_eq(lookup.asked, 0);
	make_preface(DATA_TLS, 1);
	preface[0] ^= 1;
	check_failure(SSL_AD_HANDSHAKE_FAILURE);
	ck_assert_uint_eq(lookup.asked, 0);
}
END_TEST

START_TEST(ends_are_told_apart)
{
	greet();
	ck_assert_int_eq(tls_shut(scene.client), IO_OK);
	shutdown(scene.client_fd, SHUT_WR);
	ck_assert_int_eq(scene_read(scene.server), IO_EOF);
	ck_assert(!tls_truncated(scene.server));
	/* The other direction goes on. */
	scene_say(scene.server, scene.client, "still here");
	ck_assert_int_eq(tls_shut(scene.server), IO_OK);
	ck_assert_int_eq(scene_read(scene.client), IO_EOF);
	greet();
	shutdown(scene.client_fd, SHUT_WR);
	ck_assert_int_eq(scene_read(scene.server), IO_EOF);
	ck_assert(tls_truncated(scene.server));
}
END_TEST

/* --- clients that are not ours --- */

static SSL_SESSION *
raw_session(SSL *ssl, const char *suite, const EVP_MD *hash, bool *fits)
{
	static const unsigned char sha256[] = { 0x13, 0x01 };
	static const unsigned char sha384[] = { 0x13, 0x02 };
	bool is_large = !strcmp(suite, "SHA384");
	SSL_SESSION *session = SSL_SESSION_new();

	*fits = !hash || EVP_MD_is_a(hash, suite);
	SSL_SESSION_set1_master_key(session, psk, sizeof(psk));
	SSL_SESSION_set_cipher(
	    session, SSL_CIPHER_find(ssl, is_large ? sha384 : sha256));
	SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION);
	return session;
}

static const char *raw_suite = "SHA256";
static struct span raw_identity;
static unsigned raw_uses;

static int
use_psk(SSL *ssl, const EVP_MD *hash, const unsigned char **id, size_t *id_len,
    SSL_SESSION **session)
{
	bool fits;

	raw_uses++;
	*session = raw_session(ssl, raw_suite, hash, &fits);
	if (!fits) {
		SSL_SESSION_free(*session);
		*session = NULL;
	}
	*id = raw_identity.data;
	*id_len = raw_identity.len;
	return 1;
}

static struct {
	unsigned tickets, key_updates, retries;
} seen;

static void
on_message(int is_written, int version, int type, const void *data, size_t len,
    SSL *ssl, void *arg)
{
	const uint8_t *bytes = data;

	(void)version;
	(void)ssl;
	(void)arg;
	if (is_written || type != SSL3_RT_HANDSHAKE || len == 0)
		return;
	seen.tickets += bytes[0] == SSL3_MT_NEWSESSION_TICKET;
	seen.key_updates += bytes[0] == SSL3_MT_KEY_UPDATE;
	/* A HelloRetryRequest is a ServerHello with this random. */
	seen.retries += bytes[0] == SSL3_MT_SERVER_HELLO && len > 10 &&
			!memcmp(bytes + 6, "\xcf\x21\xad\x74", 4);
}

#define OUR "\x0elunette-data/1"

static void
meet_raw(const char *alpn)
{
	open_sockets();
	be_edge();
	if (!scene.raw_ctx) {
		scene.raw_ctx = SSL_CTX_new(TLS_client_method());
		SSL_CTX_set_psk_use_session_callback(scene.raw_ctx, use_psk);
		SSL_CTX_set_msg_callback(scene.raw_ctx, on_message);
	}
	raw_identity = span_of(preface, sizeof(preface));
	scene.raw = SSL_new(scene.raw_ctx);
	ck_assert_int_eq(SSL_set_fd(scene.raw, scene.client_fd), 1);
	SSL_set_connect_state(scene.raw);
	SSL_set_ciphersuites(scene.raw, "TLS_AES_128_GCM_SHA256");
	if (alpn)
		SSL_set_alpn_protos(
		    scene.raw, (const uint8_t *)alpn, (unsigned)strlen(alpn));
	memset(&seen, 0, sizeof(seen));
}

START_TEST(no_ticket_comes)
{
	enum io server, client;
	char buffer[16];

	meet_raw(OUR);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
	ck_assert_int_eq(client, IO_OK);
	ck_assert_int_eq(tls_write(scene.server, span_text("word")), IO_OK);
	ck_assert_int_eq(SSL_read(scene.raw, buffer, sizeof(buffer)), 4);
	ck_assert_uint_eq(seen.tickets, 0);
	ck_assert_int_eq(SSL_session_reused(scene.raw), 1);
}
END_TEST

static void
check_raw(enum io expected, uint8_t alert)
{
	enum io server, client;

	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, expected);
	if (expected == IO_ERROR) {
		ck_assert_uint_eq(tls_failure(scene.server)->alert, alert);
		ck_assert_ptr_null(tls_data_preface(scene.server));
	}
}

START_TEST(what_clients_offer)
{
	static const struct {
		const char *alpn;
		enum io expected;
		uint8_t alert;
	} cases[] = {
		{ OUR, IO_OK, 0 },
		{ NULL, IO_ERROR, 0 },
		{ "\2h2", IO_ERROR, 120 },
		{ OUR "\2h2", IO_ERROR, 120 },
		{ "\2h2" OUR, IO_ERROR, 120 },
		{ OUR OUR, IO_ERROR, 120 },
		{ "\x09lunette/1", IO_ERROR, 120 },
		{ "\x0dlunette-data/", IO_ERROR, 120 },
	};

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		meet_raw(cases[i].alpn);
		check_raw(cases[i].expected, cases[i].alert);
	}
	meet_raw(NULL);
	check_raw(IO_ERROR, 0);
	ck_assert_str_eq(tls_failure(scene.server)->detail,
	    "the peer does not speak our protocol");
}
END_TEST

START_TEST(identities_of_another_length)
{
	static uint8_t longer[DATA_PREFACE_BYTES + 1];

	memcpy(longer, preface, sizeof(preface));
	for (size_t len = 63; len <= 65; len++) {
		meet_raw(OUR);
		raw_identity = span_of(longer, len);
		check_raw(len == 64 ? IO_OK : IO_ERROR, 40);
		ck_assert_uint_eq(lookup.asked, len == 64);
	}
}
END_TEST

/* Its share is of a group that the edge does not take: the second hello has
 * the identity again, and the edge is asked for it twice. */
START_TEST(a_client_that_must_try_again)
{
	meet_raw(OUR);
	ck_assert_int_eq(SSL_set1_groups_list(scene.raw, "P-256:X25519"), 1);
	check_raw(IO_OK, 0);
	ck_assert_uint_eq(seen.retries, 1);
	ck_assert_uint_eq(lookup.asked, 2);
	ck_assert_mem_eq(
	    tls_data_preface(scene.server), preface, sizeof(preface));
}
END_TEST

START_TEST(clients_that_cannot)
{
	/* No group in common. */
	meet_raw(OUR);
	SSL_set1_groups_list(scene.raw, "P-256");
	check_raw(IO_ERROR, 40);
	/* Only the hash that the edge does not have. */
	meet_raw(OUR);
	raw_suite = "SHA384";
	SSL_set_ciphersuites(scene.raw, "TLS_AES_256_GCM_SHA384");
	check_raw(IO_ERROR, 40);
	/* A PSK of that hash, and suites of both: its binder is too long. */
	meet_raw(OUR);
	SSL_set_ciphersuites(
	    scene.raw, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256");
	check_raw(IO_ERROR, 50);
	/* An old version. */
	raw_suite = "SHA256";
	meet_raw(OUR);
	SSL_set_max_proto_version(scene.raw, TLS1_2_VERSION);
	check_raw(IO_ERROR, 70);
	/* No PSK: there is nothing else to go by. */
	meet_raw(OUR);
	SSL_set_psk_use_session_callback(scene.raw, NULL);
	check_raw(IO_ERROR, 40);
}
END_TEST

/* --- servers that are not ours --- */

static bool raw_finds;

static int
find_raw(
    SSL *ssl, const unsigned char *id, size_t id_len, SSL_SESSION **session)
{
	bool fits;

	ck_assert_uint_eq(id_len, sizeof(preface));
	ck_assert_mem_eq(id, preface, id_len);
	*session = raw_finds ? raw_session(ssl, "SHA256", NULL, &fits) : NULL;
	return 1;
}

static int
select_ours(SSL *ssl, const unsigned char **out, unsigned char *len,
    const unsigned char *offered, unsigned offered_len, void *arg)
{
	(void)ssl;
	(void)arg;
	ck_assert_uint_eq(offered_len, strlen(OUR));
	ck_assert_mem_eq(offered, OUR, offered_len);
	*out = offered + 1;
	*len = offered[0];
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *
raw_edge(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	SSL_CTX_set_psk_find_session_callback(ctx, find_raw);
	SSL_CTX_set_alpn_select_cb(ctx, select_ours, NULL);
	SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256");
	raw_finds = true;
	return ctx;
}

/* Our agent with such a server. */
static enum io
meet_raw_edge(SSL_CTX *ctx)
{
	SSL *server = SSL_new(ctx);
	enum io io = IO_AGAIN;

	open_sockets();
	be_agent();
	SSL_set_fd(server, scene.server_fd);
	SSL_set_accept_state(server);
	for (int i = 0; i < 20 && io == IO_AGAIN; i++) {
		io = tls_handshake(scene.client);
		SSL_do_handshake(server);
		ERR_clear_error();
	}
	if (io == IO_OK) {
		ck_assert_int_eq(
		    tls_write(scene.client, span_text("hello")), IO_OK);
		ck_assert_int_eq(SSL_read(server, (char[16]){ 0 }, 16), 5);
	} else {
		/* Not a byte, but what the library says of the failure. */
		SSL_do_handshake(server);
		ck_assert_int_ne(SSL_is_init_finished(server), 1);
	}
	SSL_free(server);
	SSL_CTX_free(ctx);
	return io;
}

START_TEST(another_edge_with_the_psk)
{
	ck_assert_int_eq(meet_raw_edge(raw_edge()), IO_OK);
}
END_TEST

static void
receive(struct bytes *b)
{
	ssize_t n = recv(scene.server_fd, b->data, sizeof(b->data), 0);

	ck_assert_int_gt(n, 0);
	b->len = (size_t)n;
}

/* RFC 8446 section 4.1.4, with a cookie: the agent has but one group. */
static void
ask_to_try_again(const struct bytes *hello, uint16_t suite)
{
	static const uint8_t random[] = {
		0xCF,
		0x21,
		0xAD,
		0x74,
		0xE5,
		0x9A,
		0x61,
		0x11,
		0xBE,
		0x1D,
		0x8C,
		0x02,
		0x1E,
		0x65,
		0xB8,
		0x91,
		0xC2,
		0xA2,
		0x11,
		0x16,
		0x7A,
		0xBB,
		0x8C,
		0x5E,
		0x07,
		0x9E,
		0x09,
		0xE2,
		0xC8,
		0xA8,
		0x33,
		0x9C,
	};
	static struct bytes b;

	b.len = 0;
	add_span(&b, BYTES("\x16\3\3\0\x5c\2\0\0\x58\3\3"));
	add_span(&b, span_of(random, sizeof(random)));
	ck_assert_uint_eq(hello->data[43], 32); /* the session id */
	add_span(&b, span_of(hello->data + 43, 33));
	add_u16(&b, suite);
	add_span(&b, BYTES("\0\0\x10\0\x2b\0\2\3\4\0\x2c\0\6\0\4cook"));
	ck_assert_int_eq(send(scene.server_fd, b.data, b.len, 0), b.len);
}

/* The hash of the suite is known then, where it was not before. */
START_TEST(an_edge_that_asks_to_try_again)
{
	static const uint16_t suites[] = { 0x1301, 0x1303 };
	static struct bytes first, second;

	open_sockets();
	be_agent();
	ck_assert_int_eq(tls_handshake(scene.client), IO_AGAIN);
	receive(&first);
	ask_to_try_again(&first, suites[_i]);
	ck_assert_int_eq(tls_handshake(scene.client), IO_AGAIN);
	receive(&second);
	ck_assert_ptr_nonnull(
	    memmem(second.data, second.len, BYTES("cook").data, 4));
	ck_assert_ptr_nonnull(
	    memmem(first.data, first.len, preface, sizeof(preface)));
	ck_assert_ptr_nonnull(
	    memmem(second.data, second.len, preface, sizeof(preface)));
}
END_TEST

START_TEST(an_edge_without_alpn)
{
	SSL_CTX *ctx = raw_edge();

	SSL_CTX_set_alpn_select_cb(ctx, NULL, NULL);
	ck_assert_int_eq(meet_raw_edge(ctx), IO_ERROR);
	ck_assert_str_eq(tls_failure(scene.client)->detail,
	    "the peer does not speak our protocol");
}
END_TEST

/* Whoever has a certificate, even one that others trust. */
START_TEST(an_edge_with_a_certificate_instead)
{
	SSL_CTX *ctx = raw_edge();
	struct made *leaf = make(
	    (struct recipe){ .issuer = scene.ca, .names = "DNS:edge.test" });

	raw_finds = false;
	SSL_CTX_use_certificate(ctx, leaf->x509);
	SSL_CTX_use_PrivateKey(ctx, leaf->key);
	ck_assert_int_eq(meet_raw_edge(ctx), IO_ERROR);
	ck_assert_int_eq(
	    tls_failure(scene.client)->fault, TLS_FAULT_CERTIFICATE_INVALID);
}
END_TEST

START_TEST(edges_that_cannot)
{
	SSL_CTX *ctx = raw_edge();

	SSL_CTX_set_ciphersuites(ctx, "TLS_AES_256_GCM_SHA384");
	ck_assert_int_eq(meet_raw_edge(ctx), IO_ERROR);
	ctx = raw_edge();
	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	ck_assert_int_eq(meet_raw_edge(ctx), IO_ERROR);
	ctx = raw_edge();
	SSL_CTX_set1_groups_list(ctx, "P-256");
	ck_assert_int_eq(meet_raw_edge(ctx), IO_ERROR);
}
END_TEST

/* --- key life --- */

START_TEST(keys_are_changed)
{
	static char text[1000 + 1];
	enum io server, client;
	char buffer[2048];
	unsigned updates = 0;

	memset(text, 'x', sizeof(text) - 1);
	meet_raw(OUR);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
	/* In 64 GiB, not before. */
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(
		    tls_write(scene.server, span_text(text)), IO_OK);
		ck_assert_int_eq(
		    SSL_read(scene.raw, buffer, sizeof(buffer)), 1000);
	}
	ck_assert_uint_eq(seen.key_updates, 0);
	tls_set_key_life(scene.server, 2500);
	for (int i = 1; i <= 12; i++) {
		ck_assert_int_eq(
		    tls_write(scene.server, span_text(text)), IO_OK);
		ck_assert_int_eq(
		    SSL_read(scene.raw, buffer, sizeof(buffer)), 1000);
		updates += i % 3 == 0; /* with the third thousand */
		ck_assert_uint_eq(seen.key_updates, updates);
	}
	/* Ours reads its own kind, and answers nothing. */
	greet();
	tls_set_key_life(scene.client, 2500);
	for (int i = 0; i < 100; i++)
		scene_say(scene.client, scene.server, text);
	scene_say(scene.server, scene.client, "still here");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, an_agent_and_an_edge);
	tcase_add_test(tcase, the_same_preface_again);
	tcase_add_test(tcase, names_to_ask_for);
	tcase_add_test(tcase, a_psk_that_is_wrong);
	tcase_add_test(tcase, a_preface_that_is_not_known);
	tcase_add_test(tcase, ends_are_told_apart);
	tcase_add_test(tcase, no_ticket_comes);
	tcase_add_test(tcase, what_clients_offer);
	tcase_add_test(tcase, identities_of_another_length);
	tcase_add_test(tcase, a_client_that_must_try_again);
	tcase_add_test(tcase, clients_that_cannot);
	tcase_add_test(tcase, another_edge_with_the_psk);
	tcase_add_loop_test(tcase, an_edge_that_asks_to_try_again, 0, 2);
	tcase_add_test(tcase, an_edge_without_alpn);
	tcase_add_test(tcase, an_edge_with_a_certificate_instead);
	tcase_add_test(tcase, edges_that_cannot);
	tcase_add_test(tcase, keys_are_changed);
}

UNIT_MAIN("data stream", add_tests)
