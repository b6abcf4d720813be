#include "sys/version.h"

#include "config.h"

#include <ares.h>
#include <stddef.h>

#ifdef HAVE_GEO
#include <maxminddb.h>
#endif

const char *
sys_resolver_version(void)
{
	return ares_version(NULL);
}

const char *
sys_geo_version(void)
{
#ifdef HAVE_GEO
	return MMDB_lib_version();
#else
	return NULL;
#endif
}
