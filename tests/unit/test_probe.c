/* Probes of servers that are OpenSSL's own, each in a thread. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "openssl_faults.h"
#include "tls/probe.h"
#include "tls_support.h"

#define PATIENCE_MS 20000

/* A server that may give up in the middle of its flight. */
struct server {
	pthread_t thread;
	SSL_CTX *ctx;
	int fd;
	/* TLS 1.2: an alert comes behind the message of this type; 0: never */
	uint8_t cut_behind;
	char name[64]; /* that was asked for */
};

static struct made *ca, *leaf;
static struct server server;
static int client_fd;
static struct probe_settings settings;
static struct probe seen;

/* The flight up to the end of that message, record by record. */
static size_t
flight_up_to(const uint8_t *data, size_t len, uint8_t type)
{
	size_t at = 0;

	while (at + 5 < len) {
		size_t end =
		    at + 5 + (size_t)(data[at + 3] << 8 | data[at + 4]);

		if (data[at] == SSL3_RT_HANDSHAKE && data[at + 5] == type)
			return end;
		at = end;
	}
	return len;
}

/* False: it has given up. */
static bool
send_flight(struct server *s, BIO *out)
{
	static const uint8_t alert[] = { 0x15, 3, 3, 0, 2, 2, 40 };
	char *data;
	size_t len = (size_t)BIO_get_mem_data(out, &data), part = len;
	bool goes_on = true;

	if (s->cut_behind != 0)
		part = flight_up_to((uint8_t *)data, len, s->cut_behind);
	if (send(s->fd, data, part, MSG_NOSIGNAL) != (ssize_t)part)
		goes_on = false;
	if (part < len) {
		goes_on = false;
		if (send(s->fd, alert, sizeof(alert), MSG_NOSIGNAL) < 0)
			return false;
	}
	(void)BIO_reset(out);
	return goes_on;
}

static void
note_name(struct server *s, const SSL *ssl)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	snprintf(s->name, sizeof(s->name), "%s", name ? name : "");
}

static void *
serve(void *arg)
{
	struct server *s = arg;
	SSL *ssl = SSL_new(s->ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	uint8_t buffer[16384];
	ssize_t n;

	SSL_set_bio(ssl, in, out);
	SSL_set_accept_state(ssl);
	while ((n = read(s->fd, buffer, sizeof(buffer))) > 0) {
		BIO_write(in, buffer, (int)n);
		SSL_do_handshake(ssl);
		note_name(s, ssl);
		if (!send_flight(s, out))
			break;
	}
	ERR_clear_error();
	shutdown(s->fd, SHUT_RDWR);
	SSL_free(ssl);
	return NULL;
}

static int
select_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
    const unsigned char *offered, unsigned offered_len, void *arg)
{
	(void)ssl;
	(void)offered_len;
	(void)arg;
	*out = offered + 1;
	*len = offered[0];
	return SSL_TLSEXT_ERR_OK;
}

static void
show(struct made *certificate, EVP_PKEY *key)
{
	SSL_CTX_free(server.ctx);
	server.ctx = SSL_CTX_new(TLS_server_method());
	ck_assert_ptr_nonnull(server.ctx);
	ck_assert_int_eq(
	    SSL_CTX_use_certificate(server.ctx, certificate->x509), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey(server.ctx, key), 1);
	ck_assert_int_eq(SSL_CTX_add1_chain_cert(server.ctx, ca->x509), 1);
	SSL_CTX_set_alpn_select_cb(server.ctx, select_alpn, NULL);
}

static void
setup(void)
{
	ca = make((struct recipe){ .ca = true, .common_name = "The \"CA\"" });
	leaf = make((struct recipe){
	    .issuer = ca, .common_name = "a.test", .names = "DNS:a.test" });
	server = (struct server){ .fd = -1 };
	show(leaf, leaf->key);
	settings =
	    (struct probe_settings){ .server_name = span_text("a.test") };
}

static void
teardown(void)
{
	SSL_CTX_free(server.ctx);
}

