#include "policy/lint.h"

#include <errno.h>

#include "policy/lexer.h"
#include "policy/lint_roles.h"

struct lint {
	struct lexer lexer;
	struct token token, ahead;
	struct symbols symbols;
	enum role returns; /* what `return` gives in this function */
};

static struct known expression(
    struct lint *l, enum role role, struct span within);
static void condition(struct lint *l);
static void block(struct lint *l);

static const struct span nothing = { NULL, 0 };

static void
advance(struct lint *l)
{
	l->token = l->ahead;
	l->ahead = lexer_next(&l->lexer);
}

static bool
accept(struct lint *l, const char *text)
{
	if (!token_is(&l->token, text))
		return false;
	advance(l);
	return true;
}

static struct span
take_name(struct lint *l)
{
	struct span name = l->token.text;

	advance(l);
	return name;
}

static void
declare_unknown(struct lint *l, struct span name)
{
	symbols_declare(
	    &l->symbols, name, &(struct known){ .root = ROOT_NONE });
}

static bool
is_library_call(const struct known *k, const char *name)
{
	return k->root == ROOT_LIBRARY && k->count == 2 &&
	       span_is(k->path[1], name);
}

/* Tables. */

/* `[expression] =`; its text if it is a constant string. */
static bool
bracket_key(struct lint *l, struct span *key)
{
	bool constant;

	advance(l);
	constant = l->token.kind == TOKEN_STRING && !l->token.escaped &&
		   token_is(&l->ahead, "]");
	*key = l->token.text;
	condition(l);
	accept(l, "]");
	accept(l, "=");
	return constant;
}

static void
table_field(struct lint *l, enum role role, struct span within)
{
	int line = l->token.line;
	enum role value = ROLE_ANY;
	struct span key = nothing;
	struct known k;

	if (token_is(&l->token, "[")) {
		if (bracket_key(l, &key))
			value = lint_judge_key(
			    &l->symbols, role, within, key, line);
	} else if (l->token.kind == TOKEN_NAME && token_is(&l->ahead, "=")) {
		key = take_name(l);
		advance(l);
		value = lint_judge_key(&l->symbols, role, within, key, line);
	}
	k = expression(l, value, key);
	symbols_use(&l->symbols, &k);
}

static void
table(struct lint *l, enum role role, struct span within)
{
	advance(l);
	while (!token_is(&l->token, "}") && l->token.kind != TOKEN_END) {
		table_field(l, role, within);
		if (!accept(l, ","))
			accept(l, ";");
	}
	accept(l, "}");
}

/* Functions. */

/* `first` is what the first one stands for. */
static void
parameters(struct lint *l, enum root first)
{
	struct known value = { .root = first, .count = 1 };

	accept(l, "(");
	while (!token_is(&l->token, ")") && l->token.kind != TOKEN_END) {
		if (l->token.kind == TOKEN_NAME) {
			symbols_declare(&l->symbols, l->token.text, &value);
			value.root = ROOT_NONE;
		}
		advance(l);
	}
	accept(l, ")");
}

static void
function_body(struct lint *l, enum role returns, bool method)
{
	enum role outer = l->returns;
	size_t scope = l->symbols.local_count;

	l->returns = returns;
	l->symbols.function_depth++;
	if (method)
		declare_unknown(l, span_text("self"));
	parameters(l, returns == ROLE_DECISION ? ROOT_CONN : ROOT_NONE);
	block(l);
	accept(l, "end");
	l->symbols.function_depth--;
	l->returns = outer;
	l->symbols.local_count = scope;
}

static void
function_literal(struct lint *l, enum role role)
{
	bool look = role == ROLE_SCRIPT || role == ROLE_LOOK;

	advance(l);
	function_body(l, look ? ROLE_DECISION : ROLE_ANY, false);
}

/* Expressions. */

static void
expression_list(struct lint *l, enum role role)
{
	do {
		struct known k = expression(l, role, nothing);

		symbols_use(&l->symbols, &k);
	} while (accept(l, ","));
}

