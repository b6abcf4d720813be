#include "tls/private.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>

#include "tls/pem.h"

/*
 * Keys are read here and given to OpenSSL as numbers: its decoders try every
 * form of every kind, at thirty times the cost. Only what a handshake can use
 * is known: RSA, ECDSA on the three curves of TLS, Ed25519.
 */

#define DER_INTEGER 0x02
#define DER_BITS 0x03
#define DER_OCTETS 0x04
#define DER_OID 0x06
#define DER_SEQUENCE 0x30
#define DER_CONTEXT_0 0xa0
#define DER_CONTEXT_1 0xa1

#define RSA_MIN_BITS 2048
/* A signature with a larger one takes a worker a tenth of a second. */
#define RSA_MAX_BITS 8192
#define RSA_MAX_BYTES (RSA_MAX_BITS / 8)
#define EC_MAX_BYTES 66

#define ED25519_BYTES 32

/* n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p: the order of RFC 8017. */
#define RSA_NUMBER_COUNT 8
enum { RSA_N, RSA_E, RSA_D, RSA_P, RSA_Q, RSA_DP, RSA_DQ, RSA_QINV };

static const char *const rsa_names[RSA_NUMBER_COUNT] = {
	OSSL_PKEY_PARAM_RSA_N,
	OSSL_PKEY_PARAM_RSA_E,
	OSSL_PKEY_PARAM_RSA_D,
	OSSL_PKEY_PARAM_RSA_FACTOR1,
	OSSL_PKEY_PARAM_RSA_FACTOR2,
	OSSL_PKEY_PARAM_RSA_EXPONENT1,
	OSSL_PKEY_PARAM_RSA_EXPONENT2,
	OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};

static const char damaged[] = "the private key is damaged";
static const char foreign[] =
    "the private key does not belong to the certificate";
static const char explicit_curve[] =
    "the key has explicit curve parameters; only named curves are supported";

static const char unsupported_curve[] =
    "unsupported curve: P-256, P-384 and P-521 are supported";

/* What was read, as places in the block. */
struct key_fields {
	enum key_kind kind;
	struct span rsa[RSA_NUMBER_COUNT];
	struct span secret; /* of ECDSA and Ed25519 */
	struct span point;  /* of ECDSA, if it is there */
};

static bool
fail(struct text *error, const char *message)
{
	text_add(error, message);
	return false;
}

/* --- DER --- */

static bool
take_length(struct span *s, size_t *len)
{
	size_t count;

	if (s->len == 0)
		return false;
	*len = s->data[0];
	*s = span_of(s->data + 1, s->len - 1);
	if (*len < 0x80)
		return *len <= s->len;
	count = *len & 0x7f;
	if (count == 0 || count > 3 || count > s->len)
		return false;
	*len = 0;
	for (size_t i = 0; i < count; i++)
		*len = *len << 8 | s->data[i];
	*s = span_of(s->data + count, s->len - count);
	return *len <= s->len;
}

/* The content of the next element if it has this tag; else nothing is taken. */
static bool
take(struct span *s, uint8_t tag, struct span *content)
{
	struct span rest = *s;
	size_t len;

	if (rest.len == 0 || rest.data[0] != tag)
		return false;
	rest = span_of(rest.data + 1, rest.len - 1);
	if (!take_length(&rest, &len))
		return false;
	*content = span_of(rest.data, len);
	*s = span_of(rest.data + len, rest.len - len);
	return true;
}

/* A number that is not negative, without leading zeros. */
static bool
take_number(struct span *s, struct span *number)
{
	if (!take(s, DER_INTEGER, number) || number->len == 0 ||
	    number->data[0] & 0x80)
		return false;
	while (number->len > 0 && number->data[0] == 0)
		*number = span_of(number->data + 1, number->len - 1);
	return true;
}

/* --- object identifiers --- */

