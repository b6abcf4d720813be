/*
 * conn.tls: what the hello says, and after conn:terminate what was agreed.
 */
#include "policy/conn_view.h"
#include "policy/decision_read.h"
#include "tls/stream.h"

static const struct hello *
hello_of(const struct view *v)
{
	const struct policy_host *host = v->policy->settings.host;

	return host->hello ? host->hello(v->conn) : NULL;
}

/* A list of 16-bit values in the wire's form. */
static void
push_u16_list(lua_State *L, struct span list)
{
	uint16_t value;

	lua_createtable(L, (int)(list.len / 2), 0);
	for (int i = 1; hello_next_u16(&list, &value); i++) {
		lua_pushinteger(L, value);
		lua_rawseti(L, -2, i);
	}
}

/* ---- conn.tls ---- */

static void
push_alpn(lua_State *L, const struct view *v)
{
	const struct hello *h = hello_of(v);
	struct span rest = h ? h->alpn : span_of(NULL, 0);
	struct span name;

	lua_newtable(L);
	for (int i = 1; hello_next_alpn(&rest, &name); i++) {
		push_span(L, name);
		lua_rawseti(L, -2, i);
	}
}

static void
push_ja4(lua_State *L, const struct view *v)
{
	const struct hello *h = hello_of(v);
	char text[JA4_TEXT_SIZE];

	if (v->conn->ja4) {
		lua_pushstring(L, v->conn->ja4);
		return;
	}
	if (!h) {
		lua_pushnil(L);
		return;
	}
	if (ja4_fingerprint(h, text) < 0)
		state_raise(L, "out of memory");
	lua_pushstring(L, text);
}

static void
push_hello(lua_State *L, const struct view *v)
{
	if (hello_of(v))
		conn_push_handle(L, &hello_object);
	else
		lua_pushnil(L);
}

/* ---- what is known after conn:terminate ---- */

static bool
facts_of(const struct view *v, struct tls_facts *out)
{
	const struct policy_host *host = v->policy->settings.host;

	*out = (struct tls_facts){ .version = 0 };
	if (v->conn->terminated && host->tls)
		host->tls(v->conn, out);
	return out->version != 0;
}

static void
push_version(lua_State *L, const struct view *v)
{
	struct tls_facts facts;

	if (facts_of(v, &facts))
		lua_pushstring(
		    L, facts.version == TLS_VERSION_1_2 ? "1.2" : "1.3");
	else
		lua_pushnil(L);
}

static void
push_cipher_suite(lua_State *L, const struct view *v)
{
	struct tls_facts facts;

	(void)facts_of(v, &facts);
	conn_push_text(L, facts.cipher_suite);
}

static void
push_negotiated_alpn(lua_State *L, const struct view *v)
{
	struct tls_facts facts;

	if (facts_of(v, &facts) && facts.alpn.len)
		push_span(L, facts.alpn);
	else
		lua_pushnil(L);
}

static void
push_session_resumed(lua_State *L, const struct view *v)
{
	struct tls_facts facts;

	if (facts_of(v, &facts))
		lua_pushboolean(L, facts.resumed);
	else
		lua_pushnil(L);
}

static void
push_client(lua_State *L, const struct view *v)
{
	const struct policy_host *host = v->policy->settings.host;
	const struct peer *peer = NULL;

	if (v->conn->terminated && host->peer)
		peer = host->peer(v->conn);
	if (peer)
		conn_push_peer(L, peer);
	else
		lua_pushnil(L);
}

/* ---- conn.tls.hello; its fields are read only while there is a hello ---- */

/* A handle outlives the hello if a close hook follows, which has another run's
 * generation; so a missing one here is nil like anything unknown. */
#define HELLO_LIST(member)                                            \
	static void push_##member(lua_State *L, const struct view *v) \
	{                                                             \
		const struct hello *h = hello_of(v);                  \
                                                                      \
		push_u16_list(L, h ? h->member : span_of(NULL, 0));   \
	}
HELLO_LIST(supported_versions)
HELLO_LIST(cipher_suites)
HELLO_LIST(groups)
HELLO_LIST(signature_algorithms)
#undef HELLO_LIST

