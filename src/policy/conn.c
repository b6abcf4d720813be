#include "policy/conn.h"

#include <stdlib.h>

#include "base/nearest.h"
#include "policy/conn_view.h"

struct handle {
	uint32_t magic;
	bool has_cache; /* its environment table is its own */
	struct policy_run *run;
	uint64_t generation;
};

/* ---- making handles ---- */

void
conn_push_handle(lua_State *L, const struct object_type *type)
{
	struct policy_run *run = state_of(L)->run;
	struct handle *h = state_new_object(L, type, sizeof(*h));

	h->run = run;
	h->generation = run->generation;
}

void
conn_push(lua_State *L)
{
	conn_push_handle(L, &conn_object);
}

static struct handle *
check_handle(lua_State *L, const struct object_type *type)
{
	struct handle *h = state_object(L, 1, type);
	struct policy *p = state_of(L);

	if (!p->run || h->run != p->run || h->generation != p->run->generation)
		state_raise(L, "this %s belongs to another run", type->name);
	return h;
}

struct policy_conn *
conn_of(lua_State *L)
{
	return check_handle(L, &conn_object)->run->conn;
}

/* ---- small pushers ---- */

void
conn_push_text(lua_State *L, const char *text)
{
	if (text)
		lua_pushstring(L, text);
	else
		lua_pushnil(L);
}

void
conn_set_text(lua_State *L, const char *key, const char *text)
{
	conn_push_text(L, text);
	lua_setfield(L, -2, key);
}

void
conn_set_number(lua_State *L, const char *key, double n)
{
	lua_pushnumber(L, n);
	lua_setfield(L, -2, key);
}

static void
push_known_ip(lua_State *L, const struct addr *a, char text[ADDR_TEXT_SIZE])
{
	if (!text[0])
		addr_format_ip(a, text);
	lua_pushstring(L, text);
}

/* ---- conn ---- */

void
conn_push_sni(lua_State *L, const struct view *v)
{
	if (v->conn->sni.len)
		push_span(L, v->conn->sni);
	else
		lua_pushnil(L);
}

static void
push_id(lua_State *L, const struct view *v)
{
	lua_pushstring(L, v->conn->id);
}

static void
push_client_ip(lua_State *L, const struct view *v)
{
	push_known_ip(L, &v->conn->client, v->run->ip_text[0]);
}

static void
push_peer_ip(lua_State *L, const struct view *v)
{
	push_known_ip(L, &v->conn->peer, v->run->ip_text[1]);
}

static void
push_server_ip(lua_State *L, const struct view *v)
{
	push_known_ip(L, &v->conn->server, v->run->ip_text[2]);
}

static void
push_client_port(lua_State *L, const struct view *v)
{
	lua_pushinteger(L, v->conn->client.port);
}

static void
push_peer_port(lua_State *L, const struct view *v)
{
	lua_pushinteger(L, v->conn->peer.port);
}

static void
push_server_port(lua_State *L, const struct view *v)
{
	lua_pushinteger(L, v->conn->server.port);
}

static void
push_listener(lua_State *L, const struct view *v)
{
	conn_push_text(L, v->conn->listener);
}

static void
push_ts(lua_State *L, const struct view *v)
{
	lua_createtable(L, 0, 1);
	conn_set_number(L, "start", (double)v->conn->start_wall_us / 1e6);
}

static void
push_proxy(lua_State *L, const struct view *v)
{
	const struct proxy_header *header = v->conn->proxy;
	struct span rest, value;
	uint8_t type;

	if (!header) {
		lua_pushnil(L);
		return;
	}
	lua_createtable(L, 0, 2);
	conn_set_number(L, "version", header->version);
	lua_newtable(L);
	rest = header->tlvs;
	while (proxy_next_tlv(&rest, &type, &value)) {
		push_span(L, value);
		lua_rawseti(L, -2, type);
	}
	lua_setfield(L, -2, "tlvs");
}

static void
push_labels(lua_State *L, const struct policy_endpoint *e)
{
	lua_createtable(L, 0, (int)e->label_count);
	for (size_t i = 0; i < e->label_count; i++)
		conn_set_text(L, e->label_names[i], e->label_values[i]);
}

