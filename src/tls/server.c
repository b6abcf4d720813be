#include "tls/stream_private.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <time.h>

/*
 * What we sign with, the cheapest first, and what we let clients sign with: no
 * SHA-1 anywhere.
 */
#define SIGNATURES                                                       \
	"ecdsa_secp256r1_sha256:ed25519:ecdsa_secp384r1_sha384:"         \
	"ecdsa_secp521r1_sha512:rsa_pss_rsae_sha256:rsa_pss_pss_sha256:" \
	"rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:rsa_pkcs1_sha256:"      \
	"rsa_pkcs1_sha384:rsa_pkcs1_sha512"

/* --- the hello --- */

/* The host name of a server_name extension (RFC 6066 section 3); OpenSSL has
 * not looked into it yet. False: not well formed, or no host name. */
static bool
read_name(const unsigned char *data, size_t len, struct host *name)
{
	if (len < 5 || (size_t)(data[0] << 8 | data[1]) != len - 2 ||
	    data[2] != TLSEXT_NAMETYPE_host_name ||
	    (size_t)(data[3] << 8 | data[4]) != len - 5)
		return false;
	return host_parse(span_of(data + 5, len - 5), name, NULL) == 0;
}

static bool
same_name(const struct host *a, const struct host *b)
{
	return span_equal(host_span(a), host_span(b));
}

/*
 * For each hello, the one after a HelloRetryRequest too: the name in it is the
 * one by which endpoint, policy and certificate were chosen.
 */
static int
on_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls_context *c = arg;
	struct handshake *h = c->current->handshake;
	struct host name = { .len = 0 };
	const unsigned char *data;
	size_t len;

	if (SSL_client_hello_get0_ext(
		ssl, TLSEXT_TYPE_server_name, &data, &len) == 1 &&
	    !read_name(data, len, &name))
		name.len = 0;
	if (same_name(&name, &h->name))
		return SSL_CLIENT_HELLO_SUCCESS;
	h->why = "the server name has changed";
	*alert = SSL_AD_ILLEGAL_PARAMETER;
	return SSL_CLIENT_HELLO_ERROR;
}

bool
server_name_is_judged(const struct tls_stream *s)
{
	const char *text;
	struct host name;

	if (!s->is_server || s->handshake->any_name)
		return true;
	text = SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name);
	if (!text)
		return s->handshake->name.len == 0;
	return host_parse(span_text(text), &name, NULL) == 0 &&
	       same_name(&name, &s->handshake->name);
}

/* RFC 6066: a server that uses the name says so. */
static int
on_name(SSL *ssl, int *alert, void *arg)
{
	struct tls_context *c = arg;

	(void)ssl;
	(void)alert;
	return c->current->handshake->name.len > 0 ? SSL_TLSEXT_ERR_OK
						   : SSL_TLSEXT_ERR_NOACK;
}

static const uint8_t *
find_protocol(struct span offered, const uint8_t *wanted)
{
	size_t size = (size_t)wanted[0] + 1;

	for (size_t at = 0; at < offered.len; at += offered.data[at] + 1u)
		if (offered.len - at >= size &&
		    !memcmp(offered.data + at, wanted, size))
			return offered.data + at;
	return NULL;
}

/* Our order counts. Strict (ALPACA): a client that speaks ALPN gets one of
 * ours or nothing. OpenSSL has checked the client's list. */
