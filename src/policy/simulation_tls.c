/*
 * TLS as `lunette policy test` plays it: no handshake takes place. What a test
 * says was agreed is agreed, if what the script asks for allows it, and the
 * client shows the certificate of a file.
 */
#include <stdio.h>

#include "config/snapshot.h"
#include "policy/simulation.h"

/* ---- what decide{...} says ---- */

static NORETURN void
refuse(lua_State *L, const char *key, const char *why)
{
	state_raise(L, "decide: '%s': %s", key, why);
}

/* Relative to the test script, which is still being loaded. */
void
simulation_read_client_cert(lua_State *L, struct simulation *s, const char *key)
{
	char message[256];
	struct text error;

	if (lua_type(L, -1) != LUA_TSTRING)
		refuse(L, key, "the name of a file expected");
	state_resolve_path(L, arg_span(L, lua_gettop(L), POLICY_PATH_SIZE - 1),
	    s->client_path);
	text_init(&error, message, sizeof(message));
	s->client = peer_load(s->client_path, &error);
	if (s->client == NULL)
		refuse(L, key, message);
}

void
simulation_read_terminated(lua_State *L, struct simulation *s, const char *key)
{
	if (!lua_isboolean(L, -1))
		refuse(L, key, "a boolean expected");
	s->conn.terminated = lua_toboolean(L, -1);
}

static uint16_t
version_value(lua_State *L)
{
	const char *text = lua_tostring(L, -1);

	if (text != NULL && !strcmp(text, "1.2"))
		return TLS_VERSION_1_2;
	if (text != NULL && !strcmp(text, "1.3"))
		return TLS_VERSION_1_3;
	refuse(L, "tls.version", "1.2 or 1.3 expected");
}

/* The value on top; the table that it is in keeps it. */
static const char *
text_value(lua_State *L, const char *key)
{
	if (lua_type(L, -1) != LUA_TSTRING)
		refuse(L, key, "a string expected");
	return lua_tostring(L, -1);
}

static void
read_agreed(lua_State *L, struct simulation *s, const char *name)
{
	if (!strcmp(name, "version"))
		s->agreed.version = version_value(L);
	else if (!strcmp(name, "cipher_suite"))
		s->agreed.cipher_suite = text_value(L, "tls.cipher_suite");
	else if (!strcmp(name, "alpn"))
		s->agreed.alpn = span_text(text_value(L, "tls.alpn"));
	else if (!strcmp(name, "session_resumed"))
		s->agreed.resumed = lua_toboolean(L, -1);
	else
		refuse(L, "tls",
		    "version, cipher_suite, alpn and session_resumed expected");
}

void
simulation_read_tls(lua_State *L, struct simulation *s, const char *key)
{
	if (!lua_istable(L, -1))
		refuse(L, key, "a table expected");
	lua_pushnil(L);
	while (lua_next(L, -2) != 0) {
		if (lua_type(L, -2) != LUA_TSTRING)
			refuse(L, key, "names expected");
		lua_pushvalue(L, -1); /* lua_tostring may change a number */
		read_agreed(L, s, lua_tostring(L, -3));
		lua_pop(L, 2);
	}
}

/* ---- the handshake ---- */

static bool
fail(struct simulation *s, const char *reason, const char *detail)
{
	s->handshake_reason = reason;
	snprintf(
	    s->handshake_detail, sizeof(s->handshake_detail), "%s", detail);
	return false;
}

static bool
agree_on_version(struct simulation *s, const struct decision_termination *t)
{
	uint16_t *version = &s->tls.version;

	if (*version == 0)
		*version = t->max_version ? t->max_version : TLS_VERSION_1_3;
	if ((t->min_version && *version < t->min_version) ||
	    (t->max_version && *version > t->max_version))
		return fail(s, "handshake_failed",
		    "the client does not speak these versions");
	if (s->tls.cipher_suite == NULL)
		s->tls.cipher_suite =
		    *version == TLS_VERSION_1_3
			? "TLS_AES_128_GCM_SHA256"
			: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
	return true;
}

static bool
is_offered(const struct simulation *s, struct span name)
{
	struct span rest = s->hello.alpn, offered;

	while (hello_next_alpn(&rest, &offered))
		if (span_equal(offered, name))
			return true;
	return false;
}

