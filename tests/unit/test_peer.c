#include "unit.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/clock.h"
#include "faults.h"
#include "tls/private.h"
#include "tls_support.h"

#define TEXT(s) span_of(s, sizeof(s) - 1)

FAULT(calloc);
FAULT(openssl);
void *__wrap_calloc(size_t, size_t);
void *__real_calloc(size_t, size_t);

void *
__wrap_calloc(size_t count, size_t size)
{
	return fault_hits(&calloc_fault) ? NULL : __real_calloc(count, size);
}

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
	if (!CRYPTO_set_mem_functions(
		faulty_malloc, faulty_realloc, plain_free))
		abort();
}

static void
check_text(struct span s, struct span expected)
{
	ck_assert_uint_eq(s.len, expected.len);
	ck_assert_mem_eq(s.data, expected.data, expected.len);
}

static void
check_list(struct peer_list list, size_t count, const struct span *expected)
{
	ck_assert_uint_eq(list.count, count);
	for (size_t i = 0; i < count; i++)
		check_text(list.items[i], expected[i]);
}

static void
add(X509_NAME *name, int nid, int type, const void *text, int len)
{
	ck_assert_int_eq(
	    X509_NAME_add_entry_by_NID(name, nid, type, text, len, -1, 0), 1);
}

/* A certificate with that subject and what `r` says. */
static X509 *
named(struct recipe r, X509_NAME *subject)
{
	struct made *m = make(r);
	struct made *signer = m;

	ck_assert_int_eq(X509_set_subject_name(m->x509, subject), 1);
	if (!r.issuer)
		X509_set_issuer_name(m->x509, subject);
	else
		signer = (struct made *)(uintptr_t)r.issuer;
	ck_assert_int_gt(X509_sign(m->x509, signer->key, EVP_sha256()), 0);
	X509_NAME_free(subject);
	return m->x509;
}

static struct peer *
peer_of(X509 *x)
{
	struct peer *p = peer_from_x509(x);

	ck_assert_ptr_nonnull(p);
	return p;
}

START_TEST(all_that_policies_may_read)
{
	struct made *ca =
	    make((struct recipe){ .ca = true, .common_name = "The CA" });
	X509_NAME *n = X509_NAME_new();
	struct peer *p;
	X509 *x;

	add(n, NID_countryName, V_ASN1_PRINTABLESTRING, "DE", -1);
	add(n, NID_organizationName, V_ASN1_UTF8STRING, "M\xc3\xbcller", -1);
	add(n, NID_organizationalUnitName, V_ASN1_UTF8STRING, "payments", -1);
	add(n, NID_commonName, V_ASN1_UTF8STRING, "outer", -1);
	add(n, NID_organizationalUnitName, V_ASN1_T61STRING, "K\xe4se", -1);
	add(n, NID_localityName, V_ASN1_BMPSTRING, "\0K\0\xf6\x20\xac", 6);
	add(n, NID_stateOrProvinceName, V_ASN1_PRINTABLESTRING, "NRW", -1);
	add(n, NID_postalCode, V_ASN1_UTF8STRING, "50667", -1);
	add(n, NID_streetAddress, V_ASN1_UTF8STRING, "Ring 1", -1);
	add(n, NID_commonName, V_ASN1_UTF8STRING, "inner", -1);
	x = named((struct recipe){ .issuer = ca,
		      .serial = 0x0a1b2c,
		      .names = "DNS:a.test,email:me@a.test,DNS:*.b.test,"
			       "URI:spiffe://a/b,IP:192.0.2.1,IP:2001:db8::1,"
			       "IP:::ffff:198.51.100.7,DNS:c.test" },
	    n);
	p = peer_of(x);
	check_text(p->subject.common_name, TEXT("inner"));
	check_list(p->subject.country, 1, (struct span[]){ TEXT("DE") });
	check_list(p->subject.organization, 1,
	    (struct span[]){ TEXT("M\xc3\xbcller") });
	check_list(p->subject.organizational_unit, 2,
	    (struct span[]){ TEXT("payments"), TEXT("K\xc3\xa4se") });
	check_list(p->subject.locality, 1,
	    (struct span[]){ TEXT("K\xc3\xb6\xe2\x82\xac") });
	check_list(p->subject.province, 1, (struct span[]){ TEXT("NRW") });
	check_list(p->subject.postal_code, 1, (struct span[]){ TEXT("50667") });
	check_list(
	    p->subject.street_address, 1, (struct span[]){ TEXT("Ring 1") });
	check_text(p->issuer.common_name, TEXT("The CA"));
	check_list(p->issuer.country, 0, NULL);
	check_list(p->dns_names, 3,
	    (struct span[]){
		TEXT("a.test"), TEXT("*.b.test"), TEXT("c.test") });
	check_list(p->email_addresses, 1, (struct span[]){ TEXT("me@a.test") });
	check_list(p->uris, 1, (struct span[]){ TEXT("spiffe://a/b") });
	check_list(p->ip_addresses, 3,
	    (struct span[]){
		TEXT("192.0.2.1"), TEXT("2001:db8::1"), TEXT("198.51.100.7") });
	check_text(p->serial_number, TEXT("0a1b2c"));
	check_text(p->signature_algorithm, TEXT("ecdsa-with-SHA256"));
	check_text(p->key_algorithm, TEXT("EC256"));
	peer_free(p);
	peer_free(NULL);
}
END_TEST