static bool
starts_arguments(const struct lint *l)
{
	return token_is(&l->token, "(") || token_is(&l->token, "{") ||
	       l->token.kind == TOKEN_STRING;
}

static void
arguments(struct lint *l, enum role role)
{
	if (token_is(&l->token, "{")) {
		table(l, role, nothing);
	} else if (l->token.kind == TOKEN_STRING) {
		advance(l);
	} else {
		advance(l);
		if (!token_is(&l->token, ")"))
			expression_list(l, role);
		accept(l, ")");
	}
}

static bool
is_require_of_library(const struct lint *l, const struct known *k)
{
	const struct token *name =
	    token_is(&l->token, "(") ? &l->ahead : &l->token;

	return k->root == ROOT_GLOBAL && k->count == 1 &&
	       span_is(k->path[0], "require") && name->kind == TOKEN_STRING &&
	       span_is(name->text, "lunette");
}

static void
call(struct lint *l, struct known *k)
{
	bool library = is_require_of_library(l, k);
	bool decision =
	    is_library_call(k, "forward") || is_library_call(k, "deny");

	symbols_use(&l->symbols, k);
	arguments(l, decision ? ROLE_DECISION : ROLE_ANY);
	k->root = ROOT_NONE;
	if (!library)
		return;
	*k = (struct known){ .root = ROOT_LIBRARY, .count = 1, .checked = 1 };
	k->path[0] = span_text("lunette");
}

static void
index_by_value(struct lint *l, struct known *k)
{
	struct known inner;

	symbols_use(&l->symbols, k);
	advance(l);
	inner = expression(l, ROLE_ANY, nothing);
	symbols_use(&l->symbols, &inner);
	accept(l, "]");
	k->root = ROOT_NONE;
}

static void
method_call(struct lint *l, struct known *k)
{
	bool is_conn = k->root == ROOT_CONN && k->count == 1;
	bool terminate;

	symbols_use(&l->symbols, k);
	k->root = ROOT_NONE;
	advance(l);
	terminate = span_is(take_name(l), "terminate") && is_conn;
	arguments(l, terminate ? ROLE_TERMINATION : ROLE_ANY);
}

static bool
suffix(struct lint *l, struct known *k)
{
	if (accept(l, ".")) {
		k->line = l->token.line;
		symbols_add_member(&l->symbols, k, take_name(l));
	} else if (token_is(&l->token, "[")) {
		index_by_value(l, k);
	} else if (token_is(&l->token, ":")) {
		method_call(l, k);
	} else if (starts_arguments(l)) {
		call(l, k);
	} else {
		return false;
	}
	return true;
}

static struct known
suffixed(struct lint *l)
{
	struct known k = { .root = ROOT_NONE };

	if (l->token.kind == TOKEN_NAME) {
		int line = l->token.line;

		k = symbols_resolve(&l->symbols, take_name(l), line);
	} else if (accept(l, "(")) {
		k = expression(l, ROLE_ANY, nothing);
		accept(l, ")");
	} else {
		advance(l); /* not in text that compiles */
		return k;
	}
	while (suffix(l, &k))
		;
	return k;
}

static bool
is_unary(const struct token *t)
{
	return token_is(t, "not") || token_is(t, "-") || token_is(t, "#");
}

static struct known
operand(struct lint *l, enum role role, struct span within)
{
	while (is_unary(&l->token))
		advance(l);
	if (token_is(&l->token, "{")) {
		table(l, role, within);
	} else if (token_is(&l->token, "function")) {
		function_literal(l, role);
	} else if (l->token.kind == TOKEN_NAME || token_is(&l->token, "(")) {
		return suffixed(l);
	} else {
		advance(l); /* a constant or ... */
	}
	return (struct known){ .root = ROOT_NONE };
}

static bool
is_binary(const struct token *t)
{
	static const char *const operators[] = { "+", "-", "*", "/", "^", "%",
		"..", "<", "<=", ">", ">=", "==", "~=", "and", "or" };

	for (size_t i = 0; i < ARRAY_COUNT(operators); i++)
		if (token_is(t, operators[i]))
			return true;
	return false;
}

