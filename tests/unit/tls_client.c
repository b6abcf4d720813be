#include "tls_client.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

static void
on_info(const SSL *ssl, int where, int value)
{
	struct tls_end *t = SSL_get_app_data(ssl);

	if (where == SSL_CB_READ_ALERT && (value >> 8) == SSL3_AL_FATAL)
		t->alert = value & 0xff;
}

static void
show(SSL *ssl, const struct tls_wish *w)
{
	if (!w->certificate)
		return;
	ck_assert_int_eq(SSL_use_certificate(ssl, w->certificate->x509), 1);
	ck_assert_int_eq(SSL_use_PrivateKey(ssl, w->certificate->key), 1);
	if (w->chain)
		ck_assert_int_eq(SSL_add1_chain_cert(ssl, w->chain->x509), 1);
}

static void
begin(struct tls_end *t, int fd, SSL_CTX *ctx, const struct tls_wish *w)
{
	t->fd = fd;
	t->alert = -1;
	t->ssl = SSL_new(ctx);
	ck_assert_ptr_nonnull(t->ssl);
	SSL_CTX_free(ctx);
	SSL_set_app_data(t->ssl, t);
	SSL_set_info_callback(t->ssl, on_info);
	SSL_set_fd(t->ssl, fd);
	if (w->version) {
		SSL_set_min_proto_version(t->ssl, w->version);
		SSL_set_max_proto_version(t->ssl, w->version);
	}
	if (w->ca) {
		X509_STORE *store = X509_STORE_new();

		X509_STORE_add_cert(store, w->ca->x509);
		SSL_set0_verify_cert_store(t->ssl, store);
		SSL_set_verify(t->ssl,
		    SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	}
	show(t->ssl, w);
}

static bool
shake_hands(struct tls_end *t)
{
	ERR_clear_error();
	return SSL_do_handshake(t->ssl) == 1;
}

bool
tls_end_connect(struct tls_end *t, int fd, struct tls_wish w)
{
	uint8_t protocol[64];

	begin(t, fd, SSL_CTX_new(TLS_client_method()), &w);
	if (w.name)
		SSL_set_tlsext_host_name(t->ssl, w.name);
	if (w.alpn) {
		protocol[0] = (uint8_t)strlen(w.alpn);
		memcpy(protocol + 1, w.alpn, protocol[0]);
		SSL_set_alpn_protos(t->ssl, protocol, protocol[0] + 1u);
	}
	if (w.session)
		SSL_set_session(t->ssl, w.session);
	SSL_set_connect_state(t->ssl);
	return shake_hands(t);
}

bool
tls_end_accept(struct tls_end *t, int fd, struct tls_wish w)
{
	begin(t, fd, SSL_CTX_new(TLS_server_method()), &w);
	if (w.request)
		SSL_set_verify(t->ssl, SSL_VERIFY_PEER, NULL);
	SSL_set_accept_state(t->ssl);
	return shake_hands(t);
}

void
tls_end_send(struct tls_end *t, const char *text)
{
	int len = (int)strlen(text);

	ck_assert_int_eq(SSL_write(t->ssl, text, len), len);
}

void
tls_end_expect(struct tls_end *t, const char *text)
{
	char got[512];
	size_t wanted = strlen(text), len = 0;

	ck_assert_uint_lt(wanted, sizeof(got));
	while (len < wanted) {
		int n = SSL_read(t->ssl, got + len, (int)(wanted - len));

		ck_assert_msg(n > 0, "read: error %d, alert %d",
		    SSL_get_error(t->ssl, n), t->alert);
		len += (size_t)n;
	}
	ck_assert_mem_eq(got, text, wanted);
}

static int
read_nothing(struct tls_end *t)
{
	char byte;
	int n;

	ERR_clear_error();
	errno = 0;
	n = SSL_read(t->ssl, &byte, 1);
	ck_assert_msg(n <= 0, "got a byte: %02x", (unsigned char)byte);
	return SSL_get_error(t->ssl, n);
}

void
tls_end_expect_close(struct tls_end *t)
{
	ck_assert_int_eq(read_nothing(t), SSL_ERROR_ZERO_RETURN);
}

void
tls_end_expect_truncation(struct tls_end *t)
{
	ck_assert_int_eq(read_nothing(t), SSL_ERROR_SSL);
	ck_assert_int_eq(ERR_GET_REASON(ERR_peek_last_error()),
	    SSL_R_UNEXPECTED_EOF_WHILE_READING);
}

int
tls_end_expect_alert(struct tls_end *t)
{
	if (t->alert < 0)
		(void)read_nothing(t);
	return t->alert;
}

SSL_SESSION *
tls_end_session(struct tls_end *t)
{
	SSL_SESSION *session = SSL_get1_session(t->ssl);

	ck_assert_ptr_nonnull(session);
	ck_assert(SSL_SESSION_is_resumable(session));
	return session;
}

void
tls_end_finish(struct tls_end *t)
{
	SSL_shutdown(t->ssl);
	shutdown(t->fd, SHUT_WR);
}

void
tls_end_cut(struct tls_end *t)
{
	shutdown(t->fd, SHUT_WR);
}

void
tls_end_free(struct tls_end *t)
{
	/* Not shut down, it would take its session out of use. */
	SSL_set_quiet_shutdown(t->ssl, 1);
	SSL_shutdown(t->ssl);
	SSL_free(t->ssl);
	close(t->fd);
}