static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *offered, unsigned offered_len, void *arg)
{
	struct tls_context *c = arg;
	struct handshake *h = c->current->handshake;
	const uint8_t *found;

	(void)ssl;
	if (h->alpn_len == 0)
		return SSL_TLSEXT_ERR_NOACK;
	for (size_t at = 0; at < h->alpn_len; at += h->alpn[at] + 1u) {
		found =
		    find_protocol(span_of(offered, offered_len), h->alpn + at);
		if (found) {
			*out_len = found[0];
			*out = found + 1;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The staple of the certificate that OpenSSL has chosen; the client asked. */
static int
on_status(SSL *ssl, void *arg)
{
	struct tls_context *c = arg;
	const struct key_choice *keys = &c->current->handshake->keys;
	const X509 *chosen = SSL_get_certificate(ssl);
	uint8_t *der;
	size_t len;

	for (int i = 0; i < KEY_KIND_COUNT; i++) {
		struct certificate *one = keys->by_kind[i];

		if (!one || certificate_leaf(one) != chosen)
			continue;
		if (!certificate_staple_copy(one, time(NULL), &der, &len))
			break;
		if (SSL_set_tlsext_status_ocsp_resp(ssl, der, (long)len) == 1)
			return SSL_TLSEXT_ERR_OK;
		OPENSSL_free(der);
		break;
	}
	return SSL_TLSEXT_ERR_NOACK;
}

/* --- tickets --- */

/*
 * What a ticket remembers beside the session. Tickets are renewed when they are
 * used, so a session's age counts from its full handshake, which is kept here.
 * The sealed ticket is read only by those who have the key: other workers,
 * other edges with the same key file, this program in another version.
 */
struct ticket_data {
	uint8_t format;
	uint8_t name_len;
	uint8_t since[8];   /* full handshake, Unix seconds, big endian */
	uint8_t expires[8]; /* the client's leaf; 0: none */
	uint8_t name[HOST_MAX_BYTES];
};

#define TICKET_FORMAT 1
#define TICKET_FIXED_BYTES offsetof(struct ticket_data, name)

static void
put_time(uint8_t out[8], int64_t time)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)((uint64_t)time >> (56 - 8 * i));
}

static int64_t
get_time(const uint8_t in[8])
{
	uint64_t time = 0;

	for (int i = 0; i < 8; i++)
		time = time << 8 | in[i];
	return (int64_t)time;
}

/* Unix seconds, 0 without a certificate or for a time that nobody can read. */
static int64_t
leaf_expiry(const SSL *ssl)
{
	const X509 *leaf = SSL_get0_peer_certificate(ssl);
	struct tm tm;

	if (!leaf || ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &tm) != 1)
		return 0;
	return timegm(&tm);
}

static int
on_ticket_made(SSL *ssl, void *arg)
{
	struct tls_context *c = arg;
	struct handshake *h = c->current->handshake;
	SSL_SESSION *session = SSL_get_session(ssl);
	struct ticket_data data = { .format = TICKET_FORMAT };
	int64_t now = time(NULL), left;

	if (!SSL_session_reused(ssl) || h->since == 0)
		h->since = now;
	left = h->since + h->session_life_s - now;
	put_time(data.since, h->since);
	put_time(data.expires, leaf_expiry(ssl));
	data.name_len = h->name.len;
	memcpy(data.name, h->name.text, h->name.len);
	SSL_SESSION_set_timeout(session, left > 0 ? left : 1);
	return SSL_SESSION_set1_ticket_appdata(
	    session, &data, TICKET_FIXED_BYTES + data.name_len);
}

/* A session that may be taken up again now, here, under this name. */
static bool
is_usable(struct handshake *h, const struct ticket_data *data, size_t len)
{
	int64_t now = time(NULL), since, expires;

	if (len < TICKET_FIXED_BYTES || data->format != TICKET_FORMAT ||
	    len != TICKET_FIXED_BYTES + data->name_len)
		return false;
	since = get_time(data->since);
	expires = get_time(data->expires);
	if (since > now || now - since >= h->session_life_s ||
	    (expires != 0 && now > expires) ||
	    !span_equal(
		span_of(data->name, data->name_len), host_span(&h->name)))
		return false;
	h->since = since;
	return true;
}

static SSL_TICKET_RETURN
on_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *key_name,
    size_t key_name_len, SSL_TICKET_STATUS status, void *arg)
{
	struct tls_context *c = arg;
	struct handshake *h = c->current->handshake;
	void *data;
	size_t len;

	(void)key_name;
	(void)key_name_len;
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	if (SSL_SESSION_get0_ticket_appdata(session, &data, &len) != 1 ||
	    !is_usable(h, data, len))
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	/* A ticket of TLS 1.3 should be used once (RFC 8446 appendix C.4). */
	if (status == SSL_TICKET_SUCCESS_RENEW ||
	    SSL_version(ssl) == TLS1_3_VERSION)
		return SSL_TICKET_RETURN_USE_RENEW;
	return SSL_TICKET_RETURN_USE;
}

static int
on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv,
    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
	struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	return tickets_key(c->tickets, name, iv, cipher, mac, seal != 0);
}

bool
server_prepare_keys(SSL_CTX *ctx, struct tls_context *c)
{
	SSL_CTX_set_tlsext_status_cb(ctx, on_status);
	SSL_CTX_set_tlsext_status_arg(ctx, c);
	return SSL_CTX_set1_sigalgs_list(ctx, SIGNATURES) == 1 &&
	       SSL_CTX_set1_client_sigalgs_list(ctx, SIGNATURES) == 1;
}

