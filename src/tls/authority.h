/*
 * The local CA: made on first use and kept in the state folder, it signs
 * certificates for names that no operator's certificate covers.
 *
 * Files: `local-ca.pem` (0644) and `local-ca.key` (0600). Certificates are kept
 * in memory, at most AUTHORITY_MAX_LEAVES with the least recently used dropped;
 * they share one ECDSA P-256 key. Any thread; the first certificate for a name
 * costs a signature under a lock.
 */
#ifndef TLS_AUTHORITY_H
#define TLS_AUTHORITY_H

#include "tls/certificate.h"
#include "wire/host.h"

struct authority;

#define AUTHORITY_MAX_LEAVES 1000

/*
 * Opens the CA in `folder`, or makes both (the folder too, mode 0700) when
 * there is none: `made` says so. Two processes that start together end up with
 * one CA. NULL with one line in `error`: unwritable, damaged, key readable by
 * others, expired.
 */
struct authority *authority_open(
    const char *folder, bool *made, struct text *error);
struct authority *authority_get(struct authority *a);
void authority_put(struct authority *a); /* NULL is harmless */

/* The certificate's file, for the advice how to trust it. */
const char *authority_path(const struct authority *a);

/* A certificate for a validated name (never a pattern from the wire), with a
 * reference; NULL without memory. SAN is the name; no common name over 64. */
struct certificate *authority_issue(
    struct authority *a, const struct host *name, int64_t now);

#endif
