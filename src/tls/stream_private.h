/*
 * Inside of a context and a stream, for the files that make them up:
 * context.c, stream.c, server.c, client.c, transport.c, sessions.c, verify.c,
 * failure.c and facts.c; session_context.c and data_stream.c make streams of
 * further kinds.
 *
 * All callbacks of OpenSSL find the stream as the context's `current` one: each
 * public function that may call OpenSSL begins with transport_begin and ends
 * with transport_end. So one BIO serves all streams of a context, and no SSL
 * needs extra data to point back. Callbacks that can come after the handshake
 * find the context by that BIO (transport_context), since a stream that was
 * moved to another context keeps the SSL_CTX that it was made with.
 */
#ifndef TLS_STREAM_PRIVATE_H
#define TLS_STREAM_PRIVATE_H

#include "tls/private.h"
#include "tls/stream.h"

/* One key update or two, the tickets that were held back, and what a record
 * adds: header 5, explicit nonce 8, type 1, tag 16. */
#define RECORD_MAX_BYTES 16384
#define RECORD_EXTRA_BYTES 32
#define INPUT_BYTES TLS_WRITE_MAX_BYTES
#define OUTPUT_BYTES                              \
	(TLS_WRITE_MAX_BYTES + RECORD_MAX_BYTES + \
	    (TLS_WRITE_MAX_BYTES / RECORD_MAX_BYTES) * RECORD_EXTRA_BYTES)

#define SESSION_KEY_BYTES 32
#define SERVER_KEY_SIZE 12 /* "RSA16384" and NUL */

struct tls_context {
	SSL_CTX *server, *client;
	/* Made when first needed: session_context.c, data_stream.c. */
	SSL_CTX *session_server, *session_client;
	SSL_CTX *data_server, *data_client;
	BIO_METHOD *method;
	BIO *bio; /* of all streams: acts on the current one */
	struct tls_stream *current;
	struct tickets *tickets; /* lent */
	struct sessions *sessions;
	EVP_MD *sha256;
	EVP_MD_CTX *hash;
	size_t stream_count;
	int keylog_fd;

	/* Ciphertext of the current call: received and not yet asked for,
	 * from `in_at` to `in_end`; made and not yet sent. */
	uint8_t *in, *out;
	size_t in_at, in_end, out_len;
	size_t in_limit; /* what may still be received in this call */
};

/* What only the handshake needs. */
struct handshake {
	struct key_choice keys;
	struct host name; /* that was judged; len 0: none */
	int64_t since;	  /* full handshake of the session, Unix seconds */
	uint32_t session_life_s;
	bool wants_tickets;
	bool holds_last_flight;
	bool any_name;	/* of the hello: `name` is not looked at */
	bool needs_psk; /* else the handshake is no good */
	bool has_pin;	/* the peer's leaf must have this SHA-256 */
	uint8_t pin[SHA256_BYTES];
	const char *needs_alpn; /* must have been selected; NULL: anything */
	bool refused;		/* verification of the peer said no */
	const char *why;	/* better than OpenSSL's reason; NULL: none */
	size_t alpn_len;
	uint8_t alpn[];
};

struct tls_stream {
	SSL *ssl;
	struct tls_context *context; /* NULL: between two, see tls_move */
	struct handshake *handshake; /* NULL: done */
	struct tls_failure *failure; /* NULL: none */
	struct peer *peer;	     /* NULL: not asked for yet */
	uint8_t *session_key;	     /* of an upstream's; NULL: not kept */
	struct data_part *data; /* see data_stream.c; NULL: no such stream */
	/* Ciphertext that was received behind the handshake. */
	uint8_t *early;
	/* Ciphertext that the socket did not take. */
	uint8_t *kept;
	uint32_t early_len, kept_at, kept_len;
	uint32_t key_updates; /* that the peer has sent */
	uint64_t heard_bytes; /* ciphertext, all of it */
	uint64_t key_life;    /* see tls_set_key_life; 0: for ever */
	uint64_t key_left;    /* of it */
	int fd;
	int broken; /* the errno that ended the socket */
	bool is_server : 1;
	bool verifies : 1; /* the peer's certificate must be good */
	bool done : 1;	   /* the handshake */
	bool failed : 1;   /* nothing may be said any more */
	bool fin : 1;	   /* the socket's end was read */
	bool closed : 1;   /* close_notify came */
	bool shut : 1;	   /* ours was said */
	bool lazy : 1;	   /* what is kept may wait for something to go with */
	bool spoke : 1;	   /* the peer, after its handshake */
	bool more : 1;	   /* see tls_expect_more */
	bool alert_received : 1;
	unsigned dry_count : 2; /* reads that have met an empty socket */
	unsigned blocked : 2;	/* bits of enum tls_blocked */
	uint8_t alert;		/* that ended it, or 0 */
	char server_key[SERVER_KEY_SIZE];
	const char *server_signature; /* OpenSSL's; NULL: not known */
};

