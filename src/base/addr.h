/*
 * IP addresses with a port, and networks (CIDR).
 *
 * An addr is a small value to copy. An IPv4-mapped IPv6 address
 * (::ffff:a.b.c.d) becomes the IPv4 address at once, in every function that
 * makes an addr, so that no rule can be walked round by the other spelling.
 * Family ADDR_NONE stands for "unknown"; ADDR_UNIX for a Unix socket peer,
 * which has no address.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <sys/socket.h>

#include "base/compiler.h"
#include "base/span.h"
#include "base/text.h"

enum addr_family { ADDR_NONE, ADDR_IP4, ADDR_IP6, ADDR_UNIX };

struct addr {
	uint8_t bytes[16]; /* network order; IPv4 uses the first four */
	uint32_t scope;	   /* IPv6 link-local interface, else 0 */
	uint16_t port;	   /* host order */
	uint8_t family;	   /* enum addr_family */
};

/* Room for any formatted address with brackets, scope, port and NUL. */
#define ADDR_TEXT_SIZE 72

struct addr addr_from_sockaddr(const struct sockaddr *sa);

/* ADDR_IP4 and ADDR_IP6 only. Returns the length to pass to the kernel. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);

/* An IP literal without port or brackets; canonical forms only (no leading
 * zeros, no octal). Returns 0 or -EINVAL. The port becomes 0. */
int addr_parse(struct span text, struct addr *out) MUST_CHECK;

/* "192.0.2.1" or "2001:db8::1"; "unix" or "unknown" for the other families. */
void addr_format_ip(const struct addr *a, char out[ADDR_TEXT_SIZE]);

/* "192.0.2.1:443" or "[2001:db8::1]:443". */
void addr_format(const struct addr *a, char out[ADDR_TEXT_SIZE]);

bool addr_same_ip(const struct addr *a, const struct addr *b);
bool addr_is_loopback(const struct addr *a);
bool addr_is_any(const struct addr *a); /* 0.0.0.0 or :: */

/* A hash of family and address, without the port. */
uint64_t addr_hash_ip(const struct addr *a);

struct network {
	struct addr base;
	uint8_t prefix; /* bits: up to 32 for ADDR_IP4, 128 for ADDR_IP6 */
};

/*
 * "192.0.2.0/24", "2001:db8::/32", or a bare address (a /32 or /128). Bits set
 * beyond the prefix are refused, as a sign of a slip. A v4-mapped network with
 * a prefix of 96 or more becomes the IPv4 network. Returns 0, or -EINVAL with
 * `*why` set to a literal that says what is wrong.
 */
int network_parse(
    struct span text, struct network *out, const char **why) MUST_CHECK;
bool network_contains(const struct network *n, const struct addr *a);

#endif
