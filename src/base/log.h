/*
 * The log: one line an entry, for people (`term`), for tools (`logfmt`) or for
 * machines (`json`), to a file, standard output or standard error.
 *
 * Fields are key and value pairs; foreign text goes through LOG_SPAN or as %s
 *of LOG_STR and is escaped on the way out, so that nobody outside can forge a
 * line. A line is written with one write(2). Any thread; never blocks on more
 * than that write. One log a process is the one deliberate global: it is set up
 * before the first thread and torn down after the last.
 *
 *	LOG_WARN("accept failed", LOG_TEXT("listener", name),
 *	    LOG_ERRNO(-err));
 *
 * Repeating lines go through LOG_LIMITED: at most one a second from that place
 * in the code, and the next one says how many were held back.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/addr.h"

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR
};
enum log_format { LOG_FORMAT_TERM, LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

struct log_settings {
	const char *target; /* "stderr", "stdout", "false" or a path */
	enum log_format format;
	enum log_level level;
};

struct log_field {
	enum { LOG_FIELD_SPAN, LOG_FIELD_INT, LOG_FIELD_ADDR } kind;
	const char *key;
	struct span span;
	int64_t number;
	const struct addr *addr;
};

#define LOG_SPAN(k, s) \
	((struct log_field){ .kind = LOG_FIELD_SPAN, .key = (k), .span = (s) })
#define LOG_TEXT(k, s) LOG_SPAN(k, span_text(s))
#define LOG_INT(k, n)        \
	((struct log_field){ \
	    .kind = LOG_FIELD_INT, .key = (k), .number = (int64_t)(n) })
#define LOG_ADDR(k, a) \
	((struct log_field){ .kind = LOG_FIELD_ADDR, .key = (k), .addr = (a) })
/* A positive errno value as error="...". */
#define LOG_ERRNO(e) LOG_TEXT("error", log_errno_text(e))

/* Opens the target. Returns 0 or -errno; before it, lines go to standard error
 * as `term`. Copies what it needs. Main thread. */
int log_open(const struct log_settings *settings) MUST_CHECK;

/* Opens the file again under its name (log rotation). Any thread. */
int log_reopen(void) MUST_CHECK;
void log_close(void);

bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *message,
    const struct log_field *fields, size_t count);
const char *log_errno_text(int err); /* of the calling thread, until reused */

/* "term", "logfmt", "json" / "debug" ...; -EINVAL for another word. */
int log_format_parse(struct span word, enum log_format *out) MUST_CHECK;
int log_level_parse(struct span word, enum log_level *out) MUST_CHECK;

struct log_limiter {
	_Atomic int64_t next_us;
	_Atomic uint32_t held_back;
};
/* True if a line may be written now; `held` gets the number held back. */
bool log_limit(struct log_limiter *l, uint32_t *held);

#define LOG_AT(level, message, ...)                                         \
	do {                                                                \
		if (log_enabled(level)) {                                   \
			const struct log_field fields_[] = { __VA_ARGS__ }; \
			log_write(                                          \
			    level, message, fields_, ARRAY_COUNT(fields_)); \
		}                                                           \
	} while (0)
#define LOG_DEBUG(...) LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define LOG_INFO(...) LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define LOG_WARN(...) LOG_AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define LOG_ERROR(...) LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)

/* As LOG_AT, at most once a second from this place; adds held_back=N. */
#define LOG_LIMITED(level, message, ...)                                    \
	do {                                                                \
		static struct log_limiter limiter_;                         \
		uint32_t held_;                                             \
		if (log_enabled(level) && log_limit(&limiter_, &held_)) {   \
			const struct log_field fields_[] = {                \
				LOG_INT("held_back", held_), __VA_ARGS__    \
			};                                                  \
			log_write(                                          \
			    level, message, fields_, ARRAY_COUNT(fields_)); \
		}                                                           \
	} while (0)

#endif
