#include "certificate_bench.h"

#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "tls/digest.h"

/* --- chains --- */

START_TEST(chains)
{
	struct made *root = make((struct recipe){ .ca = true });
	struct made *middle =
	    make((struct recipe){ .ca = true, .issuer = root });
	struct made *leaf =
	    make((struct recipe){ .issuer = middle, .names = "DNS:a.test" });
	struct made *other = make((struct recipe){ .ca = true });
	struct certificate *c = parse_good(
	    join(leaf->crt, middle->crt, root->crt, NULL), leaf->key_pem);

	ck_assert_int_eq(X509_cmp(certificate_leaf(c), leaf->x509), 0);
	ck_assert_int_eq(sk_X509_num(certificate_chain(c)), 2);
	ck_assert_int_eq(
	    X509_cmp(sk_X509_value(certificate_chain(c), 0), middle->x509), 0);
	certificate_put(c);
	c = parse_good(leaf->crt, leaf->key_pem);
	ck_assert_int_le(sk_X509_num(certificate_chain(c)), 0);
	certificate_put(c);
	check_refused(join(leaf->crt, root->crt, middle->crt, NULL),
	    leaf->key_pem,
	    "chain out of order: certificate 2 has not issued certificate 1");
	check_refused(join(leaf->crt, middle->crt, other->crt, NULL),
	    leaf->key_pem,
	    "chain out of order: certificate 3 has not issued certificate 2");
	check_refused(join(middle->crt, leaf->crt, NULL), leaf->key_pem,
	    "chain out of order: the private key belongs to certificate 2");
	check_refused(join(leaf->crt, leaf->crt, NULL), leaf->key_pem,
	    "chain out of order");
}
END_TEST

START_TEST(too_many_certificates)
{
	struct made *m = make((struct recipe){ .ca = true });
	const char *many = "";

	for (int i = 0; i < 16; i++)
		many = join(many, m->crt, NULL);
	check_good(many, m->key_pem);
	check_refused(
	    join(many, m->crt, NULL), m->key_pem, "more than 16 certificates");
}
END_TEST

/* --- what a certificate says --- */

static bool
covers(const struct certificate *c, const char *name)
{
	return certificate_covers(c, span_text(name));
}

START_TEST(names)
{
	struct made *m = make((struct recipe){ .common_name = "cn.test",
	    .names = "DNS:A.Test,DNS:*.Wild.test,IP:192.0.2.1,DNS:*,"
		     "DNS:f*.test,DNS:a b,DNS:under_score.test,email:x@y.z" });
	struct certificate *c = parse_good(m->crt, m->key_pem);

	ck_assert_uint_eq(certificate_name_count(c), 3);
	ck_assert_str_eq(certificate_name(c, 0), "a.test");
	ck_assert_str_eq(certificate_name(c, 1), "*.wild.test");
	ck_assert_str_eq(certificate_name(c, 2), "under_score.test");
	ck_assert(covers(c, "a.test"));
	ck_assert(covers(c, "x.wild.test"));
	ck_assert(!covers(c, "y.x.wild.test"));
	ck_assert(!covers(c, "wild.test"));
	ck_assert(!covers(c, ".wild.test"));
	ck_assert(!covers(c, "xwild.test"));
	ck_assert(!covers(c, "cn.test"));
	ck_assert(!covers(c, "192.0.2.1"));
	ck_assert(!covers(c, ""));
	certificate_put(c);
}
END_TEST

static const char *
only_name(struct recipe r)
{
	struct made *m = make(r);
	struct certificate *c = parse_good(m->crt, m->key_pem);
	const char *name = "";

	ck_assert_uint_le(certificate_name_count(c), 1);
	if (certificate_name_count(c) == 1)
		name = join(certificate_name(c, 0), NULL);
	certificate_put(c);
	return name;
}

START_TEST(the_common_name_stands_in)
{
	ck_assert_str_eq(
	    only_name((struct recipe){ .common_name = "CN.test" }), "cn.test");
	ck_assert_str_eq(only_name((struct recipe){ .common_name = "cn.test",
			     .names = "IP:192.0.2.1" }),
	    "cn.test");
	ck_assert_str_eq(
	    only_name((struct recipe){ .common_name = "A Person" }), "");
	ck_assert_str_eq(only_name((struct recipe){ .common_name = NULL }), "");
	/* Names that cannot be used do not bring the common name back. */
	ck_assert_str_eq(only_name((struct recipe){
			     .common_name = "cn.test", .names = "DNS:a b" }),
	    "");
}
END_TEST

