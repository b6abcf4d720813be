#include "policy/decision_read.h"

#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/nearest.h"
#include "config/snapshot.h"
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
/* Everything a decision can hold, with escapes and NULs. */
#define ARENA_SIZE 24576

struct reader {
	lua_State *L; /* the value to read is on top */
	struct policy *policy;
	struct policy_conn *conn;
	struct decision *d;
	struct text *why;
	const char *within; /* "timeouts" while its keys are read */
	bool says_how_to_deny;
	size_t used;
	char arena[ARENA_SIZE];
};

typedef bool read_function(struct reader *r, const char *key);

struct key {
	const char *name;
	read_function *read;
};

PRINTF_LIKE(3, 4)
static bool
refuse(struct reader *r, const char *key, const char *format, ...)
{
	va_list args;

	text_add(r->why, "decision: ");
	if (r->within)
		text_addf(r->why, "%s.", r->within);
	if (key[0])
		text_addf(r->why, "%s: ", key);
	va_start(args, format);
	text_vaddf(r->why, format, args);
	va_end(args);
	return false;
}

static bool
refuse_type(struct reader *r, const char *key, const char *wanted)
{
	return refuse(r, key, "must be a %s, not a %s", wanted,
	    lua_typename(r->L, lua_type(r->L, -1)));
}

/* ---- values ---- */

static bool
read_boolean(struct reader *r, const char *key, bool *out)
{
	if (!lua_isboolean(r->L, -1))
		return refuse_type(r, key, "boolean");
	*out = lua_toboolean(r->L, -1);
	return true;
}

static bool
read_number(
    struct reader *r, const char *key, double min, double max, double *out)
{
	if (lua_type(r->L, -1) != LUA_TNUMBER)
		return refuse_type(r, key, "number");
	*out = lua_tonumber(r->L, -1);
	if (!(*out >= min && *out <= max))
		return refuse(r, key, "must be from %g to %g", min, max);
	return true;
}

static bool
read_whole(
    struct reader *r, const char *key, int64_t min, int64_t max, int64_t *out)
{
	double n;

	if (!read_number(r, key, (double)min, (double)max, &n))
		return false;
	if (n != floor(n))
		return refuse(r, key, "must be a whole number");
	*out = (int64_t)n;
	return true;
}

static bool
read_bytes(struct reader *r, const char *key, size_t max, struct span *out)
{
	size_t len;
	const char *text;

	if (lua_type(r->L, -1) != LUA_TSTRING)
		return refuse_type(r, key, "string");
	text = lua_tolstring(r->L, -1, &len);
	*out = span_of(text, len);
	if (len > max)
		return refuse(r, key, "is over %zu bytes", max);
	return true;
}

static char *
keep(struct reader *r, struct span s)
{
	char *copy = r->arena + r->used;

	ASSERT(r->used + s.len + 1 <= sizeof(r->arena));
	if (s.len)
		memcpy(copy, s.data, s.len);
	copy[s.len] = '\0';
	r->used += s.len + 1;
	return copy;
}

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
	return read_boolean(r, key, &r->d->allow);
}

static bool
read_reason(struct reader *r, const char *key)
{
	struct span s;

	if (!read_bytes(r, key, MAX_REASON, &s))
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
	if (!read_bytes(r, key, MAX_REASON, &s))
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		if (span_is(s, deny_close_name(all[i]))) {
			r->d->close = all[i];
			return true;
		}
	}
	return refuse(r, key, "must be alert, close, reset or tarpit");
}

static bool
read_alert(struct reader *r, const char *key)
{
	struct span s;

	r->says_how_to_deny = true;
	if (!read_bytes(r, key, MAX_REASON, &s))
		return false;
	if (alert_parse(s, &r->d->alert) != 0)
		return refuse(r, key, "is no alert of RFC 8446");
	return true;
}

static bool
read_endpoint(struct reader *r, const char *key)
{
	const struct policy_host *host = r->policy->settings.host;
	struct span s;

	if (!read_bytes(r, key, MAX_URL, &s))
		return false;
	if (memchr(s.data, '\0', s.len) || !host->knows_endpoint ||
	    !host->knows_endpoint(r->conn, s)) {
		refuse(r, key, "there is no endpoint \"");
		text_add_escaped(r->why, s, 100);
		text_add(r->why, "\"");
		return false;
	}
	r->d->endpoint = keep(r, s);
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

	if (!read_bytes(r, key, UPSTREAM_ADDRESS_SIZE, &s))
		return false;
	k = &r->policy->known[hash_stable(s) % POLICY_KNOWN_UPSTREAMS];
	if (k->len > 0 && span_equal(s, span_of(k->text, k->len))) {
		r->d->upstream = keep(r, span_text(k->canonical));
		return true;
	}
	if (upstream_address_parse(s, &address, &why) != 0)
		return refuse(r, key, "%s", why);
	learn_upstream(k, s, address.text);
	r->d->upstream = keep(r, span_text(address.text));
	return true;
}

