/* The version of the library behind this layer, as it says itself. */
#ifndef POLICY_VERSION_H
#define POLICY_VERSION_H

const char *policy_library_version(void); /* "LuaJIT 2.1..." */

#endif
