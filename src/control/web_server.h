/*
 * A small HTTP server (RFC 9110, RFC 9112) by libmicrohttpd, for what a process
 * tells about itself.
 *
 * It has one thread, and takes from the process no more than its bounds:
 * WEB_CONNECTIONS_MAX connections, further ones wait in the kernel; 16 KiB for
 * a request's head; WEB_REQUEST_MS from one answer (or from the connection's
 * begin) to the end of the next, however slowly a client sends or reads; 32 MiB
 * for all answers on their way. Bodies of requests are not read: such a request
 * is answered by its head, and the connection closed.
 *
 * Life: web_server_new, which starts the thread; web_server_free, which ends it
 * at once, whatever clients do. Both on one thread that is not the server's.
 */
#ifndef CONTROL_WEB_SERVER_H
#define CONTROL_WEB_SERVER_H

#include "base/addr.h"

#define WEB_CONNECTIONS_MAX 64
#define WEB_REQUEST_MS 10000

/* Lent for the call. */
struct web_request {
	const char *method;
	struct span path;  /* percent encoded as it came, without the query */
	struct span host;  /* the Host field; empty if there is none or two */
	struct addr local; /* that the connection came to */
	bool has_body;
};

struct web_answer {
	unsigned status;
	const char *type;  /* of the content, a literal */
	const char *allow; /* a literal: the methods, with status 405 */
	bool closes;	   /* the connection ends with this answer */
	char *body;	   /* from malloc, taken; a HEAD sends only its length.
			    * NULL: no memory, a 503 without a body */
	size_t len;
};

struct web_settings {
	/* Where to listen. If the port is taken the next ones are tried,
	 * `ports` in all; port 0 lets the kernel choose. */
	struct addr address;
	unsigned ports;
	const char *thread_name; /* a literal, at most 15 bytes */
	/* Called on the server's thread for each request, with *a zeroed. */
	void (*answer)(
	    void *data, const struct web_request *q, struct web_answer *a);
	void *data; /* outlives the server */
	/* A literal for the header Content-Security-Policy of every answer. */
	const char *content_policy;
};

struct web_server;

/* 0, or -errno of listening (-EADDRINUSE: all those ports are taken), or
 * -ENOMEM without memory or thread. Copies the settings. */
int web_server_new(
    const struct web_settings *settings, struct web_server **out) MUST_CHECK;
void web_server_free(struct web_server *w); /* NULL is allowed */

/* Where it listens, with the port it found. Any thread. */
void web_server_address(const struct web_server *w, struct addr *out);

#endif
