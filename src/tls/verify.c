#include "tls/stream_private.h"

#include <openssl/core_names.h>

/* With OpenSSL's own limits a peer can make us check signatures of 16,384 bits
 * for as many certificates as its list holds. */
#define RSA_MAX_BITS 8192
#define CERTIFICATES_MAX 16

static bool
has_explicit_curve(const EVP_PKEY *key)
{
	int is_explicit = 0;

	return EVP_PKEY_get_int_param(key,
		   OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
		   &is_explicit) == 1 &&
	       is_explicit;
}

/* What is wrong with a key, before anything is computed with it; or NULL. */
static const char *
judge_key(const X509 *x)
{
	const EVP_PKEY *key = X509_get0_pubkey(x);

	if (!key)
		return "the key of a certificate is of an unknown kind";
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		if (EVP_PKEY_get_bits(key) > RSA_MAX_BITS)
			return "the key of a certificate is too large";
		return NULL;
	case EVP_PKEY_EC:
		if (has_explicit_curve(key))
			return "a certificate has an explicit curve";
		return NULL;
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		return NULL;
	default:
		return "the key of a certificate is of an unknown kind";
	}
}

static const char *
judge_keys(X509_STORE_CTX *store)
{
	STACK_OF(X509) *others = X509_STORE_CTX_get0_untrusted(store);
	const char *why = judge_key(X509_STORE_CTX_get0_cert(store));

	if (sk_X509_num(others) > CERTIFICATES_MAX)
		return "there are too many certificates";
	for (int i = 0; !why && i < sk_X509_num(others); i++)
		why = judge_key(sk_X509_value(others, i));
	return why;
}

/* The peer proves with its signature that the key of that leaf is its own. */
static bool
is_pinned(X509_STORE_CTX *store, struct handshake *h)
{
	const X509 *leaf = X509_STORE_CTX_get0_cert(store);
	uint8_t hash[EVP_MAX_MD_SIZE];

	if (X509_digest(leaf, EVP_sha256(), hash, NULL) == 1 &&
	    memcmp(hash, h->pin, sizeof(h->pin)) == 0)
		return true;
	h->why = "the certificate is not the pinned one";
	X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
	return false;
}

/*
 * The alert follows from the error that is left in `store`: OpenSSL's table
 * gives revoked 44, expired 45, unknown CA 48, wrong purpose 43 and 42 for the
 * rest of what a certificate may have wrong.
 */
int
verify_peer(X509_STORE_CTX *store, void *context)
{
	struct tls_context *c = context;
	struct tls_stream *s = c->current;
	struct handshake *h = s->handshake;

	if (!s->verifies)
		return 1;
	h->why = judge_keys(store);
	if (h->why)
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
	else if (h->has_pin ? is_pinned(store, h)
			    : X509_verify_cert(store) == 1)
		return 1;
	else if (X509_STORE_CTX_get_error(store) == X509_V_OK)
		X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
	h->refused = true;
	failure_note_leaf(s, X509_STORE_CTX_get0_cert(store));
	return 0;
}