/* The highest version that the client offers, RFC 8446 section 4.2.1. */
static void
push_hello_version(lua_State *L, const struct view *v)
{
	const struct hello *h = hello_of(v);
	struct span rest = h ? h->supported_versions : span_of(NULL, 0);
	uint16_t value, best = 0;

	while (hello_next_u16(&rest, &value))
		if (!hello_is_grease(value) && value > best)
			best = value;
	if (best == 0 && h)
		best = h->legacy_version;
	lua_pushinteger(L, best);
}

static void
push_extensions(lua_State *L, const struct view *v)
{
	const struct hello *h = hello_of(v);
	struct span rest = h ? h->extensions : span_of(NULL, 0), body;
	uint16_t type;

	lua_newtable(L);
	for (int i = 1; hello_next_extension(&rest, &type, &body); i++) {
		lua_pushinteger(L, type);
		lua_rawseti(L, -2, i);
	}
}

static void
push_session_id(lua_State *L, const struct view *v)
{
	const struct hello *h = hello_of(v);
	char hex[2 * 32 + 1];
	struct text t;

	text_init(&t, hex, sizeof(hex));
	for (size_t i = 0; h && i < h->session_id.len; i++)
		text_addf(&t, "%02x", h->session_id.data[i]);
	lua_pushstring(L, hex);
}

static void
push_ech(lua_State *L, const struct view *v)
{
	const struct hello *h = hello_of(v);

	lua_pushboolean(L, h && h->has_ech);
}

static void
push_hello_size(lua_State *L, const struct view *v)
{
	const struct hello *h = hello_of(v);

	lua_pushinteger(L, h ? (lua_Integer)h->wire_bytes : 0);
}

/* ---- the tables of fields ---- */

static const struct field tls_fields[] = {
	FIELD("sni", conn_push_sni, false),
	FIELD("alpn_protocols", push_alpn, true),
	FIELD("ja4_fingerprint", push_ja4, true),
	FIELD("hello", push_hello, true),
	/* Nil before conn:terminate, and not remembered then. */
	FIELD("version", push_version, true),
	FIELD("cipher_suite", push_cipher_suite, true),
	FIELD("negotiated_alpn", push_negotiated_alpn, true),
	FIELD("session_resumed", push_session_resumed, true),
	FIELD("client", push_client, true),
};

static const struct field hello_fields[] = {
	FIELD("version", push_hello_version, false),
	FIELD("supported_versions", push_supported_versions, true),
	FIELD("cipher_suites", push_cipher_suites, true),
	FIELD("groups", push_groups, true),
	FIELD("signature_algorithms", push_signature_algorithms, true),
	FIELD("extensions", push_extensions, true),
	FIELD("session_id", push_session_id, false),
	FIELD("ech", push_ech, false),
	FIELD("size", push_hello_size, false),
};

PART_INDEX(tls)
PART_INDEX(hello)

const struct object_type tls_object = {
	.name = "conn.tls",
	.magic = 0x746c7321,
	.index = lua_tls_index,
};
const struct object_type hello_object = {
	.name = "conn.tls.hello",
	.magic = 0x68656c6f,
	.index = lua_hello_index,
};

/* ---- conn:terminate ---- */

/* Everything that may raise comes before what would have to be freed. */
static void
check_may_terminate(lua_State *L, const struct policy_conn *c)
{
	struct policy *p = state_of(L);

	if (p->phase != RUNNING)
		state_raise(
		    L, "conn:terminate: not possible in a close function");
	if (c->terminated)
		state_raise(L, "conn:terminate: the client's TLS is terminated "
			       "already");
	/* An upstream may have had the hello. */
	if (p->run->hook != HOOK_CONNECT)
		state_raise(
		    L, "conn:terminate: not possible in a retry function");
	state_check_wait(L);
}

int
lua_conn_terminate(lua_State *L)
{
	struct policy_conn *c = conn_of(L);
	struct decision said;
	char message[256];
	struct text why;

	check_may_terminate(L, c);
	if (lua_isnoneornil(L, 2)) {
		lua_settop(L, 1);
		lua_newtable(L);
	}
	lua_settop(L, 2);
	lua_getfield(L, 1, "tls");
	lua_insert(L, 2);
	decision_init(&said);
	text_init(&why, message, sizeof(message));
	if (!decision_read_termination(L, state_of(L), c, &said, &why))
		state_raise(L, "%s", message);
	lua_settop(L, 2);
	return state_wait_terminate(L, &said);
}
