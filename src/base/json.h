/*
 * A small JSON writer on top of a text (RFC 8259).
 *
 * It places commas and quotes; the caller opens and closes in pairs. Strings
 * are written as valid UTF-8: bytes that are not become U+FFFD, control
 * characters \u00NN. Nothing to allocate or free.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/text.h"

struct json {
	struct text *out;
	bool need_comma;
};

void json_init(struct json *j, struct text *out);

void json_open(struct json *j, const char *key); /* key NULL: a bare value */
void json_close(struct json *j);
void json_open_list(struct json *j, const char *key);
void json_close_list(struct json *j);

void json_string(struct json *j, const char *key, struct span value);
void json_text(struct json *j, const char *key, const char *value);
void json_key_span(struct json *j, struct span key); /* then a bare value */
void json_int(struct json *j, const char *key, int64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

/* Milliseconds from a count of microseconds, with three decimals. */
void json_ms(struct json *j, const char *key, int64_t us);

/* A wall clock time in microseconds as an RFC 3339 string, UTC. */
void json_time(struct json *j, const char *key, int64_t wall_us);

/* Text that is JSON already, such as an object built elsewhere. */
void json_raw(struct json *j, const char *key, struct span value);

#endif
