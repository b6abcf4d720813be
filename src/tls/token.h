/*
 * How Lunette's agent proves its token without sending it. Only who knows the
 * token's SHA-256 can take it out of the proof, and a proof is good on one TLS
 * session only: who sits in between has two sessions and can relay nothing.
 *
 *	TokenId = first 8 bytes of SHA-256("lunette id" | token)
 *	pad     = HMAC-SHA-256(SHA-256(token), "lunette1 token" 00 | binding)
 *	Proof   = token XOR HKDF-Expand(pad, "", length of the token)
 *	binding = TLS exporter("EXPORTER-lunette-token", no context, 32)
 *
 * In "lunette id" there is no zero byte. Functions without a stream are for any
 * thread.
 */
#ifndef TLS_TOKEN_H
#define TLS_TOKEN_H

#include "tls/secret.h"

struct tls_stream;

#define TOKEN_ID_BYTES 8
/* Tokens that can be proved. */
#define TOKEN_MIN_BYTES 16
#define TOKEN_MAX_BYTES 256
#define TOKEN_BINDING_BYTES 32

/* By which the edge finds the stored hash. Any length. 0 or -ENOMEM. */
int token_id(struct span token, uint8_t out[TOKEN_ID_BYTES]) MUST_CHECK;

/* What binds a proof to a session: of a stream of TLS 1.3 whose handshake is
 * done, in its thread. 0, -EPERM (not TLS 1.3) or -ENOMEM. */
int token_binding(
    const struct tls_stream *s, uint8_t out[TOKEN_BINDING_BYTES]) MUST_CHECK;

/* Agent: `proof` has room for as many bytes as the token has. 0, -EINVAL (its
 * length cannot be proved) or -ENOMEM. */
int token_prove(const uint8_t binding[TOKEN_BINDING_BYTES], struct span token,
    uint8_t *proof) MUST_CHECK;

/*
 * Edge: takes the token out and compares its SHA-256 with the stored one, in
 * constant time. 0 with the token in `token` (as many bytes as the proof has;
 * the caller wipes it), -EACCES if it is not that token (or the proof is of a
 * length that cannot be) or -ENOMEM, with zeros in `token`.
 */
int token_recover(const uint8_t binding[TOKEN_BINDING_BYTES],
    const uint8_t sha256[SHA256_BYTES], struct span proof,
    uint8_t *token) MUST_CHECK;

#endif
