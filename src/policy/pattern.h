/*
 * Lua's patterns (Lua 5.1 Reference Manual, section 5.4.1), with an end: every
 * step is counted, so that a pattern that would search for hours stops. Knows
 * nothing of Lua states; spans in, spans out.
 */
#ifndef POLICY_PATTERN_H
#define POLICY_PATTERN_H

#include "base/span.h"

#define PATTERN_MAX_CAPTURES 32
#define PATTERN_MAX_DEPTH 200

enum pattern_result {
	PATTERN_MISS,
	PATTERN_HIT,
	PATTERN_MALFORMED, /* `why` says how */
	PATTERN_TOO_LONG,  /* the steps are used up */
};

enum capture_kind { CAPTURE_OPEN, CAPTURE_CLOSED, CAPTURE_POSITION };

struct capture {
	enum capture_kind kind;
	const uint8_t *start;
	size_t len;
};

struct pattern {
	struct span subject;
	struct span text; /* the pattern, without a leading '^' */
	size_t steps_left;
	size_t level; /* captures so far */
	struct capture captures[PATTERN_MAX_CAPTURES];
	enum pattern_result failure;
	const char *why;
	unsigned depth;
};

void pattern_init(
    struct pattern *m, struct span subject, struct span text, size_t max_steps);

/*
 * Matches at `at` (an offset into the subject) exactly. For a hit, `end` is the
 * offset behind it and the captures are filled; each is closed or a position.
 */
enum pattern_result pattern_match_at(struct pattern *m, size_t at, size_t *end);

/* Looks from `*at` on, or only there if `anchored`; sets `*at` to the start. */
enum pattern_result pattern_search(
    struct pattern *m, bool anchored, size_t *at, size_t *end);

/* Whether the text has no character with a special meaning. */
bool pattern_is_plain(struct span text);

#endif