static int
run(void)
{
	int fds[2], result;

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	server.fd = fds[0];
	client_fd = fds[1];
	ck_assert_int_eq(fcntl(client_fd, F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(
	    pthread_create(&server.thread, NULL, serve, &server), 0);
	settings.deadline_ms = clock_ms() + PATIENCE_MS;
	UNDER_FAULTS(result = probe_run(client_fd, &settings, &seen));
	close(client_fd);
	pthread_join(server.thread, NULL);
	close(server.fd);
	return result;
}

static void
check_leaf(void)
{
	char hex[CERTIFICATE_FINGERPRINT_SIZE] = "";
	uint8_t hash[32];

	X509_digest(leaf->x509, EVP_sha256(), hash, NULL);
	for (size_t i = 0; i < sizeof(hash); i++)
		snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	ck_assert(seen.has_leaf);
	ck_assert_str_eq(seen.fingerprint, hex);
	ck_assert_str_eq(seen.subject, "CN=a.test");
	ck_assert_str_eq(seen.issuer, "CN=The \\\"CA\\\"");
	ck_assert_int_lt(seen.not_before, time(NULL));
	ck_assert_int_gt(seen.not_after, time(NULL) + 80 * MADE_DAY);
}

static void
check_nothing(void)
{
	ck_assert(!seen.has_leaf && !seen.done && !seen.chain);
	ck_assert_str_eq(seen.fingerprint, "");
}

START_TEST(what_a_server_shows)
{
	static const uint8_t alpn[] = "\x09lunette/1";
	uint16_t version = _i ? TLS_VERSION_1_3 : TLS_VERSION_1_2;

	settings.max_version = _i ? 0 : version;
	ck_assert_int_eq(run(), 0);
	ck_assert(seen.done);
	ck_assert_uint_eq(seen.version, version);
	ck_assert_str_eq(seen.alpn, "");
	ck_assert_str_eq(server.name, "a.test");
	check_leaf();
	probe_fini(&seen);
	probe_fini(&seen);
	settings.alpn = span_of(alpn, 10);
	settings.server_name = span_text("192.0.2.1");
	ck_assert_int_eq(run(), 0);
	ck_assert_str_eq(seen.alpn, "lunette/1");
	ck_assert_str_eq(server.name, "");
	probe_fini(&seen);
}
END_TEST

/* With TLS 1.2 the server gives up, but has signed before. */
START_TEST(a_server_that_asks_for_a_certificate)
{
	SSL_CTX_set_verify(server.ctx,
	    SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	settings.max_version = _i ? TLS_VERSION_1_3 : TLS_VERSION_1_2;
	ck_assert_int_eq(run(), 0);
	ck_assert_int_eq(seen.done, _i);
	if (!_i)
		ck_assert_int_eq(seen.fault, TLS_FAULT_ALERT_RECEIVED);
	check_leaf();
	probe_fini(&seen);
}
END_TEST

/* Somebody in between lets a server's certificate through, and gives up before
 * the signature that he could not make. */
START_TEST(a_certificate_alone_proves_nothing)
{
	settings.max_version = TLS_VERSION_1_2;
	server.cut_behind = SSL3_MT_CERTIFICATE;
	ck_assert_int_eq(run(), 0);
	ck_assert_int_eq(seen.fault, TLS_FAULT_ALERT_RECEIVED);
	ck_assert_uint_eq(seen.alert, 40);
	check_nothing();
	/* So that this test can fail. */
	server.cut_behind = SSL3_MT_SERVER_KEY_EXCHANGE;
	ck_assert_int_eq(run(), 0);
	check_leaf();
	probe_fini(&seen);
}
END_TEST

/* The public half of one key and the private half of another. */
static EVP_PKEY *
cross(EVP_PKEY *public, EVP_PKEY *private)
{
	OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	uint8_t point[256];
	EVP_PKEY *made = NULL;
	BIGNUM *n = NULL;
	size_t len;

	EVP_PKEY_get_octet_string_param(
	    public, "pub", point, sizeof(point), &len);
	EVP_PKEY_get_bn_param(private, "priv", &n);
	OSSL_PARAM_BLD_push_utf8_string(b, "group", "prime256v1", 0);
	OSSL_PARAM_BLD_push_octet_string(b, "pub", point, len);
	OSSL_PARAM_BLD_push_BN(b, "priv", n);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);

	EVP_PKEY_fromdata_init(c);
	EVP_PKEY_fromdata(c, &made, EVP_PKEY_KEYPAIR, params);
	ck_assert_ptr_nonnull(made);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(b);
	EVP_PKEY_CTX_free(c);
	BN_free(n);
	return made;
}

START_TEST(a_signature_of_another_key)
{
	EVP_PKEY *other = make_key(MADE_P256);
	EVP_PKEY *wrong = cross(leaf->key, other);

	show(leaf, wrong);
	settings.max_version = _i ? TLS_VERSION_1_3 : TLS_VERSION_1_2;
	ck_assert_int_eq(run(), 0);
	ck_assert_int_eq(seen.fault, TLS_FAULT_PROTOCOL);
	ck_assert_uint_eq(seen.alert, 51);
	check_nothing();
	EVP_PKEY_free(wrong);
}
END_TEST

START_TEST(versions_that_do_not_meet)
{
	SSL_CTX_set_min_proto_version(server.ctx, TLS1_3_VERSION);
	settings.max_version = TLS_VERSION_1_2;
	ck_assert_int_eq(run(), 0);
	ck_assert_int_eq(seen.fault, TLS_FAULT_ALERT_RECEIVED);
	ck_assert_uint_eq(seen.alert, 70);
	ck_assert_str_eq(seen.detail, "alert 70, protocol_version");
	check_nothing();
}
END_TEST

START_TEST(a_server_that_says_nothing)
{
	int fds[2];

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	settings.deadline_ms = clock_ms() + 20;
	ck_assert_int_eq(probe_run(fds[1], &settings, &seen), 0);
	ck_assert_int_eq(seen.fault, TLS_FAULT_NONE);
	ck_assert_str_eq(seen.detail, "no handshake in time");
	check_nothing();
	close(fds[0]);
	settings.deadline_ms = clock_ms() + PATIENCE_MS;
	ck_assert_int_eq(probe_run(fds[1], &settings, &seen), 0);
	ck_assert(
	    seen.fault == TLS_FAULT_CLOSED || seen.fault == TLS_FAULT_RESET);
	check_nothing();
	close(fds[1]);
}
END_TEST

/* --- whom it comes from --- */

static struct trust *
trust_of(const struct made *made)
{
	char storage[256];
	struct text error;
	struct trust *t;

	text_init(&error, storage, sizeof(storage));
	t = trust_parse(span_text(made->crt), &error);
	ck_assert_msg(t != NULL, "%s", error.data);
	return t;
}

static void
check_checked(const struct made *by, const char *name, const char *why)
{
	struct trust *t = trust_of(by);
	char storage[256];
	struct text error;
	int result;

	text_init(&error, storage, sizeof(storage));
	result = probe_check(&seen, t, span_text(name), &error);
	ck_assert_str_eq(error.data, why);
	ck_assert_int_eq(result, why[0] == '\0' ? 0 : -1);
	trust_put(t);
}

START_TEST(whom_it_comes_from)
{
	struct made *other = make((struct recipe){ .ca = true });

	check_checked(ca, "a.test", "no certificate");
	ck_assert_int_eq(run(), 0);
	check_checked(ca, "a.test", "");
	check_checked(ca, "", "");
	check_checked(ca, "b.test", "hostname mismatch");
	check_checked(ca, "192.0.2.1", "IP address mismatch");
	check_checked(
	    other, "a.test", "self-signed certificate in certificate chain");
	probe_fini(&seen);
	leaf = make((struct recipe){ .issuer = ca,
	    .names = "DNS:a.test",
	    .not_before = -2 * MADE_DAY,
	    .not_after = -MADE_DAY });
	show(leaf, leaf->key);
	ck_assert_int_eq(run(), 0);
	check_checked(ca, "a.test", "certificate has expired");
	probe_fini(&seen);
}
END_TEST

/* --- memory --- */

/* OpenSSL calls some of its failures by other names. */
START_TEST(without_memory)
{
	unsigned failures = 0;

	for (unsigned n = 1; OPENSSL_FAULTS && n < 100000; n += 1 + n / 16) {
		fault_set(&openssl_fault, n, ENOMEM);
		if (run() < 0) {
			check_zeros(&seen, sizeof(seen));
			failures++;
		}
		if (seen.has_leaf)
			check_leaf();
		probe_fini(&seen);
		if (atomic_load(&openssl_fault.hits) == 0)
			break;
	}
	fault_set(&openssl_fault, 0, 0);
	ck_assert(!OPENSSL_FAULTS || failures > 10);
	ck_assert_int_eq(run(), 0);
	check_leaf();
	probe_fini(&seen);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, what_a_server_shows, 0, 2);
	tcase_add_loop_test(tcase, a_server_that_asks_for_a_certificate, 0, 2);
	tcase_add_test(tcase, a_certificate_alone_proves_nothing);
	tcase_add_loop_test(tcase, a_signature_of_another_key, 0, 2);
	tcase_add_test(tcase, versions_that_do_not_meet);
	tcase_add_test(tcase, a_server_that_says_nothing);
	tcase_add_test(tcase, whom_it_comes_from);
	tcase_add_test(tcase, without_memory);
}

UNIT_MAIN("probe", add_tests)
