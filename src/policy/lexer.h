/*
 * Lua source as a row of tokens, for the static checks of `lunette policy
 * check`. It is used only on text that LuaJIT has compiled, so it need not find
 * errors; whatever the text, it ends and stays inside it.
 */
#ifndef POLICY_LEXER_H
#define POLICY_LEXER_H

#include "base/compiler.h"
#include "base/span.h"

enum token_kind {
	TOKEN_END,
	TOKEN_NAME,
	TOKEN_KEYWORD,
	TOKEN_STRING, /* `text` is what is between the quotes, not unescaped */
	TOKEN_NUMBER,
	TOKEN_SYMBOL,
};

struct token {
	enum token_kind kind;
	struct span text;
	int line;
	bool escaped; /* a string with backslashes: its text is not its value */
};

struct lexer {
	struct span source;
	size_t at;
	int line;
};

void lexer_init(struct lexer *l, struct span source);
struct token lexer_next(struct lexer *l);

/* A keyword or symbol of exactly this text. */
bool token_is(const struct token *t, const char *text);

#endif
