/*
 * The connection as a script sees it: an object whose fields are made when they
 * are first read. A handle holds its run and the run's generation, so that one
 * kept from an earlier run is refused instead of showing another connection.
 */
#ifndef POLICY_CONN_H
#define POLICY_CONN_H

#include "policy/state.h"

/* Pushes the object of the current run's connection. */
void conn_push(lua_State *L);

/* Lua functions that push the arguments of a hook: conn; conn and failure; conn
 * and summary. */
int lua_connect_arguments(lua_State *L);
int lua_retry_arguments(lua_State *L);
int lua_close_arguments(lua_State *L);

/* conn:log(fields), conn:track(key) (conn_methods.c), conn:terminate{...}
 * (conn_tls.c) */
int lua_conn_log(lua_State *L);
int lua_conn_track(lua_State *L);
int lua_conn_terminate(lua_State *L);

/* The connection of the handle at 1; raises if it is not the current one. */
struct policy_conn *conn_of(lua_State *L);

#endif
