/*
 * lunette.cas: whom a certificate must come from, for mutual_tls and
 * upstream_tls.
 */
#include "policy/library.h"

struct cas {
	uint32_t magic;
	struct trust *trust;
};

static void
cas_close(void *body)
{
	struct cas *c = body;

	trust_put(c->trust);
}

int
lua_cas(lua_State *L)
{
	struct span name = arg_span(L, 1, POLICY_PATH_SIZE - 1);
	uint8_t digest[TRUST_DIGEST_BYTES];
	char path[POLICY_PATH_SIZE];
	const char *paths[] = { path };
	char message[512];
	struct text error;
	struct cas *c;

	state_resolve_path(L, name, path);
	c = state_new_object(L, &cas_object, sizeof(*c));
	text_init(&error, message, sizeof(message));
	c->trust = trust_load(paths, 1, NULL, 0, &error);
	if (!c->trust)
		state_raise(L, "lunette.cas: %s", message);
	/* Who is let in is part of what the script does. */
	trust_digest(c->trust, digest);
	state_add_to_version(L, span_of(digest, sizeof(digest)));
	return 1;
}

struct trust *
cas_trust(lua_State *L, int at)
{
	const struct cas *c = state_object_or_null(L, at, &cas_object);

	return c ? c->trust : NULL;
}

const struct object_type cas_object = {
	.name = "cas",
	.magic = 0x6c6e4305,
	.close = cas_close,
};
