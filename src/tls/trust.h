/*
 * Trust: whom a peer's certificate must come from. A bundle of CA certificates
 * and, if there are any, their revocation lists; for clients of an endpoint
 * with mutual TLS and for `tls://` upstreams.
 *
 * Counted; any thread. The files can be read again while it is in use
 * (trust_refresh): handshakes that have begun keep what they began with.
 *
 * Sources: RFC 5280 sections 4.2.1.9 (cA), 5 (CRLs) and 6.
 */
#ifndef TLS_TRUST_H
#define TLS_TRUST_H

#include "base/span.h"
#include "base/text.h"

struct trust;

/* Whether a client is asked for a certificate. */
enum client_auth {
	CLIENT_AUTH_NONE,
	CLIENT_AUTH_REQUEST, /* asked for; if it comes it must be good */
	CLIENT_AUTH_REQUIRE,
};

#define TRUST_DIGEST_BYTES 32

/*
 * Reads PEM bundles of CA certificates, and CRLs in PEM or DER (`crl_count` may
 * be 0). NULL with one line in `error` that names the file and the mistake:
 * unreadable, no certificate in it, a private key in it, not a CA (cA=true must
 * be said), a CRL that no CA has signed. No file at all is a mistake as well
 * and never stands for the system's roots. The paths are copied.
 *
 * Any CA that is listed is enough to end a chain, also an intermediate one: to
 * list just that one is the way to trust its clients and not its sisters'. But
 * with CRLs each CA of a chain must have one and the CAs must be complete up to
 * the root, for an anchor in the middle could not be checked itself.
 *
 * What time will mend or has broken is no mistake: an expired CA or CRL is
 * logged as a warning, and the handshakes that depend on it fail. So a restart
 * works as well as what runs.
 */
struct trust *trust_load(const char *const *cas, size_t ca_count,
    const char *const *crls, size_t crl_count, struct text *error);

/* The system's roots, for upstreams: OpenSSL's file, or else its folder, or
 * what SSL_CERT_FILE and SSL_CERT_DIR name. NULL with one line in `error`. It
 * has no files that could be watched. */
struct trust *trust_system(struct text *error);

/*
 * From a PEM bundle in memory, as an agent sends it; the rules for CAs are
 * those of trust_load. It has no files, and a refresh changes nothing. NULL
 * with one line in `error`, which names no file.
 */
struct trust *trust_parse(struct span cas, struct text *error);

struct trust *trust_get(struct trust *t);
void trust_put(struct trust *t); /* NULL is harmless */

/* Reads its files again. 0, or -1 with `error` filled and the old content kept.
 * May block on the disk. */
int trust_refresh(struct trust *t, struct text *error) MUST_CHECK;

/*
 * Whether a client would be let in now with the certificates of a PEM file, its
 * own first; for `policy test`. 0, or -1 with the reason in `error`. Proves
 * nothing about who holds the key.
 */
int trust_check_client(
    struct trust *t, const char *path, struct text *error) MUST_CHECK;

/* The files that it was read from, CAs first. */
size_t trust_file_count(const struct trust *t);
const char *trust_file(const struct trust *t, size_t i);

/* SHA-256 of all its certificates and CRLs as they are now, independent of
 * their order; with it sessions are bound to what they were checked against. */
void trust_digest(struct trust *t, uint8_t out[TRUST_DIGEST_BYTES]);

/* Same CAs and CRLs. */
bool trust_same(struct trust *a, struct trust *b);

/* For summaries: certificates and CRLs in it. */
size_t trust_ca_count(struct trust *t);
size_t trust_crl_count(struct trust *t);

#endif
