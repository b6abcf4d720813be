#include "policy/lexer.h"

/* `goto` is a name unless a name follows it; the parser sees to that. */
static const char *const keywords[] = { "and", "break", "do", "else", "elseif",
	"end", "false", "for", "function", "if", "in", "local", "nil", "not",
	"or", "repeat", "return", "then", "true", "until", "while" };

/* Longest first. */
static const char *const symbols[] = { "...", "..",
	"==", "~=", "<=", ">=", "::" };

static bool
is_letter(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       c >= 0x80;
}

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* The byte so far ahead, 0 past the end. */
static uint8_t
peek(const struct lexer *l, size_t ahead)
{
	return ahead < l->source.len - l->at ? l->source.data[l->at + ahead]
					     : 0;
}

static bool
at_end(const struct lexer *l)
{
	return l->at >= l->source.len;
}

static void
skip(struct lexer *l)
{
	if (!at_end(l) && l->source.data[l->at++] == '\n')
		l->line++;
}

static void
skip_line(struct lexer *l)
{
	while (!at_end(l) && peek(l, 0) != '\n')
		skip(l);
}

/* At "[[" or "[==[": true, with the count of '='. */
static bool
opens_long(const struct lexer *l, size_t *level)
{
	size_t n = 1;

	if (peek(l, 0) != '[')
		return false;
	while (peek(l, n) == '=')
		n++;
	*level = n - 1;
	return peek(l, n) == '[';
}

static bool
closes_long(const struct lexer *l, size_t level)
{
	if (peek(l, 0) != ']' || peek(l, level + 1) != ']')
		return false;
	for (size_t i = 1; i <= level; i++)
		if (peek(l, i) != '=')
			return false;
	return true;
}

static struct span
take_long(struct lexer *l, size_t level)
{
	size_t start, end;

	l->at += level + 2;
	start = l->at;
	while (!at_end(l) && !closes_long(l, level))
		skip(l);
	end = l->at;
	if (!at_end(l))
		l->at += level + 2;
	return span_of(l->source.data + start, end - start);
}

static void
skip_comment(struct lexer *l)
{
	size_t level;

	l->at += 2;
	if (opens_long(l, &level))
		take_long(l, level);
	else
		skip_line(l);
}

static void
skip_blanks(struct lexer *l)
{
	for (;;) {
		uint8_t c = peek(l, 0);

		if (c == '-' && peek(l, 1) == '-')
			skip_comment(l);
		else if (!at_end(l) && c <= ' ')
			skip(l);
		else
			return;
	}
}

static void
take_quoted(struct lexer *l, struct token *t)
{
	uint8_t quote = peek(l, 0);
	size_t start = ++l->at;

	while (!at_end(l) && peek(l, 0) != quote) {
		if (peek(l, 0) == '\\') {
			t->escaped = true;
			skip(l);
		}
		skip(l);
	}
	t->kind = TOKEN_STRING;
	t->text = span_of(l->source.data + start, l->at - start);
	skip(l);
}

static void
take_name(struct lexer *l, struct token *t)
{
	size_t start = l->at;

	while (is_letter(peek(l, 0)) || is_digit(peek(l, 0)))
		l->at++;
	t->kind = TOKEN_NAME;
	t->text = span_of(l->source.data + start, l->at - start);
	for (size_t i = 0; i < ARRAY_COUNT(keywords); i++)
		if (span_is(t->text, keywords[i]))
			t->kind = TOKEN_KEYWORD;
}

static void
take_number(struct lexer *l, struct token *t)
{
	size_t start = l->at;
	bool exponent_sign = false;

	while (is_letter(peek(l, 0)) || is_digit(peek(l, 0)) ||
	       peek(l, 0) == '.' || exponent_sign) {
		uint8_t c = peek(l, 0);
		uint8_t next = peek(l, 1);

		exponent_sign = !exponent_sign && (c == 'e' || c == 'E') &&
				(next == '+' || next == '-');
		l->at++;
	}
	t->kind = TOKEN_NUMBER;
	t->text = span_of(l->source.data + start, l->at - start);
}

static void
take_symbol(struct lexer *l, struct token *t)
{
	size_t len = 1;

	for (size_t i = 0; i < ARRAY_COUNT(symbols) && len == 1; i++) {
		struct span s = span_text(symbols[i]);

		if (s.len <= l->source.len - l->at &&
		    !memcmp(l->source.data + l->at, s.data, s.len))
			len = s.len;
	}
	t->kind = TOKEN_SYMBOL;
	t->text = span_of(l->source.data + l->at, len);
	l->at += len;
}

void
lexer_init(struct lexer *l, struct span source)
{
	*l = (struct lexer){ .source = source, .line = 1 };
	if (peek(l, 0) == '#')
		skip_line(l);
}

struct token
lexer_next(struct lexer *l)
{
	struct token t = { .kind = TOKEN_END };
	size_t level;
	uint8_t c;

	skip_blanks(l);
	t.line = l->line;
	if (at_end(l))
		return t;
	c = peek(l, 0);
	if (is_letter(c)) {
		take_name(l, &t);
	} else if (is_digit(c) || (c == '.' && is_digit(peek(l, 1)))) {
		take_number(l, &t);
	} else if (c == '"' || c == '\'') {
		take_quoted(l, &t);
	} else if (opens_long(l, &level)) {
		t.kind = TOKEN_STRING;
		t.text = take_long(l, level);
	} else {
		take_symbol(l, &t);
	}
	return t;
}

bool
token_is(const struct token *t, const char *text)
{
	return (t->kind == TOKEN_KEYWORD || t->kind == TOKEN_SYMBOL) &&
	       span_is(t->text, text);
}
