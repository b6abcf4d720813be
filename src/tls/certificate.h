/*
 * A certificate: one chain and its private key, parsed once and shared by all
 * workers. Counted and, but for its OCSP staple, never changed; any thread.
 *
 * Sources: RFC 5280, RFC 7468 (PEM), RFC 6125 (names), RFC 7633 (must-staple).
 */
#ifndef TLS_CERTIFICATE_H
#define TLS_CERTIFICATE_H

#include "base/span.h"
#include "base/text.h"

struct certificate;

enum key_kind { KEY_RSA, KEY_ECDSA, KEY_ED25519, KEY_KIND_COUNT };

#define CERTIFICATE_FINGERPRINT_SIZE 65 /* SHA-256 as hex, and NUL */

/*
 * From PEM: the chain, leaf first, and the key. `key` empty: it is in `crt`.
 * NULL with one line in `error` that names the mistake: nothing PEM in it, no
 * key found, encrypted key, a certificate where the key belongs and the
 * reverse, key of another certificate, chain out of order, unsupported kind of
 * key, a key that is too weak (RSA under 2048 bits), explicit curve parameters.
 * An expired or not yet valid leaf is no error here: see the times below. The
 * copies of key bytes made on the way are wiped.
 */
struct certificate *certificate_parse(
    struct span crt, struct span key, struct text *error);

/* From files; `key_path` NULL: it is in the same file. The error begins with
 * the file's name. */
struct certificate *certificate_load(
    const char *crt_path, const char *key_path, struct text *error);

struct certificate *certificate_get(struct certificate *c);
void certificate_put(struct certificate *c); /* NULL is harmless */

/* The DNS names of the leaf's subjectAltName, lower case, wildcards as "*.x";
 * without any, its common name if that is a host name. Names that are no host
 * names are left out. */
size_t certificate_name_count(const struct certificate *c);
const char *certificate_name(const struct certificate *c, size_t i);

/* RFC 6125: a wildcard stands for exactly one label. `name` is folded. */
bool certificate_covers(const struct certificate *c, struct span name);

enum key_kind certificate_key_kind(const struct certificate *c);
const char *key_kind_name(enum key_kind k); /* "RSA", "ECDSA", "Ed25519" */

/* Validity of the leaf, Unix seconds. */
int64_t certificate_not_before(const struct certificate *c);
int64_t certificate_not_after(const struct certificate *c);

/* SHA-256 of the leaf's DER as lower-case hex, and its subject as one escaped
 * line; both live with `c`. */
const char *certificate_fingerprint(const struct certificate *c);
const char *certificate_subject(const struct certificate *c);

/* Its key's file may be read by everybody: worth a warning. */
bool certificate_key_is_exposed(const struct certificate *c);

/* RFC 7633: clients will refuse it without a staple. */
bool certificate_must_staple(const struct certificate *c);
/* The http:// address of its OCSP responder, or NULL; lives with `c`. */
const char *certificate_ocsp_url(const struct certificate *c);

/*
 * The OCSP response that is sent along (DER), checked to be good, current,
 * about this certificate and signed by its issuer. Setting with an empty span
 * removes it. 0, or -1 with one line in `error` and the old one kept.
 * `next_update` (Unix seconds; may be NULL) says until when it may be used.
 */
int certificate_set_staple(struct certificate *c, struct span response,
    int64_t now, int64_t *next_update, struct text *error) MUST_CHECK;
/* Has one that is current at this time. */
bool certificate_is_stapled(struct certificate *c, int64_t now);

#endif
