#include "tls/secret.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>

/* Fetched once in a process, as in digest.c. */
static EVP_MAC *hmac;
static EVP_CIPHER *aes_256_gcm;

static void
fetch(void)
{
	hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	aes_256_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	ERR_clear_error();
}

static void
prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fetch);
}

void
wipe(void *secret, size_t len)
{
	OPENSSL_cleanse(secret, len);
}

bool
constant_time_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

/* What all of them do at their end. */
static int
conclude(bool good, uint8_t *out, size_t len)
{
	if (good)
		return 0;
	ERR_clear_error();
	wipe(out, len);
	return -ENOMEM;
}

/* --- HMAC and HKDF --- */

static EVP_MAC_CTX *
begin_hmac(struct span key)
{
	static const uint8_t none;
	char sha256[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(
		    OSSL_MAC_PARAM_DIGEST, sha256, sizeof(sha256) - 1),
		OSSL_PARAM_END,
	};
	EVP_MAC_CTX *c;

	prepare();
	c = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
	if (!c || EVP_MAC_init(c, key.len > 0 ? key.data : &none, key.len,
		      params) != 1) {
		EVP_MAC_CTX_free(c);
		c = NULL;
	}
	return c;
}

static bool
add(EVP_MAC_CTX *c, struct span s)
{
	return s.len == 0 || EVP_MAC_update(c, s.data, s.len) == 1;
}

static bool
finish(EVP_MAC_CTX *c, uint8_t out[SHA256_BYTES])
{
	size_t len;

	return EVP_MAC_final(c, out, &len, SHA256_BYTES) == 1 &&
	       len == SHA256_BYTES;
}

int
hmac_sha256(struct span key, struct span bytes, uint8_t out[SHA256_BYTES])
{
	EVP_MAC_CTX *c = begin_hmac(key);
	bool good = c && add(c, bytes) && finish(c, out);

	EVP_MAC_CTX_free(c);
	return conclude(good, out, SHA256_BYTES);
}

/* T(n) = HMAC(key, T(n-1) | info | n). */
static bool
expand_block(EVP_MAC_CTX *c, struct span info, uint8_t number,
    uint8_t block[SHA256_BYTES])
{
	struct span before = span_of(block, number > 1 ? SHA256_BYTES : 0);

	/* Without a key it begins anew with the same one. */
	if (number > 1 && EVP_MAC_init(c, NULL, 0, NULL) != 1)
		return false;
	return add(c, before) && add(c, info) && add(c, span_of(&number, 1)) &&
	       finish(c, block);
}

int
hkdf_expand(
    const uint8_t key[SHA256_BYTES], struct span info, uint8_t *out, size_t len)
{
	EVP_MAC_CTX *c = begin_hmac(span_of(key, SHA256_BYTES));
	uint8_t block[SHA256_BYTES];
	bool good = c != NULL;

	ASSERT(len <= HKDF_MAX_BYTES);
	for (size_t at = 0; good && at < len; at += SHA256_BYTES) {
		size_t part = len - at;

		if (part > SHA256_BYTES)
			part = SHA256_BYTES;
		good = expand_block(
		    c, info, (uint8_t)(at / SHA256_BYTES + 1), block);
		memcpy(out + at, block, part);
	}
	EVP_MAC_CTX_free(c);
	wipe(block, sizeof(block));
	return conclude(good, out, len);
}

/* --- sealing --- */

static bool
seal(EVP_CIPHER_CTX *c, const struct seal_key *k, struct span associated,
    struct span plain, uint8_t *out)
{
	int len;

	return EVP_EncryptInit_ex2(c, aes_256_gcm, k->key, k->nonce, NULL) ==
		   1 &&
	       EVP_EncryptUpdate(
		   c, NULL, &len, associated.data, (int)associated.len) == 1 &&
	       EVP_EncryptUpdate(c, out, &len, plain.data, (int)plain.len) ==
		   1 &&
	       (size_t)len == plain.len &&
	       EVP_EncryptFinal_ex(c, out + plain.len, &len) == 1 &&
	       EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES,
		   out + plain.len) == 1;
}

int
secret_seal(const struct seal_key *k, struct span associated, struct span plain,
    uint8_t *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	bool good;

	ASSERT(plain.len <= SEAL_MAX_BYTES && associated.len <= SEAL_MAX_BYTES);
	prepare();
	good = c && aes_256_gcm && seal(c, k, associated, plain, out);
	EVP_CIPHER_CTX_free(c);
	return conclude(good, out, plain.len + SEAL_TAG_BYTES);
}

/* All but the judgement, which is EVP_DecryptFinal_ex's. */
static bool
unseal(EVP_CIPHER_CTX *c, const struct seal_key *k, struct span associated,
    struct span sealed, uint8_t *out)
{
	size_t plain = sealed.len - SEAL_TAG_BYTES;
	uint8_t tag[SEAL_TAG_BYTES];
	int len;

	memcpy(tag, sealed.data + plain, sizeof(tag));
	return EVP_DecryptInit_ex2(c, aes_256_gcm, k->key, k->nonce, NULL) ==
		   1 &&
	       EVP_CIPHER_CTX_ctrl(
		   c, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_BYTES, tag) == 1 &&
	       EVP_DecryptUpdate(
		   c, NULL, &len, associated.data, (int)associated.len) == 1 &&
	       EVP_DecryptUpdate(c, out, &len, sealed.data, (int)plain) == 1;
}

int
secret_unseal(const struct seal_key *k, struct span associated,
    struct span sealed, uint8_t *out)
{
	EVP_CIPHER_CTX *c;
	int len, result;
	uint8_t rest[SEAL_TAG_BYTES];

	ASSERT(associated.len <= SEAL_MAX_BYTES);
	if (sealed.len < SEAL_TAG_BYTES ||
	    sealed.len > SEAL_MAX_BYTES + SEAL_TAG_BYTES)
		return -EBADMSG;
	prepare();
	c = EVP_CIPHER_CTX_new();
	result = -ENOMEM;
	if (c && aes_256_gcm && unseal(c, k, associated, sealed, out))
		result = EVP_DecryptFinal_ex(c, rest, &len) == 1 ? 0 : -EBADMSG;
	EVP_CIPHER_CTX_free(c);
	if (result < 0) {
		wipe(out, sealed.len - SEAL_TAG_BYTES);
		ERR_clear_error();
	}
	return result;
}
