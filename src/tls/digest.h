/*
 * SHA-256 of bytes in memory, as it is and as hex. Any thread. The library
 * allocates for each digest, so it can fail.
 */
#ifndef TLS_DIGEST_H
#define TLS_DIGEST_H

#include "base/span.h"
#include "wire/hello.h"

#define SHA256_BYTES 32
#define SHA256_HEX_SIZE 65
#define JA4_TEXT_SIZE 37 /* "t13d1516h2_8daaf6152771_e5627efa2ab1" and NUL */

/* 0, or -ENOMEM with zeros in `out`. */
int sha256_bytes(struct span s, uint8_t out[SHA256_BYTES]) MUST_CHECK;
/* Of the bytes of all parts after one another. */
int sha256_parts(const struct span *parts, size_t count,
    uint8_t out[SHA256_BYTES]) MUST_CHECK;

/* 0, or -ENOMEM with `out` empty. */
int sha256_hex(struct span s, char out[SHA256_HEX_SIZE]) MUST_CHECK;

/* The whole JA4 fingerprint of a hello. 0, or -ENOMEM with `out` empty. */
int ja4_fingerprint(const struct hello *h, char out[JA4_TEXT_SIZE]) MUST_CHECK;

#endif
