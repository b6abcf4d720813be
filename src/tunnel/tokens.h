/*
 * The credentials of agents, out of `edge.agents.authtokens_file`:
 *
 *	tokens:
 *	- name: web-1			# unique; becomes the credential's id
 *	  token: 5ewP0...		# 16 to 256 bytes; shorter ones warn
 *	  acl: [ "bind:app.example.com", "bind:*.dev.example.com" ]
 *	- name: web-2
 *	  token_sha256: 2c26b46b...	# 64 hex digits
 *	  id: 0f3a...			# optional, 16 hex digits
 *
 * Only the owner may have access to the file (mode 0600), for it holds secrets;
 * it may be a symbolic link. Plain tokens are wiped once they are hashed.
 *
 * A set is one reading of the file, immutable, counted, shared by all threads;
 * a reload makes the next one beside it. A credential is counted apart from its
 * set: a session keeps the one that it began with.
 *
 * Lunette's agent proves a token instead of sending it (tls/token.h) and names
 * it by its TokenId. That id comes from the token, not from its hash; so for
 * an entry with `token_sha256` it must be given (`id`, the first 16 digits of
 * `printf 'lunette id%s' TOKEN | sha256sum`), or the entry is tried with each
 * proof that fits no other. TOKENS_MAX_TRIED bounds how many may be like that.
 */
#ifndef TUNNEL_TOKENS_H
#define TUNNEL_TOKENS_H

#include "config/problems.h"
#include "tls/token.h"
#include "wire/host.h"

#define TOKENS_MAX 10000 /* looked through one by one, in constant time */
#define TOKENS_MAX_TRIED 1024
#define CREDENTIAL_NAME_MAX 128
#define CREDENTIAL_ID_SIZE 30 /* "cr_", 26 digits and a NUL */
#define CREDENTIAL_MAX_RULES 1000

struct credential;
struct token_set;

/*
 * Reads the file. NULL with at least one problem more in `p`, each with file,
 * line and column, none with a token in it. What is odd but no error goes to
 * `warnings` (may be NULL). May block on the disk; main thread.
 */
struct token_set *token_set_read(
    const char *path, struct problems *p, struct problems *warnings);

struct token_set *token_set_get(struct token_set *s);
void token_set_put(struct token_set *s); /* NULL is harmless */
size_t token_set_count(const struct token_set *s);

/* Whether that could be a token at all: its length, and no control character.
 */
bool token_is_well_formed(struct span token);

/*
 * The credential of a token sent plain: 0 with a reference in `*out`; -EACCES:
 * there is none; -ENOMEM. Every credential is compared, each in constant time.
 */
int token_set_find(
    struct token_set *s, struct span token, struct credential **out) MUST_CHECK;

/* The same for a token that is proved: `id` as sent (TokenId, may be empty),
 * `binding` of the session (token_binding). */
int token_set_prove(struct token_set *s, struct span id, struct span proof,
    const uint8_t binding[TOKEN_BINDING_BYTES],
    struct credential **out) MUST_CHECK;

/*
 * After a reload: the credential in `s` with the same token, with a reference,
 * perhaps with another name or other rules. NULL: it was revoked, and its
 * sessions must end. `s` NULL: everything was.
 */
struct credential *token_set_current(
    struct token_set *s, const struct credential *c);

struct credential *credential_get(struct credential *c);
void credential_put(struct credential *c); /* NULL is harmless */

const char *credential_name(const struct credential *c);
/* "cr_...", a hash of its name: it stays when its token is replaced, and tells
 * nothing about that. Whoever has the same id is the same owner. */
const char *credential_id(const struct credential *c);

/*
 * Whether its rules allow to bind this name or wildcard. Rules, as ngrok has
 * them: "*" and "bind:*" everything; "bind:NAME" that name;
 * "bind:*.NAME" every name below, wildcards too, and "*.NAME" itself. Without
 * `acl` everything is allowed; with `acl: []` nothing here is. A random name
 * that the edge chose needs no rule.
 */
bool credential_may_bind(
    const struct credential *c, const struct host *pattern);

/* "bind:k=v", where "*" stands for any key or any value. Of a tunnel's labels
 * each must be allowed. */
bool credential_may_label(
    const struct credential *c, const char *key, const char *value);

/* "bind:app.example.com": 0, or -EINVAL with `*why` a literal. What may stand
 * in an `acl`, for others who make credentials. */
int credential_check_rule(struct span rule, const char **why) MUST_CHECK;

#endif
