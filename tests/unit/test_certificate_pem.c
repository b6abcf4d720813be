#include "certificate_bench.h"

#include <openssl/core_names.h>
#include <openssl/pem.h>

/* --- forms of keys --- */

static const struct {
	enum made_key kind;
	enum key_kind expected;
	bool has_older_form;
} good_kinds[] = {
	{ MADE_P256, KEY_ECDSA, true },
	{ MADE_P384, KEY_ECDSA, true },
	{ MADE_RSA2048, KEY_RSA, true },
	{ MADE_ED25519, KEY_ED25519, false },
};

START_TEST(every_kind_and_form)
{
	struct made *m = make((struct recipe){
	    .kind = good_kinds[_i].kind, .names = "DNS:a.test" });
	struct certificate *c = parse_good(m->crt, m->key_pem);

	ck_assert_int_eq(certificate_key_kind(c), good_kinds[_i].expected);
	ck_assert_int_eq(EVP_PKEY_eq(certificate_key(c), m->key), 1);
	ck_assert_int_eq(
	    X509_check_private_key(certificate_leaf(c), certificate_key(c)), 1);
	certificate_put(c);
	check_good(join(m->crt, m->key_pem, NULL), NULL);
	check_good(join(m->key_pem, m->crt, NULL), NULL);
	check_good(
	    join(m->crt, m->key_pem, NULL), join(m->crt, m->key_pem, NULL));
	if (good_kinds[_i].has_older_form)
		check_good(m->crt, key_traditional(m->key));
}
END_TEST

/* A signature made with what was read is one of the certificate's key. */
START_TEST(keys_sign)
{
	struct made *m = make((struct recipe){
	    .kind = good_kinds[_i].kind, .names = "DNS:a.test" });
	struct certificate *c = parse_good(m->crt, m->key_pem);
	const EVP_MD *md =
	    certificate_key_kind(c) == KEY_ED25519 ? NULL : EVP_sha256();
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t signature[512];
	size_t len = sizeof(signature);

	ck_assert_int_eq(
	    EVP_DigestSignInit(ctx, NULL, md, NULL, certificate_key(c)), 1);
	ck_assert_int_eq(
	    EVP_DigestSign(ctx, signature, &len, (const uint8_t *)"x", 1), 1);
	EVP_MD_CTX_free(ctx);
	ctx = EVP_MD_CTX_new();
	ck_assert_int_eq(EVP_DigestVerifyInit(
			     ctx, NULL, md, NULL, X509_get0_pubkey(m->x509)),
	    1);
	ck_assert_int_eq(
	    EVP_DigestVerify(ctx, signature, len, (const uint8_t *)"x", 1), 1);
	EVP_MD_CTX_free(ctx);
	certificate_put(c);
}
END_TEST

static const char ec_parameters[] = "-----BEGIN EC PARAMETERS-----\n"
				    "BggqhkjOPQMBBw==\n"
				    "-----END EC PARAMETERS-----\n";

START_TEST(ec_parameters_before_the_key)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	const char *key = key_traditional(m->key);

	check_good(m->crt, join(ec_parameters, key, NULL));
	check_good(join(ec_parameters, key, m->crt, NULL), NULL);
	check_refused(m->crt, ec_parameters, "no private key found");
}
END_TEST

/* SEC 1 without the public half: it is the certificate's. */
START_TEST(ec_key_without_its_public_half)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	struct made *other = make((struct recipe){ .names = "DNS:a.test" });
	uint8_t der[256], *at = der;
	const char *pem;
	int len;

	ck_assert_int_eq(EVP_PKEY_set_int_param(
			     m->key, OSSL_PKEY_PARAM_EC_INCLUDE_PUBLIC, 0),
	    1);
	len = i2d_PrivateKey(m->key, &at);
	ck_assert_int_lt(len, 60);
	pem = as_pem("EC PRIVATE KEY", der, (size_t)len);
	check_good(m->crt, pem);
	check_refused(other->crt, pem,
	    "the private key does not belong to the certificate");
}
END_TEST

/* --- the text --- */

static const char *
with_line_ends(const char *text, const char *end)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	const char *out;
	long len;

	for (; *text != '\0'; text++) {
		if (*text == '\n')
			BIO_puts(bio, end);
		else
			BIO_write(bio, text, 1);
	}
	BIO_write(bio, "", 1);
	len = BIO_get_mem_data(bio, &data);
	ck_assert_int_gt(len, 0);
	out = join(data, NULL);
	BIO_free(bio);
	return out;
}

