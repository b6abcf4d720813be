/*
 * Direct data connections of mode 1: TLS 1.3 with an external PSK and X25519,
 * no certificates and no tickets, ALPN `lunette-data/1`. The identity is the
 * preface (wire/data_record.h), the PSK is of tls/data_keys.h. What comes out
 * is a stream as any other (tls/stream.h): close_notify is half-close, a FIN
 * without it is told by tls_truncated. Both ends require that the PSK was used,
 * or the handshake fails.
 *
 * Sources: RFC 8446 sections 4.2.11 and 4.6.3, RFC 9257.
 */
#ifndef TLS_DATA_STREAM_H
#define TLS_DATA_STREAM_H

#include "tls/secret.h"
#include "tls/stream.h"
#include "wire/data_record.h"

#define DATA_ALPN "lunette-data/1"

/*
 * Edge: finds the PSK of a preface, which is well formed and of mode 1 and
 * otherwise unchecked. False: not accepted. Called inside tls_handshake, before
 * the peer has proved anything and possibly several times: it must change
 * nothing, least of all take the counter, which the caller does once the
 * handshake is done (tls_data_preface).
 */
typedef bool data_find_function(void *arg,
    const uint8_t preface[DATA_PREFACE_BYTES], uint8_t psk[SHA256_BYTES]);

/* Edge. `arg` lives until the handshake is over. NULL without memory. */
struct tls_stream *tls_data_accept(
    struct tls_context *c, int fd, data_find_function *find, void *arg);

/* Agent. Preface and PSK are copied; `server_name` is the SNI of the session,
 * empty or an IP literal for none. NULL without memory. */
struct tls_stream *tls_data_connect(struct tls_context *c, int fd,
    const uint8_t preface[DATA_PREFACE_BYTES], const uint8_t psk[SHA256_BYTES],
    struct span server_name);

/* The preface that a data stream was made with, once its handshake is done;
 * lives with `s`. NULL: none, or not done. */
const uint8_t *tls_data_preface(const struct tls_stream *s);

#endif
