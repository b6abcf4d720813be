/*
 * The table that `decide` is given, and the one that it gives back. Each key
 * has a reader; a key that has none is an error, so that a slip in a test does
 * not test something else.
 */
#include "policy/simulation.h"

#include <errno.h>
#include <stdio.h>

#include "wire/alert.h"

#define MAX_PORT 65535
#define DEFAULT_CLIENT "192.0.2.1"
#define DEFAULT_SERVER "198.51.100.1"

/* ---- values on top of the stack; they live in the table ---- */

static NORETURN void
refuse(lua_State *L, const char *key, const char *why)
{
	state_raise(L, "decide: '%s': %s", key, why);
}

static const char *
text_value(lua_State *L, const char *key)
{
	if (lua_type(L, -1) != LUA_TSTRING)
		refuse(L, key, "a string expected");
	return lua_tostring(L, -1);
}

static double
number_value(lua_State *L, const char *key, double min, double max)
{
	double n = lua_tonumber(L, -1);

	if (lua_type(L, -1) != LUA_TNUMBER || !(n >= min && n <= max))
		refuse(L, key, "a number within bounds expected");
	return n;
}

static bool
bool_value(lua_State *L, const char *key)
{
	if (lua_type(L, -1) != LUA_TBOOLEAN)
		refuse(L, key, "a boolean expected");
	return lua_toboolean(L, -1);
}

static void
table_value(lua_State *L, const char *key)
{
	if (lua_type(L, -1) != LUA_TTABLE)
		refuse(L, key, "a table expected");
}

static void
ip_value(lua_State *L, const char *key, struct addr *out)
{
	uint16_t port = out->port;

	if (addr_parse(span_text(text_value(L, key)), out) < 0)
		refuse(L, key, "an IP address expected");
	out->port = port;
}

static void
port_value(lua_State *L, const char *key, struct addr *out)
{
	out->port = (uint16_t)number_value(L, key, 0, MAX_PORT);
}

static size_t
list_value(lua_State *L, const char *key, const char **out, size_t max)
{
	size_t count;

	table_value(L, key);
	count = lua_objlen(L, -1);
	if (count > max)
		refuse(L, key, "the list is too long");
	for (size_t i = 0; i < count; i++) {
		lua_rawgeti(L, -1, (int)i + 1);
		out[i] = text_value(L, key);
		lua_pop(L, 1);
	}
	return count;
}

/* A number becomes a string inside the table, so that the string lives. */
static const char *
kept_text(lua_State *L, const char *key)
{
	if (lua_type(L, -1) == LUA_TNUMBER) {
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_tostring(L, -1);
		lua_rawset(L, -5);
		lua_pushvalue(L, -2);
		lua_rawget(L, -4);
		lua_replace(L, -2);
	}
	return text_value(L, key);
}

static size_t
pairs_value(
    lua_State *L, const char *key, struct simulated_pair *out, size_t used)
{
	table_value(L, key);
	lua_pushnil(L);
	while (lua_next(L, -2) != 0) {
		if (lua_type(L, -2) != LUA_TSTRING)
			refuse(L, key, "names expected");
		if (used == SIMULATION_MAX_LIST)
			refuse(L, key, "too many");
		out[used].name = lua_tostring(L, -2);
		out[used++].value = kept_text(L, key);
		lua_pop(L, 1);
	}
	return used;
}

/* ---- one reader a key ---- */

typedef void read_key(lua_State *L, struct simulation *s, const char *key);

static void
read_id(lua_State *L, struct simulation *s, const char *key)
{
	snprintf(s->conn.id, sizeof(s->conn.id), "%s", text_value(L, key));
}

static void
read_client_ip(lua_State *L, struct simulation *s, const char *key)
{
	ip_value(L, key, &s->conn.client);
}

static void
read_client_port(lua_State *L, struct simulation *s, const char *key)
{
	port_value(L, key, &s->conn.client);
}

static void
read_peer_ip(lua_State *L, struct simulation *s, const char *key)
{
	ip_value(L, key, &s->conn.peer);
}

