#include "unit.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "faults.h"
#include "tls/private.h"
#include "tls_support.h"

#define YEAR (365 * MADE_DAY)

FAULT(openssl);

static void *
faulty_malloc(size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return fault_hits(&openssl_fault) ? NULL : malloc(size);
}

static void *
faulty_realloc(void *old, size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return fault_hits(&openssl_fault) ? NULL : realloc(old, size);
}

static void
plain_free(void *old, const char *file, int line)
{
	(void)file, (void)line;
	free(old);
}

/* Only before OpenSSL has allocated anything. */
__attribute__((constructor)) static void
take_over_memory(void)
{
#ifndef __SANITIZE_THREAD__
	/* The library counts references with instructions that the sanitizer
	 * cannot see: a free of the test's own would look like a race. */
	if (!CRYPTO_set_mem_functions(
		faulty_malloc, faulty_realloc, plain_free))
		abort();
#else
	(void)faulty_malloc, (void)faulty_realloc, (void)plain_free;
#endif
}

static char message[512];
static struct text error;

static void
clear_error(void)
{
	text_init(&error, message, sizeof(message));
}

static struct trust *
load(const char *cas, const char *crls)
{
	clear_error();
	return trust_load(&cas, 1, &crls, crls ? 1 : 0, &error);
}

static struct trust *
parse(const char *cas)
{
	clear_error();
	return trust_parse(span_text(cas), &error);
}

static struct trust *
load_good(const char *cas, const char *crls)
{
	struct trust *t = load(cas, crls);

	ck_assert_msg(t != NULL, "%s", message);
	return t;
}

static void
check_bad(const char *cas, const char *crls, const char *words)
{
	ck_assert_msg(load(cas, crls) == NULL, "taken in spite of: %s", words);
	ck_assert_msg(strstr(message, words) != NULL, "%s", message);
	ck_assert_ptr_null(strchr(message, '\n'));
}

/* What a handshake would say of a certificate: X509_V_OK or why not. */
static int
verify_chain(
    struct trust *t, const struct made *leaf, const struct made *middle)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *sent = sk_X509_new_null();
	struct trust_content content;
	int result;

	if (middle)
		sk_X509_push(sent, middle->x509);
	ck_assert(trust_take(t, false, &content));
	ck_assert_ptr_null(content.names);
	ck_assert_int_eq(
	    X509_STORE_CTX_init(ctx, content.store, leaf->x509, sent), 1);
	X509_STORE_CTX_set_default(ctx, "ssl_client");
	X509_verify_cert(ctx);
	result = X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(content.store);
	sk_X509_free(sent);
	return result;
}

static int
verify(struct trust *t, const struct made *leaf)
{
	return verify_chain(t, leaf, NULL);
}