START_TEST(facts)
{
	struct made *m = make((struct recipe){ .common_name = "a,\nb\"\xc3\xbc",
	    .names = "DNS:a.test",
	    .not_before = -5 * MADE_DAY,
	    .not_after = -MADE_DAY,
	    .must_staple = true,
	    .ocsp_url = "http://ocsp.test:8080/x" });
	struct certificate *c = parse_good(m->crt, m->key_pem);
	uint8_t *der = NULL;
	int len = i2d_X509(m->x509, &der);
	char hex[SHA256_HEX_SIZE];
	int64_t now = time(NULL);

	ck_assert_int_eq(sha256_hex(span_of(der, (size_t)len), hex), 0);
	OPENSSL_free(der);
	ck_assert_str_eq(certificate_fingerprint(c), hex);
	ck_assert_int_eq(
	    certificate_not_after(c) - certificate_not_before(c), 4 * MADE_DAY);
	ck_assert_int_le(llabs(now - MADE_DAY - certificate_not_after(c)), 30);
	ck_assert(certificate_must_staple(c));
	ck_assert_str_eq(certificate_ocsp_url(c), "http://ocsp.test:8080/x");
	check_is_one_line(certificate_subject(c));
	ck_assert_int_eq(strncmp(certificate_subject(c), "CN=a\\,", 6), 0);
	ck_assert(!certificate_is_stapled(c, now));
	certificate_put(c);
}
END_TEST

static const char *const bad_urls[] = { "https://ocsp.test/", "ldap://x/",
	"http://a\x01/", "http://a /" };

START_TEST(facts_that_are_not_there)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	struct certificate *c = parse_good(m->crt, m->key_pem);

	ck_assert(!certificate_must_staple(c));
	ck_assert_ptr_null(certificate_ocsp_url(c));
	ck_assert_str_eq(certificate_subject(c), "");
	certificate_put(c);
	for (size_t i = 0; i < ARRAY_COUNT(bad_urls); i++) {
		m = make((struct recipe){ .ocsp_url = bad_urls[i] });
		c = parse_good(m->crt, m->key_pem);
		ck_assert_ptr_null(certificate_ocsp_url(c));
		certificate_put(c);
	}
	m = make((struct recipe){ .extension = "authorityInfoAccess",
	    .extension_value = "caIssuers;URI:http://ca.test/,"
			       "OCSP;URI:https://o.test/,"
			       "OCSP;URI:http://o.test/1,"
			       "OCSP;URI:http://o.test/2" });
	c = parse_good(m->crt, m->key_pem);
	ck_assert_str_eq(certificate_ocsp_url(c), "http://o.test/1");
	certificate_put(c);
}
END_TEST

/* It must not seem to say less than it does. */
START_TEST(extensions_that_cannot_be_read)
{
	static const struct {
		const char *name, *value;
	} bad[] = { { "2.5.29.17", "DER:3081" },
		{ "1.3.6.1.5.5.7.1.24", "DER:3081" },
		{ "1.3.6.1.5.5.7.1.1", "DER:3081" },
		/* Read by OpenSSL alone, at the first handshake. */
		{ "2.5.29.35", "DER:3081" }, { "2.5.29.37", "DER:3081" } };

	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		struct made *m = make((struct recipe){ .common_name = "a.test",
		    .extension = bad[i].name,
		    .extension_value = bad[i].value });

		check_refused(m->crt, m->key_pem, "extensions cannot be read");
	}
}
END_TEST

START_TEST(names_of_kinds)
{
	ck_assert_str_eq(key_kind_name(KEY_RSA), "RSA");
	ck_assert_str_eq(key_kind_name(KEY_ECDSA), "ECDSA");
	ck_assert_str_eq(key_kind_name(KEY_ED25519), "Ed25519");
}
END_TEST

START_TEST(references)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	struct certificate *c = parse_good(m->crt, m->key_pem);

	ck_assert_ptr_eq(certificate_get(c), c);
	certificate_put(c);
	ck_assert_str_eq(certificate_name(c, 0), "a.test");
	certificate_put(c);
	certificate_put(NULL);
}
END_TEST

static void *
look(void *arg)
{
	struct certificate *c = arg;
	X509 *leaf = certificate_leaf(c);

	if (sk_X509_num(certificate_chain(c)) != 1 ||
	    certificate_is_stapled(c, 0))
		return NULL;
	return leaf;
}

