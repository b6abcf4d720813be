/*
 * A server's and a client's stream at the two ends of a socket pair, with all
 * that they need: for tests of streams. One thread; what it makes is freed by
 * scene_close, so that a sanitizer sees what streams leave behind.
 */
#ifndef TESTS_TLS_SCENE_H
#define TESTS_TLS_SCENE_H

#include <openssl/ssl.h>

#include "tls/stream.h"
#include "tls_support.h"

#define SCENE_ALPN BYTES_OF("\2h2\x08http/1.1")
#define BYTES_OF(literal) span_of(literal, sizeof(literal) - 1)

struct scene {
	struct tls_context *edge, *outside;
	struct tickets *tickets;
	struct made *ca, *leaf, *rsa_leaf;	/* of the server */
	struct made *client_ca, *client_leaf;	/* of the client */
	struct trust *trust, *client_trust;	/* in ca, in client_ca */
	struct certificate *client_certificate; /* of client_leaf */
	struct key_choice keys;
	struct tls_server_settings as_server;
	struct tls_client_settings as_client;

	struct tls_stream *server, *client;
	SSL *raw; /* instead of `client`, for what ours would not do */
	SSL_CTX *raw_ctx;
	int server_fd, client_fd;
};

/* a.test, ECDSA, no client certificate, tickets; the client verifies. */
void scene_open(struct scene *s);
void scene_close(struct scene *s);

/* A certificate object of what was made, with its chain. */
struct certificate *scene_certificate(
    const struct made *leaf, const struct made *issuer);
struct trust *scene_trust(const char *cas, const char *crls);
void scene_use_client(
    struct scene *s, const struct made *leaf, const struct made *issuer);

/* A new pair of sockets and a stream at each end, by the settings. */
void scene_meet(struct scene *s);
/* With an SSL of OpenSSL as client, of which tests change what they need. */
void scene_meet_raw(struct scene *s);
/* The name that the raw client asks for; NULL: none. */
void scene_ask_for(struct scene *s, const char *name);
/* Small buffers in the kernel, so that writes are taken in part. */
void scene_narrow(struct scene *s);
void scene_part(struct scene *s);

/* Both ends in turn until both are done or have failed. */
void scene_shake(struct scene *s, enum io *server, enum io *client);
/* scene_meet and a handshake that must be good. */
void scene_greet(struct scene *s);

/* Moves `bytes` through; both ends must be done. */
void scene_say(
    struct tls_stream *from, struct tls_stream *to, const char *text);
/* The text that comes, up to the first IO_AGAIN. */
const char *scene_hear(struct tls_stream *s);
enum io scene_read(struct tls_stream *s);

#endif
