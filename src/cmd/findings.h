/*
 * What a command that looks at things has found: a line each on standard
 * output, with OK, WARN or error in front.
 *
 * A copy of all lines is kept, for a report. Texts of others must be escaped
 * by who adds them.
 */
#ifndef CMD_FINDINGS_H
#define CMD_FINDINGS_H

#include "base/text.h"
#include "tls/probe.h"

enum finding { FINDING_OK, FINDING_WARN, FINDING_ERROR, FINDING_COUNT };

struct findings {
	unsigned counts[FINDING_COUNT];
	char *storage;
	struct text all;
};

bool findings_init(struct findings *f); /* false without memory */
void findings_fini(struct findings *f);

void findings_add(struct findings *f, enum finding how, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* "SHA-256 ab..., subject CN=app.test, issuer CN=ca, valid from 2026-11-23 to
 * 2027-02-21". */
void add_leaf(struct text *out, const struct probe *p);
/* The day of Unix seconds, in UTC. */
void add_date(struct text *out, int64_t when);

#endif
