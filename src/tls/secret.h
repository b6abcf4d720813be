/*
 * What keys are made of and used for, in memory: HMAC, HKDF, sealing, comparing
 * and wiping. For secrets; any thread. The library allocates for each of them,
 * so they can fail; what a function would have written is zeros then.
 *
 * Sources: RFC 2104 (HMAC), RFC 5869 (HKDF), RFC 5116 and NIST SP 800-38D
 * (AES-256-GCM).
 */
#ifndef TLS_SECRET_H
#define TLS_SECRET_H

#include "tls/digest.h"

/* 0 or -ENOMEM. The key may have any length, 0 as well. */
int hmac_sha256(
    struct span key, struct span bytes, uint8_t out[SHA256_BYTES]) MUST_CHECK;

/*
 * HKDF-Expand with SHA-256 (RFC 5869 section 2.3): `len` bytes, at most
 * HKDF_MAX_BYTES, from a key that is already pseudo-random. 0 or -ENOMEM.
 */
#define HKDF_MAX_BYTES (255 * SHA256_BYTES)
int hkdf_expand(const uint8_t key[SHA256_BYTES], struct span info, uint8_t *out,
    size_t len) MUST_CHECK;

/* Same bytes; the time it takes says nothing about where they differ. */
bool constant_time_equal(const void *a, const void *b, size_t len);

/* Overwrites, also where a compiler sees no reader behind it. */
void wipe(void *secret, size_t len);

/* Key and nonce for one message, ever: nobody may seal two with the same. */
#define SEAL_KEY_BYTES 32
#define SEAL_NONCE_BYTES 12
#define SEAL_TAG_BYTES 16
#define SEAL_MAX_BYTES (1u << 20)

struct seal_key {
	uint8_t key[SEAL_KEY_BYTES];
	uint8_t nonce[SEAL_NONCE_BYTES];
};

/* AES-256-GCM: `plain` encrypted and a tag of 16 bytes over it and
 * `associated`, to `out`. `plain` has at most SEAL_MAX_BYTES. 0 or -ENOMEM. */
int secret_seal(const struct seal_key *k, struct span associated,
    struct span plain, uint8_t *out) MUST_CHECK;

/* The reverse; `out` takes SEAL_TAG_BYTES less than `sealed` has. 0, -EBADMSG
 * (it was changed, or is no such thing; `out` holds zeros) or -ENOMEM. */
int secret_unseal(const struct seal_key *k, struct span associated,
    struct span sealed, uint8_t *out) MUST_CHECK;

#endif
