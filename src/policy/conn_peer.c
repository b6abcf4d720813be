/*
 * conn.tls.client: the verified certificate of the client as a table. Its texts
 * are the peer's and may hold anything; all of it counts for the run's memory.
 */
#include "policy/conn_view.h"

#define STEPS_PER_TEXT 16

static void
set_span(lua_State *L, const char *key, struct span s)
{
	push_span(L, s);
	lua_setfield(L, -2, key);
}

static void
set_list(lua_State *L, const char *key, const struct peer_list *list)
{
	state_spend(L, list->count * STEPS_PER_TEXT);
	lua_createtable(L, (int)list->count, 0);
	for (size_t i = 0; i < list->count; i++) {
		push_span(L, list->items[i]);
		lua_rawseti(L, -2, (int)i + 1);
	}
	lua_setfield(L, -2, key);
}

static void
set_name(lua_State *L, const char *key, const struct peer_name *name)
{
	lua_createtable(L, 0, 8);
	if (name->common_name.len)
		set_span(L, "common_name", name->common_name);
	set_list(L, "country", &name->country);
	set_list(L, "locality", &name->locality);
	set_list(L, "organization", &name->organization);
	set_list(L, "organizational_unit", &name->organizational_unit);
	set_list(L, "postal_code", &name->postal_code);
	set_list(L, "province", &name->province);
	set_list(L, "street_address", &name->street_address);
	lua_setfield(L, -2, key);
}

static void
set_san(lua_State *L, const struct peer *peer)
{
	lua_createtable(L, 0, 4);
	set_list(L, "dns_names", &peer->dns_names);
	set_list(L, "email_addresses", &peer->email_addresses);
	set_list(L, "ip_addresses", &peer->ip_addresses);
	set_list(L, "uris", &peer->uris);
	lua_setfield(L, -2, "san");
}

static void
set_validity(lua_State *L, const struct peer *peer)
{
	lua_createtable(L, 0, 2);
	conn_set_number(L, "not_before", (double)peer->not_before);
	conn_set_number(L, "not_after", (double)peer->not_after);
	lua_setfield(L, -2, "validity");
}

void
conn_push_peer(lua_State *L, const struct peer *peer)
{
	lua_createtable(L, 0, 8);
	set_name(L, "subject", &peer->subject);
	set_name(L, "issuer", &peer->issuer);
	set_san(L, peer);
	set_span(L, "serial_number", peer->serial_number);
	set_validity(L, peer);
	set_span(L, "fingerprint_sha256", peer->fingerprint_sha256);
	set_span(L, "signature_algorithm", peer->signature_algorithm);
	set_span(L, "pem", peer->pem);
}
