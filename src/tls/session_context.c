#include "tls/session_context.h"

#include <openssl/err.h>

#include "tls/stream_private.h"

/* With its length in front, as on the wire. */
static const uint8_t protocols[] = "\x09" SESSION_ALPN;
#define PROTOCOLS_BYTES (sizeof(protocols) - 1)

/* A client that speaks ALPN speaks ours or nothing (ALPACA); without ALPN it is
 * an SDK. OpenSSL has checked the list. */
static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *offered, unsigned offered_len, void *arg)
{
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, protocols, PROTOCOLS_BYTES,
		offered, offered_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static bool
prepare_server(SSL_CTX *ctx, struct tls_context *c)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	return SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
	       server_prepare_keys(ctx, c);
}

/* SSL_CTX_set_alpn_protos returns 0 for good, unlike the others. */
static bool
prepare_client(SSL_CTX *ctx, struct tls_context *c)
{
	(void)c;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_alpn_protos(ctx, protocols, PROTOCOLS_BYTES) == 0;
}

static SSL_CTX *
server_context(struct tls_context *c)
{
	if (!c->session_server)
		c->session_server =
		    context_make(c, TLS_server_method(), prepare_server);
	return c->session_server;
}

static SSL_CTX *
client_context(struct tls_context *c)
{
	if (!c->session_client)
		c->session_client =
		    context_make(c, TLS_client_method(), prepare_client);
	return c->session_client;
}

/* --- the edge --- */

static bool
apply_server(struct tls_stream *s, const struct key_choice *keys)
{
	s->is_server = true;
	s->handshake->any_name = true;
	SSL_set_accept_state(s->ssl);
	tls_set_key_life(s, TLS_KEY_LIFE_BYTES);
	return stream_use_keys(s, keys);
}

struct tls_stream *
tls_session_accept(struct tls_context *c, int fd, const struct key_choice *keys)
{
	SSL_CTX *ctx = server_context(c);
	struct tls_stream *s = ctx ? stream_new(c, ctx, fd, 0) : NULL;

	if (s && !apply_server(s, keys)) {
		tls_free(s);
		s = NULL;
	}
	ERR_clear_error();
	return s;
}

/* --- the agent --- */

static bool
use_trust(struct tls_stream *s, const struct tls_session_settings *settings)
{
	struct trust_content content;

	s->verifies = true;
	if (settings->pin) {
		s->handshake->has_pin = true;
		memcpy(s->handshake->pin, settings->pin, SESSION_PIN_BYTES);
		return true;
	}
	/* Nobody to trust, or any name, would be everybody. */
	ASSERT(settings->trust);
	return settings->server_name.len > 0 &&
	       trust_take(settings->trust, false, &content) &&
	       SSL_set0_verify_cert_store(s->ssl, content.store) == 1;
}

static bool
apply_client(struct tls_stream *s, const struct tls_session_settings *settings)
{
	s->handshake->needs_alpn = SESSION_ALPN;
	SSL_set_connect_state(s->ssl);
	tls_set_key_life(s, TLS_KEY_LIFE_BYTES);
	return client_expect_name(s, settings->server_name) &&
	       use_trust(s, settings);
}

struct tls_stream *
tls_session_connect(
    struct tls_context *c, int fd, const struct tls_session_settings *settings)
{
	SSL_CTX *ctx = client_context(c);
	struct tls_stream *s = ctx ? stream_new(c, ctx, fd, 0) : NULL;

	if (s && !apply_client(s, settings)) {
		tls_free(s);
		s = NULL;
	}
	ERR_clear_error();
	return s;
}
