#include "tls/stream_private.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>

static const struct {
	int type, hash;
	const char *scheme;
} schemes[] = {
	{ EVP_PKEY_EC, NID_sha256, "ecdsa_secp256r1_sha256" },
	{ EVP_PKEY_EC, NID_sha384, "ecdsa_secp384r1_sha384" },
	{ EVP_PKEY_EC, NID_sha512, "ecdsa_secp521r1_sha512" },
	{ EVP_PKEY_ED25519, NID_undef, "ed25519" },
	{ EVP_PKEY_ED448, NID_undef, "ed448" },
	{ EVP_PKEY_RSA_PSS, NID_sha256, "rsa_pss_rsae_sha256" },
	{ EVP_PKEY_RSA_PSS, NID_sha384, "rsa_pss_rsae_sha384" },
	{ EVP_PKEY_RSA_PSS, NID_sha512, "rsa_pss_rsae_sha512" },
	{ EVP_PKEY_RSA, NID_sha256, "rsa_pkcs1_sha256" },
	{ EVP_PKEY_RSA, NID_sha384, "rsa_pkcs1_sha384" },
	{ EVP_PKEY_RSA, NID_sha512, "rsa_pkcs1_sha512" },
};

/* As in the registry of IANA. */
static const struct {
	int nid;
	const char *name;
} groups[] = {
	{ NID_X25519, "x25519" },
	{ NID_X9_62_prime256v1, "secp256r1" },
	{ NID_secp384r1, "secp384r1" },
	{ NID_secp521r1, "secp521r1" },
	{ NID_X448, "x448" },
};

static const char *
scheme_name(int type, int hash)
{
	for (size_t i = 0; i < ARRAY_COUNT(schemes); i++)
		if (schemes[i].type == type &&
		    (schemes[i].hash == hash || schemes[i].hash == NID_undef))
			return schemes[i].scheme;
	return NULL;
}

static const char *
group_name(SSL *ssl)
{
	int nid = (int)SSL_get_negotiated_group(ssl);

	for (size_t i = 0; i < ARRAY_COUNT(groups); i++)
		if (groups[i].nid == nid)
			return groups[i].name;
	return nid > 0 ? SSL_group_to_name(ssl, nid) : NULL;
}

/* As in peer.h: "RSA2048", "EC256", "ED25519". */
void
facts_note(struct tls_stream *s)
{
	const X509 *own = s->is_server ? SSL_get_certificate(s->ssl) : NULL;
	const EVP_PKEY *key = own ? X509_get0_pubkey(own) : NULL;
	const char *kind;

	if (!key || SSL_session_reused(s->ssl))
		return;
	s->server_signature = OBJ_nid2sn(X509_get_signature_nid(own));
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_ED25519:
		snprintf(s->server_key, sizeof(s->server_key), "ED25519");
		return;
	case EVP_PKEY_EC:
		kind = "EC";
		break;
	default:
		kind = "RSA";
	}
	snprintf(s->server_key, sizeof(s->server_key), "%s%d", kind,
	    EVP_PKEY_get_bits(key));
}

static void
tell_signatures(SSL *ssl, struct tls_facts *out)
{
	int type, hash = NID_undef;

	if (SSL_get_peer_signature_type_nid(ssl, &type) == 1) {
		SSL_get_peer_signature_nid(ssl, &hash);
		out->peer_signature = scheme_name(type, hash);
	}
	hash = NID_undef;
	if (SSL_get_signature_type_nid(ssl, &type) == 1) {
		SSL_get_signature_nid(ssl, &hash);
		out->signature = scheme_name(type, hash);
	}
}

static bool
has_verified_peer(const struct tls_stream *s)
{
	return s->verifies && SSL_get_verify_result(s->ssl) == X509_V_OK &&
	       SSL_get0_peer_certificate(s->ssl);
}

void
tls_facts(const struct tls_stream *s, struct tls_facts *out)
{
	const unsigned char *alpn;
	unsigned alpn_len;

	*out = (struct tls_facts){ .version = 0 };
	if (!s->done)
		return;
	out->version = (uint16_t)SSL_version(s->ssl);
	out->version_name = SSL_get_version(s->ssl);
	out->cipher_suite =
	    SSL_CIPHER_standard_name(SSL_get_current_cipher(s->ssl));
	out->cipher_name = SSL_get_cipher_name(s->ssl);
	out->group = group_name(s->ssl);
	SSL_get0_alpn_selected(s->ssl, &alpn, &alpn_len);
	out->alpn = span_of(alpn, alpn_len);
	out->resumed = SSL_session_reused(s->ssl) == 1;
	out->peer_verified = has_verified_peer(s);
	if (!out->resumed)
		tell_signatures(s->ssl, out);
	if (s->server_key[0] != '\0')
		out->server_key = s->server_key;
	out->server_signature = s->server_signature;
}

const struct peer *
tls_peer(struct tls_stream *s)
{
	if (!s->peer && s->done && has_verified_peer(s))
		s->peer = peer_from_x509(SSL_get0_peer_certificate(s->ssl));
	return s->peer;
}

int
tls_peer_sha256(const struct tls_stream *s, uint8_t out[SHA256_BYTES])
{
	memset(out, 0, SHA256_BYTES);
	if (!s->done || !has_verified_peer(s))
		return -ENOENT;
	if (X509_digest(SSL_get0_peer_certificate(s->ssl), EVP_sha256(), out,
		NULL) == 1)
		return 0;
	ERR_clear_error();
	memset(out, 0, SHA256_BYTES);
	return -ENOMEM;
}

int
tls_export(const struct tls_stream *s, const char *label,
    const struct span *context, uint8_t *out, size_t len)
{
	ASSERT(s->done);
	if (SSL_export_keying_material(s->ssl, out, len, label, strlen(label),
		context ? context->data : NULL, context ? context->len : 0,
		context != NULL) == 1)
		return 0;
	ERR_clear_error();
	memset(out, 0, len);
	return -ENOMEM;
}