START_TEST(nothing_in_it)
{
	struct peer *p = peer_of(named((struct recipe){ 0 }, X509_NAME_new()));

	check_text(p->subject.common_name, TEXT(""));
	check_list(p->subject.organizational_unit, 0, NULL);
	check_list(p->dns_names, 0, NULL);
	check_list(p->ip_addresses, 0, NULL);
	peer_free(p);
}
END_TEST

START_TEST(the_same_bytes_and_times)
{
	struct made *m =
	    make((struct recipe){ .names = "DNS:a.test", .not_after = 1000 });
	struct peer *p = peer_of(m->x509);
	unsigned char digest[32], *der = NULL;
	char hex[65] = "";
	int len = i2d_X509(m->x509, &der);
	int64_t now = clock_wall_us() / 1000000;

	check_text(p->der, span_of(der, (size_t)len));
	check_text(p->pem, span_text(m->crt));
	X509_digest(m->x509, EVP_sha256(), digest, NULL);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	check_text(p->fingerprint_sha256, span_text(hex));
	ck_assert_int_ge(p->not_after, now + 900);
	ck_assert_int_le(p->not_after, now + 1000);
	ck_assert_int_le(p->not_before, now);
	OPENSSL_free(der);
	peer_free(p);
}
END_TEST

/* PEM breaks its lines after 48 bytes: none, one and two left over. */
START_TEST(pem_of_each_length)
{
	for (int extra = 1; extra <= 50; extra++) {
		char name[65];
		struct made *m;
		struct peer *p;

		memset(name, 'x', sizeof(name));
		name[extra] = '\0';
		m = make((struct recipe){ .common_name = name });
		p = peer_of(m->x509);
		check_text(p->pem, span_text(m->crt));
		peer_free(p);
	}
}
END_TEST

START_TEST(kinds_of_keys)
{
	static const struct {
		enum made_key kind;
		const char *name;
	} kinds[] = { { MADE_P256, "EC256" }, { MADE_P384, "EC384" },
		{ MADE_ED25519, "ED25519" }, { MADE_RSA2048, "RSA2048" },
		{ MADE_ED448, "ED448" }, { MADE_RSA_PSS, "RSA-PSS2048" },
		{ MADE_P256_EXPLICIT, "EC256" } };

	for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
		struct made *m = make((struct recipe){ .kind = kinds[i].kind });
		struct peer *p = peer_of(m->x509);

		check_text(p->key_algorithm, span_text(kinds[i].name));
		ck_assert_uint_gt(p->signature_algorithm.len, 0);
		peer_free(p);
	}
}
END_TEST