static void
read_peer_port(lua_State *L, struct simulation *s, const char *key)
{
	port_value(L, key, &s->conn.peer);
}

static void
read_server_ip(lua_State *L, struct simulation *s, const char *key)
{
	ip_value(L, key, &s->conn.server);
}

static void
read_server_port(lua_State *L, struct simulation *s, const char *key)
{
	port_value(L, key, &s->conn.server);
}

static void
read_listener(lua_State *L, struct simulation *s, const char *key)
{
	s->conn.listener = text_value(L, key);
}

static void
read_ja4(lua_State *L, struct simulation *s, const char *key)
{
	s->conn.ja4 = text_value(L, key);
}

static void
read_now(lua_State *L, struct simulation *s, const char *key)
{
	s->conn.start_wall_us = (int64_t)(number_value(L, key, 0, 1e11) * 1e6);
}

static void
read_geo(lua_State *L, struct simulation *s, const char *key)
{
	s->geo_count = pairs_value(L, key, s->geo, s->geo_count);
}

/* conn.as.number is asked for as "as.number". */
static void
read_as(lua_State *L, struct simulation *s, const char *key)
{
	size_t first = s->geo_count;

	s->geo_count = pairs_value(L, key, s->geo, first);
	for (size_t i = first; i < s->geo_count; i++) {
		if (!strcmp(s->geo[i].name, "number"))
			s->geo[i].name = "as.number";
		else if (!strcmp(s->geo[i].name, "organization"))
			s->geo[i].name = "as.organization";
		else
			refuse(L, key, "number and organization expected");
	}
}

static void
read_active(lua_State *L, struct simulation *s, const char *key)
{
	s->active_count = pairs_value(L, key, s->active, 0);
}

static void
read_down(lua_State *L, struct simulation *s, const char *key)
{
	s->down_count = list_value(L, key, s->down, SIMULATION_MAX_LIST);
}

static void
read_endpoints(lua_State *L, struct simulation *s, const char *key)
{
	s->any_endpoint = false;
	s->endpoint_count =
	    list_value(L, key, s->endpoints, SIMULATION_MAX_LIST);
}

static void
read_certificates(lua_State *L, struct simulation *s, const char *key)
{
	s->any_certificate = false;
	s->certificate_count =
	    list_value(L, key, s->certificates, SIMULATION_MAX_LIST);
}

static void
add_tlv(lua_State *L, struct simulation *s, double type, struct span value)
{
	size_t at = s->proxy.tlvs.len;

	if (!(type >= 0 && type <= 255) ||
	    value.len > sizeof(s->tlvs) - 3 - at || at > sizeof(s->tlvs) - 3)
		refuse(L, "proxy.tlvs", "types to 255 and short strings");
	s->tlvs[at] = (uint8_t)type;
	s->tlvs[at + 1] = (uint8_t)(value.len >> 8);
	s->tlvs[at + 2] = (uint8_t)value.len;
	memcpy(s->tlvs + at + 3, value.data, value.len);
	s->proxy.tlvs.len = at + 3 + value.len;
}

