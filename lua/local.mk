# The part of the policy library that is written in Lua.
luadir = $(pkgdatadir)/lua
dist_lua_DATA = lua/lunette.lua
