#include "config/version.h"

#include <yaml.h>

const char *
config_library_version(void)
{
	return yaml_get_version_string();
}