START_TEST(what_stands_around)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	const char *both = join(m->crt, m->key_pem, NULL);

	check_good(
	    join("Subject: a\n\n", both, "trailing garbage", NULL), NULL);
	check_good(join("\xef\xbb\xbf", both, NULL), NULL);
	check_good(join(m->crt, "between\n", m->key_pem, "\n\n", NULL), NULL);
	check_good(with_line_ends(both, "\r\n"), NULL);
	check_good(with_line_ends(both, "\r"), NULL);
	check_good(with_line_ends(both, " \t\r\n"), NULL);
	check_good(with_line_ends(both, "\n\n"), NULL);
	check_good(join(make_crl(m, NULL, 0, 0, 0), both, NULL), NULL);
}
END_TEST

/* The DER in one line, and in lines of one character. */
START_TEST(lines_of_any_length)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	uint8_t *der = NULL;
	int len = i2d_X509(m->x509, &der);
	char text[4096], thin[8192];
	size_t at;

	ck_assert_int_gt(len, 0);
	EVP_EncodeBlock((unsigned char *)text, der, len);
	OPENSSL_free(der);
	check_good(join("-----BEGIN CERTIFICATE-----\n", text,
		       "\n-----END CERTIFICATE-----", NULL),
	    m->key_pem);
	at = 0;
	for (const char *s = text; *s != '\0'; s++) {
		thin[at++] = *s;
		thin[at++] = '\n';
	}
	thin[at] = '\0';
	check_good(join("-----BEGIN X509 CERTIFICATE-----\n", thin,
		       "-----END X509 CERTIFICATE-----", NULL),
	    m->key_pem);
}
END_TEST

START_TEST(damaged_pem)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	static const char begin[] = "-----BEGIN CERTIFICATE-----\n";
	static const char end[] = "-----END CERTIFICATE-----\n";

	check_refused(join("x\n", begin, "AAAA\n", NULL), m->key_pem,
	    "the PEM block that begins in line 2 has no END line");
	check_refused(join(begin, "AAAA\n", m->crt, NULL), m->key_pem,
	    "line 1 has no END line of its own");
	check_refused(join(begin, "AAAA\n-----END X-----\n", NULL), m->key_pem,
	    "has no END line of its own");
	check_refused(join(begin, end, NULL), m->key_pem, "is damaged");
	check_refused(
	    join(begin, "AAA\n", end, NULL), m->key_pem, "its base64 is wrong");
	check_refused(join(begin, "AA=A\n", end, NULL), m->key_pem,
	    "its base64 is wrong");
	check_refused(join(begin, "AAA?\n", end, NULL), m->key_pem,
	    "its base64 is wrong");
	check_refused(join(begin, "AAAA=\n", end, NULL), m->key_pem,
	    "its base64 is wrong");
	check_refused(join(begin, "AAAAA===\n", end, NULL), m->key_pem,
	    "its base64 is wrong");
	check_refused(
	    join(m->crt, begin, "AAAA\n", end, NULL), m->key_pem, "is damaged");
	check_refused(m->crt,
	    join("-----BEGIN ", "PRIVATE KEY-----\nAAAA\n",
		"-----END PRIVATE KEY-----\n", NULL),
	    "the private key is damaged");
}
END_TEST

/* Whatever is cut off, it is refused or all of it is there. */
START_TEST(cut_at_every_length)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *m =
	    make((struct recipe){ .kind = _i == 1 ? MADE_RSA2048 : MADE_P256,
		.issuer = ca,
		.names = "DNS:a.test" });
	const char *key = _i == 2 ? key_traditional(m->key) : m->key_pem;
	const char *whole = join(m->crt, key, ca->crt, NULL);
	size_t enough = strlen(m->crt) + strlen(key) - 1;

	for (size_t len = 0; len <= strlen(whole); len++) {
		uint8_t *copy = malloc(len + 1);
		struct certificate *c;

		memcpy(copy, whole, len);
		text_init(&error, error_storage, sizeof(error_storage));
		c = certificate_parse(
		    span_of(len ? copy : NULL, len), span_text(""), &error);
		QUICK_ASSERT(!c || len >= enough);
		QUICK_ASSERT((c == NULL) == (error.len > 0));
		QUICK_ASSERT(
		    !c || EVP_PKEY_eq(certificate_key(c), m->key) == 1);
		certificate_put(c);
		free(copy);
	}
}
END_TEST

