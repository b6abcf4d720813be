/*
 * Certificates and keys in PEM: one text, or two with a NUL between. What is
 * taken is whole, its key is its own, and every refusal is one line.
 *
 * Sources: base wire tls/certificate.c tls/certificate_parse.c tls/key.c
 * Sources: tls/pem.c tls/ocsp.c tls/digest.c tls/file.c tls/trust_read.c
 * Packages: libcrypto
 * Options: -max_len=8192 -only_ascii=0
 */
#include <openssl/x509v3.h>

#include "fuzz.h"
#include "tls/private.h"

static void
check_line(const char *s)
{
	for (; *s != '\0'; s++)
		ASSERT(*s >= 0x20 && *s < 0x7f);
}

static void
check_names(const struct certificate *c)
{
	struct host again;

	for (size_t i = 0; i < certificate_name_count(c); i++) {
		struct span name = span_text(certificate_name(c, i));

		ASSERT(host_parse_pattern(name, &again, NULL) == 0);
		ASSERT(span_equal(host_span(&again), name));
		ASSERT(host_is_wildcard(&again) || certificate_covers(c, name));
	}
	ASSERT(!certificate_covers(c, span_text("")));
}

static void
check_certificate(const struct certificate *c)
{
	X509 *leaf = certificate_leaf(c);
	STACK_OF(X509) *chain = certificate_chain(c);
	EVP_PKEY *key = certificate_key(c);

	ASSERT(leaf && key);
	ASSERT(EVP_PKEY_eq(X509_get0_pubkey(leaf), key) == 1);
	ASSERT(certificate_key_kind(c) < KEY_KIND_COUNT);
	ASSERT(strlen(certificate_fingerprint(c)) == 64);
	check_line(certificate_subject(c));
	if (certificate_ocsp_url(c))
		check_line(certificate_ocsp_url(c));
	for (int i = 0; i < sk_X509_num(chain); i++)
		ASSERT(X509_check_issued(sk_X509_value(chain, i),
			   i > 0 ? sk_X509_value(chain, i - 1) : leaf) ==
		       X509_V_OK);
	check_names(c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
	size_t first = nul ? (size_t)(nul - data) : size;
	struct span key = { NULL, 0 };
	uint8_t *crt = exact_copy(span_of(data, first));
	char storage[512];
	struct certificate *c;
	struct text error;

	if (nul)
		key = span_of(nul + 1, size - first - 1);
	text_init(&error, storage, sizeof(storage));
	c = certificate_parse(span_of(crt, first), key, &error);
	ASSERT((c == NULL) == (error.len > 0));
	check_line(storage);
	if (c)
		check_certificate(c);
	certificate_put(c);
	free(crt);
	return 0;
}
