#include "tls/data_stream.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "tls/stream_private.h"

/* With SHA-384 in the list OpenSSL drops the PSK without a word: its hash must
 * be that of the cipher suite. */
#define CIPHERS "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519"

/* With its length in front, as on the wire. */
static const uint8_t protocols[] = "\x0e" DATA_ALPN;
#define PROTOCOLS_BYTES (sizeof(protocols) - 1)

struct data_part {
	data_find_function *find; /* edge only */
	void *arg;
	uint8_t preface[DATA_PREFACE_BYTES];
	uint8_t psk[SHA256_BYTES]; /* agent only, until the handshake is over */
	bool has_preface;
};

void
data_part_seal(struct data_part *d)
{
	if (!d)
		return;
	wipe(d->psk, sizeof(d->psk));
	d->find = NULL;
	d->arg = NULL;
}

void
data_part_free(struct data_part *d)
{
	data_part_seal(d);
	free(d);
}

const uint8_t *
tls_data_preface(const struct tls_stream *s)
{
	return s->done && s->data && s->data->has_preface ? s->data->preface
							  : NULL;
}

/* --- the PSK --- */

/* A new one for each call: OpenSSL takes it. NULL without memory. */
static SSL_SESSION *
make_session(SSL *ssl, const uint8_t psk[SHA256_BYTES])
{
	static const unsigned char aes_128_gcm_sha256[] = { 0x13, 0x01 };
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
	SSL_SESSION *session = SSL_SESSION_new();

	if (session && cipher &&
	    SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1 &&
	    SSL_SESSION_set_cipher(session, cipher) == 1 &&
	    SSL_SESSION_set1_master_key(session, psk, SHA256_BYTES) == 1)
		return session;
	SSL_SESSION_free(session);
	return NULL;
}

/* Of several that a client may offer OpenSSL takes the first that is found. */
static bool
find(struct data_part *d, struct span identity, uint8_t psk[SHA256_BYTES])
{
	struct data_preface p;

	if (identity.len != DATA_PREFACE_BYTES ||
	    data_preface_parse(identity, &p) != PARSE_OK ||
	    p.mode != DATA_TLS || !d->find(d->arg, identity.data, psk))
		return false;
	memcpy(d->preface, identity.data, sizeof(d->preface));
	d->has_preface = true;
	return true;
}

/*
 * For each identity of each hello, before the binder is checked. 0 would be
 * alert 80; without a session and without a certificate it is 40, whatever was
 * wrong with the preface.
 */
static int
on_find_session(
    SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **session)
{
	struct data_part *d = transport_context(ssl)->current->data;
	uint8_t psk[SHA256_BYTES];

	*session = NULL;
	if (find(d, span_of(identity, len), psk))
		*session = make_session(ssl, psk);
	wipe(psk, sizeof(psk));
	return 1;
}

/* `hash` is NULL for the first hello, and the suite's after a
 * HelloRetryRequest. Without a session the handshake goes on without a PSK, and
 * fails since nobody can give a certificate that we would take. */
static int
on_use_session(SSL *ssl, const EVP_MD *hash, const unsigned char **identity,
    size_t *len, SSL_SESSION **session)
{
	struct data_part *d = transport_context(ssl)->current->data;

	*session = NULL;
	if (hash && !EVP_MD_is_a(hash, "SHA256"))
		return 1;
	*session = make_session(ssl, d->psk);
	*identity = d->preface;
	*len = sizeof(d->preface);
	return *session != NULL;
}

/* --- contexts --- */

/* Exactly our protocol and no other beside it. */
static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *offered, unsigned offered_len, void *arg)
{
	(void)ssl;
	(void)arg;
	if (!span_equal(span_of(offered, offered_len),
		span_of(protocols, PROTOCOLS_BYTES)))
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = protocols + 1;
	*out_len = protocols[0];
	return SSL_TLSEXT_ERR_OK;
}

/* What one connection has to do with is over when it ends: no tickets. */
static bool
prepare(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	return SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
	       SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_ciphersuites(ctx, CIPHERS) == 1 &&
	       SSL_CTX_set1_groups_list(ctx, GROUPS) == 1;
}

static bool
prepare_server(SSL_CTX *ctx, struct tls_context *c)
{
	(void)c;
	SSL_CTX_set_psk_find_session_callback(ctx, on_find_session);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	return prepare(ctx);
}

/* The store stays empty. SSL_CTX_set_alpn_protos returns 0 for good. */
static bool
prepare_client(SSL_CTX *ctx, struct tls_context *c)
{
	(void)c;
	SSL_CTX_set_psk_use_session_callback(ctx, on_use_session);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return prepare(ctx) &&
	       SSL_CTX_set_alpn_protos(ctx, protocols, PROTOCOLS_BYTES) == 0;
}

static SSL_CTX *
server_context(struct tls_context *c)
{
	if (!c->data_server)
		c->data_server =
		    context_make(c, TLS_server_method(), prepare_server);
	return c->data_server;
}

static SSL_CTX *
client_context(struct tls_context *c)
{
	if (!c->data_client)
		c->data_client =
		    context_make(c, TLS_client_method(), prepare_client);
	return c->data_client;
}

/* --- streams --- */

static struct tls_stream *
make(struct tls_context *c, SSL_CTX *ctx, int fd)
{
	struct tls_stream *s = ctx ? stream_new(c, ctx, fd, 0) : NULL;

	if (!s)
		return NULL;
	s->handshake->any_name = true;
	s->handshake->needs_psk = true;
	s->handshake->needs_alpn = DATA_ALPN;
	tls_set_key_life(s, TLS_KEY_LIFE_BYTES);
	s->data = calloc(1, sizeof(*s->data));
	if (!s->data) {
		tls_free(s);
		return NULL;
	}
	return s;
}

struct tls_stream *
tls_data_accept(
    struct tls_context *c, int fd, data_find_function *find_psk, void *arg)
{
	struct tls_stream *s = make(c, server_context(c), fd);

	ERR_clear_error();
	if (!s)
		return NULL;
	s->is_server = true;
	s->data->find = find_psk;
	s->data->arg = arg;
	SSL_set_accept_state(s->ssl);
	return s;
}

struct tls_stream *
tls_data_connect(struct tls_context *c, int fd,
    const uint8_t preface[DATA_PREFACE_BYTES], const uint8_t psk[SHA256_BYTES],
    struct span server_name)
{
	struct tls_stream *s = make(c, client_context(c), fd);

	if (s && client_expect_name(s, server_name)) {
		s->verifies = true;
		memcpy(s->data->preface, preface, DATA_PREFACE_BYTES);
		memcpy(s->data->psk, psk, SHA256_BYTES);
		s->data->has_preface = true;
		SSL_set_connect_state(s->ssl);
	} else {
		tls_free(s);
		s = NULL;
	}
	ERR_clear_error();
	return s;
}