START_TEST(a_bundle_may_hold_text_and_repeat_itself)
{
	struct made *a = make((struct recipe){ .ca = true });
	struct made *b = make((struct recipe){ .ca = true });
	struct made *stranger = make((struct recipe){ .ca = true });
	const char *paths[] = { make_file("one.pem",
				    join("# the first\r\n", a->crt,
					"and text\n\n", b->crt, a->crt, NULL)),
		make_file(
		    "two.pem", join("\xef\xbb\xbf", b->crt, "# end", NULL)) };
	struct trust *t;

	clear_error();
	t = trust_load(paths, 2, NULL, 0, &error);
	ck_assert_msg(t != NULL, "%s", message);
	ck_assert_uint_eq(trust_ca_count(t), 2);
	ck_assert_uint_eq(trust_crl_count(t), 0);
	ck_assert_uint_eq(trust_file_count(t), 2);
	ck_assert_str_eq(trust_file(t, 0), paths[0]);
	ck_assert_str_eq(trust_file(t, 1), paths[1]);
	ck_assert_int_eq(
	    verify(t, make((struct recipe){ .issuer = b })), X509_V_OK);
	ck_assert_int_eq(verify(t, make((struct recipe){ .issuer = stranger })),
	    X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
	ck_assert_int_eq(verify(t, make((struct recipe){ 0 })),
	    X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
	trust_put(t);
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
	const char *link = path_of("link"), *fifo = path_of("fifo");
	const char *const *none = NULL;

	check_bad(
	    path_of("missing"), NULL, "/missing: cannot be read: No such");
	check_bad(make_folder(), NULL, "it is a folder");
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	check_bad(fifo, NULL, "not a regular file");
	ck_assert_int_eq(symlink(path_of("nowhere"), link), 0);
	check_bad(link, NULL, "cannot be read: No such file");
	ck_assert_int_eq(truncate(make_file("huge.pem", ""), 65 << 20), 0);
	check_bad(path_of("huge.pem"), NULL, "larger than 64 MiB");
	clear_error();
	ck_assert_ptr_null(trust_load(none, 0, NULL, 0, &error));
	ck_assert_str_eq(message, "no file with CA certificates");
}
END_TEST

START_TEST(what_is_no_certificate)
{
	struct made *a = make((struct recipe){ .ca = true });
	const char *junk = as_pem("CERTIFICATE", "junk", 4);
	char *cut = strdup(a->crt);

	cut[strlen(cut) / 2] = '\0';
	check_bad(make_file("f", ""), NULL, "/f: no certificate in it");
	check_bad(make_file("f", "# later\n"), NULL, "no certificate in it");
	check_bad(make_file("f", join(a->crt, junk, NULL)), NULL,
	    "block 2 is not a certificate");
	check_bad(make_file("f", join(a->crt, cut, NULL)), NULL,
	    "broken PEM after 1 whole blocks");
	check_bad(make_file("f", join(a->crt, "  ", a->crt, NULL)), NULL,
	    "only 1 of its 2 PEM blocks can be read");
	check_bad(make_file("f", join("#\n\xef\xbb\xbf", a->crt, NULL)), NULL,
	    "only 0 of its 1 PEM blocks can be read");
	check_bad(make_file("f", join(a->crt, a->key_pem, NULL)), NULL,
	    "a private key where a CA certificate belongs");
	check_bad(make_file("f", key_traditional(a->key)), NULL,
	    "a private key where a CA certificate belongs");
	check_bad(make_file("f", make_crl(a, NULL, 0, 0, 0)), NULL,
	    "a CRL where a CA certificate belongs");
	check_bad(make_file("f", as_pem("TRUSTED CERTIFICATE", "x", 1)), NULL,
	    "TRUSTED CERTIFICATE");
	check_bad(make_file("f", as_pem("DH PARAMETERS", "x", 1)), NULL,
	    "a block \"DH PARAMETERS\" where a CA certificate belongs");
	check_bad(
	    make_file("f", "-----BEGIN CERTIFICATE-----\nX: y\n\nanVuaw==\n"
			   "-----END CERTIFICATE-----\n"),
	    NULL, "a block with headers");
	check_bad(make_file("f", key_encrypted(a->key)), NULL, "a private key");
	free(cut);
}
END_TEST

START_TEST(bytes_behind_a_certificate)
{
	struct made *a = make((struct recipe){ .ca = true });
	uint8_t der[4096], *at = der;
	int len = i2d_X509(a->x509, &at);

	der[len] = 0;
	check_bad(make_file("f", as_pem("CERTIFICATE", der, (size_t)len + 1)),
	    NULL, "block 1 is not a certificate");
}
END_TEST

/* A version 1 certificate signed by itself, as CAs of the nineties were. */
static const char *
old_root(void)
{
	EVP_PKEY *key = make_key(MADE_P256);
	X509 *x = X509_new();
	X509_NAME *name = X509_NAME_new();
	uint8_t *der = NULL;
	const char *pem;
	int len;

	ck_assert(X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_ASC, (const unsigned char *)"old", -1, -1, 0));
	ck_assert(X509_set_subject_name(x, name));
	ck_assert(X509_set_issuer_name(x, name));
	ck_assert(X509_gmtime_adj(X509_getm_notBefore(x), -MADE_DAY));
	ck_assert(X509_gmtime_adj(X509_getm_notAfter(x), MADE_DAY));
	ck_assert(X509_set_pubkey(x, key));
	ck_assert(X509_sign(x, key, EVP_sha256()));
	len = i2d_X509(x, &der);
	ck_assert_int_gt(len, 0);
	pem = as_pem("CERTIFICATE", der, (size_t)len);
	OPENSSL_free(der);
	X509_NAME_free(name);
	X509_free(x);
	return pem;
}

START_TEST(certificates_that_are_no_cas)
{
	struct made *leaf = make((struct recipe){ .common_name = "a.test" });
	struct made *said = make((struct recipe){
	    .common_name = "b.test", .basic_constraints = "CA:FALSE" });
	struct made *unable = make((struct recipe){ .common_name = "c\nd",
	    .basic_constraints = "critical,CA:TRUE",
	    .key_usage = "digitalSignature" });
	struct made *broken = make((struct recipe){ .common_name = "e",
	    .ca = true,
	    .extension = "subjectKeyIdentifier",
	    .extension_value = "DER:ff" });

	check_bad(make_file("f", leaf->crt), NULL,
	    "\"CN=a.test\" is not a CA: it has no basicConstraints");
	check_bad(make_file("f", said->crt), NULL,
	    "\"CN=b.test\" is not a CA: its basicConstraints have cA=false");
	check_bad(make_file("f", unable->crt), NULL,
	    "\"CN=c\\0Ad\" is not a CA: its keyUsage lacks keyCertSign");
	check_bad(make_file("f", broken->crt), NULL,
	    "\"CN=e\" is not a CA: its extensions cannot be read");
	check_bad(make_file("f", old_root()), NULL,
	    "\"CN=old\" is not a CA: it is of an old version");
}
END_TEST

START_TEST(an_expired_ca_is_taken_and_trusts_nobody)
{
	struct made *a = make((struct recipe){
	    .ca = true, .not_before = -2 * YEAR, .not_after = -MADE_DAY });
	struct made *b = make((struct recipe){ .ca = true });
	struct trust *t =
	    load_good(make_file("f", join(a->crt, b->crt, NULL)), NULL);

	ck_assert_uint_eq(trust_ca_count(t), 2);
	ck_assert_int_eq(verify(t, make((struct recipe){ .issuer = a })),
	    X509_V_ERR_CERT_HAS_EXPIRED);
	ck_assert_int_eq(
	    verify(t, make((struct recipe){ .issuer = b })), X509_V_OK);
	trust_put(t);
}
END_TEST

START_TEST(an_intermediate_alone_is_enough)
{
	struct made *root = make((struct recipe){ .ca = true });
	struct made *middle =
	    make((struct recipe){ .ca = true, .issuer = root });
	struct made *sister =
	    make((struct recipe){ .ca = true, .issuer = root });
	struct made *leaf = make((struct recipe){ .issuer = middle });
	struct made *other = make((struct recipe){ .issuer = sister });
	struct trust *t = load_good(make_file("f", middle->crt), NULL);

	ck_assert_int_eq(verify(t, leaf), X509_V_OK);
	ck_assert_int_eq(verify_chain(t, leaf, middle), X509_V_OK);
	ck_assert_int_ne(verify_chain(t, other, sister), X509_V_OK);
	trust_put(t);
	t = load_good(make_file("f", root->crt), NULL);
	ck_assert_int_eq(verify_chain(t, leaf, middle), X509_V_OK);
	ck_assert_int_eq(verify_chain(t, other, sister), X509_V_OK);
	ck_assert_int_eq(
	    verify(t, leaf), X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
	trust_put(t);
}
END_TEST

START_TEST(revoked_is_not_the_same_as_an_expired_crl)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *good = make((struct recipe){ .issuer = ca });
	struct made *bad = make((struct recipe){ .issuer = ca });
	const struct made *revoked[] = { bad };
	const char *bundle = make_file("f", ca->crt);
	struct trust *t =
	    load_good(bundle, make_file("crl", make_crl(ca, revoked, 1, 0, 0)));

	ck_assert_uint_eq(trust_crl_count(t), 1);
	ck_assert_uint_eq(trust_file_count(t), 2);
	ck_assert_int_eq(verify(t, good), X509_V_OK);
	ck_assert_int_eq(verify(t, bad), X509_V_ERR_CERT_REVOKED);
	trust_put(t);
	t = load_good(bundle, make_file("crl", make_crl(ca, revoked, 1,
						   -2 * MADE_DAY, -MADE_DAY)));
	ck_assert_int_eq(verify(t, good), X509_V_ERR_CRL_HAS_EXPIRED);
	trust_put(t);
	t = load_good(bundle,
	    make_file("crl", make_crl(ca, revoked, 1, MADE_DAY, 2 * MADE_DAY)));
	ck_assert_int_eq(verify(t, good), X509_V_ERR_CRL_NOT_YET_VALID);
	trust_put(t);
}
END_TEST

START_TEST(every_ca_of_a_chain_needs_its_crl)
{
	struct made *root = make((struct recipe){ .ca = true });
	struct made *middle =
	    make((struct recipe){ .ca = true, .issuer = root });
	struct made *leaf = make((struct recipe){ .issuer = middle });
	const struct made *revoked[] = { middle };
	const char *bundle = make_file("f", join(root->crt, middle->crt, NULL));
	const char *of_root = make_crl(root, NULL, 0, 0, 0);
	const char *of_middle = make_crl(middle, NULL, 0, 0, 0);
	struct trust *t = load_good(
	    bundle, make_file("crl", join("#\n", of_root, of_middle, NULL)));

	ck_assert_uint_eq(trust_crl_count(t), 2);
	ck_assert_int_eq(verify(t, leaf), X509_V_OK);
	ck_assert_int_eq(verify_chain(t, leaf, middle), X509_V_OK);
	trust_put(t);
	t = load_good(bundle, make_file("crl", of_middle));
	ck_assert_int_eq(verify(t, leaf), X509_V_ERR_UNABLE_TO_GET_CRL);
	trust_put(t);
	/* A listed intermediate that was revoked is no way around its root. */
	t = load_good(bundle,
	    make_file("crl",
		join(make_crl(root, revoked, 1, 0, 0), of_middle, NULL)));
	ck_assert_int_eq(verify(t, leaf), X509_V_ERR_CERT_REVOKED);
	trust_put(t);
	check_bad(make_file("f", middle->crt), make_file("crl", of_middle),
	    "the issuer of \"CN=");
}
END_TEST

START_TEST(crls_from_several_files_and_in_der)
{
	struct made *a = make((struct recipe){ .ca = true });
	struct made *b = make((struct recipe){ .ca = true });
	const char *cas[] = { make_file("a.pem", a->crt),
		make_file("b.pem", b->crt) };
	struct made *bad = make((struct recipe){ .issuer = b });
	const struct made *revoked[] = { bad };
	const char *pem = make_crl(b, revoked, 1, 0, 0);
	BIO *in = BIO_new_mem_buf(pem, -1);
	X509_CRL *crl = PEM_read_bio_X509_CRL(in, NULL, NULL, NULL);
	FILE *out = fopen(path_of("b.der"), "w");
	const char *crls[] = { make_file("a.crl", make_crl(a, NULL, 0, 0, 0)),
		path_of("b.der"), path_of("a.crl") };
	struct trust *t;

	ck_assert_int_eq(i2d_X509_CRL_fp(out, crl), 1);
	fclose(out);
	clear_error();
	t = trust_load(cas, 2, crls, 3, &error);
	ck_assert_msg(t != NULL, "%s", message);
	ck_assert_uint_eq(trust_crl_count(t), 2);
	ck_assert_uint_eq(trust_file_count(t), 5);
	ck_assert_str_eq(trust_file(t, 4), crls[2]);
	ck_assert_int_eq(verify(t, bad), X509_V_ERR_CERT_REVOKED);
	trust_put(t);
	ck_assert_int_eq(truncate(crls[1], 20), 0);
	ck_assert_ptr_null(trust_load(cas, 2, crls, 3, &error));
	ck_assert_ptr_nonnull(
	    strstr(message, "b.der: neither PEM nor the DER"));
	X509_CRL_free(crl);
	BIO_free(in);
}
END_TEST

START_TEST(crls_that_are_refused)
{
	struct made *ca =
	    make((struct recipe){ .ca = true, .common_name = "the ca" });
	struct made *same =
	    make((struct recipe){ .ca = true, .common_name = "the ca" });
	struct made *other =
	    make((struct recipe){ .ca = true, .common_name = "another" });
	struct made *mute = make((struct recipe){ .common_name = "mute",
	    .basic_constraints = "critical,CA:TRUE",
	    .key_usage = "keyCertSign" });
	const char *bundle = make_file("f", ca->crt);
	const char *good = make_crl(ca, NULL, 0, 0, 0);

	check_bad(bundle, path_of("missing"), "cannot be read");
	check_bad(bundle, make_file("crl", ""), "/crl: no CRL in it");
	check_bad(bundle, make_file("crl", "junk"), "neither PEM nor the DER");
	check_bad(bundle, make_file("crl", ca->crt),
	    "a certificate where a CRL belongs");
	check_bad(bundle, make_file("crl", join(good, ca->key_pem, NULL)),
	    "a private key where a CRL belongs");
	check_bad(bundle, make_file("crl", as_pem("X509 CRL", "x", 1)),
	    "neither PEM nor the DER");
	check_bad(bundle, make_file("crl", make_crl(other, NULL, 0, 0, 0)),
	    "/crl: the CRL of \"CN=another\": none of the CAs has that name");
	check_bad(bundle, make_file("crl", make_crl(same, NULL, 0, 0, 0)),
	    "the CRL of \"CN=the ca\": its signature is not by the CA");
	check_bad(make_file("g", mute->crt),
	    make_file("crl", make_crl(mute, NULL, 0, 0, 0)),
	    "the CA's keyUsage lacks cRLSign");
}
END_TEST

START_TEST(a_delta_crl_is_refused)
{
	struct made *ca =
	    make((struct recipe){ .ca = true, .common_name = "the ca" });
	const char *pem = make_crl(ca, NULL, 0, 0, 0);
	BIO *in = BIO_new_mem_buf(pem, -1);
	X509_CRL *crl = PEM_read_bio_X509_CRL(in, NULL, NULL, NULL);
	ASN1_INTEGER *base = ASN1_INTEGER_new();
	uint8_t *der = NULL;
	int len;

	ASN1_INTEGER_set(base, 1);
	ck_assert_int_eq(
	    X509_CRL_add1_ext_i2d(crl, NID_delta_crl, base, 1, 0), 1);
	ck_assert_int_gt(X509_CRL_sign(crl, ca->key, EVP_sha256()), 0);
	len = i2d_X509_CRL(crl, &der);
	check_bad(make_file("f", ca->crt),
	    make_file("crl", as_pem("X509 CRL", der, (size_t)len)),
	    "delta CRL");
	OPENSSL_free(der);
	ASN1_INTEGER_free(base);
	X509_CRL_free(crl);
	BIO_free(in);
}
END_TEST

START_TEST(the_digest_is_of_the_content)
{
	struct made *a = make((struct recipe){ .ca = true });
	struct made *b = make((struct recipe){ .ca = true });
	const char *crl_a = make_crl(a, NULL, 0, 0, 0);
	const char *crl_b = make_crl(b, NULL, 0, 0, 0);
	const char *bundle = make_file("f", join(a->crt, b->crt, NULL));
	const char *turned =
	    make_file("g", join(b->crt, "\n", a->crt, b->crt, NULL));
	struct trust *one = load_good(bundle, NULL);
	struct trust *two = load_good(turned, NULL);
	struct trust *less = load_good(make_file("h", a->crt), NULL);
	struct trust *with =
	    load_good(bundle, make_file("c", join(crl_a, crl_b, NULL)));
	struct trust *also =
	    load_good(turned, make_file("d", join(crl_b, crl_a, NULL)));

	ck_assert(trust_same(one, one));
	ck_assert(trust_same(one, two));
	ck_assert(!trust_same(one, less));
	ck_assert(!trust_same(one, with));
	ck_assert(trust_same(with, also));
	trust_put(one);
	trust_put(two);
	trust_put(less);
	trust_put(with);
	trust_put(also);
	trust_put(NULL);
}
END_TEST

START_TEST(the_names_go_to_whoever_takes_them)
{
	struct made *a = make((struct recipe){ .ca = true });
	struct made *b = make((struct recipe){ .ca = true });
	struct trust *t =
	    load_good(make_file("f", join(a->crt, b->crt, NULL)), NULL);
	struct trust_content content;
	uint8_t digest[TRUST_DIGEST_BYTES];

	ck_assert(trust_take(t, true, &content));
	trust_digest(t, digest);
	ck_assert_mem_eq(digest, content.digest, sizeof(digest));
	trust_put(t);
	ck_assert_int_eq(sk_X509_NAME_num(content.names), 2);
	sk_X509_NAME_pop_free(content.names, X509_NAME_free);
	X509_STORE_free(content.store);
}
END_TEST

START_TEST(names_that_would_not_fit_are_left_out)
{
	const char *bundle = "";
	struct trust_content content;
	struct trust *t;

	for (int i = 0; i < 600; i++) {
		char name[65];

		snprintf(name, sizeof(name), "%064d", i);
		bundle = join(bundle,
		    make((struct recipe){ .ca = true, .common_name = name })
			->crt,
		    NULL);
	}
	t = load_good(make_file("f", bundle), NULL);
	ck_assert_uint_eq(trust_ca_count(t), 600);
	ck_assert(trust_take(t, true, &content));
	ck_assert_ptr_null(content.names);
	X509_STORE_free(content.store);
	trust_put(t);
}
END_TEST

START_TEST(a_refresh_that_fails_changes_nothing)
{
	struct made *a = make((struct recipe){ .ca = true });
	struct made *b = make((struct recipe){ .ca = true });
	struct made *of_a = make((struct recipe){ .issuer = a });
	struct made *of_b = make((struct recipe){ .issuer = b });
	struct trust *t = load_good(make_file("f", a->crt), NULL);
	struct trust_content before;
	uint8_t digest[TRUST_DIGEST_BYTES];

	ck_assert_ptr_eq(trust_get(t), t);
	trust_put(t);
	ck_assert(trust_take(t, false, &before));
	make_file("f", "");
	ck_assert_int_eq(trust_refresh(t, &error), -1);
	ck_assert_ptr_nonnull(strstr(message, "no certificate in it"));
	unlink(path_of("f"));
	ck_assert_int_eq(trust_refresh(t, &error), -1);
	ck_assert_int_eq(verify(t, of_a), X509_V_OK);
	make_file("f", b->crt);
	ck_assert_int_eq(trust_refresh(t, &error), 0);
	ck_assert_int_eq(verify(t, of_b), X509_V_OK);
	ck_assert_int_ne(verify(t, of_a), X509_V_OK);
	trust_digest(t, digest);
	ck_assert_mem_ne(digest, before.digest, sizeof(digest));
	ck_assert_int_eq(
	    sk_X509_OBJECT_num(X509_STORE_get0_objects(before.store)), 1);
	X509_STORE_free(before.store);
	trust_put(t);
}
END_TEST

#define TAKERS 4

struct takers {
	struct trust *trust;
	const struct made *leaf;
	atomic_bool stop;
	atomic_uint taken;
};

static void *
take_until_stopped(void *arg)
{
	struct takers *all = arg;

	while (!atomic_load(&all->stop)) {
		struct trust_content content;
		struct trust *mine = trust_get(all->trust);

		QUICK_ASSERT(trust_take(mine, true, &content));
		trust_put(mine);
		QUICK_ASSERT(sk_X509_NAME_num(content.names) >= 1);
		sk_X509_NAME_pop_free(content.names, X509_NAME_free);
		X509_STORE_free(content.store);
		QUICK_ASSERT(verify(all->trust, all->leaf) == X509_V_OK);
		atomic_fetch_add(&all->taken, 1);
	}
	return NULL;
}

START_TEST(refreshed_while_four_threads_take)
{
	struct made *a = make((struct recipe){ .ca = true });
	struct made *b = make((struct recipe){ .ca = true });
	struct takers all = { .leaf = make((struct recipe){ .issuer = a }) };
	const char *crl_a = make_crl(a, NULL, 0, 0, 0);
	const char *crl_b = make_crl(b, NULL, 0, 0, 0);
	pthread_t threads[TAKERS];

	all.trust = load_good(make_file("f", a->crt), make_file("c", crl_a));
	for (int i = 0; i < TAKERS; i++)
		pthread_create(&threads[i], NULL, take_until_stopped, &all);
	for (int turn = 0; turn < 40; turn++) {
		unsigned seen = atomic_load(&all.taken);

		make_file("f", turn % 2 ? a->crt : join(a->crt, b->crt, NULL));
		make_file("c", turn % 2 ? crl_a : join(crl_a, crl_b, NULL));
		ck_assert_msg(
		    trust_refresh(all.trust, &error) == 0, "%s", message);
		while (atomic_load(&all.taken) < seen + TAKERS)
			sched_yield();
	}
	atomic_store(&all.stop, true);
	for (int i = 0; i < TAKERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(trust_ca_count(all.trust), 1);
	trust_put(all.trust);
}
END_TEST

START_TEST(the_roots_of_the_system)
{
	struct made *a = make((struct recipe){ .ca = true });
	struct made *other = make((struct recipe){ .common_name = "other" });
	struct trust *t;

	clear_error();
	setenv(
	    "SSL_CERT_FILE", make_file("f", join(other->crt, a->crt, NULL)), 1);
	t = trust_system(&error);
	ck_assert_msg(t != NULL, "%s", message);
	ck_assert_uint_eq(trust_ca_count(t), 1);
	ck_assert_uint_eq(trust_file_count(t), 0);
	ck_assert_int_eq(
	    verify(t, make((struct recipe){ .issuer = a })), X509_V_OK);
	unlink(path_of("f"));
	setenv("SSL_CERT_DIR", make_folder(), 1);
	ck_assert_int_eq(trust_refresh(t, &error), -1);
	ck_assert_ptr_nonnull(strstr(message, "no root certificates"));
	ck_assert_uint_eq(trust_ca_count(t), 1);
	make_file("plain.pem", a->crt);
	make_file("0123abcd.0", a->crt);
	make_file("0123abcd.x", "junk");
	make_file("0123abcd.", "junk");
	ck_assert_int_eq(trust_refresh(t, &error), 0);
	ck_assert_uint_eq(trust_ca_count(t), 1);
	make_file("0123abcd.1", "junk");
	ck_assert_int_eq(trust_refresh(t, &error), -1);
	ck_assert_ptr_nonnull(strstr(message, "0123abcd.1: no certificate"));
	trust_put(t);
	setenv("SSL_CERT_DIR", "/nonexistent", 1);
	clear_error();
	ck_assert_ptr_null(trust_system(&error));
	ck_assert_ptr_nonnull(strstr(message, "in /nonexistent (Debian: "));
}
END_TEST

/* Debian's file has such roots, and nobody here can renew them. */
START_TEST(expired_roots_of_the_system_are_not_told_of)
{
	struct made *old = make((struct recipe){
	    .ca = true, .not_before = -2 * YEAR, .not_after = -MADE_DAY });
	const char *log = path_of("log");
	const struct log_settings settings = { .target = log,
		.format = LOG_FORMAT_LOGFMT,
		.level = LOG_LEVEL_WARN };
	struct stat st;

	setenv("SSL_CERT_FILE", make_file("f", old->crt), 1);
	clear_error();
	ck_assert_int_eq(log_open(&settings), 0);
	trust_put(trust_system(&error));
	log_close();
	ck_assert_str_eq(message, "");
	ck_assert_int_eq(stat(log, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
}
END_TEST

/* What people read when the CRL was not renewed. */
START_TEST(warnings_name_the_file_and_the_ca)
{
	struct made *old = make((struct recipe){ .ca = true,
	    .common_name = "old",
	    .not_before = -2 * YEAR,
	    .not_after = -MADE_DAY });
	struct made *a =
	    make((struct recipe){ .ca = true, .common_name = "a" });
	const char *log = path_of("log");
	const struct log_settings settings = { .target = log,
		.format = LOG_FORMAT_LOGFMT,
		.level = LOG_LEVEL_WARN };
	char line[4096];
	ssize_t len;
	int fd;

	ck_assert_int_eq(log_open(&settings), 0);
	trust_put(load_good(make_file("f", join(old->crt, a->crt, NULL)),
	    make_file("c", make_crl(a, NULL, 0, -2 * MADE_DAY, -1))));
	log_close();
	fd = open(log, O_RDONLY);
	len = read(fd, line, sizeof(line) - 1);
	close(fd);
	ck_assert_int_gt(len, 0);
	line[len] = '\0';
	ck_assert_ptr_nonnull(strstr(line, "a CA has expired"));
	ck_assert_ptr_nonnull(strstr(line, "/f"));
	ck_assert_ptr_nonnull(strstr(line, "subject=\"CN=old\""));
	ck_assert_ptr_nonnull(strstr(line, "a CRL has expired"));
	ck_assert_ptr_nonnull(strstr(line, "issuer=\"CN=a\""));
	ck_assert_ptr_nonnull(strstr(line, "a CA has no CRL"));
}
END_TEST

/* All of it or nothing: a CRL that was left out would let a client in. */
START_TEST(without_memory)
{
	struct made *a = make((struct recipe){ .ca = true });
	struct made *b = make((struct recipe){ .ca = true });
	struct made *bad = make((struct recipe){ .issuer = b });
	const struct made *revoked[] = { bad };
	const char *cas = make_file("f", join(a->crt, b->crt, NULL));
	const char *crls =
	    make_file("c", join(make_crl(a, NULL, 0, 0, 0),
			       make_crl(b, revoked, 1, 0, 0), NULL));
	struct trust_content content;
	struct trust *t;
	bool done = false, taken;

	for (unsigned at = 1; !done; at += 1 + at / 16) {
		fault_set(&openssl_fault, at, ENOMEM);
		UNDER_FAULTS(t = parse(a->crt));
		done = openssl_fault.hits == 0;
		ck_assert(t || (!done && message[0] != '\0'));
		trust_put(t);
	}
	done = false;
	for (unsigned at = 1; !done; at += 1 + at / 16) {
		fault_set(&openssl_fault, at, ENOMEM);
		UNDER_FAULTS(t = load(cas, crls));
		done = openssl_fault.hits == 0;
		ck_assert(t || (!done && message[0] != '\0'));
		if (!t)
			continue;
		ck_assert_uint_eq(trust_ca_count(t), 2);
		ck_assert_uint_eq(trust_crl_count(t), 2);
		ck_assert_int_eq(verify(t, bad), X509_V_ERR_CERT_REVOKED);
		if (!done)
			trust_put(t);
	}
	done = false;
	for (unsigned at = 1; !done; at++) {
		fault_set(&openssl_fault, at, ENOMEM);
		UNDER_FAULTS(taken = trust_take(t, true, &content));
		done = openssl_fault.hits == 0;
		ck_assert(taken == (sk_X509_NAME_num(content.names) == 2));
		ck_assert(taken == (content.store != NULL));
		X509_STORE_free(content.store);
		sk_X509_NAME_pop_free(content.names, X509_NAME_free);
	}
	trust_put(t);
}
END_TEST

/* As an agent sends it: the same as from a file, but that there is none. */
START_TEST(cas_from_memory)
{
	struct made *a = make((struct recipe){ .ca = true });
	struct made *b = make((struct recipe){ .ca = true });
	struct made *stranger = make((struct recipe){ .ca = true });
	const char *bundle = join("# two\n", a->crt, b->crt, a->crt, NULL);
	struct trust *t = parse(bundle);
	struct trust *same = load_good(make_file("f", bundle), NULL);
	struct made *leaf = make((struct recipe){ .issuer = a });

	ck_assert_ptr_nonnull(t);
	ck_assert(trust_same(t, same));
	ck_assert_uint_eq(trust_file_count(t), 0);
	ck_assert_uint_eq(trust_ca_count(t), 2);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(verify(t, leaf), X509_V_OK);
		ck_assert_int_ne(
		    verify(t, make((struct recipe){ .issuer = stranger })),
		    X509_V_OK);
		/* Nothing to read again, and nothing lost. */
		ck_assert_int_eq(trust_refresh(t, &error), 0);
	}
	trust_put(t);
	trust_put(same);
}
END_TEST

START_TEST(what_is_no_ca_in_memory)
{
	struct made *a = make((struct recipe){ .ca = true });
	struct made *leaf =
	    make((struct recipe){ .issuer = a, .common_name = "a leaf" });
	const struct {
		const char *text, *message;
	} cases[] = {
		{ "", "no certificate in it" },
		{ "nothing", "no certificate in it" },
		{ join(a->crt, leaf->crt, NULL),
		    "\"CN=a leaf\" is not a CA: it has no basicConstraints" },
		{ join(a->crt, a->key_pem, NULL),
		    "a private key where a CA certificate belongs" },
		{ as_pem("CERTIFICATE", "junk", 4),
		    "block 1 is not a certificate" },
		{ as_pem("DH PARAMETERS", "x", 1),
		    "a block \"DH PARAMETERS\" where a CA certificate "
		    "belongs" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		ck_assert_ptr_null(parse(cases[i].text));
		ck_assert_str_eq(message, cases[i].message);
	}
}
END_TEST

/* Whoever may bind could fill the log with them. */
START_TEST(an_expired_ca_from_memory_is_not_told_of)
{
	struct made *old = make((struct recipe){
	    .ca = true, .not_before = -2 * YEAR, .not_after = -MADE_DAY });
	const char *log = path_of("log");
	const struct log_settings settings = { .target = log,
		.format = LOG_FORMAT_LOGFMT,
		.level = LOG_LEVEL_WARN };
	struct trust *t;
	struct stat st;

	ck_assert_int_eq(log_open(&settings), 0);
	t = parse(old->crt);
	log_close();
	ck_assert_ptr_nonnull(t);
	trust_put(t);
	ck_assert_int_eq(stat(log, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_bundle_may_hold_text_and_repeat_itself);
	tcase_add_test(tcase, files_that_cannot_be_read);
	tcase_add_test(tcase, what_is_no_certificate);
	tcase_add_test(tcase, bytes_behind_a_certificate);
	tcase_add_test(tcase, certificates_that_are_no_cas);
	tcase_add_test(tcase, an_expired_ca_is_taken_and_trusts_nobody);
	tcase_add_test(tcase, an_intermediate_alone_is_enough);
	tcase_add_test(tcase, revoked_is_not_the_same_as_an_expired_crl);
	tcase_add_test(tcase, every_ca_of_a_chain_needs_its_crl);
	tcase_add_test(tcase, crls_from_several_files_and_in_der);
	tcase_add_test(tcase, crls_that_are_refused);
	tcase_add_test(tcase, a_delta_crl_is_refused);
	tcase_add_test(tcase, the_digest_is_of_the_content);
	tcase_add_test(tcase, the_names_go_to_whoever_takes_them);
	tcase_add_test(tcase, names_that_would_not_fit_are_left_out);
	tcase_add_test(tcase, a_refresh_that_fails_changes_nothing);
	tcase_add_test(tcase, refreshed_while_four_threads_take);
	tcase_add_test(tcase, the_roots_of_the_system);
	tcase_add_test(tcase, expired_roots_of_the_system_are_not_told_of);
	tcase_add_test(tcase, warnings_name_the_file_and_the_ca);
	tcase_add_test(tcase, cas_from_memory);
	tcase_add_test(tcase, what_is_no_ca_in_memory);
	tcase_add_test(tcase, an_expired_ca_from_memory_is_not_told_of);
#ifndef __SANITIZE_THREAD__
	tcase_add_test(tcase, without_memory);
#else
	(void)without_memory;
#endif
}

UNIT_MAIN("trust", add_tests)