/* One wrong byte of the key's DER never gives another key. */
START_TEST(every_byte_of_the_key_matters)
{
	struct made *m = make((struct recipe){
	    .kind = good_kinds[_i].kind, .names = "DNS:a.test" });
	uint8_t der[2048], *at = der;
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(m->key);
	int len = i2d_PKCS8_PRIV_KEY_INFO(info, &at);
	int step = good_kinds[_i].kind == MADE_RSA2048 ? 7 : 1;
	BIO *bio = BIO_new(BIO_s_mem());

	PKCS8_PRIV_KEY_INFO_free(info);
	for (int i = 0; i < len; i += step) {
		struct certificate *c;
		char *pem;
		long pem_len;

		der[i] ^= 1;
		BIO_reset(bio);
		PEM_write_bio(bio, "PRIVATE KEY", "", der, len);
		pem_len = BIO_get_mem_data(bio, &pem);
		text_init(&error, error_storage, sizeof(error_storage));
		c = certificate_parse(
		    span_text(m->crt), span_of(pem, (size_t)pem_len), &error);
		QUICK_ASSERT(
		    !c || EVP_PKEY_eq(certificate_key(c), m->key) == 1);
		/* The secret half is all of what follows in Ed25519. */
		QUICK_ASSERT(
		    !c || good_kinds[_i].kind != MADE_ED25519 || i < len - 32);
		certificate_put(c);
		der[i] ^= 1;
	}
	BIO_free(bio);
}
END_TEST

/* --- what is missing or in the wrong place --- */

static const char *
csr_pem(EVP_PKEY *key)
{
	X509_REQ *request = X509_REQ_new();
	uint8_t *der = NULL;
	const char *pem;
	int len;

	X509_REQ_set_pubkey(request, key);
	X509_REQ_sign(request, key, EVP_sha256());
	len = i2d_X509_REQ(request, &der);
	pem = as_pem("CERTIFICATE REQUEST", der, (size_t)len);
	OPENSSL_free(der);
	X509_REQ_free(request);
	return pem;
}

static const char *
public_pem(EVP_PKEY *key)
{
	uint8_t *der = NULL;
	int len = i2d_PUBKEY(key, &der);
	const char *pem = as_pem("PUBLIC KEY", der, (size_t)len);

	OPENSSL_free(der);
	return pem;
}

START_TEST(things_in_the_wrong_place)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	const char *crl = make_crl(m, NULL, 0, 0, 0);
	const char *csr = csr_pem(m->key);

	check_refused("", NULL, "it is empty");
	check_refused(
	    "hello\n", NULL, "no certificate found: there is no PEM in it");
	check_refused("\x30\x82\x01\x01", NULL,
	    "no certificate found: it is DER or PKCS #12, PEM is needed");
	check_refused(m->crt, NULL, "no private key found");
	check_refused(m->crt, "hello", "no private key found: there is no PEM");
	check_refused(m->crt, "\x30\x82\x01\x01",
	    "no private key found: it is "
	    "DER");
	check_refused(
	    m->crt, m->crt, "a certificate where the private key belongs");
	check_refused(m->key_pem, m->key_pem,
	    "a private key where the certificate belongs");
	check_refused(
	    m->key_pem, m->crt, "a private key where the certificate belongs");
	check_refused(csr, m->key_pem,
	    "a certificate signing request (CSR) where the certificate "
	    "belongs");
	check_refused(crl, m->key_pem,
	    "a revocation list (CRL) where the certificate belongs");
	check_refused(public_pem(m->key), m->key_pem,
	    "a public key where the certificate belongs");
	check_refused(m->crt, public_pem(m->key),
	    "a public key where the private key belongs");
	check_refused(as_pem("PKCS7", "x", 1), m->key_pem,
	    "a PKCS #7 bundle where the certificate belongs");
	check_refused(as_pem("TRUSTED CERTIFICATE", "x", 1), m->key_pem,
	    "a TRUSTED CERTIFICATE");
	check_refused(as_pem("THING", "x", 1), m->key_pem,
	    "PEM of another kind where the certificate belongs");
	check_refused(m->crt, join(m->key_pem, m->key_pem, NULL),
	    "more than one private key");
}
END_TEST

START_TEST(encrypted_keys)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	static const char old_form[] =
	    "-----BEGIN RSA "
	    "PRIVATE KEY-----\n"
	    "Proc-Type: 4,ENCRYPTED\n"
	    "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n"
	    "\n"
	    "AAAA\n"
	    "-----END RSA PRIVATE KEY-----\n";

	check_refused(
	    m->crt, key_encrypted(m->key), "the private key is encrypted");
	check_refused(m->crt, old_form, "the private key is encrypted");
	check_refused(m->crt, join(old_form, m->key_pem, NULL),
	    "more than one private key");
}
END_TEST

