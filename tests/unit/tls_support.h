/*
 * Certificates, keys, CRLs and files for tests, made when the test runs.
 *
 * All that is made lives until the process ends, so nothing needs to be freed;
 * what fails ends the test. For one thread.
 *
 *	struct made *ca = make((struct recipe){ .ca = true });
 *	struct made *leaf = make((struct recipe){
 *	    .issuer = ca, .names = "DNS:a.test,DNS:*.b.test" });
 *	const char *crt = make_file("a.pem", join(leaf->crt, ca->crt, NULL));
 */
#ifndef TESTS_TLS_SUPPORT_H
#define TESTS_TLS_SUPPORT_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/span.h"

enum made_key {
	MADE_P256,
	MADE_P384,
	MADE_ED25519,
	MADE_RSA2048,
	MADE_RSA1024,
	MADE_P256_EXPLICIT, /* the curve's parameters instead of its name */
	MADE_SECP256K1,	    /* a curve that TLS does not have */
	MADE_P224,
	MADE_X25519, /* cannot sign: only with an issuer */
	MADE_ED448,
	MADE_RSA_PSS,
	MADE_DSA,
};

#define MADE_DAY 86400

struct made {
	X509 *x509;
	EVP_PKEY *key;
	const char *crt;     /* PEM of this certificate alone */
	const char *key_pem; /* PKCS#8 */
};

struct recipe {
	enum made_key kind;
	EVP_PKEY *key;		   /* NULL: a new one of that kind */
	const struct made *issuer; /* NULL: signed by itself */
	const char *common_name;   /* NULL: a number for CAs, else none */
	const char *names;	   /* subjectAltName: "DNS:a.test,IP:::1" */
	/* Seconds from now; both 0: from an hour ago for 90 days. */
	int64_t not_before, not_after;
	bool ca; /* basicConstraints and keyUsage of a CA */
	const char *basic_constraints; /* instead, as in openssl.cnf */
	const char *key_usage;
	const char *extended_key_usage; /* "serverAuth", "OCSPSigning" */
	const char *ocsp_url;
	bool must_staple;
	/* One more extension, as in openssl.cnf. */
	const char *extension, *extension_value;
	long serial; /* 0: the next number */
};

struct made *make(struct recipe r);

EVP_PKEY *make_key(enum made_key kind);

/* The key in its older form: "RSA PRIVATE KEY", "EC PRIVATE KEY" or "DSA
 * PRIVATE KEY"; and as PKCS#8 with a passphrase. */
const char *key_traditional(EVP_PKEY *key);
const char *key_encrypted(EVP_PKEY *key);

/* A CRL of `ca` in PEM, from an hour ago (not_before 0) for a day (not_after 0)
 * or seconds from now as given. */
const char *make_crl(const struct made *ca, const struct made *const *revoked,
    size_t count, int64_t not_before, int64_t not_after);

/* The texts after one another; NULL ends them. */
const char *join(const char *first, ...);

/* Bytes as a block of PEM. */
const char *as_pem(const char *label, const void *der, size_t len);

/* A folder that is removed at the end, the same for the whole process. */
const char *make_folder(void);
/* Writes a file (0600) in it anew; its path. */
const char *make_file(const char *name, const char *text);
/* Its path, without making it. */
const char *path_of(const char *name);

#endif