#define OID(bytes)                                          \
	{                                                   \
		(const uint8_t *)(bytes), sizeof(bytes) - 1 \
	}

static const struct {
	struct span oid;
	int kind; /* enum key_kind, or -1: cannot be used */
	const char *name;
} algorithms[] = {
	{ OID("\x2a\x86\x48\x86\xf7\x0d\1\1\1"), KEY_RSA, "RSA" },
	{ OID("\x2a\x86\x48\xce\x3d\2\1"), KEY_ECDSA, "ECDSA" },
	{ OID("\x2b\x65\x70"), KEY_ED25519, "Ed25519" },
	{ OID("\x2a\x86\x48\x86\xf7\x0d\1\1\x0a"), -1, "RSA-PSS" },
	{ OID("\x2b\x65\x71"), -1, "Ed448" },
	{ OID("\x2b\x65\x6e"), -1, "X25519" },
	{ OID("\x2a\x86\x48\xce\x38\4\1"), -1, "DSA" },
};

static const struct span curves[] = {
	OID("\x2a\x86\x48\xce\x3d\3\1\7"), /* P-256 */
	OID("\x2b\x81\4\0\x22"),	   /* P-384 */
	OID("\x2b\x81\4\0\x23"),	   /* P-521 */
};

static bool
unsupported(const char *name, struct text *error)
{
	text_addf(error,
	    "unsupported kind of key%s%s: RSA, ECDSA (P-256, P-384, P-521) and "
	    "Ed25519 are supported",
	    name ? ", " : "", name ? name : "");
	return false;
}

/* The parameters of an EC key must name a curve that can be used. */
static bool
check_curve(struct span parameters, struct text *error)
{
	struct span oid;

	if (parameters.len > 0 && parameters.data[0] == DER_SEQUENCE)
		return fail(error, explicit_curve);
	if (!take(&parameters, DER_OID, &oid) || parameters.len > 0)
		return fail(error, damaged);
	for (size_t i = 0; i < ARRAY_COUNT(curves); i++) {
		if (span_equal(oid, curves[i]))
			return true;
	}
	return fail(error, unsupported_curve);
}

/* --- the forms of private keys --- */

/* RFC 8017, appendix A.1.2. */
static bool
read_rsa(struct span der, struct key_fields *f, struct text *error)
{
	struct span body, version;

	f->kind = KEY_RSA;
	if (!take(&der, DER_SEQUENCE, &body) || der.len > 0 ||
	    !take_number(&body, &version))
		return fail(error, damaged);
	if (version.len > 0)
		return fail(error, "RSA keys of more than two primes are not "
				   "supported");
	for (size_t i = 0; i < RSA_NUMBER_COUNT; i++) {
		if (!take_number(&body, &f->rsa[i]) ||
		    f->rsa[i].len > RSA_MAX_BYTES)
			return fail(error, damaged);
	}
	return body.len == 0 || fail(error, damaged);
}

/* RFC 5915; inside PKCS #8 the curve has been told before. */
static bool
read_ec(
    struct span der, bool has_curve, struct key_fields *f, struct text *error)
{
	struct span body, version, parameters, bits = { NULL, 0 };

	f->kind = KEY_ECDSA;
	if (!take(&der, DER_SEQUENCE, &body) || der.len > 0 ||
	    !take_number(&body, &version) || !span_is(version, "\1") ||
	    !take(&body, DER_OCTETS, &f->secret) || f->secret.len == 0 ||
	    f->secret.len > EC_MAX_BYTES)
		return fail(error, damaged);
	if (take(&body, DER_CONTEXT_0, &parameters)) {
		if (!check_curve(parameters, error))
			return false;
	} else if (!has_curve) {
		return fail(error, damaged);
	}
	if (take(&body, DER_CONTEXT_1, &bits) &&
	    take(&bits, DER_BITS, &f->point) && f->point.len > 1)
		f->point = span_of(f->point.data + 1, f->point.len - 1);
	return (body.len == 0 && bits.len == 0) || fail(error, damaged);
}