START_TEST(serial_numbers)
{
	static const struct {
		const char *decimal, *hex;
	} serials[] = { { "0", "00" }, { "1", "01" }, { "128", "80" },
		{ "255", "ff" }, { "256", "0100" }, { "-1", "-01" },
		{ "1461501637330902918203684832716283019655932542975",
		    "ffffffffffffffffffffffffffffffffffffffff" } };

	for (size_t i = 0; i < ARRAY_COUNT(serials); i++) {
		struct made *m = make((struct recipe){ 0 });
		ASN1_INTEGER *serial =
		    s2i_ASN1_INTEGER(NULL, serials[i].decimal);
		struct peer *p;

		X509_set_serialNumber(m->x509, serial);
		ASN1_INTEGER_free(serial);
		p = peer_of(m->x509);
		check_text(p->serial_number, span_text(serials[i].hex));
		peer_free(p);
	}
}
END_TEST

static GENERAL_NAME *
general_name(int type, const void *data, int len)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *s = ASN1_STRING_type_new(
	    type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);

	ck_assert_int_eq(ASN1_STRING_set(s, data, len), 1);
	GENERAL_NAME_set0_value(name, type, s);
	return name;
}

static X509 *
with_names(GENERAL_NAMES *names)
{
	struct made *m = make((struct recipe){ 0 });

	ck_assert_int_eq(
	    X509_add1_ext_i2d(m->x509, NID_subject_alt_name, names, 0, 0), 1);
	ck_assert_int_gt(X509_sign(m->x509, m->key, EVP_sha256()), 0);
	GENERAL_NAMES_free(names);
	return m->x509;
}

START_TEST(hostile_texts_stay_whole)
{
	X509_NAME *n = X509_NAME_new();
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	struct peer *p;

	add(n, NID_commonName, V_ASN1_UTF8STRING, "bank.test\0.evil.test", 20);
	add(n, NID_organizationName, V_ASN1_UTF8STRING,
	    "a\nlevel=error msg=\"x\"\r\x1b[2J", 26);
	add(n, NID_localityName, V_ASN1_BMPSTRING, "\0a\0\0\0b", 6);
	p = peer_of(named((struct recipe){ 0 }, n));
	check_text(p->subject.common_name, TEXT("bank.test\0.evil.test"));
	check_text(p->subject.organization.items[0],
	    span_of("a\nlevel=error msg=\"x\"\r\x1b[2J", 26));
	check_text(p->subject.locality.items[0], TEXT("a\0b"));
	peer_free(p);
	sk_GENERAL_NAME_push(
	    names, general_name(GEN_DNS, "a.test\0.evil.test", 17));
	sk_GENERAL_NAME_push(names, general_name(GEN_DNS, "", 0));
	sk_GENERAL_NAME_push(names, general_name(GEN_DNS, "\xfc.test", 6));
	sk_GENERAL_NAME_push(names, general_name(GEN_IPADD, "12345", 5));
	sk_GENERAL_NAME_push(names, general_name(GEN_IPADD, "", 0));
	sk_GENERAL_NAME_push(names, general_name(GEN_IPADD, "\x7f\0\0\1", 4));
	p = peer_of(with_names(names));
	check_list(p->dns_names, 3,
	    (struct span[]){
		TEXT("a.test\0.evil.test"), TEXT(""), TEXT("\xc3\xbc.test") });
	check_list(p->ip_addresses, 3,
	    (struct span[]){ TEXT(""), TEXT(""), TEXT("127.0.0.1") });
	peer_free(p);
}
END_TEST

/* An entry of any type, past OpenSSL's checks of what it adds. */
static void
add_raw(X509_NAME *name, int nid, int type, const void *data, int len)
{
	X509_NAME_ENTRY *entry;

	add(name, nid, V_ASN1_UTF8STRING, "x", 1);
	entry = X509_NAME_get_entry(name, X509_NAME_entry_count(name) - 1);
	X509_NAME_ENTRY_set_data(entry, type, data, len);
}

