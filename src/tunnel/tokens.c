#include "tunnel/tokens.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/base64.h"
#include "tunnel/acl.h"
#include "tunnel/token_file.h"

struct credential {
	atomic_uint refs;
	char *name;
	char id[CREDENTIAL_ID_SIZE];
	uint8_t sha256[SHA256_BYTES];
	bool has_token_id;
	uint8_t token_id[TOKEN_ID_BYTES];
	bool may_everything; /* there is no list of rules */
	struct acl acl;
};

struct token_set {
	atomic_uint refs;
	struct credential **credentials;
	size_t count;
};

/* --- life --- */

struct credential *
credential_get(struct credential *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void
credential_put(struct credential *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	acl_fini(&c->acl);
	free(c->name);
	explicit_bzero(c, sizeof(*c));
	free(c);
}

struct token_set *
token_set_get(struct token_set *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void
token_set_put(struct token_set *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	for (size_t i = 0; i < s->count; i++)
		credential_put(s->credentials[i]);
	free(s->credentials);
	free(s);
}

size_t
token_set_count(const struct token_set *s)
{
	return s->count;
}

/* --- making --- */

/* Of the name, so that a stranger who sees it in an event has nothing to guess
 * tokens with. */
static int
make_id(const char *name, char out[CREDENTIAL_ID_SIZE])
{
	static const char label[] = "lunette credential"; /* with its NUL */
	char bytes[sizeof(label) + CREDENTIAL_NAME_MAX];
	uint8_t hash[SHA256_BYTES];
	size_t len = strlen(name);

	ASSERT(len <= CREDENTIAL_NAME_MAX);
	memcpy(bytes, label, sizeof(label));
	memcpy(bytes + sizeof(label), name, len);
	if (sha256_bytes(span_of(bytes, sizeof(label) + len), hash) < 0)
		return -ENOMEM;
	memcpy(out, "cr_", 3);
	base32_write(span_of(hash, 16), out + 3);
	return 0;
}

/* Takes name and rules out of the entry. NULL without memory. */
static struct credential *
new_credential(struct token_entry *e)
{
	struct credential *c = calloc(1, sizeof(*c));

	if (!c || make_id(e->name, c->id) < 0) {
		free(c);
		return NULL;
	}
	atomic_init(&c->refs, 1);
	c->name = e->name;
	e->name = NULL;
	memcpy(c->sha256, e->sha256, sizeof(c->sha256));
	c->has_token_id = e->has_id;
	memcpy(c->token_id, e->id, sizeof(c->token_id));
	c->may_everything = !e->has_acl;
	c->acl = e->acl;
	e->acl = (struct acl){ NULL, 0 };
	return c;
}

static struct token_set *
new_set(struct token_file *f)
{
	struct token_set *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	atomic_init(&s->refs, 1);
	s->credentials = calloc(f->count + 1, sizeof(struct credential *));
	for (size_t i = 0; s->credentials && i < f->count; i++) {
		s->credentials[i] = new_credential(&f->entries[i]);
		if (!s->credentials[i])
			break;
		s->count++;
	}
	if (s->credentials && s->count == f->count)
		return s;
	token_set_put(s);
	return NULL;
}

struct token_set *
token_set_read(const char *path, struct problems *p, struct problems *warnings)
{
	struct token_set *s = NULL;
	struct token_file f;

	if (token_file_read(path, &f, p, warnings)) {
		s = new_set(&f);
		if (!s)
			problems_add_no_memory(p);
	}
	token_file_fini(&f);
	return s;
}

/* --- finding --- */

bool
token_is_well_formed(struct span token)
{
	if (token.len == 0 || token.len > TOKEN_MAX_BYTES)
		return false;
	for (size_t i = 0; i < token.len; i++)
		if (token.data[i] < 0x20 || token.data[i] == 0x7f)
			return false;
	return true;
}

/* All are looked at, whichever it is. */
static struct credential *
find_hash(const struct token_set *s, const uint8_t sha256[SHA256_BYTES])
{
	struct credential *found = NULL;

	for (size_t i = 0; i < s->count; i++)
		if (constant_time_equal(
			s->credentials[i]->sha256, sha256, SHA256_BYTES))
			found = s->credentials[i];
	return found;
}

int
token_set_find(struct token_set *s, struct span token, struct credential **out)
{
	uint8_t sha256[SHA256_BYTES];
	struct credential *found;

	*out = NULL;
	if (!token_is_well_formed(token))
		return -EACCES;
	if (sha256_bytes(token, sha256) < 0)
		return -ENOMEM;
	found = find_hash(s, sha256);
	wipe(sha256, sizeof(sha256));
	if (!found)
		return -EACCES;
	*out = credential_get(found);
	return 0;
}

/* An id is no secret, and one that differs saves the attempt. */
static bool
could_be(const struct credential *c, struct span id)
{
	return !c->has_token_id ||
	       span_equal(id, span_of(c->token_id, sizeof(c->token_id)));
}

int
token_set_prove(struct token_set *s, struct span id, struct span proof,
    const uint8_t binding[TOKEN_BINDING_BYTES], struct credential **out)
{
	uint8_t token[TOKEN_MAX_BYTES];
	int result = -EACCES;

	*out = NULL;
	if (proof.len < TOKEN_MIN_BYTES || proof.len > TOKEN_MAX_BYTES)
		return -EACCES;
	for (size_t i = 0; result == -EACCES && i < s->count; i++) {
		struct credential *c = s->credentials[i];

		if (!could_be(c, id))
			continue;
		result = token_recover(binding, c->sha256, proof, token);
		if (result == 0)
			*out = credential_get(c);
	}
	wipe(token, sizeof(token));
	return result;
}

struct credential *
token_set_current(struct token_set *s, const struct credential *c)
{
	struct credential *found = s ? find_hash(s, c->sha256) : NULL;

	return found ? credential_get(found) : NULL;
}

/* --- a credential --- */

const char *
credential_name(const struct credential *c)
{
	return c->name;
}

const char *
credential_id(const struct credential *c)
{
	return c->id;
}

bool
credential_may_bind(const struct credential *c, const struct host *pattern)
{
	return c->may_everything || acl_allows_name(&c->acl, pattern);
}

bool
credential_may_label(
    const struct credential *c, const char *key, const char *value)
{
	return c->may_everything || acl_allows_label(&c->acl, key, value);
}

int
credential_check_rule(struct span rule, const char **why)
{
	struct acl a = { NULL, 0 };
	int result = acl_add(&a, rule, why);

	acl_fini(&a);
	return result;
}