static void
push_endpoint(lua_State *L, const struct view *v)
{
	const struct policy_host *host = v->policy->settings.host;
	struct policy_endpoint e = { 0 };

	if (!host->endpoint || !host->endpoint(v->conn, &e)) {
		lua_pushnil(L);
		return;
	}
	lua_createtable(L, 0, 7);
	conn_set_text(L, "url", e.url);
	conn_set_text(L, "domain", e.domain);
	conn_set_text(L, "terminate_at", e.terminate_at);
	conn_set_text(L, "metadata", e.metadata);
	conn_set_number(L, "agents", e.agents);
	lua_pushboolean(L, e.online);
	lua_setfield(L, -2, "online");
	push_labels(L, &e);
	lua_setfield(L, -2, "labels");
}

static void
push_tls(lua_State *L, const struct view *v)
{
	(void)v;
	conn_push_handle(L, &tls_object);
}

static void
push_geo(lua_State *L, const struct view *v)
{
	(void)v;
	conn_push_handle(L, &geo_object);
}

static void
push_network(lua_State *L, const struct view *v)
{
	(void)v;
	conn_push_handle(L, &network_object);
}

/* ---- conn.geo and conn.as ---- */

static bool
geo_text(const struct view *v, const char *name, char *out, size_t size)
{
	const struct policy_settings *s = &v->policy->settings;

	return s->host->geo &&
	       s->host->geo(s->host_data, &v->conn->client, name, out, size);
}

static void
push_geo_text(lua_State *L, const struct view *v, const char *name)
{
	char text[256];

	conn_push_text(L, geo_text(v, name, text, sizeof(text)) ? text : NULL);
}

static void
push_geo_number(lua_State *L, const struct view *v, const char *name)
{
	char text[64];

	if (geo_text(v, name, text, sizeof(text)))
		lua_pushnumber(L, strtod(text, NULL));
	else
		lua_pushnil(L);
}

/* X(C name, field of sys/geo.h, pusher) */
#define GEO_TABLE(X)                                       \
	X(country_code, "country_code", push_geo_text)     \
	X(country, "country", push_geo_text)               \
	X(continent_code, "continent_code", push_geo_text) \
	X(continent, "continent", push_geo_text)           \
	X(subdivision, "subdivision", push_geo_text)       \
	X(city, "city", push_geo_text)                     \
	X(latitude, "latitude", push_geo_number)           \
	X(longitude, "longitude", push_geo_number)         \
	X(radius, "radius", push_geo_number)
#define NETWORK_TABLE(X)                        \
	X(number, "as.number", push_geo_number) \
	X(organization, "as.organization", push_geo_text)

#define GEO_PUSHER(id, name, pusher)                                    \
	static void push_where_##id(lua_State *L, const struct view *v) \
	{                                                               \
		pusher(L, v, name);                                     \
	}
GEO_TABLE(GEO_PUSHER)
NETWORK_TABLE(GEO_PUSHER)
#undef GEO_PUSHER

/* ---- the tables of fields; the most read come first ---- */

static const struct field conn_fields[] = {
	FIELD("sni", conn_push_sni, false),
	FIELD("client_ip", push_client_ip, false),
	FIELD("tls", push_tls, true),
	FIELD("id", push_id, false),
	FIELD("client_port", push_client_port, false),
	FIELD("peer_ip", push_peer_ip, false),
	FIELD("peer_port", push_peer_port, false),
	FIELD("server_ip", push_server_ip, false),
	FIELD("server_port", push_server_port, false),
	FIELD("listener", push_listener, false),
	FIELD("endpoint", push_endpoint, true),
	FIELD("geo", push_geo, true),
	FIELD("as", push_network, true),
	FIELD("ts", push_ts, true),
	FIELD("proxy", push_proxy, true),
};

#define GEO_FIELD(id, name, pusher) FIELD(#id, push_where_##id, true),
static const struct field geo_fields[] = { GEO_TABLE(GEO_FIELD) };
static const struct field network_fields[] = { NETWORK_TABLE(GEO_FIELD) };
#undef GEO_FIELD

/* ---- reading a field ---- */

static const struct field *
find_field(const struct part *part, struct span name)
{
	for (size_t i = 0; i < part->count; i++) {
		const struct field *f = &part->fields[i];

		if (f->len == name.len && !memcmp(f->name, name.data, name.len))
			return f;
	}
	return NULL;
}

