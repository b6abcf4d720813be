/*
 * JA4 fingerprints of a ClientHello (FoxIO, "JA4: TLS client fingerprinting",
 * TCP form): the readable first part, and the two canonical strings whose
 * SHA-256 make the second and third; tls/ hashes them.
 */
#ifndef WIRE_JA4_H
#define WIRE_JA4_H

#include "base/text.h"
#include "wire/hello.h"

#define JA4_PREFIX_SIZE 11 /* "t13d1516h2" and NUL */

struct ja4_parts {
	char prefix[JA4_PREFIX_SIZE];
	struct text ciphers;	/* sorted hex list; empty: "000000000000" */
	struct text extensions; /* sorted hex list, '_', signature algorithms */
};

/*
 * Storage for both texts together. Each value, of at least two bytes on the
 * wire, becomes five characters; and each text has a NUL.
 */
#define JA4_STORAGE_SIZE (HELLO_MAX_BYTES / 2 * 5 + 2)

/* The part of it that the list of ciphers needs; the extensions get the rest.
 */
static inline size_t
ja4_ciphers_size(const struct hello *h)
{
	return h->cipher_suites.len / 2 * 5 + 1;
}

/* The caller gives the two texts storage (ja4_parts.ciphers, .extensions
 * initialised). */
void ja4_build(const struct hello *h, struct ja4_parts *out);

#endif