/* Who binds tighter does not matter here. */
static struct known
expression(struct lint *l, enum role role, struct span within)
{
	struct known k = operand(l, role, within);

	while (is_binary(&l->token)) {
		advance(l);
		symbols_use(&l->symbols, &k);
		k = operand(l, role, within);
		symbols_use(&l->symbols, &k);
		k.root = ROOT_NONE;
	}
	return k;
}

/* Statements. */

static void
condition(struct lint *l)
{
	struct known k = expression(l, ROLE_ANY, nothing);

	symbols_use(&l->symbols, &k);
}

static void
scoped_block(struct lint *l)
{
	size_t scope = l->symbols.local_count;

	block(l);
	l->symbols.local_count = scope;
}

static void
if_statement(struct lint *l)
{
	do {
		advance(l);
		condition(l);
		accept(l, "then");
		scoped_block(l);
	} while (token_is(&l->token, "elseif"));
	if (accept(l, "else"))
		scoped_block(l);
	accept(l, "end");
}

static void
while_statement(struct lint *l)
{
	advance(l);
	condition(l);
	accept(l, "do");
	scoped_block(l);
	accept(l, "end");
}

/* LuaJIT takes no more locals in a function. */
#define MAX_NAMES 200

/* Names before `=` or `in`; they are declared after what follows it. */
static size_t
name_list(struct lint *l, struct span names[MAX_NAMES])
{
	size_t count = 0;

	do {
		struct span name = take_name(l);

		if (count < MAX_NAMES)
			names[count++] = name;
	} while (accept(l, ","));
	return count;
}

static void
for_statement(struct lint *l)
{
	struct span names[MAX_NAMES];
	size_t scope = l->symbols.local_count;
	size_t count;

	advance(l);
	count = name_list(l, names);
	if (!accept(l, "="))
		accept(l, "in");
	expression_list(l, ROLE_ANY);
	for (size_t i = 0; i < count; i++)
		declare_unknown(l, names[i]);
	accept(l, "do");
	block(l);
	accept(l, "end");
	l->symbols.local_count = scope;
}

static void
repeat_statement(struct lint *l)
{
	size_t scope = l->symbols.local_count;

	advance(l);
	block(l);
	accept(l, "until");
	condition(l); /* sees the block's locals */
	l->symbols.local_count = scope;
}

static void
function_statement(struct lint *l)
{
	int line = l->ahead.line;
	bool method = false, member = false;
	struct span name;

	advance(l);
	name = take_name(l);
	while (token_is(&l->token, ".") || token_is(&l->token, ":")) {
		method = token_is(&l->token, ":");
		member = true;
		advance(l);
		take_name(l);
	}
	if (member) {
		struct known k = symbols_resolve(&l->symbols, name, line);

		symbols_use(&l->symbols, &k);
	} else if (symbols_find_local(&l->symbols, name) == NULL) {
		symbols_set_global(&l->symbols, name, line);
	}
	function_body(l, ROLE_ANY, method);
}

static void
local_function(struct lint *l)
{
	advance(l);
	declare_unknown(l, take_name(l));
	function_body(l, ROLE_ANY, false);
}

static void
local_values(struct lint *l, struct known *first)
{
	size_t n = 0;

	do {
		struct known k = expression(l, ROLE_ANY, nothing);

		symbols_use(&l->symbols, &k);
		if (n++ == 0)
			*first = k;
	} while (accept(l, ","));
	/* `local a, b = f()` and the like: only the plain form is followed. */
	if (n > 1)
		first->root = ROOT_NONE;
}

static void
local_statement(struct lint *l)
{
	struct span names[MAX_NAMES];
	struct known value = { .root = ROOT_NONE };
	size_t count;

	advance(l);
	if (token_is(&l->token, "function")) {
		local_function(l);
		return;
	}
	count = name_list(l, names);
	if (accept(l, "="))
		local_values(l, &value);
	if (count != 1)
		value.root = ROOT_NONE;
	for (size_t i = 0; i < count; i++)
		symbols_declare(&l->symbols, names[i], &value);
}

