/*
 * Outbound connections of an agent: to an edge, straight or through a proxy
 * (HTTP CONNECT or SOCKS5), without ever blocking.
 *
 * An attempt is made by outbound_start and ends in exactly one call of
 * on_done, never from within outbound_start, or by outbound_cancel. The
 * thread of its loop.
 *
 * Sources: RFC 9110 section 9.3.6 (CONNECT), RFC 7617 (Basic), RFC 1928 and
 * RFC 1929 (SOCKS5).
 */
#ifndef TUNNEL_OUTBOUND_H
#define TUNNEL_OUTBOUND_H

#include "sys/loop.h"
#include "sys/resolver.h"
#include "sys/timeouts.h"
#include "wire/proxy_url.h"

/* Where attempts run. Lent to them. */
struct outbound_host {
	struct loop *loop;
	struct timeouts *timeouts;
	struct resolver *resolver;
	struct mailbox *mailbox; /* for the resolver's answers */
};

struct outbound;

/*
 * `fd` is connected and the caller's, or a negative errno with `why` (a
 * literal or lent text for the log). `reached` is the address of the edge, or
 * ADDR_NONE where only the proxy knows it.
 */
typedef void outbound_on_done(
    void *owner, int fd, const struct addr *reached, const char *why);

struct outbound_target {
	/* A name or address with its port. */
	struct upstream_address address;
	/* Instead of asking for the name again: this very address. ADDR_NONE:
	 * ask. Not looked at behind a proxy. */
	struct addr fixed;
	/* Of the addresses of a name, this one first (modulo their number). */
	unsigned first;
	uint64_t timeout_ms; /* for all of it */
};

/* NULL without memory. `proxy` (lent until on_done) may be NULL. */
struct outbound *outbound_start(const struct outbound_host *h,
    const struct outbound_target *target, const struct proxy_url *proxy,
    outbound_on_done *on_done, void *owner);

/* No call comes any more. NULL is harmless. */
void outbound_cancel(struct outbound *o);

#endif