NORETURN static void
refuse_field(lua_State *L, const struct part *part, struct span name)
{
	const char *names[CONN_MAX_FIELDS];
	const char *near;
	char shown[80];
	struct text t;

	for (size_t i = 0; i < part->count; i++)
		names[i] = part->fields[i].name;
	near = nearest_word(name, names, part->count);
	text_init(&t, shown, sizeof(shown));
	text_add_escaped(&t, name, 32);
	state_raise(L, "%s has no field \"%s\"%s%s%s", part->type->name, shown,
	    near ? " (did you mean \"" : "", near ? near : "",
	    near ? "\"?)" : "");
}

/* Pushes the remembered value if there is one. */
static bool
push_cached(lua_State *L, const struct handle *h)
{
	if (!h->has_cache)
		return false;
	lua_getfenv(L, 1);
	lua_pushvalue(L, 2);
	lua_rawget(L, -2);
	if (!lua_isnil(L, -1))
		return true;
	lua_pop(L, 2);
	return false;
}

/* Remembers the value on top under the key at 2. */
static void
keep_value(lua_State *L, struct handle *h)
{
	if (!h->has_cache) {
		lua_newtable(L);
		lua_setfenv(L, 1);
		h->has_cache = true;
	}
	lua_getfenv(L, 1);
	lua_pushvalue(L, 2);
	lua_pushvalue(L, -3);
	lua_rawset(L, -3);
	lua_pop(L, 1);
}

/* Pushes the method of that name, if there is one. */
static bool
push_method(lua_State *L)
{
	if (!lua_istable(L, lua_upvalueindex(1)))
		return false;
	lua_pushvalue(L, 2);
	lua_rawget(L, lua_upvalueindex(1));
	return !lua_isnil(L, -1);
}

int
conn_index(lua_State *L, const struct part *part)
{
	struct handle *h = check_handle(L, part->type);
	struct view v = { state_of(L), h->run, h->run->conn };
	struct span name = arg_span(L, 2, POLICY_MAX_TEXT);
	const struct field *f = find_field(part, name);

	if (!f) {
		if (push_method(L))
			return 1;
		refuse_field(L, part, name);
	}
	if (f->keep && push_cached(L, h))
		return 1;
	f->push(L, &v);
	if (f->keep && !lua_isnil(L, -1))
		keep_value(L, h);
	return 1;
}

/* ---- the objects ---- */

PART_INDEX(conn)
PART_INDEX(geo)
PART_INDEX(network)

static const luaL_Reg conn_methods[] = {
	{ "log", lua_conn_log },
	{ "track", lua_conn_track },
	{ "terminate", lua_conn_terminate },
	{ NULL, NULL },
};

const struct object_type conn_object = {
	.name = "conn",
	.magic = 0x636f6e6e,
	.methods = conn_methods,
	.index = lua_conn_index,
};
const struct object_type geo_object = {
	.name = "conn.geo",
	.magic = 0x67656f21,
	.index = lua_geo_index,
};
const struct object_type network_object = {
	.name = "conn.as",
	.magic = 0x61736e21,
	.index = lua_network_index,
};

/* ---- arguments of the hooks ---- */

int
lua_connect_arguments(lua_State *L)
{
	conn_push(L);
	return 1;
}

int
lua_retry_arguments(lua_State *L)
{
	const struct policy_failure *f = state_of(L)->run->failure;

	conn_push(L);
	lua_createtable(L, 0, 3);
	conn_set_text(L, "reason", f->reason);
	conn_set_number(L, "attempt", f->attempt);
	conn_set_text(L, "upstream", f->upstream);
	return 2;
}

int
lua_close_arguments(lua_State *L)
{
	const struct policy_summary *s = state_of(L)->summary;

	conn_push(L);
	lua_createtable(L, 0, 7);
	conn_set_text(L, "reason", s->reason);
	conn_set_text(L, "detail", s->detail);
	conn_set_text(L, "endpoint", s->endpoint);
	conn_set_text(L, "upstream", s->upstream);
	conn_set_number(L, "bytes_in", (double)s->bytes_in);
	conn_set_number(L, "bytes_out", (double)s->bytes_out);
	conn_set_number(L, "duration", (double)s->duration_us / 1e6);
	return 2;
}
