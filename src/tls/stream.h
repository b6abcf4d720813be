/*
 * A stream: TLS over one connected, non-blocking socket that somebody else owns
 * and watches, as server (tls_accept) or client (tls_connect).
 *
 * Life: made, tls_handshake until it is done or failed, read and write,
 * tls_shut once to say close_notify, tls_free at any moment. Nothing waits:
 * IO_AGAIN says that the socket was not ready, and `tls_blocked_on` for what.
 * Records are written in batches; what the socket does not take is kept here
 * and must be flushed before more can be written. Nothing stays in here that
 * was received: a read that ends with IO_AGAIN has given everything out, but
 * for part of a record.
 *
 * Belongs to the thread of its context. Sources: RFC 8446, RFC 5246, RFC 7301.
 */
#ifndef TLS_STREAM_H
#define TLS_STREAM_H

#include "base/compiler.h"
#include "base/span.h"
#include "tls/context.h"
#include "tls/digest.h"
#include "tls/keyring.h"
#include "tls/peer.h"
#include "tls/trust.h"
#include "wire/host.h"

struct tls_stream;

enum tls_version { TLS_VERSION_1_2 = 0x0303, TLS_VERSION_1_3 = 0x0304 };

/* What an endpoint (or a policy) says about termination. Lent for the call. */
struct tls_server_settings {
	const struct key_choice *keys;	   /* not empty */
	uint16_t min_version, max_version; /* enum tls_version */
	/* ProtocolNameList without its length; empty: ALPN is not spoken, and
	 * what the client offers is ignored. No overlap is alert 120. */
	struct span alpn;
	enum client_auth auth;
	struct trust *trust; /* of client certificates; counted by the stream */
	/* The name of the hello that was judged (empty: none): another one
	 * after a HelloRetryRequest is alert 47. */
	struct span name;
	/* Sessions never cross endpoints: RFC 8446 section 4.6.1, and what
	 * peers got wrong. With mode, trust and versions it makes the id
	 * context. */
	const char *endpoint_id;
	uint32_t session_life_s; /* from the full handshake on; 0: no tickets */
	/* The hello says that the client can use a ticket: one that cannot is
	 * given none, which saves an eighth of the handshake. */
	bool wants_tickets;
};

/* NULL without memory. The hello is still in the socket. */
struct tls_stream *tls_accept(
    struct tls_context *c, int fd, const struct tls_server_settings *settings);

/* How to speak to a `tls://` upstream. Lent for the call. */
struct tls_client_settings {
	struct trust *trust; /* NULL: the certificate is not verified */
	/* SNI and, with trust, what the certificate must be for: a host name,
	 * or an IP literal (then no SNI is sent). Empty: neither. */
	struct span server_name;
	struct certificate *certificate; /* ours, if asked for; NULL: none */
	struct span alpn; /* offered: ProtocolNameList; empty: none */
	/* The last flight of TLS 1.3 waits for the first write, to go with it:
	 * the caller writes or reads at once, and a read sends it too. */
	bool holds_last_flight;
	/* Sessions are used again between streams with the same address,
	 * server_name, trust, certificate and alpn. */
	struct span address;
};

struct tls_stream *tls_connect(
    struct tls_context *c, int fd, const struct tls_client_settings *settings);

void tls_free(struct tls_stream *s); /* NULL is harmless; says nothing */

/*
 * One step. IO_OK: done. IO_AGAIN: wait. IO_ERROR: failed, see tls_failure; the
 * alert is sent as far as the socket took it. What came behind the handshake is
 * kept: read before you wait for the socket. A server's ticket of TLS 1.3 is
 * held back, and is not "unsent": it goes with the first bytes that are
 * written, or alone when a read finds that the client waits.
 */
enum io tls_handshake(struct tls_stream *s);

enum tls_blocked {
	TLS_BLOCKED_READ = 1 << 0,  /* the socket was empty */
	TLS_BLOCKED_WRITE = 1 << 1, /* the socket was full */
};

/* What the last call met, as bits of enum tls_blocked. */
unsigned tls_blocked_on(const struct tls_stream *s);

/* At least so large must the buffer for tls_read be: a record that was received
 * in part before may come out beside a whole batch. */
#define TLS_READ_MIN_BYTES (64 * 1024)

/*
 * Plaintext. IO_OK with `*count` > 0, and TLS_BLOCKED_READ then says that the
 * socket gave less than was asked of it; IO_AGAIN, only after the socket itself
 * said EAGAIN; IO_EOF after close_notify, or
 * after a FIN without one (see tls_truncated); IO_ERROR after a reset (errno)
 * or a bad record (see tls_failure; the alert was sent).
 */
enum io tls_read(
    struct tls_stream *s, void *buffer, size_t size, size_t *count);

/*
 * Takes all bytes, at most TLS_WRITE_MAX_BYTES, when nothing is unsent: IO_OK
 * if the socket has taken them too, IO_AGAIN if some are kept (tls_flush),
 * IO_ERROR after a reset or without memory (errno).
 */