static void
read_tlvs(lua_State *L, struct simulation *s)
{
	s->proxy.tlvs = span_of(s->tlvs, 0);
	lua_getfield(L, -1, "tlvs");
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return;
	}
	table_value(L, "proxy.tlvs");
	lua_pushnil(L);
	while (lua_next(L, -2) != 0) {
		struct span value = span_of(NULL, 0);

		text_value(L, "proxy.tlvs");
		value.data = (const uint8_t *)lua_tolstring(L, -1, &value.len);
		if (lua_type(L, -2) != LUA_TNUMBER)
			refuse(L, "proxy.tlvs", "numbers to strings expected");
		add_tlv(L, s, lua_tonumber(L, -2), value);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void
read_proxy(lua_State *L, struct simulation *s, const char *key)
{
	table_value(L, key);
	lua_getfield(L, -1, "version");
	s->proxy.version = (uint8_t)number_value(L, "proxy.version", 1, 2);
	lua_pop(L, 1);
	read_tlvs(L, s);
	s->conn.proxy = &s->proxy;
}

/* nil when the endpoint has none. */
static const char *
endpoint_text(lua_State *L, const char *field, const char *missing)
{
	const char *text = missing;

	lua_getfield(L, -1, field);
	if (!lua_isnil(L, -1))
		text = text_value(L, field);
	lua_pop(L, 1);
	return text;
}

static void
read_labels(lua_State *L, struct simulation *s)
{
	struct simulated_pair pairs[SIMULATION_MAX_LIST];

	lua_getfield(L, -1, "labels");
	if (!lua_isnil(L, -1)) {
		s->endpoint.label_count =
		    pairs_value(L, "endpoint.labels", pairs, 0);
		for (size_t i = 0; i < s->endpoint.label_count; i++) {
			s->label_names[i] = (char *)(uintptr_t)pairs[i].name;
			s->label_values[i] = (char *)(uintptr_t)pairs[i].value;
		}
		s->endpoint.label_names = s->label_names;
		s->endpoint.label_values = s->label_values;
	}
	lua_pop(L, 1);
}

static void
read_endpoint(lua_State *L, struct simulation *s, const char *key)
{
	struct policy_endpoint *e = &s->endpoint;

	table_value(L, key);
	e->url = endpoint_text(L, "url", "tls://test.example");
	e->domain = endpoint_text(
	    L, "domain", !strncmp(e->url, "tls://", 6) ? e->url + 6 : e->url);
	e->terminate_at = endpoint_text(L, "terminate_at", "upstream");
	e->metadata = endpoint_text(L, "metadata", NULL);
	lua_getfield(L, -1, "online");
	e->online = lua_isnil(L, -1) || bool_value(L, "endpoint.online");
	lua_pop(L, 1);
	lua_getfield(L, -1, "agents");
	if (!lua_isnil(L, -1))
		e->agents =
		    (unsigned)number_value(L, "endpoint.agents", 0, 1000000);
	lua_pop(L, 1);
	read_labels(L, s);
	s->has_endpoint = true;
}

/* A list of addresses, or a word for why there are none. */
static void
read_answer(lua_State *L, struct resolver_answer *a)
{
	if (lua_type(L, -1) == LUA_TSTRING) {
		a->error = !strcmp(lua_tostring(L, -1), "timeout") ? -ETIMEDOUT
								   : -ENOENT;
		return;
	}
	table_value(L, "resolve");
	a->count = lua_objlen(L, -1);
	if (a->count > RESOLVER_MAX_ADDRS)
		refuse(L, "resolve", "at most 32 addresses");
	for (size_t i = 0; i < a->count; i++) {
		lua_rawgeti(L, -1, (int)i + 1);
		ip_value(L, "resolve", &a->addrs[i]);
		lua_pop(L, 1);
	}
}

static void
read_resolve(lua_State *L, struct simulation *s, const char *key)
{
	table_value(L, key);
	lua_pushnil(L);
	while (lua_next(L, -2) != 0) {
		struct simulated_answer *a = &s->answers[s->answer_count];

		if (s->answer_count++ == SIMULATION_MAX_LIST ||
		    lua_type(L, -2) != LUA_TSTRING)
			refuse(L, key, "at most 32 names expected");
		a->name = lua_tostring(L, -2);
		read_answer(L, &a->answer);
		lua_pop(L, 1);
	}
}

/* These are read apart: together they make the hello, or choose the hook. */
static void
read_elsewhere(lua_State *L, struct simulation *s, const char *key)
{
	(void)L, (void)s, (void)key;
}

static const struct {
	const char *key;
	read_key *read;
} readers[] = {
	{ "active", read_active },
	{ "alpn", read_elsewhere },
	{ "as", read_as },
	{ "certificates", read_certificates },
	{ "client_cert", simulation_read_client_cert },
	{ "client_ip", read_client_ip },
	{ "client_port", read_client_port },
	{ "down", read_down },
	{ "endpoint", read_endpoint },
	{ "endpoints", read_endpoints },
	{ "failure", read_elsewhere },
	{ "geo", read_geo },
	{ "id", read_id },
	{ "ja4", read_ja4 },
	{ "listener", read_listener },
	{ "now", read_now },
	{ "peer_ip", read_peer_ip },
	{ "peer_port", read_peer_port },
	{ "proxy", read_proxy },
	{ "resolve", read_resolve },
	{ "server_ip", read_server_ip },
	{ "server_port", read_server_port },
	{ "sni", read_elsewhere },
	{ "summary", read_elsewhere },
	{ "terminated", simulation_read_terminated },
	{ "tls", simulation_read_tls },
};

static void
check_keys(lua_State *L)
{
	lua_pushnil(L);
	while (lua_next(L, 1) != 0) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_COUNT(readers) && !known; i++)
			known = lua_type(L, -2) == LUA_TSTRING &&
				!strcmp(lua_tostring(L, -2), readers[i].key);
		if (!known)
			refuse(L,
			    lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2)
							   : "?",
			    "decide has no such key");
		lua_pop(L, 1);
	}
}