/* OpenSSL refuses a certificate with broken UTF-8 in a name; but not one with
 * something else than a text there. */
START_TEST(what_is_no_text_keeps_its_place)
{
	X509_NAME *n = X509_NAME_new();
	struct peer *p;

	add_raw(n, NID_organizationalUnitName, V_ASN1_BIT_STRING, "\xff", 1);
	add(n, NID_organizationalUnitName, V_ASN1_UTF8STRING, "two", -1);
	add_raw(n, NID_organizationalUnitName, V_ASN1_BIT_STRING, "odd", 3);
	add_raw(n, NID_organizationalUnitName, V_ASN1_UNIVERSALSTRING,
	    "\0\0\0\x41\0\1\xf6\0", 8);
	add_raw(n, NID_commonName, V_ASN1_BIT_STRING, "name", 4);
	p = peer_of(named((struct recipe){ 0 }, n));
	check_list(p->subject.organizational_unit, 4,
	    (struct span[]){
		TEXT(""), TEXT("two"), TEXT(""), TEXT("A\xf0\x9f\x98\x80") });
	check_text(p->subject.common_name, TEXT(""));
	peer_free(p);
}
END_TEST

START_TEST(a_hundred_units_and_a_long_one)
{
	X509_NAME *n = X509_NAME_new();
	char *longest = malloc(100000);
	struct peer *p;

	memset(longest, 'y', 100000);
	for (int i = 0; i < 100; i++) {
		char unit[32];

		snprintf(unit, sizeof(unit), "unit %d", i);
		add(n, NID_organizationalUnitName, V_ASN1_UTF8STRING, unit, -1);
	}
	add_raw(n, NID_organizationName, V_ASN1_UTF8STRING, longest, 100000);
	p = peer_of(named((struct recipe){ 0 }, n));
	ck_assert_uint_eq(p->subject.organizational_unit.count, 100);
	check_text(p->subject.organizational_unit.items[99], TEXT("unit 99"));
	check_list(p->subject.organization, 1,
	    (struct span[]){ span_of(longest, 100000) });
	check_list(p->issuer.organization, 1,
	    (struct span[]){ span_of(longest, 100000) });
	peer_free(p);
	free(longest);
}
END_TEST

START_TEST(ten_thousand_names_cost_milliseconds)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	uint64_t before, spent;
	struct peer *p;
	X509 *x;

	for (int i = 0; i < 10000; i++) {
		char name[32];
		int len = snprintf(name, sizeof(name), "n%d.a.test", i);

		sk_GENERAL_NAME_push(
		    names, i % 2 ? general_name(GEN_DNS, name, len)
				 : general_name(GEN_IPADD, name, 4));
	}
	x = with_names(names);
	before = clock_thread_cpu_ns();
	p = peer_of(x);
	spent = clock_thread_cpu_ns() - before;
	ck_assert_uint_eq(p->dns_names.count, 5000);
	ck_assert_uint_eq(p->ip_addresses.count, 5000);
	check_text(p->dns_names.items[4999], TEXT("n9999.a.test"));
	/* 5 ms here; sanitizers take ten times as long. */
	ck_assert_uint_lt(spent, 500 * 1000 * 1000);
	peer_free(p);
}
END_TEST

START_TEST(names_that_cannot_be_read_make_no_peer)
{
	struct made *broken = make((struct recipe){
	    .extension = "subjectAltName", .extension_value = "DER:30ff" });
	struct made *twice = make((struct recipe){ .names = "DNS:a.test",
	    .extension = "2.5.29.17",
	    .extension_value = "DER:30088206622e74657374" });

	ck_assert_ptr_null(peer_from_x509(broken->x509));
	ck_assert_ptr_null(peer_from_x509(twice->x509));
	ck_assert_uint_eq(ERR_peek_error(), 0);
}
END_TEST

static char message[512];
static struct text error;

static struct peer *
load(const char *path)
{
	text_init(&error, message, sizeof(message));
	return peer_load(path, &error);
}

