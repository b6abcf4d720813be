/*
 * What a credential may bind: a list of rules as ngrok has them.
 *
 *	*			everything
 *	bind:*			everything
 *	bind:app.example.com	that name
 *	bind:*.example.com	every name below it, wildcards too;
 *"*.example.com" itself; not "example.com"
 *	bind:key=value		that label; "*" stands for any key or any value
 *
 * Filled by one thread, then read by any. Source: ngrok-api-go, Credential.ACL.
 */
#ifndef TUNNEL_ACL_H
#define TUNNEL_ACL_H

#include "wire/host.h"

struct acl_rule;

/* The caller's storage; all zero allows nothing. */
struct acl {
	struct acl_rule *rules;
	size_t count;
};

void acl_fini(struct acl *a);

/* 0; -EINVAL with `*why` (a literal): that is no rule; -ENOMEM. */
int acl_add(struct acl *a, struct span rule, const char **why) MUST_CHECK;

bool acl_allows_name(const struct acl *a, const struct host *pattern);
bool acl_allows_label(const struct acl *a, const char *key, const char *value);

#endif