/* RFC 8410. */
static bool
read_ed25519(struct span der, struct key_fields *f, struct text *error)
{
	f->kind = KEY_ED25519;
	return (take(&der, DER_OCTETS, &f->secret) && der.len == 0 &&
		   f->secret.len == ED25519_BYTES) ||
	       fail(error, damaged);
}

static bool
read_kind(struct span oid, struct span parameters, struct span key,
    struct key_fields *f, struct text *error)
{
	size_t i = 0;

	while (
	    i < ARRAY_COUNT(algorithms) && !span_equal(oid, algorithms[i].oid))
		i++;
	if (i == ARRAY_COUNT(algorithms))
		return unsupported(NULL, error);
	if (algorithms[i].kind == KEY_RSA)
		return read_rsa(key, f, error);
	if (algorithms[i].kind == KEY_ED25519)
		return read_ed25519(key, f, error);
	if (algorithms[i].kind != KEY_ECDSA)
		return unsupported(algorithms[i].name, error);
	return check_curve(parameters, error) && read_ec(key, true, f, error);
}

/* RFC 5958: the form that tells its kind; attributes may follow the key. */
static bool
read_pkcs8(struct span der, struct key_fields *f, struct text *error)
{
	struct span body, version, algorithm, oid, key;

	if (!take(&der, DER_SEQUENCE, &body) || der.len > 0 ||
	    !take_number(&body, &version) ||
	    !take(&body, DER_SEQUENCE, &algorithm) ||
	    !take(&algorithm, DER_OID, &oid) || !take(&body, DER_OCTETS, &key))
		return fail(error, damaged);
	return read_kind(oid, algorithm, key, f, error);
}

static bool
read_block(const struct pem_block *b, struct key_fields *f, struct text *error)
{
	struct span der = span_of(b->der, b->len);

	if (b->is_encrypted || span_is(b->label, "ENCRYPTED PRIVATE KEY"))
		return fail(error,
		    "the private key is encrypted; take its passphrase off "
		    "(openssl pkey -in KEY -out PLAIN) and let only the edge "
		    "read it");
	if (span_is(b->label, "PRIVATE KEY"))
		return read_pkcs8(der, f, error);
	if (span_is(b->label, "RSA PRIVATE KEY"))
		return read_rsa(der, f, error);
	if (span_is(b->label, "EC PRIVATE KEY"))
		return read_ec(der, false, f, error);
	if (span_is(b->label, "OPENSSH PRIVATE KEY"))
		return fail(error,
		    "the private key is in the form of OpenSSH; "
		    "PKCS #8 is needed (ssh-keygen -p -m PKCS8)");
	return unsupported(
	    span_is(b->label, "DSA PRIVATE KEY") ? "DSA" : NULL, error);
}

/* --- RSA --- */

/* a * b = 1 mod (m - less). */
static bool
is_inverse(const BIGNUM *a, const BIGNUM *b, const BIGNUM *m, unsigned less,
    BN_CTX *ctx)
{
	BIGNUM *modulus = BN_dup(m), *product = BN_new();
	bool is_one = modulus && product && BN_sub_word(modulus, less) &&
		      !BN_is_zero(modulus) &&
		      BN_mod_mul(product, a, b, modulus, ctx) &&
		      BN_is_one(product);

	BN_clear_free(modulus);
	BN_clear_free(product);
	return is_one;
}

/*
 * The halves that signatures are made of fit together. If they did not, the
 * first signature could give the key away (Boneh, DeMillo, Lipton 1997).
 */
