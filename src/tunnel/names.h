/*
 * What the edge gives to agents so that they get the same again after the next
 * connect: a client id with its cookie, random names, and a token for each
 * bound name. Nothing of it is stored: all is derived by HMAC-SHA-256 from one
 * key in the state folder (`tunnel.key`, 32 bytes, mode 0600), so names survive
 * a restart, and several edges that share the key agree.
 *
 *	cookie    = HMAC(key, "lunette cookie" 00 | credential | client)
 *	name      = HMAC(key, "lunette name" 00 | credential | client |
 *			bind index | collisions), 80 bits in base32
 *	token     = HMAC(key, "lunette bind" 00 | credential | name), "." name
 *
 * Texts are preceded by their length in 16 bits, numbers have 32 bits, all big
 * endian. `credential` is the credential's id: with another credential none of
 * them is good.
 *
 * Immutable once open; any thread, functions do not block. Those that return
 * int give -ENOMEM with their output empty when OpenSSL has no memory.
 */
#ifndef TUNNEL_NAMES_H
#define TUNNEL_NAMES_H

#include "base/text.h"
#include "wire/host.h"

#define NAMES_KEY_BYTES 32
#define CLIENT_ID_SIZE 36 /* "ag_", 32 digits and a NUL */
#define COOKIE_SIZE 45	  /* base64 of 32 bytes and a NUL */
#define BIND_TOKEN_SIZE (45 + 1 + HOST_MAX_BYTES)
#define RANDOM_LABEL_BYTES 16

struct names;

/*
 * Opens the key in the state folder; makes folder and key when they are not
 * there. Processes that start together end up with one key. NULL with why in
 * `error`. Blocks on the disk; main thread.
 */
struct names *names_open(const char *folder, struct text *error);
void names_free(struct names *n); /* wipes the key; NULL is harmless */

/* A new client's id: 160 random bits. */
void names_new_client(char out[CLIENT_ID_SIZE]);

int names_cookie(const struct names *n, const char *credential,
    const char *client, char out[COOKIE_SIZE]) MUST_CHECK;
/* 0; -EACCES: it is not this client's cookie; -ENOMEM. In constant time. */
int names_check_cookie(const struct names *n, const char *credential,
    const char *client, const char *cookie) MUST_CHECK;

/*
 * The random name of a client's bind number `index`, below `base_domain`; with
 * another `collisions` another one. 0, -ENAMETOOLONG or -ENOMEM.
 */
int names_random(const struct names *n, const char *credential,
    const char *client, uint32_t index, uint32_t collisions,
    const struct host *base_domain, struct host *out) MUST_CHECK;

/* The token for a name or wildcard that was bound. */
int names_bind_token(const struct names *n, const char *credential,
    const struct host *name, char out[BIND_TOKEN_SIZE]) MUST_CHECK;
/* The name that a token was given for. 0; -EINVAL: that is no such token;
 * -EACCES: it is not from here, or another credential's; -ENOMEM. */
int names_read_bind_token(const struct names *n, const char *credential,
    const char *token, struct host *out) MUST_CHECK;

#endif