/* OpenSSL's form is made once, whoever asks first. */
START_TEST(threads_see_one_form)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *m =
	    make((struct recipe){ .issuer = ca, .names = "DNS:a.test" });
	const char *crt = join(m->crt, ca->crt, NULL);
	pthread_t threads[4];

	for (int round = 0; round < 20; round++) {
		struct certificate *c = parse_good(crt, m->key_pem);

		for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
			ck_assert_int_eq(
			    pthread_create(&threads[i], NULL, look, c), 0);
		for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
			void *seen;

			ck_assert_int_eq(pthread_join(threads[i], &seen), 0);
			ck_assert_ptr_eq(seen, certificate_leaf(c));
		}
		certificate_put(c);
	}
}
END_TEST

/* --- files --- */

static struct certificate *
load(const char *crt, const char *key)
{
	text_init(&error, error_storage, sizeof(error_storage));
	return certificate_load(crt, key, &error);
}

/* The message begins with the path and has this in it. */
static void
check_not_loaded(
    const char *crt, const char *key, const char *path, const char *message)
{
	ck_assert_ptr_null(load(crt, key));
	check_is_one_line(error_storage);
	ck_assert_int_eq(strncmp(error_storage, path, strlen(path)), 0);
	ck_assert_int_eq(strncmp(error_storage + strlen(path), ": ", 2), 0);
	ck_assert_msg(strstr(error_storage, message) != NULL,
	    "\"%s\" is not in \"%s\"", message, error_storage);
}

START_TEST(files)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	const char *crt = make_file("a.crt", m->crt);
	const char *key = make_file("a.key", m->key_pem);
	const char *both = make_file("a.pem", join(m->crt, m->key_pem, NULL));
	struct certificate *c = load(crt, key);

	ck_assert_ptr_nonnull(c);
	ck_assert(!certificate_key_is_exposed(c));
	certificate_put(c);
	c = load(both, NULL);
	ck_assert_ptr_nonnull(c);
	certificate_put(c);
	ck_assert_int_eq(chmod(crt, 0644), 0);
	c = load(crt, key);
	ck_assert(!certificate_key_is_exposed(c));
	certificate_put(c);
	ck_assert_int_eq(chmod(key, 0644), 0);
	c = load(crt, key);
	ck_assert(certificate_key_is_exposed(c));
	certificate_put(c);
}
END_TEST

START_TEST(files_that_cannot_be_used)
{
	struct made *m = make((struct recipe){ .names = "DNS:a.test" });
	struct made *other = make((struct recipe){ .names = "DNS:a.test" });
	const char *crt = make_file("a.crt", m->crt);
	const char *key = make_file("a.key", m->key_pem);
	const char *wrong = make_file("b.key", other->key_pem);
	const char *empty = make_file("empty", "");
	const char *missing = path_of("missing");
	char *blanks = calloc(1, (1 << 20) + 2);
	const char *large;

	memset(blanks, '\n', (1 << 20) + 1);
	large = make_file("large", blanks);
	free(blanks);
	check_not_loaded(missing, NULL, missing, "No such file");
	check_not_loaded(crt, missing, missing, "No such file");
	check_not_loaded(make_folder(), NULL, make_folder(), "it is a folder");
	check_not_loaded(empty, key, empty, "it is empty");
	check_not_loaded(crt, empty, empty, "it is empty");
	check_not_loaded(large, key, large, "larger than 1 MiB");
	check_not_loaded(crt, large, large, "larger than 1 MiB");
	check_not_loaded(crt, wrong, wrong, "does not belong");
	check_not_loaded(crt, crt, crt, "a certificate where the private key");
	check_not_loaded(key, key, key, "a private key where the certificate");
	check_not_loaded(crt, NULL, crt,
	    "no private key found in it, nor a key file for it");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, chains);
	tcase_add_test(tcase, too_many_certificates);
	tcase_add_test(tcase, names);
	tcase_add_test(tcase, the_common_name_stands_in);
	tcase_add_test(tcase, facts);
	tcase_add_test(tcase, facts_that_are_not_there);
	tcase_add_test(tcase, extensions_that_cannot_be_read);
	tcase_add_test(tcase, names_of_kinds);
	tcase_add_test(tcase, references);
	tcase_add_test(tcase, threads_see_one_form);
	tcase_add_test(tcase, files);
	tcase_add_test(tcase, files_that_cannot_be_used);
}

UNIT_MAIN("certificate", add_tests)
