/*
 * What the files of the connection's object share: how a field of one of its
 * parts (conn, conn.tls ...) is made.
 */
#ifndef POLICY_CONN_VIEW_H
#define POLICY_CONN_VIEW_H

#include "policy/conn.h"
#include "policy/library.h"

/* What a field is made from. */
struct view {
	struct policy *policy;
	struct policy_run *run;
	struct policy_conn *conn;
};

struct field {
	const char *name;
	size_t len;
	bool keep; /* worth a table to remember it in */
	void (*push)(lua_State *L, const struct view *v);
};

#define CONN_MAX_FIELDS 24

struct part {
	const struct object_type *type;
	const struct field *fields;
	size_t count;
};

#define FIELD(name, push, keep)                    \
	{                                          \
		name, sizeof(name) - 1, keep, push \
	}

/* Pushes a part of the current run's connection. */
void conn_push_handle(lua_State *L, const struct object_type *type);

/* __index of a part, whose first upvalue is its methods. */
int conn_index(lua_State *L, const struct part *part);

/* Defines lua_ID_index for ID_object with its ID_fields. */
#define PART_INDEX(id)                                                        \
	static int lua_##id##_index(lua_State *L)                             \
	{                                                                     \
		static const struct part part = { &id##_object, id##_fields,  \
			ARRAY_COUNT(id##_fields) };                           \
		_Static_assert(                                               \
		    ARRAY_COUNT(id##_fields) <= CONN_MAX_FIELDS, "too many"); \
                                                                              \
		return conn_index(L, &part);                                  \
	}

void conn_push_text(lua_State *L, const char *text); /* NULL is nil */
void conn_set_text(lua_State *L, const char *key, const char *text);
void conn_set_number(lua_State *L, const char *key, double n);

void conn_push_sni(lua_State *L, const struct view *v);

/* A certificate as conn.tls.client shows it (conn_peer.c). */
void conn_push_peer(lua_State *L, const struct peer *peer);

#endif
