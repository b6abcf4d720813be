#include "policy/pattern.h"

#include <ctype.h>

#define ESCAPE '%'

static const uint8_t *match(
    struct pattern *m, const uint8_t *s, const uint8_t *p);

static const uint8_t *
fail(struct pattern *m, enum pattern_result failure, const char *why)
{
	/* The first failure is the one to tell; unwinding adds none. */
	if (m->failure == PATTERN_MISS) {
		m->failure = failure;
		m->why = why;
	}
	return NULL;
}

static const uint8_t *
malformed(struct pattern *m, const char *why)
{
	return fail(m, PATTERN_MALFORMED, why);
}

/* Takes one step; false when there is none left or something has failed. */
static bool
step(struct pattern *m)
{
	if (m->failure != PATTERN_MISS)
		return false;
	if (m->steps_left == 0) {
		fail(m, PATTERN_TOO_LONG, "too many steps");
		return false;
	}
	m->steps_left--;
	return true;
}

static const uint8_t *
subject_end(const struct pattern *m)
{
	return m->subject.data + m->subject.len;
}

static const uint8_t *
pattern_end(const struct pattern *m)
{
	return m->text.data + m->text.len;
}

/* ---- classes ---- */

static bool
letter_has(uint8_t c, uint8_t letter)
{
	switch (tolower(letter)) {
	case 'a':
		return isalpha(c);
	case 'c':
		return iscntrl(c);
	case 'd':
		return isdigit(c);
	case 'l':
		return islower(c);
	case 'p':
		return ispunct(c);
	case 's':
		return isspace(c);
	case 'u':
		return isupper(c);
	case 'w':
		return isalnum(c);
	case 'x':
		return isxdigit(c);
	case 'z':
		return c == 0;
	default:
		return false;
	}
}

/* %a, %D ...: an upper-case letter is the complement; what is no class letter
 * stands for itself. */
static bool
class_has(uint8_t c, uint8_t letter)
{
	if (!isalpha(letter) || !strchr("acdlpsuwxz", tolower(letter)))
		return c == letter;
	return letter_has(c, letter) == (islower(letter) != 0);
}

/* The end of the set that starts at `p` ('['), behind its ']', or NULL. */
static const uint8_t *
set_end(struct pattern *m, const uint8_t *p)
{
	const uint8_t *end = pattern_end(m);

	p++;
	if (p < end && *p == '^')
		p++;
	do { /* a ']' in the first place is a member */
		if (p == end || !step(m))
			return malformed(m, "a [set] has no end");
		if (*p++ == ESCAPE) {
			if (p == end)
				return malformed(m, "a [set] has no end");
			p++;
		}
	} while (p == end || *p != ']');
	return p + 1;
}

/* The end of the single character, class or set at `p`. */
static const uint8_t *
item_end(struct pattern *m, const uint8_t *p)
{
	if (*p == '[')
		return set_end(m, p);
	if (*p != ESCAPE)
		return p + 1;
	if (p + 1 == pattern_end(m))
		return malformed(m, "the pattern ends with '%'");
	return p + 2;
}

/* Whether the set from '[' at `p` to behind its ']' at `end` has `c`. */
static bool
set_has(struct pattern *m, uint8_t c, const uint8_t *p, const uint8_t *end)
{
	bool answer = true;

	end--;
	p++;
	if (*p == '^') {
		answer = false;
		p++;
	}
	while (p < end && step(m)) {
		if (*p == ESCAPE) {
			if (class_has(c, p[1]))
				return answer;
			p += 2;
		} else if (end - p > 2 && p[1] == '-') {
			if (p[0] <= c && c <= p[2])
				return answer;
			p += 3;
		} else {
			if (*p == c)
				return answer;
			p++;
		}
	}
	return !answer;
}

/* Whether the item from `p` to `end` takes the byte at `s`. */
static bool
item_takes(
    struct pattern *m, const uint8_t *s, const uint8_t *p, const uint8_t *end)
{
	if (!step(m) || s >= subject_end(m))
		return false;
	switch (*p) {
	case '.':
		return true;
	case ESCAPE:
		return class_has(*s, p[1]);
	case '[':
		return set_has(m, *s, p, end);
	default:
		return *p == *s;
	}
}

