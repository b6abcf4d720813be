/*
 * The URL of an outbound proxy: "http://[USER[:PASSWORD]@]HOST:PORT" (CONNECT,
 * RFC 9110 section 9.3.6) or "socks5://..." (RFC 1928, RFC 1929). Bytes of user
 * and password may be percent-encoded (RFC 3986 section 2.1). A pure parse.
 */
#ifndef WIRE_PROXY_URL_H
#define WIRE_PROXY_URL_H

#include "wire/upstream_address.h"

#define PROXY_URL_CREDENTIAL_MAX 255 /* RFC 1929 */

enum proxy_kind { PROXY_KIND_HTTP, PROXY_KIND_SOCKS5 };

/* A secret if there is a password: who is done with it wipes it. */
struct proxy_url {
	enum proxy_kind kind;
	bool has_user;
	char user[PROXY_URL_CREDENTIAL_MAX + 1]; /* decoded, no NUL inside */
	char password[PROXY_URL_CREDENTIAL_MAX + 1];
	struct upstream_address address; /* an IP address or a name */
};

/* Returns 0, or -EINVAL with `*why`, a literal that shows nothing of the URL,
 * and `out` wiped. A path is refused, but for a lone "/". */
int proxy_url_parse(
    struct span text, struct proxy_url *out, const char **why) MUST_CHECK;

#endif
