/*
 * A look at what servers show: at each address of each of them, with each
 * version of TLS, a line and a call.
 */
#ifndef CMD_LOOK_H
#define CMD_LOOK_H

#include "cmd/findings.h"
#include "sys/errand.h"
#include "tls/probe.h"
#include "wire/upstream_address.h"

#define LOOK_LIMIT_MS 10000 /* to connect, and for a handshake */
#define LOOK_WHERE_SIZE (UPSTREAM_ADDRESS_SIZE + ADDR_TEXT_SIZE + 16)

struct look_target {
	const struct upstream_address *address;
	const struct host *name; /* that is asked for */
	unsigned proxy_proto;	 /* version of the header that is sent; 0 */
};

/* What one handshake has shown. `where` says at which address and with which
 * version; both are lent. */
typedef void look_on_leaf(
    void *owner, const char *where, const struct probe *p);

struct look {
	struct errand *errand;
	struct findings *findings;
	const char *who;      /* is looked at, for messages */
	enum finding failure; /* what a failure is */
	look_on_leaf *on_leaf;
	void *owner;
	unsigned shown;	      /* handshakes that showed a certificate */
	unsigned failed;      /* and those that did not, or addresses */
	unsigned unreachable; /* addresses that this host has no route to */
};

/* False without memory. */
bool look_at(struct look *l, const struct look_target *t) MUST_CHECK;

/* "host", "host:port", "1.2.3.4:port"; port 443 if none is given. 0, or -EINVAL
 * with `*why`, a literal. */
int look_parse(struct span text, struct upstream_address *out,
    const char **why) MUST_CHECK;

#endif
