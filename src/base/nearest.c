#include "base/nearest.h"

#define WORD_MAX 40 /* longer words get no suggestion */

static size_t
smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/*
 * The optimal string alignment distance, three rows at a time. A difference in
 * case alone counts nothing.
 */
static size_t
distance(struct span a, struct span b)
{
	size_t rows[3][WORD_MAX + 1];
	size_t *older = rows[0], *above = rows[1], *row = rows[2];

	for (size_t j = 0; j <= b.len; j++)
		above[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		uint8_t c = lower(a.data[i - 1]);

		row[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			uint8_t d = lower(b.data[j - 1]);

			row[j] = smaller(above[j], row[j - 1]) + 1;
			row[j] = smaller(row[j], above[j - 1] + (c != d));
			if (i > 1 && j > 1 && c == lower(b.data[j - 2]) &&
			    d == lower(a.data[i - 2]))
				row[j] = smaller(row[j], older[j - 2] + 1);
		}
		size_t *reused = older;
		older = above;
		above = row;
		row = reused;
	}
	return above[b.len];
}

const char *
nearest_word(struct span word, const char *const words[], size_t count)
{
	/* A third of the word may be wrong, one letter of a short one. */
	size_t best = word.len / 3 + (word.len < 3 ? 2 : 1);
	const char *found = NULL;

	if (word.len == 0 || word.len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		struct span candidate = span_text(words[i]);
		size_t d;

		if (candidate.len > WORD_MAX)
			continue;
		d = distance(word, candidate);
		if (d < best && d < candidate.len) {
			best = d;
			found = words[i];
		}
	}
	return found;
}