static bool
read_terminate_at(struct reader *r, const char *key)
{
	struct span s;

	if (!read_bytes(r, key, MAX_REASON, &s))
		return false;
	if (span_is(s, "edge") || span_is(s, "agent"))
		return refuse(
		    r, key, "only \"upstream\" is possible in this version");
	if (!span_is(s, "upstream"))
		return refuse(r, key, "must be edge, agent or upstream");
	r->d->terminate_at = TERMINATE_UPSTREAM;
	return true;
}

static bool
read_proxy_proto(struct reader *r, const char *key)
{
	int64_t n = 0;

	if (!read_whole(r, key, 0, 2, &n))
		return false;
	r->d->proxy_proto = (int)n;
	return true;
}

static bool
read_tls_only(struct reader *r, const char *key)
{
	return refuse(
	    r, key, "needs termination, which this version does not have");
}

static bool
read_bytes_per_second(struct reader *r, const char *key)
{
	return read_whole(
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
};

static bool
read_proxy_tlv(struct reader *r, const char *key)
{
	struct span s;

	if (lua_type(r->L, -2) != LUA_TNUMBER || lua_tonumber(r->L, -2) < 1)
		return refuse(r, key, "must be a list");
	if (lua_tonumber(r->L, -2) > MAX_PROXY_TLVS)
		return refuse(r, key, "lists over %d", MAX_PROXY_TLVS);
	if (!read_bytes(r, key, MAX_REASON, &s))
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(proxy_tlv_choices); i++) {
		if (span_is(s, proxy_tlv_choices[i].name)) {
			r->d->proxy_tlvs |= proxy_tlv_choices[i].bit;
			return true;
		}
	}
	if (span_is(s, "ssl") || span_is(s, "client_certificate"))
		return read_tls_only(r, key);
	return refuse(r, key, "may list authority, alpn, unique_id and crc32c");
}

/* Calls `read` for each pair of the table on top; the value is on top then and
 * the key below it. */
static bool
read_each(struct reader *r, const char *key, read_function *read)
{
	if (!lua_istable(r->L, -1))
		return refuse_type(r, key, "table");
	/* Fields behind __index are not seen here, and one of them may be
	 * allow = false. */
	if (lua_getmetatable(r->L, -1)) {
		lua_pop(r->L, 1);
		return refuse(r, key, "must be a table without a metatable");
	}
	lua_pushnil(r->L);
	while (lua_next(r->L, -2)) {
		bool ok = read(r, key);

		lua_pop(r->L, 1);
		if (!ok)
			return false;
	}
	return true;
}

static bool
read_proxy_tlvs(struct reader *r, const char *key)
{
	r->d->proxy_tlvs = 0;
	return read_each(r, key, read_proxy_tlv);
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
		return refuse(r, key, "types are numbers from 0xE0 to 0xEF");
	if (!read_bytes(r, key, MAX_TLV_BYTES, &s))
		return false;
	if (tlv_bytes(r->d) + 3 + s.len >= MAX_TLV_BYTES)
		return refuse(r, key, "are over %d bytes", MAX_TLV_BYTES);
	ASSERT(r->d->tlv_count < DECISION_MAX_TLVS);
	r->d->tlvs[r->d->tlv_count++] =
	    (struct decision_tlv){ (uint8_t)type, span_of(keep(r, s), s.len) };
	return true;
}

static bool
read_tlvs(struct reader *r, const char *key)
{
	return read_each(r, key, read_tlv);
}

static bool
read_tag(struct reader *r, const char *key)
{
	struct decision_tag *tag = &r->d->tags[r->d->tag_count];
	struct span name, value;
	size_t len;

	if (r->d->tag_count == DECISION_MAX_TAGS)
		return refuse(r, key, "are over %d", DECISION_MAX_TAGS);
	if (!read_bytes(r, key, MAX_TAG_VALUE, &value))
		return false;
	if (lua_type(r->L, -2) != LUA_TSTRING)
		return refuse(r, key, "must have names");
	name.data = (const uint8_t *)lua_tolstring(r->L, -2, &len);
	name.len = len;
	if (len == 0 || len > MAX_TAG_NAME)
		return refuse(r, key, "names are 1 to %d bytes", MAX_TAG_NAME);
	if (memchr(name.data, 0, len) || memchr(value.data, 0, value.len))
		return refuse(r, key, "must not hold a NUL byte");
	tag->name = keep(r, name);
	tag->value = keep(r, value);
	r->d->tag_count++;
	return true;
}

static bool
read_tags(struct reader *r, const char *key)
{
	return read_each(r, key, read_tag);
}

static bool
read_seconds(struct reader *r, const char *key, double max, int64_t *out)
{
	double seconds;

	if (!read_number(r, key, 0.001, max, &seconds))
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
	{ "certificate", read_tls_only },
	{ "min_version", read_tls_only },
	{ "max_version", read_tls_only },
	{ "alpn", read_tls_only },
	{ "mutual_tls", read_tls_only },
	{ "upstream_tls", read_tls_only },
};

