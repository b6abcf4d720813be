/*
 * What the modules of tls/ show each other and nobody else: the only header
 * that names OpenSSL's types. "Lent" things live as long as the object and must
 * not be changed; all of it may be called by any thread.
 */
#ifndef TLS_PRIVATE_H
#define TLS_PRIVATE_H

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "tls/certificate.h"
#include "tls/peer.h"
#include "tls/tickets.h"
#include "tls/trust.h"
#include "wire/host.h"

/* --- certificate.c --- */

/*
 * Ten thousand certificates are kept as DER, a third of the room that OpenSSL's
 * form takes; the first of these two calls makes that form, which then stays.
 * Its extensions are parsed (X509_check_purpose(x, -1, 0)), so that no
 * handshake has to take its lock for that. Lent; NULL without memory.
 */
X509 *certificate_leaf(const struct certificate *c);
/* Its issuers as sent, without the leaf; NULL: none, or no memory. */
STACK_OF(X509) * certificate_chain(const struct certificate *c);
/* The private key; lent, never NULL. */
EVP_PKEY *certificate_key(const struct certificate *c);
/* A copy of the staple in memory of OPENSSL_malloc, which the caller owns.
 * False: none that is current at `now` (Unix seconds), or no memory. */
bool certificate_staple_copy(
    struct certificate *c, int64_t now, uint8_t **der, size_t *len);

/*
 * Of a leaf, its issuers in order (may be NULL) and a key that belongs to it;
 * all lent, the key with a new reference. `ready`: OpenSSL's form is made at
 * once. NULL without memory, or if an extension that counts cannot be read.
 */
struct certificate *certificate_new(
    X509 *leaf, const STACK_OF(X509) * chain, EVP_PKEY *key, bool ready);

/* Before anybody else has it: the key's file may be read by everybody. */
void certificate_set_exposed(struct certificate *c);

/* --- key.c --- */

struct pem_block;

/* The private key in a block of PEM, proved to be that of `public`. NULL with
 * one line in `error`. */
EVP_PKEY *key_from_pem(
    const struct pem_block *b, EVP_PKEY *public, struct text *error);

/* Whether a server may have such a key; NULL is a kind that OpenSSL does not
 * know. False with one line in `error`. */
bool key_check_public(
    EVP_PKEY *key, enum key_kind *kind, struct text *error) MUST_CHECK;

/* --- ocsp.c --- */

/*
 * Whether a response says that `leaf` is good: signed by its issuer or by whom
 * that appointed, and current. 0 and until when, or -1 with one line in
 * `error`.
 */
int ocsp_check(struct span response, X509 *leaf, X509 *issuer, int64_t now,
    int64_t *next_update, struct text *error) MUST_CHECK;

/* --- signing.c --- */

/* A new key on P-256; NULL without memory or randomness. */
EVP_PKEY *signing_new_key(void);
/* A CA for its own key, and a server's certificate from it, from an hour before
 * `now` (Unix seconds). NULL without memory. */
X509 *signing_ca(EVP_PKEY *key, int64_t now);
X509 *signing_leaf(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key,
    const struct host *name, int64_t now);

/* --- trust.c --- */

/* What the files hold at one moment: taken together, so that a refresh cannot
 * come between a store and the digest that stands for it. */
struct trust_content {
	/* A reference, to be given back with X509_STORE_free. Its flags are set
	 * for CRLs; purpose, time and names are the handshake's business. */
	X509_STORE *store;
	/* The subjects of the CAs, an own copy for SSL_set0_CA_list, or to be
	 * freed with sk_X509_NAME_pop_free; NULL if not asked for, or too long
	 * for a CertificateRequest (then none are said, which is allowed). */
	STACK_OF(X509_NAME) * names;
	uint8_t digest[TRUST_DIGEST_BYTES];
};

/* False without memory; `out` is empty then. */
bool trust_take(
    struct trust *t, bool with_names, struct trust_content *out) MUST_CHECK;

/* --- trust_read.c: files; errors as in trust_load --- */

#define TRUST_NAME_SIZE 256

/* A name on one line of ASCII, cut off to fit; empty without memory. */
void trust_name_line(const X509_NAME *name, char *out, size_t size);

/* Adds all CAs of a PEM bundle; certificates of another kind are a mistake, or
 * passed over with `skip_others`. 0 or -1 with `error` filled. */
int trust_read_cas(const char *path, bool skip_others, STACK_OF(X509) * cas,
    struct text *error) MUST_CHECK;

/* The same from memory; the errors name no file, and nothing is logged. */
int trust_read_cas_text(
    struct span pem, STACK_OF(X509) * cas, struct text *error) MUST_CHECK;

/* Adds all CRLs of a file, PEM or DER, after checking each with `cas`. */
int trust_read_crls(const char *path, const STACK_OF(X509) * cas,
    STACK_OF(X509_CRL) * crls, struct text *error) MUST_CHECK;

/* --- tickets.c --- */

/*
 * The work of OpenSSL's callback for ticket keys (context.c hands it on).
 * Sealing: fills name and iv, sets both contexts up for AES-256-CBC and
 * HMAC-SHA-256; 1, or -1 on failure. Opening: sets them up with the key of that
 * name; 1 for the key that seals now, 2 for an older one (a new ticket is due),
 * 0 if there is none. Fetches no algorithm: that was done by tickets_new.
 */
int tickets_key(struct tickets *t, unsigned char name[16],
    unsigned char iv[EVP_MAX_IV_LENGTH], EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, bool seal) MUST_CHECK;

/* --- peer.c --- */

/* Copies all it tells; `leaf` stays the caller's. NULL without memory. */
struct peer *peer_from_x509(X509 *leaf);

#endif
