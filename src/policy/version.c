#include "policy/version.h"

#include <luajit.h>

const char *
policy_library_version(void)
{
	return LUAJIT_VERSION;
}
