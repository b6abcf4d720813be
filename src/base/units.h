/*
 * Durations and sizes as people write them: "250ms", "3s", "5m", "12h", "1d";
 * "512", "64KiB", "1MiB", "2GiB" (also kB, MB, GB: powers of ten). A duration
 * needs its unit, except 0. Both return 0, or -EINVAL for what does not parse,
 * is negative, or does not fit; `*why` is a literal to show.
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include "base/compiler.h"
#include "base/span.h"

int duration_parse(struct span text, uint64_t *ms, const char **why) MUST_CHECK;
int size_parse(struct span text, uint64_t *bytes, const char **why) MUST_CHECK;

/* A whole decimal number from min to max, nothing else. */
int number_parse(
    struct span text, uint64_t min, uint64_t max, uint64_t *out) MUST_CHECK;

#endif
