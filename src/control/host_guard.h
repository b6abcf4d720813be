/*
 * Whom a local web server answers: the names that a request's Host may have.
 *
 * A page of a stranger can let its own name point at 127.0.0.1 and then read
 * what a local server says, as of its own origin (DNS rebinding). The browser
 * still sends that name, so a server that answers only to names which nobody
 * else can own is safe. Those are: "localhost" and names below it (RFC 6761
 * section 6.3), addresses of loopback, the very address that the connection
 * came to, and what the operator lists. The port does not matter, so that a
 * forwarded one works.
 *
 * A list's rule is an address, a network (192.0.2.0/24), a name, or a name with
 * a dot in front, which stands for all names below it.
 *
 * Built once, then read only, by any thread.
 */
#ifndef CONTROL_HOST_GUARD_H
#define CONTROL_HOST_GUARD_H

#include "base/addr.h"

struct host_guard;

/* Copies the rules. 0, -ENOMEM, or -EINVAL with `*bad` the index of a rule that
 * is none of the above. */
int host_guard_new(const char *const *rules, size_t count,
    struct host_guard **out, size_t *bad) MUST_CHECK;
void host_guard_free(struct host_guard *g);

/* `value` is the Host field (RFC 9110 section 7.2): a name or an address, an
 * IPv6 one in brackets, and perhaps a port. */
bool host_guard_allows(
    const struct host_guard *g, struct span value, const struct addr *local);

#endif