static bool
halves_fit(BIGNUM *const n[RSA_NUMBER_COUNT], BN_CTX *ctx)
{
	BIGNUM *product = BN_new();
	bool fits = product && BN_mul(product, n[RSA_P], n[RSA_Q], ctx) &&
		    BN_cmp(product, n[RSA_N]) == 0 &&
		    is_inverse(n[RSA_E], n[RSA_DP], n[RSA_P], 1, ctx) &&
		    is_inverse(n[RSA_E], n[RSA_DQ], n[RSA_Q], 1, ctx) &&
		    is_inverse(n[RSA_E], n[RSA_D], n[RSA_P], 1, ctx) &&
		    is_inverse(n[RSA_E], n[RSA_D], n[RSA_Q], 1, ctx) &&
		    is_inverse(n[RSA_Q], n[RSA_QINV], n[RSA_P], 0, ctx);

	BN_clear_free(product);
	return fits;
}

static bool
is_sound_rsa(const struct key_fields *f)
{
	BIGNUM *numbers[RSA_NUMBER_COUNT];
	BN_CTX *ctx = BN_CTX_new();
	bool is_sound = ctx != NULL;

	for (size_t i = 0; i < RSA_NUMBER_COUNT; i++) {
		numbers[i] =
		    BN_bin2bn(f->rsa[i].data, (int)f->rsa[i].len, NULL);
		is_sound = is_sound && numbers[i];
	}
	is_sound = is_sound && halves_fit(numbers, ctx);
	for (size_t i = 0; i < RSA_NUMBER_COUNT; i++)
		BN_clear_free(numbers[i]);
	BN_CTX_free(ctx);
	return is_sound;
}

/* --- to OpenSSL --- */