/* --- context.c --- */

/* With what all contexts have in common and what `prepare` adds; NULL without
 * memory. */
typedef bool prepare_function(SSL_CTX *ctx, struct tls_context *c);
SSL_CTX *context_make(
    struct tls_context *c, const SSL_METHOD *method, prepare_function *prepare);

/* --- stream.c --- */

/* A stream without settings; NULL without memory. */
struct tls_stream *stream_new(
    struct tls_context *c, SSL_CTX *ssl_ctx, int fd, size_t alpn_len);

/* --- transport.c: ciphertext between OpenSSL and the socket --- */

bool transport_init(struct tls_context *c);
void transport_fini(struct tls_context *c);

/* Of a stream that is not between two contexts. */
struct tls_context *transport_context(const SSL *ssl);

/* Makes `s` the current stream; at most `limit` bytes will be received. */
void transport_begin(struct tls_stream *s, size_t limit);
/* Keeps what was received and not used. False without memory. */
bool transport_end(struct tls_stream *s) MUST_CHECK;
/* Sends what was made, or keeps it. IO_OK, IO_AGAIN, IO_ERROR (`broken`). */
enum io transport_flush(struct tls_stream *s);
/* Keeps what was made until there is more to go with it. As flush. */
enum io transport_hold(struct tls_stream *s);
/* Moves what was held in front of what will be made. */
void transport_unhold(struct tls_stream *s);

/* --- server.c, client.c: callbacks --- */

bool server_prepare(SSL_CTX *ctx, struct tls_context *c);
bool client_prepare(SSL_CTX *ctx, struct tls_context *c);
/* The part of it that has to do with certificates. */
bool server_prepare_keys(SSL_CTX *ctx, struct tls_context *c);
/* SNI, and the name that the certificate must be for; an IP literal is not
 * sent. False: not a name, or no memory. */
bool client_expect_name(struct tls_stream *s, struct span name);
/* What the certificate must be for, and a name as that takes it. False: not a
 * name, or no memory. */
#define NAME_TEXT_SIZE (HOST_MAX_BYTES + 2)
bool name_expect(X509_VERIFY_PARAM *expected, const char *name);
bool name_copy(struct span name, char out[NAME_TEXT_SIZE]);
/* The name that OpenSSL has read is the one that was judged. */
bool server_name_is_judged(const struct tls_stream *s);

/* Attaches a certificate to a stream. False: refused by OpenSSL. */
bool stream_use(struct tls_stream *s, struct certificate *c);
/* All of a choice, with references of its own. */
bool stream_use_keys(struct tls_stream *s, const struct key_choice *keys);

/* --- data_stream.c --- */

/* Forgets the key: the handshake is over. NULL is harmless. */
void data_part_seal(struct data_part *d);
void data_part_free(struct data_part *d);

/* --- verify.c --- */

/* What OpenSSL calls instead of X509_verify_cert; `context` is ours. */
int verify_peer(X509_STORE_CTX *store, void *context);

/* --- failure.c --- */

void failure_note_alert(const SSL *ssl, int where, int value);
/* Notes why, the first time; empties OpenSSL's queue of errors. */
void failure_note(struct tls_stream *s);
/* As failure_note, with a cause that OpenSSL does not know. */
void failure_set(struct tls_stream *s, enum tls_fault fault, const char *why);
/* The refused leaf, for the log. */
void failure_note_leaf(struct tls_stream *s, const X509 *leaf);

/* --- facts.c --- */

/* Notes what is lost when the handshake's things go. */
void facts_note(struct tls_stream *s);

/* --- sessions.c: of upstreams, for the client's role --- */

struct sessions;

struct sessions *sessions_new(void);
void sessions_free(struct sessions *all);
void sessions_clear(struct sessions *all);
/* Takes the session. */
void sessions_add(struct sessions *all, const uint8_t key[SESSION_KEY_BYTES],
    SSL_SESSION *session);
/* One to use now, with a reference; NULL: none. */
SSL_SESSION *sessions_take(
    struct sessions *all, const uint8_t key[SESSION_KEY_BYTES], int64_t now);

#endif
