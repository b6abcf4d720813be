/*
 * Where the installed parts of the product are found at run time.
 */
#ifndef SYS_INSTALL_H
#define SYS_INSTALL_H

#include <stddef.h>

/*
 * The folder of the policy library's Lua part: $LUNETTE_LUA if set; else
 * ../share/lunette/lua beside the folder of the running program, so that an
 * installation may be moved as a whole; else where `make install` put it.
 * Writes the path, cut to `size`. Any thread.
 */
void install_lua_folder(char *out, size_t size);

#endif
