/* Lets each allocation fail in turn, ours and OpenSSL's: there is a reason or a
 * whole certificate, and nothing is left behind. */
#include "unit.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <time.h>

#include "tls/authority.h"
#include "tls/private.h"
#include "tls_support.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

/* The allocation that fails, counted from 1; 0: none. */
static unsigned fail_at, allocation_count;

static bool
fails(void)
{
	return ++allocation_count == fail_at;
}

void *
__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

static void *
openssl_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return fails() ? NULL : __real_malloc(size);
}

static void *
openssl_realloc(void *old, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return fails() ? NULL : __real_realloc(old, size);
}

static void
openssl_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

static void
fail_from(unsigned at)
{
	fail_at = at;
	allocation_count = 0;
}

static const enum made_key kinds[] = { MADE_P256, MADE_RSA2048, MADE_ED25519 };

static char error_storage[512];
static struct text error;

/* Of which allocations fail; all is well again afterwards. */
static struct certificate *
parse_failing(const char *crt, const char *key, unsigned at)
{
	struct certificate *c;

	text_init(&error, error_storage, sizeof(error_storage));
	fail_from(at);
	c = certificate_parse(span_text(crt), span_text(key), &error);
	fail_from(0);
	return c;
}

START_TEST(parsing)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *m = make((struct recipe){ .kind = kinds[_i],
	    .issuer = ca,
	    .names = "DNS:a.test,DNS:*.b.test",
	    .ocsp_url = "http://ocsp.test/",
	    .must_staple = true });
	const char *crt = join(m->crt, ca->crt, NULL);
	unsigned n, failures = 0;

	certificate_put(parse_failing(crt, m->key_pem, 0));
	for (n = 1; n < 20000; n++) {
		struct certificate *c = parse_failing(crt, m->key_pem, n);

		QUICK_ASSERT((c == NULL) == (error.len > 0));
		failures += c == NULL;
		if (c) {
			QUICK_ASSERT(
			    EVP_PKEY_eq(certificate_key(c), m->key) == 1);
			certificate_put(c);
		}
		if (allocation_count < n && c)
			break;
	}
	ck_assert_uint_gt(failures, 10);
}
END_TEST

/* A certificate that was cut short by want of memory would hide what it says:
 * whoever has one has all its names. */
START_TEST(facts_are_whole)
{
	struct made *m =
	    make((struct recipe){ .names = "DNS:a.test,DNS:*.b.test",
		.ocsp_url = "http://ocsp.test/",
		.must_staple = true });

	certificate_put(parse_failing(m->crt, m->key_pem, 0));
	for (unsigned n = 1; n < 3000; n++) {
		struct certificate *c = parse_failing(m->crt, m->key_pem, n);

		if (!c)
			continue;
		ck_assert_uint_eq(certificate_name_count(c), 2);
		ck_assert(certificate_must_staple(c));
		ck_assert_ptr_nonnull(certificate_ocsp_url(c));
		certificate_put(c);
	}
}
END_TEST

/* The first look at OpenSSL's form may fail; the next one does not. */
START_TEST(the_form_of_openssl)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *m =
	    make((struct recipe){ .issuer = ca, .names = "DNS:a.test" });
	const char *crt = join(m->crt, ca->crt, NULL);
	unsigned failures = 0;

	for (unsigned n = 1; n < 400; n++) {
		struct certificate *c = parse_failing(crt, m->key_pem, 0);

		fail_from(n);
		failures += certificate_leaf(c) == NULL;
		fail_from(0);
		ck_assert_ptr_nonnull(certificate_leaf(c));
		ck_assert_int_eq(sk_X509_num(certificate_chain(c)), 1);
		certificate_put(c);
	}
	ck_assert_uint_gt(failures, 5);
}
END_TEST

START_TEST(issuing)
{
	struct host name;
	bool made;
	struct authority *a;
	unsigned failures = 0;

	text_init(&error, error_storage, sizeof(error_storage));
	a = authority_open(make_folder(), &made, &error);
	ck_assert_msg(a != NULL, "%s", error_storage);
	for (unsigned n = 1; n < 1500; n++) {
		char text[32];
		struct certificate *c;

		snprintf(text, sizeof(text), "h%u.test", n);
		ck_assert_int_eq(host_parse(span_text(text), &name, NULL), 0);
		fail_from(n);
		c = authority_issue(a, &name, time(NULL));
		fail_from(0);
		failures += c == NULL;
		if (c)
			ck_assert(certificate_covers(c, host_span(&name)));
		certificate_put(c);
	}
	ck_assert_uint_gt(failures, 10);
	authority_put(a);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	/* Before OpenSSL has allocated anything. */
	if (CRYPTO_set_mem_functions(
		openssl_malloc, openssl_realloc, openssl_free) != 1)
		abort();
	tcase_add_loop_test(tcase, parsing, 0, ARRAY_COUNT(kinds));
	tcase_add_test(tcase, facts_are_whole);
	tcase_add_test(tcase, the_form_of_openssl);
	tcase_add_test(tcase, issuing);
}

UNIT_MAIN("certificate memory", add_tests)
