/*
 * A TLS peer for tests, straight on OpenSSL and over blocking sockets, so that
 * what it says of the wire does not come from the code under test. One thread.
 */
#ifndef TESTS_TLS_CLIENT_H
#define TESTS_TLS_CLIENT_H

#include <openssl/ssl.h>

#include "base/span.h"
#include "tls_support.h"

struct tls_end {
	int fd;
	SSL *ssl;
	int alert; /* the fatal alert that came; -1: none */
};

struct tls_wish {
	int version;			/* TLS1_2_VERSION...; 0: any */
	const char *name;		/* SNI; NULL: none */
	const char *alpn;		/* one protocol */
	const struct made *certificate; /* shown */
	const struct made *chain;	/* sent behind it */
	const struct made *ca;		/* the peer must have; NULL: any */
	SSL_SESSION *session;
	bool request; /* as a server: ask for a certificate */
};

/* Shakes hands; false: it failed. Takes the descriptor. */
bool tls_end_connect(struct tls_end *t, int fd, struct tls_wish w);
bool tls_end_accept(struct tls_end *t, int fd, struct tls_wish w);

void tls_end_send(struct tls_end *t, const char *text);
/* Exactly this comes next. */
void tls_end_expect(struct tls_end *t, const char *text);
/* The next thing is close_notify; or a FIN without it; or a fatal alert. */
void tls_end_expect_close(struct tls_end *t);
void tls_end_expect_truncation(struct tls_end *t);
int tls_end_expect_alert(struct tls_end *t);

/* The session, once a ticket came; read something before. */
SSL_SESSION *tls_end_session(struct tls_end *t);

/* close_notify and FIN; or without the first; then nothing is left. */
void tls_end_finish(struct tls_end *t);
void tls_end_cut(struct tls_end *t);
void tls_end_free(struct tls_end *t);

#endif
