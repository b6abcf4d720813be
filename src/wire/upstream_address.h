/*
 * An upstream's address as an operator writes it: "443" (a port on localhost),
 * "host:port", "[v6]:port", "tcp://host:port", "tls://host:port",
 * "unix:/path". A pure parse; names are resolved elsewhere.
 */
#ifndef WIRE_UPSTREAM_ADDRESS_H
#define WIRE_UPSTREAM_ADDRESS_H

#include "base/addr.h"
#include "wire/host.h"

#define UPSTREAM_ADDRESS_SIZE 288 /* canonical text with NUL */

enum upstream_kind { UPSTREAM_IP, UPSTREAM_NAME, UPSTREAM_UNIX };

struct upstream_address {
	enum upstream_kind kind;
	bool tls;			  /* written as tls:// */
	struct addr addr;		  /* UPSTREAM_IP */
	struct host name;		  /* UPSTREAM_NAME */
	uint16_t port;			  /* UPSTREAM_IP and UPSTREAM_NAME */
	char path[108];			  /* UPSTREAM_UNIX: sun_path */
	char text[UPSTREAM_ADDRESS_SIZE]; /* canonical: "tls://" kept, no tcp://
					   */
};

/* A port must be given, but for tls:// where it is 443. Returns 0, or -EINVAL
 * with `*why`, a literal. */
int upstream_address_parse(struct span text, struct upstream_address *out,
    const char **why) MUST_CHECK;

#endif