START_TEST(foreign_keys)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	struct made *same_kind = make((struct recipe){ .kind = MADE_P256 });
	struct made *other_curve = make((struct recipe){ .kind = MADE_P384 });
	struct made *rsa = make((struct recipe){ .kind = MADE_RSA2048 });
	struct made *rsa2 = make((struct recipe){ .kind = MADE_RSA2048 });
	struct made *ed = make((struct recipe){ .kind = MADE_ED25519 });
	struct made *ed2 = make((struct recipe){ .kind = MADE_ED25519 });
	static const char foreign[] =
	    "the private key does not belong to the certificate";

	check_refused(m->crt, same_kind->key_pem, foreign);
	check_refused(m->crt, key_traditional(same_kind->key), foreign);
	check_refused(m->crt, other_curve->key_pem, foreign);
	check_refused(other_curve->crt, m->key_pem, foreign);
	check_refused(rsa->crt, rsa2->key_pem, foreign);
	check_refused(ed->crt, ed2->key_pem, foreign);
	check_refused(
	    m->crt, rsa->key_pem, "it is for RSA, the certificate for ECDSA");
	check_refused(ed->crt, m->key_pem,
	    "it is for ECDSA, the certificate for Ed25519");
}
END_TEST

static const struct {
	enum made_key kind;
	const char *message;
} bad_kinds[] = {
	{ MADE_RSA1024,
	    "the key is too weak: RSA of 1024 bits, at least 2048" },
	{ MADE_P256_EXPLICIT, "explicit curve parameters" },
	{ MADE_SECP256K1, "unsupported curve" },
	{ MADE_P224, "unsupported curve" },
	{ MADE_X25519, "unsupported kind of key, X25519" },
	{ MADE_ED448, "unsupported kind of key, ED448" },
	{ MADE_RSA_PSS, "unsupported kind of key, RSA-PSS" },
	{ MADE_DSA, "unsupported kind of key, DSA" },
};

START_TEST(kinds_that_no_server_has)
{
	struct made *good = make((struct recipe){ .names = "DNS:a.test" });
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *m =
	    make((struct recipe){ .kind = bad_kinds[_i].kind, .issuer = ca });

	check_refused(m->crt, m->key_pem, bad_kinds[_i].message);
	/* And the key alone, beside a good certificate. */
	ck_assert_ptr_null(parse(good->crt, m->key_pem));
}
END_TEST

START_TEST(older_forms_that_no_server_has)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	EVP_PKEY *dsa = make_key(MADE_DSA);
	EVP_PKEY *curve = make_key(MADE_SECP256K1);
	EVP_PKEY *open = make_key(MADE_P256_EXPLICIT);

	check_refused(
	    m->crt, key_traditional(dsa), "unsupported kind of key, DSA");
	check_refused(m->crt, key_traditional(curve), "unsupported curve");
	check_refused(
	    m->crt, key_traditional(open), "explicit curve parameters");
	check_refused(m->crt, as_pem("OPENSSH PRIVATE KEY", "x", 1), "OpenSSH");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, every_kind_and_form, 0, ARRAY_COUNT(good_kinds));
	tcase_add_loop_test(tcase, keys_sign, 0, ARRAY_COUNT(good_kinds));
	tcase_add_test(tcase, ec_parameters_before_the_key);
	tcase_add_test(tcase, ec_key_without_its_public_half);
	tcase_add_test(tcase, what_stands_around);
	tcase_add_test(tcase, lines_of_any_length);
	tcase_add_test(tcase, damaged_pem);
	tcase_add_loop_test(tcase, cut_at_every_length, 0, 3);
	tcase_add_loop_test(
	    tcase, every_byte_of_the_key_matters, 0, ARRAY_COUNT(good_kinds));
	tcase_add_test(tcase, things_in_the_wrong_place);
	tcase_add_test(tcase, encrypted_keys);
	tcase_add_test(tcase, foreign_keys);
	tcase_add_loop_test(
	    tcase, kinds_that_no_server_has, 0, ARRAY_COUNT(bad_kinds));
	tcase_add_test(tcase, older_forms_that_no_server_has);
}

UNIT_MAIN_TOGETHER("certificate PEM", add_tests)