bool
server_prepare(SSL_CTX *ctx, struct tls_context *c)
{
	SSL_CTX_set_client_hello_cb(ctx, on_hello, c);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
	SSL_CTX_set_tlsext_servername_arg(ctx, c);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, c);
	SSL_CTX_set_session_ticket_cb(ctx, on_ticket_made, on_ticket_opened, c);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket_key);
	return server_prepare_keys(ctx, c);
}

/* --- settings --- */

static bool
hash_text(EVP_MD_CTX *hash, struct span s)
{
	uint32_t len = (uint32_t)s.len;

	return EVP_DigestUpdate(hash, &len, sizeof(len)) == 1 &&
	       EVP_DigestUpdate(hash, s.data, s.len) == 1;
}

/* A session is good only where all this is the same. */
static bool
set_id_context(struct tls_stream *s, const struct tls_server_settings *settings,
    const uint8_t digest[TRUST_DIGEST_BYTES])
{
	struct tls_context *c = s->context;
	const uint32_t rest[] = { settings->auth, settings->min_version,
		settings->max_version };
	uint8_t id[SSL_MAX_SID_CTX_LENGTH];

	return EVP_DigestInit_ex2(c->hash, c->sha256, NULL) == 1 &&
	       hash_text(c->hash, span_text(settings->endpoint_id)) &&
	       EVP_DigestUpdate(c->hash, digest, TRUST_DIGEST_BYTES) == 1 &&
	       EVP_DigestUpdate(c->hash, rest, sizeof(rest)) == 1 &&
	       EVP_DigestFinal_ex(c->hash, id, NULL) == 1 &&
	       SSL_set_session_id_context(s->ssl, id, sizeof(id)) == 1;
}

bool
stream_use_keys(struct tls_stream *s, const struct key_choice *keys)
{
	struct key_choice *own = &s->handshake->keys;

	for (int i = 0; i < KEY_KIND_COUNT; i++) {
		if (!keys->by_kind[i])
			continue;
		own->by_kind[i] = certificate_get(keys->by_kind[i]);
		if (!stream_use(s, own->by_kind[i]))
			return false;
	}
	return true;
}

/* Takes `content`. */
static bool
ask_client(
    struct tls_stream *s, enum client_auth auth, struct trust_content *content)
{
	int mode = SSL_VERIFY_PEER;

	if (auth == CLIENT_AUTH_REQUIRE)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_set_verify(s->ssl, mode, NULL);
	SSL_set0_CA_list(s->ssl, content->names);
	s->verifies = true;
	return SSL_set0_verify_cert_store(s->ssl, content->store) == 1;
}

static bool
use_trust(struct tls_stream *s, const struct tls_server_settings *settings)
{
	struct trust_content content = { .store = NULL };

	if (settings->auth != CLIENT_AUTH_NONE) {
		/* Asked for and nobody to trust: that is nobody. */
		if (!settings->trust ||
		    !trust_take(settings->trust, true, &content) ||
		    !ask_client(s, settings->auth, &content))
			return false;
	}
	return set_id_context(s, settings, content.digest);
}

static void
set_tickets(struct tls_stream *s, const struct tls_server_settings *settings)
{
	struct handshake *h = s->handshake;

	h->session_life_s = settings->session_life_s;
	SSL_set_num_tickets(
	    s->ssl, settings->session_life_s && settings->wants_tickets);
	if (settings->session_life_s == 0)
		SSL_set_options(s->ssl, SSL_OP_NO_TICKET);
}

static bool
apply(struct tls_stream *s, const struct tls_server_settings *settings)
{
	struct handshake *h = s->handshake;

	if (settings->alpn.len > 0)
		memcpy(h->alpn, settings->alpn.data, settings->alpn.len);
	if (settings->name.len > 0 &&
	    host_parse(settings->name, &h->name, NULL) < 0)
		return false;
	set_tickets(s, settings);
	SSL_set_accept_state(s->ssl);
	return SSL_set_min_proto_version(s->ssl, settings->min_version) == 1 &&
	       SSL_set_max_proto_version(s->ssl, settings->max_version) == 1 &&
	       stream_use_keys(s, settings->keys) && use_trust(s, settings);
}

struct tls_stream *
tls_accept(
    struct tls_context *c, int fd, const struct tls_server_settings *settings)
{
	struct tls_stream *s = stream_new(c, c->server, fd, settings->alpn.len);

	if (!s)
		return NULL;
	s->is_server = true;
	if (!apply(s, settings)) {
		tls_free(s);
		s = NULL;
	}
	ERR_clear_error();
	return s;
}
