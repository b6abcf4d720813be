#include "base/text.h"

#include <stdio.h>
#include <time.h>

void
text_init(struct text *t, char *storage, size_t size)
{
	ASSERT(size >= 1);
	t->data = storage;
	t->size = size;
	text_clear(t);
}

void
text_clear(struct text *t)
{
	t->len = 0;
	t->data[0] = '\0';
	t->truncated = false;
}

struct span
text_span(const struct text *t)
{
	return span_of(t->data, t->len);
}

void
text_add_span(struct text *t, struct span s)
{
	size_t room = t->size - 1 - t->len;

	if (s.len > room) {
		t->truncated = true;
		s.len = room;
	}
	if (s.len > 0)
		memcpy(t->data + t->len, s.data, s.len);
	t->len += s.len;
	t->data[t->len] = '\0';
}

void
text_add(struct text *t, const char *literal)
{
	text_add_span(t, span_text(literal));
}

void
text_add_char(struct text *t, char c)
{
	text_add_span(t, span_of(&c, 1));
}

/* Without printf, which costs ten times as much; addresses are formatted for
 * each connection. */
void
text_add_number(struct text *t, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	text_add_span(t, span_of(digits + at, sizeof(digits) - at));
}

void
text_vaddf(struct text *t, const char *format, va_list args)
{
	size_t room = t->size - t->len;
	int wanted = vsnprintf(t->data + t->len, room, format, args);

	ASSERT(wanted >= 0);
	if ((size_t)wanted >= room) {
		t->truncated = true;
		t->len = t->size - 1;
	} else {
		t->len += (size_t)wanted;
	}
}

void
text_addf(struct text *t, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	text_vaddf(t, format, args);
	va_end(args);
}

static void
add_escaped_byte(struct text *t, uint8_t c)
{
	if (c == '\\' || c == '"')
		text_addf(t, "\\%c", c);
	else if (c >= 0x20 && c < 0x7f)
		text_add_char(t, (char)c);
	else
		text_addf(t, "\\x%02x", c);
}

void
text_add_escaped(struct text *t, struct span s, size_t max)
{
	for (size_t i = 0; i < s.len && i < max; i++)
		add_escaped_byte(t, s.data[i]);
	if (s.len > max)
		text_add(t, "...");
}

void
text_add_time(struct text *t, int64_t wall_us, int decimals)
{
	int64_t us = wall_us % 1000000;
	struct tm tm;
	time_t seconds;

	if (us < 0)
		us += 1000000;
	seconds = (time_t)((wall_us - us) / 1000000);
	if (!gmtime_r(&seconds, &tm))
		memset(&tm, 0, sizeof(tm));
	text_addf(t, "%04d-%02d-%02dT%02d:%02d:%02d.", tm.tm_year + 1900,
	    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	if (decimals == 6)
		text_addf(t, "%06dZ", (int)us);
	else
		text_addf(t, "%03dZ", (int)(us / 1000));
}