START_TEST(from_a_file)
{
	struct made *a = make((struct recipe){ .common_name = "a" });
	struct made *b = make((struct recipe){ .common_name = "b" });
	struct made *broken = make((struct recipe){
	    .extension = "subjectAltName", .extension_value = "DER:30ff" });
	struct peer *p = load(make_file("f",
	    join("# text\n", key_encrypted(a->key), a->crt, b->crt, NULL)));

	ck_assert_msg(p != NULL, "%s", message);
	check_text(p->subject.common_name, TEXT("a"));
	peer_free(p);
	ck_assert_ptr_null(load(path_of("missing")));
	ck_assert_ptr_nonnull(strstr(message, "/missing: cannot be read"));
	ck_assert_ptr_null(load(make_file("f", a->key_pem)));
	ck_assert_ptr_nonnull(strstr(message, "/f: no certificate in it"));
	ck_assert_ptr_null(
	    load(make_file("f", as_pem("CERTIFICATE", "junk", 4))));
	ck_assert_ptr_nonnull(strstr(message, "or a broken one"));
	ck_assert_ptr_null(load(make_file("f", broken->crt)));
	ck_assert_ptr_nonnull(
	    strstr(message, "/f: its certificate cannot be read"));
	/* Nobody is asked for a passphrase. */
	ck_assert_ptr_null(load(make_file("f",
	    "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n"
	    "DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n"
	    "AAAA\n-----END CERTIFICATE-----\n")));
	ck_assert_ptr_nonnull(strstr(message, "/f: no certificate in it"));
}
END_TEST

static void
check_same_peer(const struct peer *p, const struct peer *whole)
{
	check_text(p->der, whole->der);
	check_text(p->pem, whole->pem);
	check_text(p->fingerprint_sha256, whole->fingerprint_sha256);
	check_text(p->subject.common_name, whole->subject.common_name);
	check_list(p->subject.locality, whole->subject.locality.count,
	    whole->subject.locality.items);
	check_list(
	    p->dns_names, whole->dns_names.count, whole->dns_names.items);
}

/* All of it or nothing, whichever allocation fails. */
START_TEST(without_memory)
{
	X509_NAME *n = X509_NAME_new();
	struct peer *whole, *p;
	bool done = false;
	X509 *x;

	add(n, NID_localityName, V_ASN1_BMPSTRING, "\0K\0\xf6", 4);
	add(n, NID_commonName, V_ASN1_T61STRING, "K\xe4se", -1);
	x = named((struct recipe){ .names = "DNS:a.test,IP:::1" }, n);
	whole = peer_of(x);
	fault_set(&calloc_fault, 1, ENOMEM);
	UNDER_FAULTS(p = peer_from_x509(x));
	ck_assert_ptr_null(p);
	fault_set(&calloc_fault, 0, 0);
	for (unsigned at = 1; !done; at++) {
		fault_set(&openssl_fault, at, ENOMEM);
		UNDER_FAULTS(p = peer_from_x509(x));
		done = openssl_fault.hits == 0;
		if (p)
			check_same_peer(p, whole);
		ck_assert(p || !done);
		peer_free(p);
		ck_assert_uint_lt(at, 1000);
	}
	peer_free(whole);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, all_that_policies_may_read);
	tcase_add_test(tcase, nothing_in_it);
	tcase_add_test(tcase, the_same_bytes_and_times);
	tcase_add_test(tcase, pem_of_each_length);
	tcase_add_test(tcase, kinds_of_keys);
	tcase_add_test(tcase, serial_numbers);
	tcase_add_test(tcase, hostile_texts_stay_whole);
	tcase_add_test(tcase, what_is_no_text_keeps_its_place);
	tcase_add_test(tcase, a_hundred_units_and_a_long_one);
	tcase_add_test(tcase, ten_thousand_names_cost_milliseconds);
	tcase_add_test(tcase, names_that_cannot_be_read_make_no_peer);
	tcase_add_test(tcase, from_a_file);
	tcase_add_test(tcase, without_memory);
}

UNIT_MAIN("peer", add_tests)
