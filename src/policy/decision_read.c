#include "policy/decision_read.h"

#include <math.h>

#include "base/hash.h"
#include "config/snapshot.h"
#include "policy/decision_tls.h"
#include "policy/library.h"
#include "wire/alert.h"
#include "wire/upstream_address.h"

#define MAX_REASON 256
#define MAX_URL 300
#define MAX_TAG_NAME 64
#define MAX_TAG_VALUE 256
#define MAX_TLV_BYTES 4096 /* of all values, as a PROXY header is no longer */
#define MAX_PROXY_TLVS 16  /* there are six */
#define MAX_CONNECT_S 600
#define MAX_IDLE_S (7 * 24 * 3600)
#define MAX_BYTES_PER_SECOND (1LL << 40)

/* A string that becomes part of events and log lines. */
static char *
keep_printable(struct reader *r, struct span s)
{
	struct text t;

	text_init(&t, r->arena + r->used, 4 * s.len + 1);
	state_add_printable(&t, s, true);
	r->used += t.len + 1;
	return t.data;
}

/* ---- the keys ---- */

static bool
read_allow(struct reader *r, const char *key)
{
	return decision_boolean(r, key, &r->d->allow);
}

static bool
read_reason(struct reader *r, const char *key)
{
	struct span s;

	if (!decision_bytes(r, key, MAX_REASON, &s))
		return false;
	r->d->reason = keep_printable(r, s);
	return true;
}

static bool
read_close(struct reader *r, const char *key)
{
	static const enum deny_close all[] = { DENY_ALERT, DENY_CLOSE,
		DENY_RESET, DENY_TARPIT };
	struct span s;

	r->says_how_to_deny = true;
	if (!decision_bytes(r, key, MAX_REASON, &s))
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		if (span_is(s, deny_close_name(all[i]))) {
			r->d->close = all[i];
			return true;
		}
	}
	return decision_refuse(r, key, "must be alert, close, reset or tarpit");
}

static bool
read_alert(struct reader *r, const char *key)
{
	struct span s;

	r->says_how_to_deny = true;
	if (!decision_bytes(r, key, MAX_REASON, &s))
		return false;
	if (alert_parse(s, &r->d->alert) != 0)
		return decision_refuse(r, key, "is no alert of RFC 8446");
	return true;
}

static bool
read_endpoint(struct reader *r, const char *key)
{
	const struct policy_host *host = r->policy->settings.host;
	struct span s;

	if (!decision_bytes(r, key, MAX_URL, &s))
		return false;
	if (memchr(s.data, '\0', s.len) || !host->knows_endpoint ||
	    !host->knows_endpoint(r->conn, s)) {
		decision_refuse(r, key, "there is no endpoint \"");
		text_add_escaped(r->why, s, 100);
		text_add(r->why, "\"");
		return false;
	}
	r->d->endpoint = decision_keep(r, s);
	return true;
}

/* Remembers what a text was found to mean. */
static void
learn_upstream(struct known_upstream *k, struct span s, const char *canonical)
{
	if (s.len > sizeof(k->text) ||
	    strlen(canonical) >= sizeof(k->canonical))
		return;
	k->len = s.len;
	memcpy(k->text, s.data, s.len);
	strcpy(k->canonical, canonical);
}

static bool
read_upstream(struct reader *r, const char *key)
{
	struct upstream_address address;
	struct known_upstream *k;
	const char *why;
	struct span s;

	if (!decision_bytes(r, key, UPSTREAM_ADDRESS_SIZE, &s))
		return false;
	k = &r->policy->known[hash_stable(s) % POLICY_KNOWN_UPSTREAMS];
	if (k->len > 0 && span_equal(s, span_of(k->text, k->len))) {
		r->d->upstream = decision_keep(r, span_text(k->canonical));
		return true;
	}
	if (upstream_address_parse(s, &address, &why) != 0)
		return decision_refuse(r, key, "%s", why);
	learn_upstream(k, s, address.text);
	r->d->upstream = decision_keep(r, span_text(address.text));
	return true;
}

static bool
read_terminate_at(struct reader *r, const char *key)
{
	struct span s;

	if (!decision_bytes(r, key, READER_MAX_WORD, &s))
		return false;
	if (span_is(s, "edge") && r->conn->at_agent)
		return decision_refuse(r, key,
		    "an agent does not say what the edge does; \"agent\" is "
		    "here");
	if (span_is(s, "edge"))
		r->d->terminate_at = TERMINATE_EDGE;
	else if (span_is(s, "agent"))
		r->d->terminate_at = TERMINATE_AGENT;
	else if (span_is(s, "upstream"))
		r->d->terminate_at = TERMINATE_UPSTREAM;
	else
		return decision_refuse(
		    r, key, "must be edge, agent or upstream");
	if (r->conn->terminated && r->d->terminate_at == TERMINATE_UPSTREAM)
		return decision_refuse(
		    r, key, "the client's TLS is terminated already");
	return true;
}

static bool
read_proxy_proto(struct reader *r, const char *key)
{
	int64_t n = 0;

	if (!decision_whole(r, key, 0, 2, &n))
		return false;
	r->d->proxy_proto = (int)n;
	return true;
}

