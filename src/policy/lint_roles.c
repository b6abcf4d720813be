#include "policy/lint_roles.h"

static const struct key_role {
	const char *key;
	enum role role;
} part_roles[] = {
	{ "tags", ROLE_OPEN_PART },
	{ "tlvs", ROLE_OPEN_PART },
	{ "proxy_tlvs", ROLE_OPEN_PART },
	{ "alpn", ROLE_OPEN_PART },
	{ NULL, ROLE_DECISION_PART },
};

static enum role
role_in_decision(struct span key)
{
	const struct key_role *r = part_roles;

	while (r->key != NULL && !span_is(key, r->key))
		r++;
	return r->role;
}

static enum role
role_in_script(struct symbols *n, struct span key, int line)
{
	if (span_is(key, "connect") || span_is(key, "retry"))
		return ROLE_LOOK;
	if (!span_is(key, "close"))
		symbols_finding(n, line, "unknown key of a script,", key);
	return ROLE_ANY;
}

enum role
lint_judge_key(struct symbols *n, enum role role, struct span within,
    struct span key, int line)
{
	const struct lint_world *w = n->world;

	if (role == ROLE_SCRIPT)
		return role_in_script(n, key, line);
	if (role == ROLE_TERMINATION)
		within = span_text("conn:terminate");
	else if (role != ROLE_DECISION && role != ROLE_DECISION_PART)
		return ROLE_ANY;
	if (!w->knows_key(w->data, within, key))
		symbols_finding(n, line,
		    role == ROLE_TERMINATION ? "unknown key of conn:terminate,"
					     : "unknown decision key",
		    key);
	return role == ROLE_DECISION_PART ? ROLE_ANY : role_in_decision(key);
}