static const struct key timeout_keys[] = {
	{ "connect", read_connect_timeout },
	{ "idle", read_idle_timeout },
};

struct key_table {
	const struct key *keys;
	size_t count;
};

static const struct key_table decision_keys = { keys, ARRAY_COUNT(keys) };
static const struct key_table timeout_table = { timeout_keys,
	ARRAY_COUNT(timeout_keys) };

static const struct key *
find_key(const struct key_table *t, struct span name)
{
	for (size_t i = 0; i < t->count; i++)
		if (span_is(name, t->keys[i].name))
			return &t->keys[i];
	return NULL;
}

static bool
refuse_key(struct reader *r, const struct key_table *t, struct span name)
{
	const char *names[ARRAY_COUNT(keys)];
	const char *near;

	for (size_t i = 0; i < t->count; i++)
		names[i] = t->keys[i].name;
	near = nearest_word(name, names, t->count);
	text_add(r->why, "decision: unknown key \"");
	text_add_escaped(r->why, name, 40);
	text_add(r->why, "\"");
	if (r->within)
		text_addf(r->why, " in %s", r->within);
	if (near)
		text_addf(r->why, " (did you mean \"%s\"?)", near);
	return false;
}

/* The pair on the stack: value on top, key below. */
static bool
read_pair(struct reader *r, const struct key_table *t)
{
	const struct key *key;
	size_t len;
	const char *name;

	if (lua_type(r->L, -2) != LUA_TSTRING) {
		text_addf(r->why, "decision: a key is a %s, not a string",
		    lua_typename(r->L, lua_type(r->L, -2)));
		return false;
	}
	name = lua_tolstring(r->L, -2, &len);
	key = find_key(t, span_of(name, len));
	if (!key)
		return refuse_key(r, t, span_of(name, len));
	return key->read(r, key->name);
}

static bool
read_timeout(struct reader *r, const char *key)
{
	(void)key;
	return read_pair(r, &timeout_table);
}

static bool
read_timeouts(struct reader *r, const char *key)
{
	bool ok;

	if (!lua_istable(r->L, -1))
		return refuse_type(r, key, "table");
	r->within = key;
	ok = read_each(r, key, read_timeout);
	r->within = NULL;
	return ok;
}

bool
decision_knows_key(struct span within, struct span key)
{
	if (within.len == 0)
		return find_key(&decision_keys, key) != NULL;
	if (span_is(within, "timeouts"))
		return find_key(&timeout_table, key) != NULL;
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
	return take_line(r) || read_pair(r, &decision_keys);
}

static bool
read_line_only(struct reader *r, const char *key)
{
	(void)key;
	(void)take_line(r);
	return true;
}

/* ---- the whole ---- */

static void
move_text(char **text, const char *arena, char *block)
{
	if (*text)
		*text = block + (*text - arena);
}

/* Moves what the strings point at from the reader to the heap. */
static bool
settle(struct reader *r)
{
	struct decision *d = r->d;
	char *block;

	if (r->used == 0)
		return true;
	block = malloc(r->used);
	if (!block) {
		text_add(r->why, "out of memory");
		return false;
	}
	memcpy(block, r->arena, r->used);
	move_text(&d->reason, r->arena, block);
	move_text(&d->endpoint, r->arena, block);
	move_text(&d->upstream, r->arena, block);
	for (size_t i = 0; i < d->tag_count; i++) {
		move_text(&d->tags[i].name, r->arena, block);
		move_text(&d->tags[i].value, r->arena, block);
	}
	for (size_t i = 0; i < d->tlv_count; i++)
		d->tlvs[i].value.data =
		    (uint8_t *)block +
		    (d->tlvs[i].value.data - (const uint8_t *)r->arena);
	d->storage = block;
	return true;
}

/* Whoever says how to deny and forgets allow = false meant to deny. */
static bool
is_consistent(struct reader *r)
{
	if (!r->d->allow || !r->says_how_to_deny)
		return true;
	text_add(r->why,
	    "decision: close and alert are for denials, but allow is true");
	return false;
}

bool
decision_read(lua_State *L, struct policy *p, struct policy_conn *c,
    struct decision *d, struct text *why)
{
	char unread[8];
	struct text nobody;
	struct reader r;
	int line;

	/* Not an initialiser: that would clear the arena. */
	r.L = L;
	r.policy = p;
	r.conn = c;
	r.d = d;
	r.why = why;
	r.within = NULL;
	r.says_how_to_deny = false;
	r.used = 0;
	lua_settop(L, 1);
	if (read_each(&r, "", read_any) && is_consistent(&r) && settle(&r))
		return true;
	/* The order of a table is anything: the line may not have come yet. */
	lua_settop(L, 1);
	text_init(&nobody, unread, sizeof(unread));
	r.why = &nobody; /* why not is known already */
	(void)read_each(&r, "", read_line_only);
	line = d->line;
	decision_init(d);
	d->line = line;
	return false;
}