/* ---- repetition ---- */

static const uint8_t *
match_greedy(
    struct pattern *m, const uint8_t *s, const uint8_t *p, const uint8_t *end)
{
	size_t count = 0;

	while (item_takes(m, s + count, p, end))
		count++;
	for (;;) {
		const uint8_t *found = match(m, s + count, end + 1);

		if (found || count == 0 || m->failure != PATTERN_MISS)
			return found;
		count--;
	}
}

static const uint8_t *
match_shortest(
    struct pattern *m, const uint8_t *s, const uint8_t *p, const uint8_t *end)
{
	for (;;) {
		const uint8_t *found = match(m, s, end + 1);

		if (found)
			return found;
		if (!item_takes(m, s, p, end))
			return NULL;
		s++;
	}
}

/* ---- captures ---- */

static const uint8_t *
match_open(struct pattern *m, const uint8_t *s, const uint8_t *p,
    enum capture_kind kind)
{
	const uint8_t *found;

	if (m->level == PATTERN_MAX_CAPTURES)
		return malformed(m, "too many captures");
	m->captures[m->level] = (struct capture){ kind, s, 0 };
	m->level++;
	found = match(m, s, p);
	if (!found)
		m->level--;
	return found;
}

static const uint8_t *
match_close(struct pattern *m, const uint8_t *s, const uint8_t *p)
{
	size_t i = m->level;
	const uint8_t *found;

	while (i > 0 && m->captures[i - 1].kind != CAPTURE_OPEN)
		i--;
	if (i == 0)
		return malformed(m, "')' without '('");
	m->captures[i - 1].kind = CAPTURE_CLOSED;
	m->captures[i - 1].len = (size_t)(s - m->captures[i - 1].start);
	found = match(m, s, p);
	if (!found)
		m->captures[i - 1].kind = CAPTURE_OPEN;
	return found;
}

/* %1 to %9: the same bytes again. */
static const uint8_t *
match_back(struct pattern *m, const uint8_t *s, const uint8_t *p)
{
	size_t i = *p - (size_t)'0';
	const struct capture *c;

	if (i == 0 || i > m->level)
		return malformed(m, "no such capture");
	c = &m->captures[i - 1];
	if (c->kind != CAPTURE_CLOSED)
		return malformed(m, "no such capture");
	if ((size_t)(subject_end(m) - s) < c->len)
		return NULL;
	/* A long comparison is many steps. */
	if (c->len / 16 > m->steps_left)
		return fail(m, PATTERN_TOO_LONG, "too many steps");
	m->steps_left -= c->len / 16;
	if (c->len > 0 && memcmp(c->start, s, c->len) != 0)
		return NULL;
	return match(m, s + c->len, p + 1);
}

/* %bxy: from an x to the y that balances it. */
static const uint8_t *
match_balance(struct pattern *m, const uint8_t *s, const uint8_t *p)
{
	size_t open = 1;

	if (pattern_end(m) - p < 2)
		return malformed(m, "%b lacks its two characters");
	if (s == subject_end(m) || *s != p[0])
		return NULL;
	for (s++; s < subject_end(m) && step(m); s++) {
		if (*s == p[1]) {
			if (--open == 0)
				return match(m, s + 1, p + 2);
		} else if (*s == p[0]) {
			open++;
		}
	}
	return NULL;
}

/* %f[set]: between a byte outside the set and one inside. */
static const uint8_t *
match_frontier(struct pattern *m, const uint8_t *s, const uint8_t *p)
{
	const uint8_t *end;
	uint8_t before, after;

	if (p == pattern_end(m) || *p != '[')
		return malformed(m, "%f lacks its [set]");
	end = set_end(m, p);
	if (!end)
		return NULL;
	before = s == m->subject.data ? 0 : s[-1];
	after = s == subject_end(m) ? 0 : *s;
	if (set_has(m, before, p, end) || !set_has(m, after, p, end))
		return NULL;
	return match(m, s, end);
}

