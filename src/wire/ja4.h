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

/* The caller gives the two texts storage (ja4_parts.ciphers, .extensions
 * initialised). Truncation cannot happen with 5 bytes a value. */
void ja4_build(const struct hello *h, struct ja4_parts *out);

#endif