static bool
read_bytes_per_second(struct reader *r, const char *key)
{
	return decision_whole(
	    r, key, 0, MAX_BYTES_PER_SECOND, &r->d->bytes_per_second);
}

/* ---- tables inside ---- */

static const struct {
	const char *name;
	int bit;
} proxy_tlv_choices[] = {
	{ "authority", PROXY_SEND_AUTHORITY },
	{ "alpn", PROXY_SEND_ALPN },
	{ "unique_id", PROXY_SEND_UNIQUE_ID },
	{ "crc32c", PROXY_SEND_CRC32C },
	{ "ssl", PROXY_SEND_SSL },
	{ "client_certificate", PROXY_SEND_CLIENT_CERTIFICATE },
};

static bool
read_proxy_tlv(struct reader *r, const char *key)
{
	struct span s;

	if (lua_type(r->L, -2) != LUA_TNUMBER || lua_tonumber(r->L, -2) < 1)
		return decision_refuse(r, key, "must be a list");
	if (lua_tonumber(r->L, -2) > MAX_PROXY_TLVS)
		return decision_refuse(r, key, "lists over %d", MAX_PROXY_TLVS);
	if (!decision_bytes(r, key, READER_MAX_WORD, &s))
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(proxy_tlv_choices); i++) {
		if (span_is(s, proxy_tlv_choices[i].name)) {
			r->d->proxy_tlvs |= proxy_tlv_choices[i].bit;
			return true;
		}
	}
	return decision_refuse(r, key,
	    "may list authority, alpn, unique_id, crc32c, ssl and "
	    "client_certificate");
}

static bool
read_proxy_tlvs(struct reader *r, const char *key)
{
	r->d->proxy_tlvs = 0;
	return decision_each(r, key, read_proxy_tlv);
}

static size_t
tlv_bytes(const struct decision *d)
{
	size_t total = 0;

	for (size_t i = 0; i < d->tlv_count; i++)
		total += d->tlvs[i].value.len + 3;
	return total;
}

static bool
read_tlv(struct reader *r, const char *key)
{
	double type = 0;
	struct span s;

	if (lua_type(r->L, -2) == LUA_TNUMBER)
		type = lua_tonumber(r->L, -2);
	if (!(type >= PROXY_TLV_PRIVATE_FIRST &&
		type <= PROXY_TLV_PRIVATE_LAST) ||
	    type != floor(type))
		return decision_refuse(
		    r, key, "types are numbers from 0xE0 to 0xEF");
	if (!decision_bytes(r, key, MAX_TLV_BYTES, &s))
		return false;
	if (tlv_bytes(r->d) + 3 + s.len >= MAX_TLV_BYTES)
		return decision_refuse(
		    r, key, "are over %d bytes", MAX_TLV_BYTES);
	ASSERT(r->d->tlv_count < DECISION_MAX_TLVS);
	r->d->tlvs[r->d->tlv_count++] = (struct decision_tlv){ (uint8_t)type,
		span_of(decision_keep(r, s), s.len) };
	return true;
}

static bool
read_tlvs(struct reader *r, const char *key)
{
	return decision_each(r, key, read_tlv);
}

static bool
read_tag(struct reader *r, const char *key)
{
	struct decision_tag *tag = &r->d->tags[r->d->tag_count];
	struct span name, value;
	size_t len;

	if (r->d->tag_count == DECISION_MAX_TAGS)
		return decision_refuse(
		    r, key, "are over %d", DECISION_MAX_TAGS);
	if (!decision_bytes(r, key, MAX_TAG_VALUE, &value))
		return false;
	if (lua_type(r->L, -2) != LUA_TSTRING)
		return decision_refuse(r, key, "must have names");
	name.data = (const uint8_t *)lua_tolstring(r->L, -2, &len);
	name.len = len;
	if (len == 0 || len > MAX_TAG_NAME)
		return decision_refuse(
		    r, key, "names are 1 to %d bytes", MAX_TAG_NAME);
	if (memchr(name.data, 0, len) || memchr(value.data, 0, value.len))
		return decision_refuse(r, key, "must not hold a NUL byte");
	tag->name = decision_keep(r, name);
	tag->value = decision_keep(r, value);
	r->d->tag_count++;
	return true;
}

static bool
read_tags(struct reader *r, const char *key)
{
	return decision_each(r, key, read_tag);
}

static bool
read_seconds(struct reader *r, const char *key, double max, int64_t *out)
{
	double seconds;

	if (!decision_number(r, key, 0.001, max, &seconds))
		return false;
	*out = (int64_t)ceil(seconds * 1000);
	return true;
}

static bool
read_connect_timeout(struct reader *r, const char *key)
{
	return read_seconds(r, key, MAX_CONNECT_S, &r->d->connect_ms);
}

static bool
read_idle_timeout(struct reader *r, const char *key)
{
	return read_seconds(r, key, MAX_IDLE_S, &r->d->idle_ms);
}

static read_function read_timeouts; /* uses its own table of keys */

