/*
 * A peer's certificate as policies, events and PROXY headers tell of it: the
 * leaf whose key was proved, never another one of the chain.
 *
 * A value read once from the certificate; its texts live as long as it. Texts
 * are UTF-8 and may hold anything the peer put there: escape when printing. Not
 * shared between threads.
 *
 * Sources: RFC 5280 sections 4.1.2.4 and 4.2.1.6.
 */
#ifndef TLS_PEER_H
#define TLS_PEER_H

#include "base/span.h"
#include "base/text.h"

/* A list of texts, possibly empty. */
struct peer_list {
	const struct span *items;
	size_t count;
};

struct peer_name {
	struct span common_name; /* the last; empty: none */
	struct peer_list country, locality, organization, organizational_unit,
	    province, postal_code, street_address;
};

struct peer {
	struct peer_name subject, issuer;
	struct peer_list dns_names, email_addresses, ip_addresses, uris;
	struct span serial_number;	 /* lower-case hex, as in OpenSSL */
	int64_t not_before, not_after;	 /* Unix seconds */
	struct span fingerprint_sha256;	 /* lower-case hex */
	struct span signature_algorithm; /* "ecdsa-with-SHA256" */
	struct span key_algorithm;	 /* "RSA2048", "EC256", "ED25519" */
	struct span der, pem;
};

/* From a PEM file's first certificate, for `policy test`. NULL with `error`. */
struct peer *peer_load(const char *path, struct text *error);
void peer_free(struct peer *p); /* NULL is harmless */

#endif