/* RFC 7301 section 3.2: the server's preference. */
static bool
agree_on_protocol(struct simulation *s, const struct decision_termination *t)
{
	struct span rest = s->hello.alpn, name;

	if (s->tls.alpn.len > 0 || t->alpn.len == 0 ||
	    !hello_next_alpn(&rest, &name))
		return true;
	rest = t->alpn;
	while (hello_next_alpn(&rest, &name)) {
		if (is_offered(s, name)) {
			/* The run's end frees the list. */
			snprintf(s->protocol, sizeof(s->protocol), "%.*s",
			    SPAN_ARG(name));
			s->tls.alpn = span_text(s->protocol);
			return true;
		}
	}
	return fail(
	    s, "handshake_failed", "the client offers no protocol of alpn");
}

static bool
check_client(struct simulation *s, const struct decision_termination *t)
{
	struct text why;

	s->shown = t->auth == CLIENT_AUTH_NONE ? NULL : s->client;
	if (s->shown == NULL && t->auth == CLIENT_AUTH_REQUIRE)
		return fail(s, "client_certificate_missing",
		    "the client shows no certificate");
	if (s->shown == NULL || t->trust == NULL)
		return true;
	text_init(&why, s->handshake_detail, sizeof(s->handshake_detail));
	if (trust_check_client(t->trust, s->client_path, &why) == 0)
		return true;
	s->handshake_reason = "client_certificate_invalid";
	return false;
}

bool
simulation_terminate(struct simulation *s, const struct decision_termination *t)
{
	s->tls = s->agreed;
	if (!agree_on_version(s, t) || !agree_on_protocol(s, t) ||
	    !check_client(s, t))
		return false;
	s->conn.terminated = true;
	return true;
}

void
simulation_begin_tls(struct simulation *s)
{
	static const struct decision_termination any = { .auth = -1 };

	if (s->conn.terminated)
		(void)simulation_terminate(s, &any);
}

/* ---- the host's side ---- */

static struct simulation *
simulation_of(struct policy_conn *c)
{
	return CONTAINER_OF(c, struct simulation, conn);
}

bool
simulation_knows_certificate(struct policy_conn *c, struct span label)
{
	const struct simulation *s = simulation_of(c);

	if (s->any_certificate)
		return label.len > 0;
	for (size_t i = 0; i < s->certificate_count; i++)
		if (span_is(label, s->certificates[i]))
			return true;
	return false;
}

void
simulation_tls(struct policy_conn *c, struct tls_facts *out)
{
	*out = simulation_of(c)->tls;
}

const struct peer *
simulation_peer(struct policy_conn *c)
{
	return simulation_of(c)->shown;
}

/* ---- what came of it ---- */

static void
set_version(lua_State *L, const char *key, uint16_t version)
{
	if (version != 0)
		simulation_set_text(
		    L, key, version == TLS_VERSION_1_2 ? "1.2" : "1.3");
}

static void
set_alpn(lua_State *L, const struct decision_termination *t)
{
	struct span rest = t->alpn, name;

	if (!t->has_alpn)
		return;
	lua_newtable(L);
	for (int i = 1; hello_next_alpn(&rest, &name); i++) {
		push_span(L, name);
		lua_rawseti(L, -2, i);
	}
	lua_setfield(L, -2, "alpn");
}

static void
set_mutual_tls(lua_State *L, const struct decision_termination *t)
{
	static const char *const modes[] = {
		[CLIENT_AUTH_NONE] = "none",
		[CLIENT_AUTH_REQUEST] = "request",
		[CLIENT_AUTH_REQUIRE] = "require",
	};

	if (t->auth < 0)
		return;
	lua_createtable(L, 0, 1);
	simulation_set_text(L, "mode", modes[t->auth]);
	lua_setfield(L, -2, "mutual_tls");
}

static void
set_upstream_tls(lua_State *L, const struct decision_upstream_tls *u)
{
	if (u->verify < 0 && !u->server_name && !u->certificate)
		return;
	lua_createtable(L, 0, 3);
	if (u->verify >= 0) {
		lua_pushboolean(L, u->verify);
		lua_setfield(L, -2, "verify");
	}
	simulation_set_text(L, "server_name", u->server_name);
	simulation_set_text(L, "certificate", u->certificate);
	lua_setfield(L, -2, "upstream_tls");
}

void
simulation_set_tls(lua_State *L, const struct decision *d)
{
	const struct decision_termination *t = &d->termination;

	if (d->terminate_at >= 0)
		simulation_set_text(L, "terminate_at",
		    terminate_at_name((enum terminate_at)d->terminate_at));
	simulation_set_text(L, "certificate", t->certificate);
	set_version(L, "min_version", t->min_version);
	set_version(L, "max_version", t->max_version);
	set_alpn(L, t);
	set_mutual_tls(L, t);
	set_upstream_tls(L, &d->upstream_tls);
}
