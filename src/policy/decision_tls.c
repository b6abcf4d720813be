#include "policy/decision_tls.h"

#include <math.h>

#include "config/snapshot.h"
#include "policy/library.h"
#include "tls/stream.h"

#define MAX_PROTOCOLS 32 /* of alpn */
#define MAX_ALPN_BYTES 1024

/* ---- what several keys share ---- */

/* Once the client's TLS is terminated, nothing can be said about how. */
static bool
refuse_late(struct reader *r, const char *key)
{
	return decision_refuse(
	    r, key, "comes after conn:terminate, where it has no effect");
}

static bool
read_label(struct reader *r, const char *key, char **out)
{
	const struct policy_host *host = r->policy->settings.host;
	struct span s;

	if (!decision_bytes(r, key, READER_MAX_WORD, &s))
		return false;
	if (memchr(s.data, '\0', s.len) || !host->knows_certificate ||
	    !host->knows_certificate(r->conn, s)) {
		decision_refuse(r, key, "there is no certificate \"");
		text_add_escaped(r->why, s, 100);
		text_add(r->why, "\"");
		return false;
	}
	*out = decision_keep(r, s);
	return true;
}

static bool
read_cas(struct reader *r, const char *key, struct trust **out)
{
	struct trust *trust = cas_trust(r->L, -1);

	if (!trust)
		return decision_refuse(r, key,
		    "must be what lunette.cas gives, not a %s",
		    lua_typename(r->L, lua_type(r->L, -1)));
	*out = trust_get(trust);
	return true;
}

/* ---- certificate, versions, alpn ---- */

bool
decision_certificate(struct reader *r, const char *key)
{
	if (r->conn->terminated)
		return refuse_late(r, key);
	return read_label(r, key, &r->d->termination.certificate);
}

static uint16_t
version_of_number(double n)
{
	if (n == 1.2)
		return TLS_VERSION_1_2;
	return n == 1.3 ? TLS_VERSION_1_3 : 0;
}

static uint16_t
version_of_text(struct span s)
{
	if (span_is(s, "1.2"))
		return TLS_VERSION_1_2;
	return span_is(s, "1.3") ? TLS_VERSION_1_3 : 0;
}

static bool
read_version(struct reader *r, const char *key, uint16_t *out)
{
	struct span s;

	if (r->conn->terminated)
		return refuse_late(r, key);
	if (lua_type(r->L, -1) == LUA_TNUMBER) {
		*out = version_of_number(lua_tonumber(r->L, -1));
	} else {
		if (!decision_bytes(r, key, READER_MAX_WORD, &s))
			return false;
		*out = version_of_text(s);
	}
	return *out != 0 || decision_refuse(r, key, "must be 1.2 or 1.3");
}

bool
decision_min_version(struct reader *r, const char *key)
{
	return read_version(r, key, &r->d->termination.min_version);
}

bool
decision_max_version(struct reader *r, const char *key)
{
	return read_version(r, key, &r->d->termination.max_version);
}

/* The value on top as a ProtocolName of RFC 7301. */
static bool
read_protocol(struct reader *r, const char *key, struct text *list)
{
	struct span s;

	if (!decision_bytes(r, key, 255, &s))
		return false;
	if (s.len == 0)
		return decision_refuse(r, key, "a name must not be empty");
	text_add_char(list, (char)s.len);
	text_add_span(list, s);
	return !list->truncated ||
	       decision_refuse(r, key, "is over %d bytes", MAX_ALPN_BYTES);
}

static bool
is_position(struct reader *r, const char *key)
{
	double at = 0;

	if (lua_type(r->L, -2) == LUA_TNUMBER)
		at = lua_tonumber(r->L, -2);
	return (at >= 1 && at <= (double)lua_objlen(r->L, -3) &&
		   at == floor(at)) ||
	       decision_refuse(r, key, "must be a list");
}

bool
decision_alpn(struct reader *r, const char *key)
{
	char storage[MAX_ALPN_BYTES + 1];
	struct text list;
	size_t count;

	if (r->conn->terminated)
		return refuse_late(r, key);
	if (!decision_each(r, key, is_position))
		return false;
	count = lua_objlen(r->L, -1);
	if (count > MAX_PROTOCOLS)
		return decision_refuse(r, key, "lists over %d", MAX_PROTOCOLS);
	text_init(&list, storage, sizeof(storage));
	/* By number: lua_next knows no order, and the order is a preference. */
	for (size_t i = 1; i <= count; i++) {
		bool ok;

		lua_rawgeti(r->L, -1, (int)i);
		ok = read_protocol(r, key, &list);
		lua_pop(r->L, 1);
		if (!ok)
			return false;
	}
	r->d->termination.has_alpn = true;
	r->d->termination.alpn =
	    span_of(decision_keep(r, text_span(&list)), list.len);
	return true;
}

/* ---- mutual_tls ---- */

static bool
read_mutual_cas(struct reader *r, const char *key)
{
	return read_cas(r, key, &r->d->termination.trust);
}