static const uint8_t *
match_escape(struct pattern *m, const uint8_t *s, const uint8_t *p, bool *taken)
{
	uint8_t c = p + 1 < pattern_end(m) ? p[1] : 0;

	*taken = true;
	if (c == 'b')
		return match_balance(m, s, p + 2);
	if (c == 'f')
		return match_frontier(m, s, p + 2);
	if (isdigit(c))
		return match_back(m, s, p + 1);
	*taken = false;
	return NULL;
}

/* ---- the whole ---- */

/* What begins at `p` and is no plain item. `taken` false: it is one. */
static const uint8_t *
match_special(
    struct pattern *m, const uint8_t *s, const uint8_t *p, bool *taken)
{
	*taken = true;
	switch (*p) {
	case '(':
		if (p + 1 < pattern_end(m) && p[1] == ')')
			return match_open(m, s, p + 2, CAPTURE_POSITION);
		return match_open(m, s, p + 1, CAPTURE_OPEN);
	case ')':
		return match_close(m, s, p + 1);
	case '$':
		if (p + 1 == pattern_end(m))
			return s == subject_end(m) ? s : NULL;
		break;
	case ESCAPE:
		return match_escape(m, s, p, taken);
	}
	*taken = false;
	return NULL;
}

/* Items without repetition are walked here; everything else recurses. */
static const uint8_t *
match_items(struct pattern *m, const uint8_t *s, const uint8_t *p)
{
	while (p < pattern_end(m)) {
		bool taken;
		const uint8_t *found = match_special(m, s, p, &taken);
		const uint8_t *end;
		uint8_t suffix;

		if (taken)
			return found;
		end = item_end(m, p);
		if (!end)
			return NULL;
		suffix = end < pattern_end(m) ? *end : 0;
		if (suffix == '*')
			return match_greedy(m, s, p, end);
		if (suffix == '-')
			return match_shortest(m, s, p, end);
		if (suffix == '?') {
			if (item_takes(m, s, p, end)) {
				found = match(m, s + 1, end + 1);
				if (found)
					return found;
			}
			p = end + 1;
			continue;
		}
		if (!item_takes(m, s, p, end))
			return NULL;
		s++;
		if (suffix == '+')
			return match_greedy(m, s, p, end);
		p = end;
	}
	return s;
}

static const uint8_t *
match(struct pattern *m, const uint8_t *s, const uint8_t *p)
{
	const uint8_t *found;

	if (!step(m))
		return NULL;
	if (m->depth == PATTERN_MAX_DEPTH)
		return malformed(m, "pattern too complex");
	m->depth++;
	found = match_items(m, s, p);
	m->depth--;
	return m->failure == PATTERN_MISS ? found : NULL;
}

void
pattern_init(
    struct pattern *m, struct span subject, struct span text, size_t max_steps)
{
	/* The captures are filled as they come; clearing them costs more than
	 * most matches. */
	m->subject = subject;
	m->text = text;
	m->steps_left = max_steps;
	m->failure = PATTERN_MISS;
	m->why = NULL;
	m->depth = 0;
	m->level = 0;
}

static bool
has_open_capture(const struct pattern *m)
{
	for (size_t i = 0; i < m->level; i++)
		if (m->captures[i].kind == CAPTURE_OPEN)
			return true;
	return false;
}

enum pattern_result
pattern_match_at(struct pattern *m, size_t at, size_t *end)
{
	const uint8_t *found;

	m->level = 0;
	found = match(m, m->subject.data + at, m->text.data);
	if (!found)
		return m->failure;
	if (has_open_capture(m)) {
		malformed(m, "'(' without ')'");
		return PATTERN_MALFORMED;
	}
	*end = (size_t)(found - m->subject.data);
	return PATTERN_HIT;
}

enum pattern_result
pattern_search(struct pattern *m, bool anchored, size_t *at, size_t *end)
{
	for (size_t i = *at; i <= m->subject.len; i++) {
		enum pattern_result r = pattern_match_at(m, i, end);

		if (r != PATTERN_MISS) {
			*at = i;
			return r;
		}
		if (anchored)
			break;
	}
	return PATTERN_MISS;
}

bool
pattern_is_plain(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] != 0 && strchr("^$*+?.([%-", text.data[i]))
			return false;
	return true;
}
