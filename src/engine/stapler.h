/*
 * The stapler: keeps certificates stapled with answers of their OCSP
 * responders. One thread asks, one certificate after another: when half of an
 * answer's life is over, and with growing pauses where asking failed. An answer
 * is for all certificates of its leaf (by its fingerprint), those that come
 * later as well: they are stapled at once. One that runs out is no longer sent,
 * which tls/ sees to.
 *
 * Any thread may call, and none waits for a responder. Sources: RFC 6960, RFC
 * 5019.
 */
#ifndef ENGINE_STAPLER_H
#define ENGINE_STAPLER_H

#include "tls/certificate.h"

/* One try. */
#define STAPLER_TRY_S 10
/* How long an answer is used before the next is asked for: half of its life,
 * within these bounds if it lives that long. */
#define STAPLER_MIN_USE_S 3600
#define STAPLER_MAX_USE_S 86400
/* The pause after a failure doubles from one to the other. */
#define STAPLER_MIN_PAUSE_S 60
#define STAPLER_MAX_PAUSE_S 3600

struct stapler;

struct stapler *stapler_new(void); /* NULL without memory */
/* If an answer is on its way the thread ends after it, on its own. NULL is
 * harmless. */
void stapler_free(struct stapler *s);

/* These (each once) and no others from now on; it takes references of its own.
 * 0, or -ENOMEM with everything as it was. */
int stapler_set(struct stapler *s, struct certificate *const *certificates,
    size_t count) MUST_CHECK;

/* One more, in the place of `old` (NULL, or one that it does not know: none);
 * `c` NULL: `old` goes and none comes. 0 or -ENOMEM, as above. */
int stapler_replace(struct stapler *s, struct certificate *old,
    struct certificate *c) MUST_CHECK;

#endif
