/*
 * What is held here for a name: the certificates whose keys this host, and not
 * the edge, has; or the local CA that makes them.
 */
#ifndef CMD_HELD_H
#define CMD_HELD_H

#include "cmd/findings.h"
#include "cmd/look.h"
#include "config/snapshot.h"

struct held {
	char (*fingerprints)[CERTIFICATE_FINGERPRINT_SIZE];
	size_t count;
	struct trust *ca; /* the local CA; NULL: there are certificates */
};

/*
 * Each adds to `h`, with a line for everything that it adds or cannot. False:
 * that is not all there is to compare with, and a line has said why. held_fini
 * is due in any case.
 */

/* What the agent with this file has for an endpoint and a name. */
bool held_add_endpoint(struct held *h, struct look *l, const struct snapshot *s,
    const struct endpoint *e, const struct host *name) MUST_CHECK;
/* The first certificate of a PEM file; no key is needed. */
bool held_add_file(
    struct held *h, struct findings *f, const char *path) MUST_CHECK;
/* What an upstream shows, and with all of them `l` says how many did. */
bool held_add_upstream(
    struct held *h, struct look *l, const struct look_target *t) MUST_CHECK;

void held_fini(struct held *h);

/* Whether what is shown is held, or made by the local CA. With the reason in
 * `error` if not. */
bool held_has(const struct held *h, const struct probe *shown,
    const struct host *name, struct text *error) MUST_CHECK;

#endif
