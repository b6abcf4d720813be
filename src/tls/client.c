#include "tls/stream_private.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

/* A session that may be used for the next stream like this one. */
static int
on_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_context *c = transport_context(ssl);

	if (!c->current || !c->current->session_key ||
	    SSL_SESSION_is_resumable(session) != 1)
		return 0;
	sessions_add(c->sessions, c->current->session_key, session);
	return 1;
}

bool
client_prepare(SSL_CTX *ctx, struct tls_context *c)
{
	(void)c;
	SSL_CTX_set_session_cache_mode(
	    ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	return true;
}

static bool
hash_field(EVP_MD_CTX *hash, struct span s)
{
	uint32_t len = (uint32_t)s.len;

	return EVP_DigestUpdate(hash, &len, sizeof(len)) == 1 &&
	       EVP_DigestUpdate(hash, s.data, s.len) == 1;
}

/* Everything that a session must not be carried over. */
static bool
make_session_key(struct tls_stream *s,
    const struct tls_client_settings *settings, struct span digest)
{
	struct tls_context *c = s->context;
	struct span own =
	    span_text(settings->certificate
			  ? certificate_fingerprint(settings->certificate)
			  : NULL);

	if (settings->address.len == 0)
		return true;
	s->session_key = malloc(SESSION_KEY_BYTES);
	return s->session_key &&
	       EVP_DigestInit_ex2(c->hash, c->sha256, NULL) == 1 &&
	       hash_field(c->hash, settings->address) &&
	       hash_field(c->hash, settings->server_name) &&
	       hash_field(c->hash, digest) && hash_field(c->hash, own) &&
	       hash_field(c->hash, settings->alpn) &&
	       EVP_DigestFinal_ex(c->hash, s->session_key, NULL) == 1;
}

static bool
resume(struct tls_stream *s)
{
	SSL_SESSION *session;
	bool good = true;

	if (!s->session_key)
		return true;
	session =
	    sessions_take(s->context->sessions, s->session_key, time(NULL));
	if (session)
		good = SSL_set_session(s->ssl, session) == 1;
	SSL_SESSION_free(session);
	return good;
}

static bool
is_address(const char *name)
{
	struct in6_addr scratch;

	return inet_pton(AF_INET, name, &scratch) == 1 ||
	       inet_pton(AF_INET6, name, &scratch) == 1;
}

bool
name_expect(X509_VERIFY_PARAM *expected, const char *name)
{
	if (is_address(name))
		return X509_VERIFY_PARAM_set1_ip_asc(expected, name) == 1;
	X509_VERIFY_PARAM_set_hostflags(
	    expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(expected, name, 0) == 1;
}

bool
name_copy(struct span name, char out[NAME_TEXT_SIZE])
{
	if (name.len >= NAME_TEXT_SIZE || memchr(name.data, '\0', name.len))
		return false;
	memcpy(out, name.data, name.len);
	out[name.len] = '\0';
	return true;
}

bool
client_expect_name(struct tls_stream *s, struct span name)
{
	char text[NAME_TEXT_SIZE];

	if (name.len == 0)
		return true;
	return name_copy(name, text) &&
	       name_expect(SSL_get0_param(s->ssl), text) &&
	       (is_address(text) ||
		   SSL_set_tlsext_host_name(s->ssl, text) == 1);
}

static bool
trust_and_resume(
    struct tls_stream *s, const struct tls_client_settings *settings)
{
	struct trust_content content = { .store = NULL };
	struct span digest = { .len = 0 };

	if (settings->trust) {
		if (!trust_take(settings->trust, false, &content) ||
		    SSL_set0_verify_cert_store(s->ssl, content.store) != 1)
			return false;
		s->verifies = true;
		SSL_set_verify(s->ssl, SSL_VERIFY_PEER, NULL);
		digest = span_of(content.digest, sizeof(content.digest));
	}
	return make_session_key(s, settings, digest) && resume(s);
}

static bool
apply(struct tls_stream *s, const struct tls_client_settings *settings)
{
	struct span alpn = settings->alpn;

	SSL_set_connect_state(s->ssl);
	/* Returns 0 for good, unlike the others. */
	if (alpn.len > 0 &&
	    SSL_set_alpn_protos(s->ssl, alpn.data, (unsigned)alpn.len) != 0)
		return false;
	if (settings->certificate && !stream_use(s, settings->certificate))
		return false;
	return client_expect_name(s, settings->server_name) &&
	       trust_and_resume(s, settings);
}

struct tls_stream *
tls_connect(
    struct tls_context *c, int fd, const struct tls_client_settings *settings)
{
	struct tls_stream *s = stream_new(c, c->client, fd, 0);

	if (!s)
		return NULL;
	s->handshake->holds_last_flight = settings->holds_last_flight;
	if (!apply(s, settings)) {
		tls_free(s);
		s = NULL;
	}
	ERR_clear_error();
	return s;
}
