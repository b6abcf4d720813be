#include "tls_support.h"

#include <errno.h>
#include <ftw.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

/* What was made: reachable until the end, so that no leak is reported. */
struct kept {
	void *thing;
	struct kept *next;
};
static struct kept *all_kept;

static void *
keep(void *thing)
{
	struct kept *k = malloc(sizeof(*k));

	QUICK_ASSERT(thing != NULL);
	QUICK_ASSERT(k != NULL);
	*k = (struct kept){ thing, all_kept };
	all_kept = k;
	return thing;
}

static const char *
take_text(BIO *bio)
{
	char *data = NULL;
	size_t len = (size_t)BIO_get_mem_data(bio, &data);
	char *text = keep(malloc(len + 1));

	memcpy(text, data, len);
	text[len] = '\0';
	BIO_free(bio);
	return text;
}

/* --- keys --- */

static EVP_PKEY *
make_curve_key(const char *name, const char *encoding)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(
		    OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)name, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING,
		    (char *)(uintptr_t)encoding, 0),
		OSSL_PARAM_END,
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;

	params[0].data_size = strlen(name);
	params[1].data_size = strlen(encoding);
	ck_assert_int_eq(EVP_PKEY_keygen_init(ctx), 1);
	ck_assert_int_eq(EVP_PKEY_CTX_set_params(ctx, params), 1);
	ck_assert_int_eq(EVP_PKEY_generate(ctx, &key), 1);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static EVP_PKEY *
make_rsa_key(const char *name, size_t bits)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, name, NULL);
	EVP_PKEY *key = NULL;

	ck_assert_int_eq(EVP_PKEY_keygen_init(ctx), 1);
	ck_assert_int_eq(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits), 1);
	ck_assert_int_eq(EVP_PKEY_generate(ctx, &key), 1);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static EVP_PKEY *
make_dsa_key(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "DSA", NULL);
	EVP_PKEY *parameters = NULL, *key = NULL;

	ck_assert_int_eq(EVP_PKEY_paramgen_init(ctx), 1);
	ck_assert_int_eq(EVP_PKEY_CTX_set_dsa_paramgen_bits(ctx, 1024), 1);
	ck_assert_int_eq(EVP_PKEY_generate(ctx, &parameters), 1);
	EVP_PKEY_CTX_free(ctx);
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, parameters, NULL);
	ck_assert_int_eq(EVP_PKEY_keygen_init(ctx), 1);
	ck_assert_int_eq(EVP_PKEY_generate(ctx, &key), 1);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(parameters);
	return key;
}

static EVP_PKEY *
new_key(enum made_key kind)
{
	static const char named[] = OSSL_PKEY_EC_ENCODING_GROUP;

	switch (kind) {
	case MADE_P256:
		return make_curve_key("P-256", named);
	case MADE_P384:
		return make_curve_key("P-384", named);
	case MADE_P224:
		return make_curve_key("P-224", named);
	case MADE_SECP256K1:
		return make_curve_key("secp256k1", named);
	case MADE_P256_EXPLICIT:
		return make_curve_key("P-256", OSSL_PKEY_EC_ENCODING_EXPLICIT);
	case MADE_ED25519:
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	case MADE_ED448:
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED448");
	case MADE_X25519:
		return EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	case MADE_RSA2048:
		return make_rsa_key("RSA", 2048);
	case MADE_RSA1024:
		return make_rsa_key("RSA", 1024);
	case MADE_RSA_PSS:
		return make_rsa_key("RSA-PSS", 2048);
	case MADE_DSA:
		return make_dsa_key();
	}
	return NULL;
}

EVP_PKEY *
make_key(enum made_key kind)
{
	return keep(new_key(kind));
}

static const char *
key_pkcs8(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());

	ck_assert_int_eq(
	    PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL),
	    1);
	return take_text(bio);
}

const char *
key_traditional(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());

	ck_assert_int_eq(PEM_write_bio_PrivateKey_traditional(
			     bio, key, NULL, NULL, 0, NULL, NULL),
	    1);
	return take_text(bio);
}

