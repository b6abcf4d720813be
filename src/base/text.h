/*
 * Text built in the caller's storage: log lines, JSON, messages.
 *
 * A text never writes past its storage; what did not fit sets `truncated` and
 * is left out. It is always NUL-terminated. No allocation, no errors to check
 * on the way: look at `truncated` once at the end where it matters.
 * Not shared between threads.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdarg.h>

#include "base/compiler.h"
#include "base/span.h"

struct text {
	char *data;
	size_t len;
	size_t size; /* of the storage, the NUL included; at least 1 */
	bool truncated;
};

void text_init(struct text *t, char *storage, size_t size);
void text_clear(struct text *t);
struct span text_span(const struct text *t);

void text_add(struct text *t, const char *literal);
void text_add_char(struct text *t, char c);
void text_add_span(struct text *t, struct span s);
void text_add_number(struct text *t, uint64_t n); /* in decimal */
void text_addf(struct text *t, const char *format, ...) PRINTF_LIKE(2, 3);
void text_vaddf(struct text *t, const char *format, va_list args)
    PRINTF_LIKE(2, 0);

/*
 * Adds foreign bytes so that they stay on one line and cannot forge anything:
 * printable ASCII but backslash and double quote as it is, all else as \xNN
 * (backslash and quote as \\ and \"). At most `max` input bytes; then "...".
 */
void text_add_escaped(struct text *t, struct span s, size_t max);

/* Unix time in microseconds as RFC 3339 in UTC, with 3 or 6 decimals. */
void text_add_time(struct text *t, int64_t wall_us, int decimals);

#endif