static bool
read_mode(struct reader *r, const char *key)
{
	static const struct {
		const char *word;
		enum client_auth auth;
	} modes[] = {
		{ "require", CLIENT_AUTH_REQUIRE },
		{ "request", CLIENT_AUTH_REQUEST },
		{ "none", CLIENT_AUTH_NONE },
	};
	struct span s;

	if (!decision_bytes(r, key, READER_MAX_WORD, &s))
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
		if (span_is(s, modes[i].word)) {
			r->d->termination.auth = (int)modes[i].auth;
			return true;
		}
	}
	return decision_refuse(r, key, "must be require, request or none");
}

static bool
read_mutual_key(struct reader *r, const char *key)
{
	(void)key;
	return decision_pair(r, &decision_mutual_tls_keys);
}

bool
decision_mutual_tls(struct reader *r, const char *key)
{
	struct decision_termination *t = &r->d->termination;

	if (r->conn->terminated)
		return refuse_late(r, key);
	if (!decision_part(r, key, read_mutual_key))
		return false;
	if (t->auth < 0)
		t->auth = CLIENT_AUTH_REQUIRE;
	if (t->auth != CLIENT_AUTH_NONE && !t->trust)
		return decision_refuse(r, key, "needs cas");
	if (t->auth == CLIENT_AUTH_NONE && t->trust)
		return decision_refuse(r, key, "mode none takes no cas");
	return true;
}

/* ---- upstream_tls ---- */

static bool
read_verify(struct reader *r, const char *key)
{
	bool verify;

	if (!decision_boolean(r, key, &verify))
		return false;
	r->d->upstream_tls.verify = verify;
	return true;
}

static bool
read_upstream_cas(struct reader *r, const char *key)
{
	return read_cas(r, key, &r->d->upstream_tls.trust);
}

static bool
read_server_name(struct reader *r, const char *key)
{
	char ip[ADDR_TEXT_SIZE];
	const char *why = NULL;
	struct host name;
	struct addr a;
	struct span s;

	if (!decision_bytes(r, key, READER_MAX_WORD, &s))
		return false;
	if (addr_parse(s, &a) == 0) {
		addr_format_ip(&a, ip);
		s = span_text(ip);
	} else if (host_parse(s, &name, &why) == 0) {
		s = host_span(&name);
	} else {
		return decision_refuse(r, key, "%s", why);
	}
	r->d->upstream_tls.server_name = decision_keep(r, s);
	return true;
}

static bool
read_client_certificate(struct reader *r, const char *key)
{
	return read_label(r, key, &r->d->upstream_tls.certificate);
}

static bool
read_upstream_key(struct reader *r, const char *key)
{
	(void)key;
	return decision_pair(r, &decision_upstream_tls_keys);
}

bool
decision_upstream_tls(struct reader *r, const char *key)
{
	struct decision_upstream_tls *u = &r->d->upstream_tls;

	if (!decision_part(r, key, read_upstream_key))
		return false;
	if (u->trust && u->verify == 0)
		return decision_refuse(
		    r, key, "verify is false, but there is cas");
	/* Whoever says by whom to verify wants it verified. */
	if (u->trust)
		u->verify = 1;
	return true;
}

/* ---- the tables of keys ---- */

static const struct key termination_list[] = {
#define TERMINATION_KEY(name, read) { #name, read },
	TERMINATION_KEY_TABLE(TERMINATION_KEY)
#undef TERMINATION_KEY
};
static const struct key mutual_tls_list[] = {
	{ "cas", read_mutual_cas },
	{ "mode", read_mode },
};
static const struct key upstream_tls_list[] = {
	{ "verify", read_verify },
	{ "cas", read_upstream_cas },
	{ "server_name", read_server_name },
	{ "certificate", read_client_certificate },
};

const struct key_table decision_termination_keys = { termination_list,
	ARRAY_COUNT(termination_list) };
const struct key_table decision_mutual_tls_keys = { mutual_tls_list,
	ARRAY_COUNT(mutual_tls_list) };
const struct key_table decision_upstream_tls_keys = { upstream_tls_list,
	ARRAY_COUNT(upstream_tls_list) };

/* ---- the whole ---- */

/* The first key about termination that was given, or NULL. */
static const char *
termination_key_given(const struct decision_termination *t)
{
	if (t->auth >= 0)
		return "mutual_tls";
	if (t->certificate)
		return "certificate";
	if (t->min_version)
		return "min_version";
	if (t->max_version)
		return "max_version";
	return t->has_alpn ? "alpn" : NULL;
}

bool
decision_termination_fits(struct reader *r)
{
	const struct decision_termination *t = &r->d->termination;
	const char *key = termination_key_given(t);

	if (r->d->terminate_at == TERMINATE_UPSTREAM && key)
		return decision_refuse(
		    r, key, "needs termination, but terminate_at is upstream");
	if (t->min_version && t->max_version && t->min_version > t->max_version)
		return decision_refuse(
		    r, "min_version", "is above max_version");
	return true;
}
