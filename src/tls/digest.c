#include "tls/digest.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "wire/ja4.h"

#define JA4_HASH_DIGITS 12

/* Fetching an algorithm takes OpenSSL's locks and walks its providers; it is
 * done once in a process, and the result may be used by all threads. */
static EVP_MD *sha256;

static void
fetch_sha256(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static bool
hash_parts(EVP_MD_CTX *c, const struct span *parts, size_t count,
    uint8_t out[SHA256_BYTES])
{
	bool good = EVP_DigestInit_ex2(c, sha256, NULL) == 1;

	for (size_t i = 0; good && i < count; i++)
		good = EVP_DigestUpdate(c, parts[i].data, parts[i].len) == 1;
	return good && EVP_DigestFinal_ex(c, out, NULL) == 1;
}

int
sha256_parts(const struct span *parts, size_t count, uint8_t out[SHA256_BYTES])
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	bool good;

	pthread_once(&once, fetch_sha256);
	good = c && sha256 && hash_parts(c, parts, count, out);
	EVP_MD_CTX_free(c);
	if (good)
		return 0;
	ERR_clear_error();
	memset(out, 0, SHA256_BYTES);
	return -ENOMEM;
}

int
sha256_bytes(struct span s, uint8_t out[SHA256_BYTES])
{
	return sha256_parts(&s, 1, out);
}

int
sha256_hex(struct span s, char out[SHA256_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t hash[SHA256_BYTES];

	out[0] = '\0';
	if (sha256_bytes(s, hash) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(hash); i++) {
		out[2 * i] = digits[hash[i] >> 4];
		out[2 * i + 1] = digits[hash[i] & 15];
	}
	out[2 * sizeof(hash)] = '\0';
	return 0;
}

/* An underscore and the start of the hash; nothing at all is told by zeros. */
static int
add_hash(struct text *t, const struct text *canonical)
{
	char hex[SHA256_HEX_SIZE] = "000000000000";

	if (canonical->len > 0 && sha256_hex(text_span(canonical), hex) < 0)
		return -ENOMEM;
	text_add_char(t, '_');
	text_add_span(t, span_of(hex, JA4_HASH_DIGITS));
	return 0;
}

int
ja4_fingerprint(const struct hello *h, char out[JA4_TEXT_SIZE])
{
	char storage[JA4_STORAGE_SIZE];
	size_t ciphers_size = ja4_ciphers_size(h);
	struct ja4_parts parts;
	struct text t;

	text_init(&parts.ciphers, storage, ciphers_size);
	text_init(&parts.extensions, storage + ciphers_size,
	    sizeof(storage) - ciphers_size);
	ja4_build(h, &parts);
	text_init(&t, out, JA4_TEXT_SIZE);
	text_add(&t, parts.prefix);
	if (add_hash(&t, &parts.ciphers) == 0 &&
	    add_hash(&t, &parts.extensions) == 0)
		return 0;
	text_clear(&t);
	return -ENOMEM;
}
