#include "tls/context.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tls/stream_private.h"

/* Authenticated encryption with forward secrecy only (RFC 7525bis, RFC 9325);
 * the cheaper AES first: the server's order counts. */
#define CIPHERS_1_2                                                  \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3                                      \
	"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:" \
	"TLS_CHACHA20_POLY1305_SHA256"

/* Hybrid key exchange where the library has it (OpenSSL 3.5). */
#define GROUPS "X25519:P-256:P-384"
#define GROUPS_HYBRID "X25519MLKEM768:" GROUPS

/* A chain of ten large certificates; what is longer is not worth parsing. */
#define PEER_CHAIN_MAX_BYTES (32 * 1024)
#define PEER_CHAIN_MAX_DEPTH 10

#define OPTIONS                                                          \
	(SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |               \
	    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | \
	    SSL_OP_NO_ANTI_REPLAY)
/*
 * NO_AUTO_CHAIN: the chain is what was configured; building one for each
 * handshake costs a search of the store. Not RELEASE_BUFFERS, which allocates
 * and frees for each record: the stream gives buffers back once a call.
 */
#define MODES                                                        \
	(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY | \
	    SSL_MODE_NO_AUTO_CHAIN)

static void
on_secret(const SSL *ssl, const char *line)
{
	struct tls_context *c = transport_context(ssl);
	char text[512];
	int len = snprintf(text, sizeof(text), "%s\n", line);

	/* One call a line: other threads write to the same file. What does
	 * not get there is missed by nobody but a debugger. */
	if (len > 0 && (size_t)len < sizeof(text) &&
	    write(c->keylog_fd, text, (size_t)len) < 0)
		return;
}

static void
on_message(int is_written, int version, int type, const void *data, size_t len,
    SSL *ssl, void *arg)
{
	struct tls_context *c = transport_context(ssl);
	const uint8_t *bytes = data;

	(void)version;
	(void)arg;
	if (!is_written && type == SSL3_RT_HANDSHAKE && len > 0 &&
	    bytes[0] == SSL3_MT_KEY_UPDATE && c->current)
		c->current->key_updates++;
}

static bool
set_groups(SSL_CTX *ctx)
{
	if (SSL_CTX_set1_groups_list(ctx, GROUPS_HYBRID) == 1)
		return true;
	ERR_clear_error();
	return SSL_CTX_set1_groups_list(ctx, GROUPS) == 1;
}

static SSL_CTX *
make(struct tls_context *c, const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx)
		return NULL;
	SSL_CTX_set_app_data(ctx, c);
	SSL_CTX_set_options(ctx, OPTIONS);
	SSL_CTX_set_mode(ctx, MODES);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_early_data(ctx, 0);
	/* Never asked for, but a client may have a ticket of whoever served the
	 * name before: RFC 8446 section 4.2.10 wants it skipped. */
	SSL_CTX_set_recv_max_early_data(ctx, SSL3_RT_MAX_PLAIN_LENGTH);
	SSL_CTX_set_max_cert_list(ctx, PEER_CHAIN_MAX_BYTES);
	SSL_CTX_set_verify_depth(ctx, PEER_CHAIN_MAX_DEPTH);
	SSL_CTX_set_security_level(ctx, 2);
	SSL_CTX_set_cert_verify_callback(ctx, verify_peer, c);
	SSL_CTX_set_info_callback(ctx, failure_note_alert);
	SSL_CTX_set_msg_callback(ctx, on_message);
	if (c->keylog_fd >= 0)
		SSL_CTX_set_keylog_callback(ctx, on_secret);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3) != 1 ||
	    !set_groups(ctx)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

SSL_CTX *
context_make(
    struct tls_context *c, const SSL_METHOD *method, prepare_function *prepare)
{
	SSL_CTX *ctx = make(c, method);

	if (ctx && prepare(ctx, c))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

static bool
fill(struct tls_context *c)
{
	c->server = context_make(c, TLS_server_method(), server_prepare);
	c->client = context_make(c, TLS_client_method(), client_prepare);
	c->sessions = sessions_new();
	c->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	c->hash = EVP_MD_CTX_new();
	return c->server && c->client && c->sessions && c->sha256 && c->hash &&
	       transport_init(c);
}

struct tls_context *
tls_context_new(struct tickets *tickets, int keylog_fd)
{
	struct tls_context *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->tickets = tickets;
	c->keylog_fd = keylog_fd;
	if (!fill(c)) {
		tls_context_free(c);
		c = NULL;
	}
	ERR_clear_error();
	return c;
}

void
tls_context_free(struct tls_context *c)
{
	if (!c)
		return;
	ASSERT(c->stream_count == 0);
	sessions_free(c->sessions);
	SSL_CTX_free(c->server);
	SSL_CTX_free(c->client);
	SSL_CTX_free(c->session_server);
	SSL_CTX_free(c->session_client);
	SSL_CTX_free(c->data_server);
	SSL_CTX_free(c->data_client);
	EVP_MD_free(c->sha256);
	EVP_MD_CTX_free(c->hash);
	transport_fini(c);
	free(c);
}

void
tls_context_forget_sessions(struct tls_context *c)
{
	sessions_clear(c->sessions);
}