static size_t
read_alpn(lua_State *L, const char **alpn)
{
	size_t count = 0;

	lua_getfield(L, 1, "alpn");
	if (!lua_isnil(L, -1))
		count = list_value(L, "alpn", alpn, SIMULATION_MAX_ALPN);
	lua_pop(L, 1);
	return count;
}

/* A real ClientHello, read by the real parser. */
static void
make_hello(lua_State *L, struct simulation *s)
{
	const char *alpn[SIMULATION_MAX_ALPN];
	size_t alpn_count = read_alpn(L, alpn);
	struct span sni = span_of(NULL, 0);
	struct hello_result result;
	size_t len;

	lua_getfield(L, 1, "sni");
	if (!lua_isnil(L, -1))
		sni = span_text(text_value(L, "sni"));
	lua_pop(L, 1);
	len = hello_build(s->wire, sizeof(s->wire), sni, alpn, alpn_count);
	if (len == 0)
		refuse(L, "alpn", "does not fit into a hello");
	result = hello_parse(span_of(s->wire, len), s->scratch, &s->hello);
	if (result.parse != PARSE_OK)
		refuse(L, "sni", result.why ? result.why : "no host name");
	if (s->hello.has_server_name)
		s->conn.sni = host_span(&s->hello.server_name);
}

static void
set_defaults(struct simulation *s)
{
	int error;

	text_init(&s->logs, s->storage, sizeof(s->storage) / 2);
	text_init(&s->tracked, s->storage + sizeof(s->storage) / 2,
	    sizeof(s->storage) / 2);
	decision_init(&s->outcome.decision);
	snprintf(s->conn.id, sizeof(s->conn.id), "cn_test");
	error = addr_parse(span_text(DEFAULT_CLIENT), &s->conn.client);
	error |= addr_parse(span_text(DEFAULT_SERVER), &s->conn.server);
	ASSERT(error == 0);
	s->conn.client.port = 40000;
	s->conn.server.port = 443;
	s->conn.listener = "test";
	s->conn.start_wall_us = 1700000000000000;
	s->any_endpoint = s->any_certificate = true;
}

void
simulation_read(lua_State *L, struct simulation *s)
{
	set_defaults(s);
	check_keys(L);
	for (size_t i = 0; i < ARRAY_COUNT(readers); i++) {
		lua_getfield(L, 1, readers[i].key);
		if (!lua_isnil(L, -1))
			readers[i].read(L, s, readers[i].key);
		lua_pop(L, 1);
	}
	/* Without a PROXY header the peer is the client. */
	if (s->conn.peer.family == ADDR_NONE)
		s->conn.peer = s->conn.client;
	make_hello(L, s);
	simulation_begin_tls(s);
}

/* ---- the result ---- */

void
simulation_set_text(lua_State *L, const char *key, const char *value)
{
	if (value == NULL)
		return;
	lua_pushstring(L, value);
	lua_setfield(L, -2, key);
}

static void
set_number(lua_State *L, const char *key, double value)
{
	lua_pushnumber(L, value);
	lua_setfield(L, -2, key);
}

static void
set_bool(lua_State *L, const char *key, bool value)
{
	lua_pushboolean(L, value);
	lua_setfield(L, -2, key);
}

