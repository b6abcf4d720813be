#include "cmd/scripts.h"

#include "sys/install.h"

bool
script_settings_init(
    struct script_settings *out, char *const *folders, size_t folder_count)
{
	*out = (struct script_settings){
		.policy = {
			.cpu_ms = 50,
			.memory_bytes = 64u << 20,
			.run_memory_bytes = 1u << 20,
		},
	};
	if (folder_count >= SCRIPT_FOLDERS_MAX)
		return false;
	for (size_t i = 0; i < folder_count; i++)
		out->path[i] = folders[i];
	install_lua_folder(out->installed, sizeof(out->installed));
	out->path[folder_count] = out->installed;
	out->policy.path = out->path;
	out->policy.path_count = folder_count + 1;
	return true;
}

bool
script_settings_from(struct script_settings *out, const struct snapshot *s)
{
	if (!script_settings_init(out, s->policy.path, s->policy.path_count))
		return false;
	out->policy.cpu_ms = s->policy.cpu_ms;
	out->policy.memory_bytes = s->policy.memory_bytes;
	out->policy.run_memory_bytes = s->policy.run_memory_bytes;
	out->policy.jit = s->policy.jit;
	return true;
}
