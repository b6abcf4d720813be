#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/x509v3.h>

#include "base/hash.h"
#include "tls/private.h"

#define DAY_S 86400
/* Clocks of clients are behind. */
#define BACKDATED_S 3600
#define CA_DAYS 3650
/* Browsers take at most 398 days; a short life needs no revocation. */
#define LEAF_DAYS 90
#define SERIAL_BYTES 16
/* ub-common-name, RFC 5280 appendix A.1: a longer one breaks some clients. */
#define COMMON_NAME_MAX_BYTES 64

struct extension {
	int nid;
	const char *value;
};

/* Of a root that signs servers' certificates only, and no other CA. */
static const struct extension ca_extensions[] = {
	{ NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
	{ NID_key_usage, "critical,keyCertSign,cRLSign" },
	{ NID_ext_key_usage, "serverAuth" },
	{ NID_subject_key_identifier, "hash" },
};

static const struct extension leaf_extensions[] = {
	{ NID_basic_constraints, "critical,CA:FALSE" },
	{ NID_key_usage, "critical,digitalSignature" },
	{ NID_ext_key_usage, "serverAuth" },
	{ NID_subject_key_identifier, "hash" },
	{ NID_authority_key_identifier, "keyid:always" },
};

EVP_PKEY *
signing_new_key(void)
{
	return EVP_EC_gen("P-256");
}

/* RFC 5280 section 4.1.2.2: positive, and not to be guessed. */
static bool
set_serial(X509 *x)
{
	uint8_t bytes[SERIAL_BYTES];
	BIGNUM *number;
	bool is_set;

	random_bytes(bytes, sizeof(bytes));
	bytes[0] = (bytes[0] & 0x7f) | 0x40;
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	is_set = number &&
		 BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) != NULL;
	BN_free(number);
	return is_set;
}

static bool
set_times(X509 *x, int64_t now, int64_t end)
{
	return ASN1_TIME_set(X509_getm_notBefore(x), now - BACKDATED_S) &&
	       ASN1_TIME_set(X509_getm_notAfter(x), end);
}

static bool
add_name_entry(X509_NAME *subject, const char *field, struct span value)
{
	return X509_NAME_add_entry_by_txt(subject, field, MBSTRING_ASC,
		   value.data, (int)value.len, -1, 0) == 1;
}

/* Only literals pass through OpenSSL's language of extensions. */
static bool
add_extensions(
    X509 *x, X509 *issuer, const struct extension *list, size_t count)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	for (size_t i = 0; i < count; i++) {
		X509_EXTENSION *e =
		    X509V3_EXT_conf_nid(NULL, &ctx, list[i].nid, list[i].value);
		bool is_added = e && X509_add_ext(x, e, -1) == 1;

		X509_EXTENSION_free(e);
		if (!is_added)
			return false;
	}
	return true;
}

static GENERAL_NAME *
new_dns_name(struct span name)
{
	GENERAL_NAME *general = GENERAL_NAME_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();

	if (general && text &&
	    ASN1_STRING_set(text, name.data, (int)name.len) == 1) {
		GENERAL_NAME_set0_value(general, GEN_DNS, text);
		return general;
	}
	ASN1_IA5STRING_free(text);
	GENERAL_NAME_free(general);
	return NULL;
}

/*
 * The name goes into a structure, not into a string that is read again: there a
 * comma would add names (HAProxy, May 2026). Critical where there is no subject
 * beside it (RFC 5280 section 4.2.1.6).
 */
static bool
add_alternative_name(X509 *x, struct span name, bool is_critical)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	GENERAL_NAME *one = new_dns_name(name);
	bool is_added = false;

	if (names && one && sk_GENERAL_NAME_push(names, one) > 0) {
		one = NULL;
		is_added = X509_add1_ext_i2d(x, NID_subject_alt_name, names,
			       is_critical, X509V3_ADD_DEFAULT) == 1;
	}
	GENERAL_NAME_free(one);
	GENERAL_NAMES_free(names);
	return is_added;
}

static bool
sign(X509 *x, EVP_PKEY *key)
{
	const EVP_MD *md = EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();

	return X509_sign(x, key, md) > 0;
}

static X509 *
new_certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();

	if (x && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
	    X509_set_pubkey(x, key) == 1)
		return x;
	X509_free(x);
	return NULL;
}

/* Two of them in one client's list can be told apart. */
static bool
set_ca_subject(X509 *x)
{
	char storage[64];
	struct text name;
	uint32_t number;
	X509_NAME *subject = X509_get_subject_name(x);

	random_bytes(&number, sizeof(number));
	text_init(&name, storage, sizeof(storage));
	text_addf(&name, "Lunette local CA %08x", number);
	return add_name_entry(subject, "O", span_text("Lunette local CA")) &&
	       add_name_entry(subject, "CN", text_span(&name)) &&
	       X509_set_issuer_name(x, subject) == 1;
}

X509 *
signing_ca(EVP_PKEY *key, int64_t now)
{
	X509 *x = new_certificate(key);

	if (x && set_ca_subject(x) &&
	    set_times(x, now, now + CA_DAYS * (int64_t)DAY_S) &&
	    add_extensions(x, x, ca_extensions, ARRAY_COUNT(ca_extensions)) &&
	    sign(x, key))
		return x;
	X509_free(x);
	return NULL;
}

/* Not after its CA. */
static int64_t
leaf_end(X509 *ca, int64_t now)
{
	int64_t end = now + LEAF_DAYS * (int64_t)DAY_S;
	struct tm parts;
	int64_t ca_end;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(ca), &parts) != 1)
		return end;
	ca_end = (int64_t)timegm(&parts);
	return ca_end < end ? ca_end : end;
}

X509 *
signing_leaf(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const struct host *name,
    int64_t now)
{
	bool has_subject = name->len <= COMMON_NAME_MAX_BYTES;
	struct span text = host_span(name);
	X509 *x = new_certificate(key);

	if (x && X509_set_issuer_name(x, X509_get_subject_name(ca)) == 1 &&
	    (!has_subject ||
		add_name_entry(X509_get_subject_name(x), "CN", text)) &&
	    set_times(x, now, leaf_end(ca, now)) &&
	    add_alternative_name(x, text, !has_subject) &&
	    add_extensions(
		x, ca, leaf_extensions, ARRAY_COUNT(leaf_extensions)) &&
	    sign(x, ca_key))
		return x;
	X509_free(x);
	return NULL;
}