static EVP_PKEY *
from_params(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	if (ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* OSSL_PARAM has numbers in the machine's order, files the big end first. */
static OSSL_PARAM
number_param(const char *name, struct span big_endian, uint8_t *storage)
{
	size_t len = big_endian.len;

	for (size_t i = 0; i < len; i++)
		storage[i] = big_endian.data[len - 1 - i];
	if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ && len > 0)
		memcpy(storage, big_endian.data, len);
	return OSSL_PARAM_construct_BN(name, storage, len);
}

static EVP_PKEY *
new_rsa(const struct key_fields *f)
{
	uint8_t storage[RSA_NUMBER_COUNT][RSA_MAX_BYTES];
	OSSL_PARAM params[RSA_NUMBER_COUNT + 1];
	EVP_PKEY *key;

	for (size_t i = 0; i < RSA_NUMBER_COUNT; i++)
		params[i] = number_param(rsa_names[i], f->rsa[i], storage[i]);
	params[RSA_NUMBER_COUNT] = OSSL_PARAM_construct_end();
	key = from_params("RSA", params);
	OPENSSL_cleanse(storage, sizeof(storage));
	return key;
}

/* The public half is the certificate's: many files leave it out. */
static EVP_PKEY *
new_ec(const struct key_fields *f, EVP_PKEY *public, uint8_t *point,
    size_t point_len)
{
	uint8_t storage[EC_MAX_BYTES];
	char group[64];
	OSSL_PARAM params[4];
	EVP_PKEY *key;

	if (EVP_PKEY_get_group_name(public, group, sizeof(group), NULL) != 1)
		return NULL;
	params[0] = OSSL_PARAM_construct_utf8_string(
	    OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
	params[1] = OSSL_PARAM_construct_octet_string(
	    OSSL_PKEY_PARAM_PUB_KEY, point, point_len);
	params[2] = number_param(OSSL_PKEY_PARAM_PRIV_KEY, f->secret, storage);
	params[3] = OSSL_PARAM_construct_end();
	key = from_params("EC", params);
	OPENSSL_cleanse(storage, sizeof(storage));
	return key;
}

static bool
is_pair(EVP_PKEY *key)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool is_good = ctx && EVP_PKEY_pairwise_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	return is_good;
}

static EVP_PKEY *
make_ec(const struct key_fields *f, EVP_PKEY *public, struct text *error)
{
	uint8_t point[2 * EC_MAX_BYTES + 1];
	size_t len;
	EVP_PKEY *key = NULL;
	bool is_same;

	if (EVP_PKEY_get_octet_string_param(public, OSSL_PKEY_PARAM_PUB_KEY,
		point, sizeof(point), &len) == 1)
		key = new_ec(f, public, point, len);
	if (key && is_pair(key))
		return key;
	EVP_PKEY_free(key);
	is_same = len > 0 && span_equal(f->point, span_of(point, len));
	text_add(error, is_same ? damaged : foreign);
	return NULL;
}

static EVP_PKEY *
make_same(EVP_PKEY *key, EVP_PKEY *public, struct text *error)
{
	if (!key) {
		text_add(error, damaged);
		return NULL;
	}
	if (EVP_PKEY_eq(key, public) == 1)
		return key;
	EVP_PKEY_free(key);
	text_add(error, foreign);
	return NULL;
}

static EVP_PKEY *
make_key(const struct key_fields *f, EVP_PKEY *public, struct text *error)
{
	EVP_PKEY *key;

	if (f->kind == KEY_ECDSA)
		return make_ec(f, public, error);
	if (f->kind == KEY_RSA)
		key = is_sound_rsa(f) ? new_rsa(f) : NULL;
	else
		key = EVP_PKEY_new_raw_private_key_ex(
		    NULL, "ED25519", NULL, f->secret.data, f->secret.len);
	return make_same(key, public, error);
}

EVP_PKEY *
key_from_pem(const struct pem_block *b, EVP_PKEY *public, struct text *error)
{
	struct key_fields f = { 0 };
	enum key_kind kind;

	if (!key_check_public(public, &kind, error) ||
	    !read_block(b, &f, error))
		return NULL;
	if (f.kind != kind) {
		text_addf(error, "%s: it is for %s, the certificate for %s",
		    foreign, key_kind_name(f.kind), key_kind_name(kind));
		return NULL;
	}
	return make_key(&f, public, error);
}

/* --- the public key --- */

static bool
check_rsa(EVP_PKEY *key, struct text *error)
{
	int bits = EVP_PKEY_get_bits(key);

	if (bits >= RSA_MIN_BITS && bits <= RSA_MAX_BITS)
		return true;
	text_addf(error, "the key is too %s: RSA of %d bits, %s %d are %s",
	    bits < RSA_MIN_BITS ? "weak" : "large", bits,
	    bits < RSA_MIN_BITS ? "at least" : "at most",
	    bits < RSA_MIN_BITS ? RSA_MIN_BITS : RSA_MAX_BITS,
	    bits < RSA_MIN_BITS ? "needed" : "supported");
	return false;
}

static bool
check_ec(EVP_PKEY *key, struct text *error)
{
	static const char *const names[] = { "prime256v1", "secp384r1",
		"secp521r1" };
	char group[64] = "";
	int is_explicit = 0;

	EVP_PKEY_get_int_param(
	    key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &is_explicit);
	if (is_explicit)
		return fail(error, explicit_curve);
	EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		if (strcmp(group, names[i]) == 0)
			return true;
	}
	return fail(error, unsupported_curve);
}

bool
key_check_public(EVP_PKEY *key, enum key_kind *kind, struct text *error)
{
	if (key && EVP_PKEY_is_a(key, "RSA")) {
		*kind = KEY_RSA;
		return check_rsa(key, error);
	}
	if (key && EVP_PKEY_is_a(key, "EC")) {
		*kind = KEY_ECDSA;
		return check_ec(key, error);
	}
	*kind = KEY_ED25519;
	if (key && EVP_PKEY_is_a(key, "ED25519"))
		return true;
	return unsupported(key ? EVP_PKEY_get0_type_name(key) : NULL, error);
}

const char *
key_kind_name(enum key_kind k)
{
	static const char *const names[KEY_KIND_COUNT] = { "RSA", "ECDSA",
		"Ed25519" };

	return names[k];
}