const char *
key_encrypted(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());

	ck_assert_int_eq(PEM_write_bio_PKCS8PrivateKey(bio, key,
			     EVP_aes_128_cbc(), "secret", 6, NULL, NULL),
	    1);
	return take_text(bio);
}

/* --- certificates --- */

/* Ed25519 and Ed448 hash by themselves. */
static const EVP_MD *
digest_for(const EVP_PKEY *key)
{
	if (EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448"))
		return NULL;
	return EVP_sha256();
}

static void
add_extension_text(
    X509 *x, X509V3_CTX *ctx, const char *name, const char *value)
{
	X509_EXTENSION *extension;

	if (!value)
		return;
	extension = X509V3_EXT_conf(NULL, ctx, name, value);
	ck_assert_msg(extension != NULL, "extension %s: %s", name, value);
	ck_assert_int_eq(X509_add_ext(x, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static const char *
ca_or(const struct recipe *r, const char *given, const char *of_ca)
{
	if (given)
		return given;
	return r->ca ? of_ca : NULL;
}

static void
add_extensions(X509 *x, const struct recipe *r, X509 *issuer)
{
	const char *url =
	    r->ocsp_url ? join("OCSP;URI:", r->ocsp_url, NULL) : NULL;
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	add_extension_text(x, &ctx, "basicConstraints",
	    ca_or(r, r->basic_constraints, "critical,CA:true"));
	add_extension_text(x, &ctx, "keyUsage",
	    ca_or(r, r->key_usage, "critical,keyCertSign,cRLSign"));
	add_extension_text(x, &ctx, "extendedKeyUsage", r->extended_key_usage);
	add_extension_text(x, &ctx, "subjectAltName", r->names);
	add_extension_text(x, &ctx, "subjectKeyIdentifier", "hash");
	add_extension_text(
	    x, &ctx, "authorityKeyIdentifier", issuer == x ? NULL : "keyid");
	add_extension_text(x, &ctx, "authorityInfoAccess", url);
	add_extension_text(
	    x, &ctx, "tlsfeature", r->must_staple ? "status_request" : NULL);
	if (r->extension)
		add_extension_text(x, &ctx, r->extension, r->extension_value);
}

static void
set_subject(X509 *x, const struct recipe *r, long serial)
{
	X509_NAME *subject = X509_get_subject_name(x);
	char number[32];
	const char *name = r->common_name;

	snprintf(number, sizeof(number), "CA %ld", serial);
	if (!name && r->ca)
		name = number;
	if (!name)
		return;
	ck_assert_int_eq(
	    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
		(const unsigned char *)name, -1, -1, 0),
	    1);
}

static void
set_times(X509 *x, const struct recipe *r)
{
	bool usual = r->not_before == 0 && r->not_after == 0;

	ck_assert_ptr_nonnull(X509_gmtime_adj(
	    X509_getm_notBefore(x), usual ? -3600 : r->not_before));
	ck_assert_ptr_nonnull(X509_gmtime_adj(
	    X509_getm_notAfter(x), usual ? 90 * MADE_DAY : r->not_after));
}

static const char *
crt_pem(X509 *x)
{
	BIO *bio = BIO_new(BIO_s_mem());

	ck_assert_int_eq(PEM_write_bio_X509(bio, x), 1);
	return take_text(bio);
}

struct made *
make(struct recipe r)
{
	static long last_serial = 1000;
	struct made *m = keep(calloc(1, sizeof(*m)));
	long serial = r.serial ? r.serial : ++last_serial;
	X509 *issuer;
	EVP_PKEY *signer;

	m->x509 = keep(X509_new());
	m->key = r.key ? r.key : make_key(r.kind);
	issuer = r.issuer ? r.issuer->x509 : m->x509;
	signer = r.issuer ? r.issuer->key : m->key;
	ck_assert_int_eq(X509_set_version(m->x509, X509_VERSION_3), 1);
	ck_assert_int_eq(
	    ASN1_INTEGER_set(X509_get_serialNumber(m->x509), serial), 1);
	set_subject(m->x509, &r, serial);
	set_times(m->x509, &r);
	ck_assert_int_eq(
	    X509_set_issuer_name(m->x509, X509_get_subject_name(issuer)), 1);
	ck_assert_int_eq(X509_set_pubkey(m->x509, m->key), 1);
	add_extensions(m->x509, &r, issuer);
	ck_assert_int_gt(X509_sign(m->x509, signer, digest_for(signer)), 0);
	m->crt = crt_pem(m->x509);
	m->key_pem = key_pkcs8(m->key);
	return m;
}

/* --- revocation lists --- */

static ASN1_TIME *
time_from_now(int64_t seconds)
{
	return X509_gmtime_adj(NULL, (long)seconds);
}

static void
add_revoked(X509_CRL *crl, const struct made *m)
{
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_TIME *when = time_from_now(-60);

	ck_assert_int_eq(X509_REVOKED_set_serialNumber(
			     entry, X509_get_serialNumber(m->x509)),
	    1);
	ck_assert_int_eq(X509_REVOKED_set_revocationDate(entry, when), 1);
	ck_assert_int_eq(X509_CRL_add0_revoked(crl, entry), 1);
	ASN1_TIME_free(when);
}

const char *
make_crl(const struct made *ca, const struct made *const *revoked, size_t count,
    int64_t not_before, int64_t not_after)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *from = time_from_now(not_before ? not_before : -3600);
	ASN1_TIME *to = time_from_now(not_after ? not_after : MADE_DAY);
	BIO *bio = BIO_new(BIO_s_mem());

	ck_assert_int_eq(X509_CRL_set_version(crl, X509_CRL_VERSION_2), 1);
	ck_assert_int_eq(
	    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->x509)), 1);
	ck_assert_int_eq(X509_CRL_set1_lastUpdate(crl, from), 1);
	ck_assert_int_eq(X509_CRL_set1_nextUpdate(crl, to), 1);
	for (size_t i = 0; i < count; i++)
		add_revoked(crl, revoked[i]);
	X509_CRL_sort(crl);
	ck_assert_int_gt(X509_CRL_sign(crl, ca->key, digest_for(ca->key)), 0);
	ck_assert_int_eq(PEM_write_bio_X509_CRL(bio, crl), 1);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	X509_CRL_free(crl);
	return take_text(bio);
}

