/*
 * Expiry: tells that certificates run out, in the log and as the event
 * certificate_expiring.v0, when 14, 7, 3 and 1 days are left and when the time
 * is over: each once for a certificate, however often the configuration is read
 * again. A certificate that is found late is told of once, not for all that it
 * has passed.
 *
 * Belongs to one thread.
 */
#ifndef ENGINE_EXPIRY_H
#define ENGINE_EXPIRY_H

#include "engine/journal.h"
#include "engine/pairs.h"

#define EVENT_CERTIFICATE_EXPIRING "certificate_expiring.v0"

struct expiry;

/* The journal is borrowed. NULL without memory. */
struct expiry *expiry_new(struct journal *journal);
void expiry_free(struct expiry *x); /* NULL is harmless */

/* Looks at all certificates that the pairs have in the keyring. */
void expiry_check(struct expiry *x, const struct pairs *pairs, int64_t now_s);

#endif
