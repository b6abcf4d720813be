#include "tunnel/acl.h"

#include <errno.h>
#include <stdlib.h>

struct acl_rule {
	enum { RULE_EVERYTHING, RULE_NAME, RULE_LABEL } kind;
	char *text;  /* the pattern; or the label's key, then its value */
	char *value; /* inside of text */
};

static void
rule_fini(struct acl_rule *r)
{
	free(r->text);
}

void
acl_fini(struct acl *a)
{
	for (size_t i = 0; i < a->count; i++)
		rule_fini(&a->rules[i]);
	free(a->rules);
	*a = (struct acl){ NULL, 0 };
}

/* --- reading --- */

static int
copy(struct acl_rule *r, struct span text)
{
	r->text = strndup((const char *)text.data, text.len);
	return r->text ? 0 : -ENOMEM;
}

static int
read_label(struct span text, struct acl_rule *out, const char **why)
{
	const char *equals = memchr(text.data, '=', text.len);
	size_t key_len = (size_t)(equals - (const char *)text.data);

	if (key_len == 0) {
		*why = "the label's key is empty";
		return -EINVAL;
	}
	if (memchr(equals + 1, '=', text.len - key_len - 1)) {
		*why = "a label has only one '='";
		return -EINVAL;
	}
	out->kind = RULE_LABEL;
	if (copy(out, text) < 0)
		return -ENOMEM;
	out->text[key_len] = '\0';
	out->value = out->text + key_len + 1;
	return 0;
}

static int
read_name(struct span text, struct acl_rule *out, const char **why)
{
	struct host pattern;

	if (host_parse_pattern(text, &pattern, why) < 0)
		return -EINVAL;
	out->kind = RULE_NAME;
	return copy(out, host_span(&pattern));
}

static int
read_rule(struct span rule, struct acl_rule *out, const char **why)
{
	static const char bind[] = "bind:";
	size_t skip = sizeof(bind) - 1;

	if (span_is(rule, "*") || span_is(rule, "bind:*")) {
		out->kind = RULE_EVERYTHING;
		return 0;
	}
	if (rule.len < skip || memcmp(rule.data, bind, skip) != 0) {
		*why = "a rule is '*' or begins with 'bind:'";
		return -EINVAL;
	}
	if (memchr(rule.data, '\0', rule.len)) {
		*why = "there is a NUL in it";
		return -EINVAL;
	}
	rule = span_of(rule.data + skip, rule.len - skip);
	if (rule.len > 0 && memchr(rule.data, '=', rule.len))
		return read_label(rule, out, why);
	return read_name(rule, out, why);
}

/* Room for one rule more, grown at each power of two. */
static bool
make_room(struct acl *a)
{
	struct acl_rule *rules;

	if ((a->count & (a->count - 1)) != 0)
		return true;
	rules =
	    reallocarray(a->rules, a->count ? 2 * a->count : 1, sizeof(*rules));
	if (!rules)
		return false;
	a->rules = rules;
	return true;
}

int
acl_add(struct acl *a, struct span rule, const char **why)
{
	struct acl_rule r = { 0 };
	int result = read_rule(rule, &r, why);

	if (result < 0)
		return result;
	if (!make_room(a)) {
		rule_fini(&r);
		return -ENOMEM;
	}
	a->rules[a->count++] = r;
	return 0;
}

/* --- asking --- */

/* A star stands for one or more labels of what is asked for, which may begin
 * with a star itself. */
static bool
covers_name(const char *rule, const struct host *pattern)
{
	size_t len = strlen(rule);

	if (span_is(host_span(pattern), rule))
		return true;
	if (rule[0] != '*')
		return false;
	return pattern->len > len - 1 &&
	       !memcmp(
		   pattern->text + pattern->len - (len - 1), rule + 1, len - 1);
}

bool
acl_allows_name(const struct acl *a, const struct host *pattern)
{
	for (size_t i = 0; i < a->count; i++) {
		const struct acl_rule *r = &a->rules[i];

		if (r->kind == RULE_EVERYTHING ||
		    (r->kind == RULE_NAME && covers_name(r->text, pattern)))
			return true;
	}
	return false;
}

static bool
covers_word(const char *rule, const char *word)
{
	return !strcmp(rule, "*") || !strcmp(rule, word);
}

bool
acl_allows_label(const struct acl *a, const char *key, const char *value)
{
	for (size_t i = 0; i < a->count; i++) {
		const struct acl_rule *r = &a->rules[i];

		if (r->kind == RULE_EVERYTHING ||
		    (r->kind == RULE_LABEL && covers_word(r->text, key) &&
			covers_word(r->value, value)))
			return true;
	}
	return false;
}
