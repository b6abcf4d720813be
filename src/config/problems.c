#include "config/problems.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_SIZE 1024

struct problems {
	char **lines;
	size_t count;	  /* lines kept */
	size_t uncounted; /* found beyond PROBLEMS_KEPT */
	bool no_memory;
	char rest[64]; /* the last line, about those not kept */
};

static const char no_memory_line[] = "out of memory";

struct problems *
problems_new(void)
{
	return calloc(1, sizeof(struct problems));
}

void
problems_free(struct problems *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->count; i++)
		free(p->lines[i]);
	free(p->lines);
	free(p);
}

/* A file's name or a key may hold anything; a terminal must not obey it. */
static char *
escaped_copy(const char *text)
{
	char *copy = malloc(4 * strlen(text) + 1), *out = copy;

	if (copy == NULL)
		return NULL;
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c < 0x7f)
			*out++ = (char)c;
		else
			out += sprintf(out, "\\x%02x", c);
	}
	*out = '\0';
	return copy;
}

static bool
keep(struct problems *p, const char *line)
{
	char **lines, *copy;

	/* Grown at each power of two. */
	if ((p->count & (p->count - 1)) == 0) {
		size_t room = p->count ? 2 * p->count : 1;

		lines = realloc(p->lines, room * sizeof(*lines));
		if (lines == NULL)
			return false;
		p->lines = lines;
	}
	copy = escaped_copy(line);
	if (copy == NULL)
		return false;
	p->lines[p->count++] = copy;
	return true;
}

static size_t
print_origin(char *out, size_t size, const struct origin *where)
{
	int len;

	if (where->line != 0)
		len = snprintf(out, size, "%s:%u:%u: ", where->source,
		    where->line, where->column);
	else
		len = snprintf(out, size, "%s: ", where->source);
	return (size_t)len < size ? (size_t)len : size - 1;
}

void
problems_vadd(struct problems *p, const struct origin *where,
    const char *format, va_list args)
{
	char line[MESSAGE_SIZE];
	size_t len;
	int wanted;

	if (p == NULL)
		return;
	if (p->count == PROBLEMS_KEPT) {
		p->uncounted++;
		snprintf(p->rest, sizeof(p->rest), "and %zu more problems",
		    p->uncounted);
		return;
	}
	len = print_origin(line, sizeof(line), where);
	wanted = vsnprintf(line + len, sizeof(line) - len, format, args);
	if (wanted >= 0 && (size_t)wanted >= sizeof(line) - len)
		memcpy(line + sizeof(line) - 4, "...", 4);
	if (!keep(p, line))
		p->no_memory = true;
}

void
problems_add(
    struct problems *p, const struct origin *where, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	problems_vadd(p, where, format, args);
	va_end(args);
}

void
problems_add_no_memory(struct problems *p)
{
	if (p != NULL)
		p->no_memory = true;
}

size_t
problems_count(const struct problems *p)
{
	if (p == NULL)
		return 1;
	return p->count + (p->uncounted > 0) + p->no_memory;
}

const char *
problems_get(const struct problems *p, size_t index)
{
	ASSERT(index < problems_count(p));
	if (p == NULL)
		return no_memory_line;
	if (index < p->count)
		return p->lines[index];
	if (index == p->count && p->uncounted > 0)
		return p->rest;
	return no_memory_line;
}