#define TLS_WRITE_MAX_BYTES (256 * 1024)
enum io tls_write(struct tls_stream *s, struct span bytes);
/* Behind what is written from now on comes more at once, or the end of the
 * direction: the kernel may make one segment of it (MSG_MORE). */
void tls_expect_more(struct tls_stream *s, bool more);
bool tls_has_unsent(const struct tls_stream *s);
/* How much of it there is, as ciphertext: more than its plaintext. A read sends
 * some too, when it has something to answer. */
size_t tls_unsent_bytes(const struct tls_stream *s);
enum io tls_flush(struct tls_stream *s); /* IO_OK: nothing is unsent */
/* Forgets what is unsent; nothing can be written after that, only read. */
void tls_drop_unsent(struct tls_stream *s);

/* Says close_notify, once; nothing may be unsent. IO_OK, IO_AGAIN (it is unsent
 * then) or IO_ERROR. The caller ends the TCP direction. */
enum io tls_shut(struct tls_stream *s);

/* The end came as a FIN without close_notify. */
bool tls_truncated(const struct tls_stream *s);

/* Why a handshake or a read failed. */
enum tls_fault {
	TLS_FAULT_NONE,
	TLS_FAULT_ALERT_RECEIVED, /* the peer gave up, with `alert` */
	TLS_FAULT_PROTOCOL,	  /* we gave up, with `alert`, for `detail` */
	TLS_FAULT_CERTIFICATE_MISSING,
	TLS_FAULT_CERTIFICATE_INVALID, /* verification; `detail` says why */
	TLS_FAULT_CLOSED,	       /* EOF in the middle */
	TLS_FAULT_RESET,
	TLS_FAULT_MEMORY,
};

struct tls_failure {
	enum tls_fault fault;
	uint8_t alert;	    /* sent or received; 0: none */
	const char *detail; /* "certificate has expired", "no shared cipher": a
			       literal or OpenSSL's own, never freed */
	char fingerprint[CERTIFICATE_FINGERPRINT_SIZE]; /* of a peer's refused
							   leaf, or "" */
};

const struct tls_failure *tls_failure(const struct tls_stream *s);

/* What was agreed, once the handshake is done. Texts are OpenSSL's. */
struct tls_facts {
	uint16_t version;	  /* enum tls_version */
	const char *version_name; /* "TLSv1.3" */
	const char *cipher_suite; /* IANA's: "TLS_AES_128_GCM_SHA256" */
	const char *cipher_name;  /* OpenSSL's: "ECDHE-RSA-AES128-GCM-SHA256" */
	const char *group;	  /* IANA's: "x25519", or NULL */
	/* Of this handshake; NULL after a resumption, which has none of them.
	 */
	const char *peer_signature;   /* the client's scheme */
	const char *signature;	      /* ours: "ecdsa_secp256r1_sha256" */
	const char *server_key;	      /* our key: "EC256", "RSA2048" */
	const char *server_signature; /* on our certificate: "RSA-SHA256" */
	struct span alpn;	      /* empty: none; lives with the stream */
	bool resumed;
	bool peer_verified; /* its certificate was verified (now or before) */
};

void tls_facts(const struct tls_stream *s, struct tls_facts *out);

/* The peer's verified leaf, also after a resumption; made when first asked for,
 * lives with `s`. NULL: it gave none or it was not verified, or no memory. */
const struct peer *tls_peer(struct tls_stream *s);

/* SHA-256 of the peer's verified leaf as it came (DER). 0, -ENOENT (none, or
 * not verified) or -ENOMEM. */
int tls_peer_sha256(
    const struct tls_stream *s, uint8_t out[SHA256_BYTES]) MUST_CHECK;

/*
 * Keying material that both ends of the handshake, once it is done, can make
 * and nobody in between (RFC 5705, RFC 8446 section 7.5). `context` may be NULL
 * for none. 0 or -ENOMEM, with zeros in `out`.
 */
int tls_export(const struct tls_stream *s, const char *label,
    const struct span *context, uint8_t *out, size_t len) MUST_CHECK;

/*
 * Moves a stream whose handshake is done to another thread, in two steps: its
 * own thread moves it to NULL, after which it may only be moved on, freed or
 * asked for its facts; then the new thread, which was handed it by something
 * that orders the two, moves it to its own context. Within one thread the first
 * step can be left out. What was received or is unsent goes with it; the
 * descriptor stays the caller's to watch. It cannot fail.
 */
void tls_move(struct tls_stream *s, struct tls_context *to);

/*
 * Writes under a new key after each so many bytes (RFC 8446 section 5.5), which
 * the library does not do by itself; 0: never. TLS 1.3 only, nothing else is
 * changed. Streams of sessions and data connections begin with
 * TLS_KEY_LIFE_BYTES, others with 0.
 */
#define TLS_KEY_LIFE_BYTES (UINT64_C(64) << 30)
void tls_set_key_life(struct tls_stream *s, uint64_t bytes);

/* Gives back what only the handshake needed, for idle streams; facts and peer
 * can still be asked for. */
void tls_trim(struct tls_stream *s);

#endif
