#include "base/json.h"

#include <time.h>

#include "base/utf8.h"

void
json_init(struct json *j, struct text *out)
{
	j->out = out;
	j->need_comma = false;
}

static bool
is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Writes what stands first in `s`, a run of plain characters or one other, and
 * returns its length. */
static size_t
add_piece(struct text *out, struct span s)
{
	size_t len = 0;

	while (len < s.len && is_plain(s.data[len]))
		len++;
	if (len == 0 && s.data[0] >= 0x80)
		len = utf8_len(s);
	if (len > 0) {
		text_add_span(out, span_of(s.data, len));
		return len;
	}
	if (s.data[0] >= 0x80)
		text_add(out, UTF8_REPLACEMENT);
	else if (s.data[0] == '"' || s.data[0] == '\\')
		text_addf(out, "\\%c", s.data[0]);
	else
		text_addf(out, "\\u%04x", s.data[0]);
	return 1;
}

static void
add_quoted(struct text *out, struct span s)
{
	text_add_char(out, '"');
	while (s.len > 0) {
		size_t len = add_piece(out, s);

		s = span_of(s.data + len, s.len - len);
	}
	text_add_char(out, '"');
}

/* The comma and key before a value; after it a comma is due. */
static void
begin_value(struct json *j, const char *key)
{
	if (key) {
		json_key_span(j, span_text(key));
		j->need_comma = true;
		return;
	}
	if (j->need_comma)
		text_add_char(j->out, ',');
	j->need_comma = true;
}

void
json_key_span(struct json *j, struct span key)
{
	if (j->need_comma)
		text_add_char(j->out, ',');
	add_quoted(j->out, key);
	text_add_char(j->out, ':');
	j->need_comma = false;
}

static void
open_with(struct json *j, const char *key, char bracket)
{
	begin_value(j, key);
	text_add_char(j->out, bracket);
	j->need_comma = false;
}

static void
close_with(struct json *j, char bracket)
{
	text_add_char(j->out, bracket);
	j->need_comma = true;
}

void
json_open(struct json *j, const char *key)
{
	open_with(j, key, '{');
}

void
json_close(struct json *j)
{
	close_with(j, '}');
}

void
json_open_list(struct json *j, const char *key)
{
	open_with(j, key, '[');
}

void
json_close_list(struct json *j)
{
	close_with(j, ']');
}

void
json_string(struct json *j, const char *key, struct span value)
{
	begin_value(j, key);
	add_quoted(j->out, value);
}

void
json_text(struct json *j, const char *key, const char *value)
{
	json_string(j, key, span_text(value));
}

void
json_int(struct json *j, const char *key, int64_t value)
{
	begin_value(j, key);
	text_addf(j->out, "%lld", (long long)value);
}

void
json_bool(struct json *j, const char *key, bool value)
{
	begin_value(j, key);
	text_add(j->out, value ? "true" : "false");
}

void
json_null(struct json *j, const char *key)
{
	begin_value(j, key);
	text_add(j->out, "null");
}

void
json_ms(struct json *j, const char *key, int64_t us)
{
	uint64_t size = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;

	begin_value(j, key);
	text_addf(j->out, "%s%llu.%03u", us < 0 ? "-" : "",
	    (unsigned long long)(size / 1000), (unsigned)(size % 1000));
}

void
json_time(struct json *j, const char *key, int64_t wall_us)
{
	begin_value(j, key);
	text_add_char(j->out, '"');
	text_add_time(j->out, wall_us, 6);
	text_add_char(j->out, '"');
}

void
json_raw(struct json *j, const char *key, struct span value)
{
	begin_value(j, key);
	text_add_span(j->out, value);
}