/* --- texts and files --- */

const char *
join(const char *first, ...)
{
	BIO *bio = BIO_new(BIO_s_mem());
	va_list args;

	va_start(args, first);
	for (const char *s = first; s; s = va_arg(args, const char *))
		QUICK_ASSERT(BIO_puts(bio, s) >= 0);
	va_end(args);
	return take_text(bio);
}

const char *
as_pem(const char *label, const void *der, size_t len)
{
	BIO *bio = BIO_new(BIO_s_mem());

	ck_assert_int_gt(PEM_write_bio(bio, label, "", der, (long)len), 0);
	return take_text(bio);
}

static char *folder;
static pid_t folder_owner;

static int
remove_entry(
    const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

/* A child that Check forked later must not remove its parent's folder. */
static void
remove_folder(void)
{
	if (folder && folder_owner == getpid())
		nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *
make_folder(void)
{
	const char *tmp = getenv("TMPDIR");

	if (folder && folder_owner == getpid())
		return folder;
	ck_assert_int_ge(
	    asprintf(&folder, "%s/lunette-test-XXXXXX", tmp ? tmp : "/tmp"), 0);
	keep(folder);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	folder_owner = getpid();
	ck_assert_int_eq(atexit(remove_folder), 0);
	return folder;
}

const char *
path_of(const char *name)
{
	return join(make_folder(), "/", name, NULL);
}

const char *
make_file(const char *name, const char *text)
{
	const char *path = path_of(name);
	FILE *file;

	unlink(path);
	file = fopen(path, "wx");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fchmod(fileno(file), 0600), 0);
	ck_assert_uint_eq(fwrite(text, 1, strlen(text), file), strlen(text));
	ck_assert_int_eq(fclose(file), 0);
	return path;
}