static bool
ends_block(const struct token *t)
{
	return t->kind == TOKEN_END || token_is(t, "end") ||
	       token_is(t, "else") || token_is(t, "elseif") ||
	       token_is(t, "until");
}

static void
return_statement(struct lint *l)
{
	advance(l);
	if (!ends_block(&l->token) && !token_is(&l->token, ";"))
		expression_list(l, l->returns);
	accept(l, ";");
}

static void
assign(struct lint *l, struct known *target, struct span bare)
{
	struct local *local = symbols_find_local(&l->symbols, bare);

	if (bare.len == 0) {
		target->count = target->root == ROOT_NONE ? 0 : 1;
		symbols_use(&l->symbols, target);
	} else if (local != NULL) {
		local->value.root = ROOT_NONE;
	} else {
		symbols_set_global(&l->symbols, bare, target->line);
	}
}

/* An assignment's left side or a call. `bare` is the name if it is only one. */
static struct known
target(struct lint *l, struct span *bare)
{
	bool name = l->token.kind == TOKEN_NAME &&
		    (token_is(&l->ahead, "=") || token_is(&l->ahead, ","));

	*bare = name ? l->token.text : nothing;
	return suffixed(l);
}

static void
expression_statement(struct lint *l)
{
	struct span bare;
	struct known k = target(l, &bare);

	if (!token_is(&l->token, "=") && !token_is(&l->token, ",")) {
		symbols_use(&l->symbols, &k);
		return;
	}
	assign(l, &k, bare);
	while (accept(l, ",")) {
		k = target(l, &bare);
		assign(l, &k, bare);
	}
	accept(l, "=");
	expression_list(l, ROLE_ANY);
}

static bool
is_goto(const struct lint *l)
{
	return l->token.kind == TOKEN_NAME && span_is(l->token.text, "goto") &&
	       l->ahead.kind == TOKEN_NAME;
}

static const struct statement {
	const char *word;
	void (*parse)(struct lint *l);
} statements[] = {
	{ "if", if_statement },
	{ "while", while_statement },
	{ "for", for_statement },
	{ "repeat", repeat_statement },
	{ "function", function_statement },
	{ "local", local_statement },
	{ "return", return_statement },
	{ "break", advance },
	{ ";", advance },
};

static void
statement(struct lint *l)
{
	for (size_t i = 0; i < ARRAY_COUNT(statements); i++) {
		if (token_is(&l->token, statements[i].word)) {
			statements[i].parse(l);
			return;
		}
	}
	if (accept(l, "do")) {
		scoped_block(l);
		accept(l, "end");
	} else if (accept(l, "::")) {
		advance(l);
		accept(l, "::");
	} else if (is_goto(l)) {
		advance(l);
		advance(l);
	} else {
		expression_statement(l);
	}
}

static void
block(struct lint *l)
{
	while (!ends_block(&l->token))
		statement(l);
}

static void
pass(struct lint *l, struct span source, bool collecting)
{
	l->symbols.collecting = collecting;
	l->symbols.local_count = 0;
	l->returns = ROLE_SCRIPT;
	lexer_init(&l->lexer, source);
	l->ahead = lexer_next(&l->lexer);
	advance(l);
	while (l->token.kind != TOKEN_END) {
		block(l);
		if (l->token.kind != TOKEN_END)
			advance(l);
	}
}

int
lint_source(struct span source, const char *file,
    const struct lint_world *world, struct text *out, size_t *count)
{
	struct lint l = { .symbols = {
			      .file = file, .world = world, .out = out } };

	/* Functions may use globals that are set further down. */
	pass(&l, source, true);
	pass(&l, source, false);
	symbols_fini(&l.symbols);
	*count = l.symbols.findings;
	return l.symbols.no_memory ? -ENOMEM : 0;
}
