/*
 * Streams of agent sessions, with contexts of OpenSSL of their own inside of
 * the thread's tls_context, made when first needed: no tickets, no session
 * cache, no early data, no client certificates. What comes out is a stream as
 * any other (tls/stream.h), in the thread of its context.
 *
 * Edge: TLS 1.2 or 1.3. No ALPN is fine (SDKs); of a list `lunette/1` is
 * selected (Lunette's agent); any other list is alert 120. Which it was is in
 * tls_facts.
 *
 * Agent: TLS 1.3 only, ALPN `lunette/1`, which must be selected. Until the
 * edge's certificate is verified and the protocol is known nothing is sent but
 * the hello: a handshake that fails has told no secret.
 */
#ifndef TLS_SESSION_CONTEXT_H
#define TLS_SESSION_CONTEXT_H

#include "tls/stream.h"

#define SESSION_ALPN "lunette/1"

/* Edge. `keys` (not empty) are shared with the stream. The name in the hello is
 * not judged: the caller chose the keys by it. NULL without memory. */
struct tls_stream *tls_session_accept(
    struct tls_context *c, int fd, const struct key_choice *keys);

#define SESSION_PIN_BYTES 32

/* How to know the edge. Lent for the call. */
struct tls_session_settings {
	/* One of these two: whom its certificate must come from; or the SHA-256
	 * of its DER, and then chain, name and times do not matter. */
	struct trust *trust;
	const uint8_t *pin; /* SESSION_PIN_BYTES */
	/* SNI and, with trust, what the certificate must be for: a host name,
	 * or an IP literal (then no SNI is sent). Not empty with trust. */
	struct span server_name;
};

/* Agent. NULL without memory, or for a name that cannot be one. */
struct tls_stream *tls_session_connect(
    struct tls_context *c, int fd, const struct tls_session_settings *settings);

#endif