/* ---- the tables of keys ---- */

static const struct key keys[] = {
	{ "allow", read_allow },
	{ "reason", read_reason },
	{ "upstream", read_upstream },
	{ "close", read_close },
	{ "alert", read_alert },
	{ "endpoint", read_endpoint },
	{ "terminate_at", read_terminate_at },
	{ "proxy_proto", read_proxy_proto },
	{ "proxy_tlvs", read_proxy_tlvs },
	{ "tlvs", read_tlvs },
	{ "tags", read_tags },
	{ "timeouts", read_timeouts },
	{ "bytes_per_second", read_bytes_per_second },
#define TERMINATION_KEY(name, read) { #name, read },
	TERMINATION_KEY_TABLE(TERMINATION_KEY)
#undef TERMINATION_KEY
	    { "upstream_tls", decision_upstream_tls },
};

static const struct key timeout_keys[] = {
	{ "connect", read_connect_timeout },
	{ "idle", read_idle_timeout },
};

static const struct key_table decision_keys = { keys, ARRAY_COUNT(keys) };
static const struct key_table timeout_table = { timeout_keys,
	ARRAY_COUNT(timeout_keys) };

static bool
read_timeout(struct reader *r, const char *key)
{
	(void)key;
	return decision_pair(r, &timeout_table);
}

static bool
read_timeouts(struct reader *r, const char *key)
{
	return decision_part(r, key, read_timeout);
}

static const struct {
	const char *name;
	const struct key_table *keys;
} parts[] = {
	{ "", &decision_keys },
	{ "timeouts", &timeout_table },
	{ "mutual_tls", &decision_mutual_tls_keys },
	{ "upstream_tls", &decision_upstream_tls_keys },
	{ "conn:terminate", &decision_termination_keys },
};

bool
decision_knows_key(struct span within, struct span key)
{
	for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
		if (span_is(within, parts[i].name))
			return decision_find_key(parts[i].keys, key) != NULL;
	return true; /* tags, tlvs and lists have no fixed keys */
}

/* ---- the line that lunette.forward and lunette.deny leave behind ---- */

static const char mark; /* its address is the key; no script can write it */

int
lua_mark_line(lua_State *L)
{
	lua_Debug ar;

	arg_table(L, 1);
	/* 0 is this function, 1 the one of lunette.lua, 2 the script's; a tail
	 * call leaves nothing of it. */
	if (!lua_getstack(L, 2, &ar) || !lua_getinfo(L, "Sl", &ar) ||
	    ar.source[0] != '@' || ar.currentline <= 0)
		return 0;
	lua_pushlightuserdata(L, (void *)(uintptr_t)&mark);
	lua_pushinteger(L, ar.currentline);
	lua_rawset(L, 1);
	return 0;
}

static bool
take_line(struct reader *r)
{
	if (lua_type(r->L, -2) != LUA_TLIGHTUSERDATA ||
	    lua_touserdata(r->L, -2) != (void *)(uintptr_t)&mark)
		return false;
	r->d->line = (int)lua_tointeger(r->L, -1);
	return true;
}

static bool
read_any(struct reader *r, const char *key)
{
	(void)key;
	return take_line(r) || decision_pair(r, &decision_keys);
}

static bool
read_line_only(struct reader *r, const char *key)
{
	(void)key;
	(void)take_line(r);
	return true;
}

/* ---- the whole ---- */

/* Whoever says how to deny and forgets allow = false meant to deny. */
static bool
is_consistent(struct reader *r)
{
	if (r->d->allow && r->says_how_to_deny)
		return decision_refuse(r, "",
		    "close and alert are for denials, but allow is true");
	return decision_termination_fits(r);
}

/* Gives up what was read, but for the line. */
static void
drop(struct decision *d)
{
	int line = d->line;

	decision_fini(d);
	d->line = line;
}

bool
decision_read(lua_State *L, struct policy *p, struct policy_conn *c,
    struct decision *d, struct text *why)
{
	char unread[8];
	struct text nobody;
	struct reader r;

	decision_reader_init(&r, L, p, c, d, why);
	lua_settop(L, 1);
	if (decision_each(&r, "", read_any) && is_consistent(&r) &&
	    decision_settle(&r))
		return true;
	/* The order of a table is anything: the line may not have come yet. */
	lua_settop(L, 1);
	text_init(&nobody, unread, sizeof(unread));
	r.why = &nobody; /* why not is known already */
	(void)decision_each(&r, "", read_line_only);
	drop(d);
	return false;
}

static bool
read_termination_key(struct reader *r, const char *key)
{
	(void)key;
	return decision_pair(r, &decision_termination_keys);
}

bool
decision_read_termination(lua_State *L, struct policy *p, struct policy_conn *c,
    struct decision *d, struct text *why)
{
	struct reader r;

	decision_reader_init(&r, L, p, c, d, why);
	r.subject = "conn:terminate";
	if (decision_each(&r, "", read_termination_key) &&
	    decision_termination_fits(&r) && decision_settle(&r))
		return true;
	drop(d);
	return false;
}
