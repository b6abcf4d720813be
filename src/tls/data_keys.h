/*
 * The keys of direct data connections: what agent and edge derive from their
 * session, so that each connection that the agent opens can prove that it
 * belongs to it, and OPEN and ANSWER can be sealed. `P` is the preface:
 *
 *	root   = TLS exporter("EXPORTER-lunette-data", session id, 32)
 *	mac    = HKDF-Expand(root, "lunette1 preface" 00, 32)
 *	psk    = HKDF-Expand(root, "lunette1 psk" 00 | P[0..31], 32)
 *	open   = HKDF-Expand(root, "lunette1 open" 00 | P[0..31] | salt, 44)
 *	answer = HKDF-Expand(root, "lunette1 answer" 00 | P[0..31] | salt, 44)
 *
 * `struct data_keys` is a value: it may be copied to the worker where a
 * connection arrived or where it will be used; each copy is wiped with
 * data_keys_wipe. Functions only read it: any thread. All give 0 or a negative
 * errno, -ENOMEM among them. Layout: wire/data_record.h.
 */
#ifndef TLS_DATA_KEYS_H
#define TLS_DATA_KEYS_H

#include "tls/secret.h"
#include "wire/data_record.h"

struct tls_stream;

struct data_keys {
	uint8_t session[DATA_SESSION_BYTES];
	uint8_t root[SHA256_BYTES], mac[SHA256_BYTES];
};

/*
 * From a session's stream whose handshake is done, in its thread. -EPERM: not
 * one that data connections may hang on (TLS 1.3, not resumed, ALPN lunette/1).
 * `k` holds zeros after an error.
 */
int data_keys_init(struct data_keys *k, const struct tls_stream *s,
    const uint8_t session[DATA_SESSION_BYTES]) MUST_CHECK;

/* The same from a root that is known already. */
int data_keys_from_root(struct data_keys *k, const uint8_t root[SHA256_BYTES],
    const uint8_t session[DATA_SESSION_BYTES]) MUST_CHECK;

void data_keys_wipe(struct data_keys *k); /* harmless twice */

/* Agent: the whole preface of one connection. */
int data_keys_make_preface(const struct data_keys *k, enum data_mode mode,
    uint64_t counter, uint8_t out[DATA_PREFACE_BYTES]) MUST_CHECK;

/*
 * Edge: whether a preface is of this session (its id too) and its HMAC right.
 * NULL for an unknown session takes as long and is never right. -EBADMSG if
 * not. Whether its counter was asked for is the caller's to know.
 */
int data_keys_check_preface(const struct data_keys *k,
    const uint8_t preface[DATA_PREFACE_BYTES]) MUST_CHECK;

/* Both: the PSK of mode 1, for tls/data_stream.h. The caller wipes it. */
int data_keys_psk(const struct data_keys *k,
    const uint8_t preface[DATA_PREFACE_BYTES],
    uint8_t out[SHA256_BYTES]) MUST_CHECK;

/*
 * Edge: the whole OPEN around what data_open_finish gave, with a new salt.
 * `plain` has 16 to DATA_OPEN_PLAIN_MAX_BYTES, `out` room for
 * DATA_OPEN_MAX_BYTES; the salt that ANSWER needs is in bytes 4 to 19.
 */
int data_keys_seal_open(const struct data_keys *k,
    const uint8_t preface[DATA_PREFACE_BYTES], struct span plain, uint8_t *out,
    size_t *len) MUST_CHECK;

/* Agent: what is in an OPEN, for data_open_read; `out` has room for
 * DATA_OPEN_PLAIN_MAX_BYTES. -EBADMSG: not sealed by these keys. */
int data_keys_unseal_open(const struct data_keys *k,
    const uint8_t preface[DATA_PREFACE_BYTES], const struct data_record *record,
    uint8_t *out, size_t *len) MUST_CHECK;

/* One connection and the OPEN on it: what an ANSWER is bound to. */
struct data_binding {
	uint8_t preface[DATA_PREFACE_BYTES];
	uint8_t salt[DATA_SALT_BYTES]; /* of its OPEN */
};

/* Agent: the whole ANSWER, once for each OPEN and never twice. */
int data_keys_seal_answer(const struct data_keys *k,
    const struct data_binding *to, enum data_reason reason,
    uint8_t out[DATA_ANSWER_BYTES]) MUST_CHECK;

/* Edge: what an ANSWER says. -EBADMSG: not sealed by these keys, or not well
 * formed inside. */
int data_keys_unseal_answer(const struct data_keys *k,
    const struct data_binding *to, const struct data_record *record,
    enum data_reason *reason) MUST_CHECK;

#endif
