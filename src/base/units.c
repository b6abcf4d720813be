#include "base/units.h"

#include <errno.h>

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit duration_units[] = { { "ms", 1 }, { "s", 1000 },
	{ "m", 60 * 1000 }, { "h", 60 * 60 * 1000 },
	{ "d", 24 * 60 * 60 * 1000 } };

static const struct unit size_units[] = { { "", 1 }, { "B", 1 }, { "kB", 1000 },
	{ "MB", 1000 * 1000 }, { "GB", 1000 * 1000 * 1000 }, { "KiB", 1 << 10 },
	{ "MiB", 1 << 20 }, { "GiB", 1 << 30 } };

/* The digits at the start of `text`, which moves past them. */
static int
take_digits(struct span *text, uint64_t *out)
{
	size_t i;

	*out = 0;
	for (i = 0; i < text->len; i++) {
		unsigned digit = (unsigned)text->data[i] - '0';

		if (digit > 9)
			break;
		if (__builtin_mul_overflow(*out, 10, out) ||
		    __builtin_add_overflow(*out, digit, out))
			return -ERANGE;
	}
	if (i == 0)
		return -EINVAL;
	*text = span_of(text->data + i, text->len - i);
	return 0;
}

static const struct unit *
find_unit(const struct unit *units, size_t count, struct span name)
{
	for (size_t i = 0; i < count; i++)
		if (span_is(name, units[i].name))
			return &units[i];
	return NULL;
}

/* The largest result is INT64_MAX, so that callers may go on in signed. */
static int
scale(uint64_t number, const struct unit *unit, uint64_t *out, const char **why)
{
	if (!__builtin_mul_overflow(number, unit->factor, out) &&
	    *out <= INT64_MAX)
		return 0;
	*why = "is too large";
	return -EINVAL;
}

static int
take_number(struct span *text, uint64_t *out, const char **why)
{
	int err = take_digits(text, out);

	if (err == 0)
		return 0;
	if (err == -ERANGE)
		*why = "is too large";
	else if (text->len > 0 && text->data[0] == '-')
		*why = "must not be negative";
	else
		*why = "must start with a whole number";
	return -EINVAL;
}

int
duration_parse(struct span text, uint64_t *ms, const char **why)
{
	const struct unit *unit;
	uint64_t number;

	if (take_number(&text, &number, why) < 0)
		return -EINVAL;
	if (text.len == 0 && number == 0) {
		*ms = 0;
		return 0;
	}
	unit = find_unit(duration_units, ARRAY_COUNT(duration_units), text);
	if (!unit) {
		*why = "needs a unit: ms, s, m, h or d";
		return -EINVAL;
	}
	return scale(number, unit, ms, why);
}

int
size_parse(struct span text, uint64_t *bytes, const char **why)
{
	const struct unit *unit;
	uint64_t number;

	if (take_number(&text, &number, why) < 0)
		return -EINVAL;
	unit = find_unit(size_units, ARRAY_COUNT(size_units), text);
	if (!unit) {
		*why = "has an unknown unit: KiB, MiB, GiB, kB, MB or GB";
		return -EINVAL;
	}
	return scale(number, unit, bytes, why);
}

int
number_parse(struct span text, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t number;

	if (take_digits(&text, &number) < 0 || text.len > 0 || number < min ||
	    number > max)
		return -EINVAL;
	*out = number;
	return 0;
}
