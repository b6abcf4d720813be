#include "cmd/commands.h"

#include "config.h"

#include "config/version.h"
#include "policy/version.h"
#include "sys/version.h"
#include "tls/version.h"

int
cmd_version(const struct flags *f)
{
	const char *geo = sys_geo_version();
	char storage[512];
	struct text out;

	(void)f;
	text_init(&out, storage, sizeof(storage));
	text_addf(&out, "lunette %s\n", PACKAGE_VERSION);
	text_addf(&out, "%s\n", policy_library_version());
	text_addf(&out, "%s\n", tls_library_version());
	text_addf(&out, "libyaml %s\n", config_library_version());
	text_addf(&out, "c-ares %s\n", sys_resolver_version());
	text_addf(
	    &out, "libmaxminddb %s\n", geo == NULL ? "not built in" : geo);
	return print_text(text_span(&out));
}
