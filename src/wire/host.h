/*
 * Host names and the patterns that match them.
 *
 * One validator and one folding for everything: the hello, configuration, the
 * policy. A host is lower case, without a trailing dot, 1 to 253 bytes of
 * labels of 1 to 63 letters, digits, '-' and '_' (which many real names carry),
 * not an IP literal (RFC 1123 section 2.1, RFC 6066 section 3).
 * Internationalised names are A-labels. A pattern is a host, or "*." and a
 * host: the star matches one or more whole labels.
 */
#ifndef WIRE_HOST_H
#define WIRE_HOST_H

#include "base/compiler.h"
#include "base/span.h"

#define HOST_MAX_BYTES 253

struct host {
	uint8_t len;
	char text[HOST_MAX_BYTES + 1]; /* NUL-terminated, no NUL inside */
};

/* Folds and validates. Returns 0, or -EINVAL with `*why` (a literal; may be
 * NULL) and `out` empty. */
int host_parse(struct span text, struct host *out, const char **why) MUST_CHECK;

/* As host_parse, and takes "*." in front of a host. */
int host_parse_pattern(
    struct span text, struct host *out, const char **why) MUST_CHECK;

bool host_is_wildcard(const struct host *pattern);

/* "tls://" and a pattern, or the bare pattern; port 443 may be written. */
int host_parse_url(
    struct span text, struct host *out, const char **why) MUST_CHECK;

static inline struct span
host_span(const struct host *h)
{
	return span_of(h->text, h->len);
}

#endif