/* Lines as a list. */
static void
set_lines(lua_State *L, const char *key, const struct text *lines)
{
	const char *at = lines->data;
	int count = 0;

	lua_newtable(L);
	while (*at) {
		const char *end = strchr(at, '\n');
		size_t len = end ? (size_t)(end - at) : strlen(at);

		lua_pushlstring(L, at, len);
		lua_rawseti(L, -2, ++count);
		at += len + (end != NULL);
	}
	lua_setfield(L, -2, key);
}

static void
set_tags(lua_State *L, const struct decision *d)
{
	lua_newtable(L);
	for (size_t i = 0; i < d->tag_count; i++)
		simulation_set_text(L, d->tags[i].name, d->tags[i].value);
	lua_setfield(L, -2, "tags");
	lua_newtable(L);
	for (size_t i = 0; i < d->tlv_count; i++) {
		push_span(L, d->tlvs[i].value);
		lua_rawseti(L, -2, d->tlvs[i].type);
	}
	lua_setfield(L, -2, "tlvs");
}

static void
set_seconds(lua_State *L, const char *key, int64_t ms)
{
	if (ms >= 0)
		set_number(L, key, (double)ms / 1e3);
}

static void
set_timeouts(lua_State *L, const struct decision *d)
{
	lua_newtable(L);
	set_seconds(L, "connect", d->connect_ms);
	set_seconds(L, "idle", d->idle_ms);
	lua_setfield(L, -2, "timeouts");
	if (d->bytes_per_second >= 0)
		set_number(L, "bytes_per_second", (double)d->bytes_per_second);
}

static void
set_decision(lua_State *L, const struct decision *d)
{
	set_bool(L, "allow", d->allow);
	simulation_set_text(L, "reason", d->reason);
	simulation_set_text(L, "endpoint", d->endpoint);
	simulation_set_text(L, "upstream", d->upstream);
	if (!d->allow) {
		simulation_set_text(L, "close", deny_close_name(d->close));
		simulation_set_text(L, "alert", alert_name(d->alert));
	}
	if (d->proxy_proto >= 0)
		set_number(L, "proxy_proto", d->proxy_proto);
	simulation_set_tls(L, d);
	set_tags(L, d);
	set_timeouts(L, d);
	set_number(L, "line", d->line);
}

static const char *
fault_name(const struct simulation *s)
{
	static const char *const names[] = {
		[POLICY_FAULT_ERROR] = "policy_error",
		[POLICY_FAULT_TIMEOUT] = "policy_timeout",
		[POLICY_FAULT_MEMORY] = "policy_memory",
		[POLICY_FAULT_LIMIT] = "policy_limit",
	};

	return s->waited_too_long ? "policy_timeout" : names[s->outcome.fault];
}

/* What the engine does with a run that failed: deny. */
static void
set_failure(lua_State *L, const struct simulation *s)
{
	set_bool(L, "allow", false);
	simulation_set_text(L, "fault", fault_name(s));
	simulation_set_text(L, "error",
	    s->waited_too_long ? "the wall limit is over" : s->outcome.message);
	set_number(L, "line", s->outcome.line);
}

/* The reason is that of the event; no decision was asked for any more. */
static void
set_failed_handshake(lua_State *L, const struct simulation *s)
{
	set_bool(L, "allow", false);
	simulation_set_text(L, "reason", s->handshake_reason);
	simulation_set_text(L, "detail", s->handshake_detail);
}

void
simulation_push_result(lua_State *L, const struct simulation *s)
{
	lua_newtable(L);
	if (s->handshake_reason)
		set_failed_handshake(L, s);
	else if (s->outcome.state == POLICY_DECIDED)
		set_decision(L, &s->outcome.decision);
	else
		set_failure(L, s);
	set_bool(L, "decided",
	    s->outcome.state == POLICY_DECIDED && s->outcome.decided);
	set_bool(L, "terminated", s->conn.terminated);
	set_lines(L, "logs", &s->logs);
	set_lines(L, "tracked", &s->tracked);
	set_number(L, "waited", (double)s->waited_ms / 1e3);
}
