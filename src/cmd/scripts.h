/*
 * Policy settings for the commands that look at scripts without an edge.
 */
#ifndef CMD_SCRIPTS_H
#define CMD_SCRIPTS_H

#include <limits.h>

#include "config/snapshot.h"
#include "policy/tester.h"

#define SCRIPT_FOLDERS_MAX 64

/* Settings with their own storage for the search path. */
struct script_settings {
	struct policy_settings policy;
	char *path[SCRIPT_FOLDERS_MAX];
	char installed[PATH_MAX];
};

/* The limits that are in force without a configuration. `folders` are looked
 * into before the installed library; lent. False when there are too many. */
bool script_settings_init(struct script_settings *out, char *const *folders,
    size_t folder_count) MUST_CHECK;

/* As a snapshot says; it must outlive `out`. */
bool script_settings_from(
    struct script_settings *out, const struct snapshot *s) MUST_CHECK;

#endif
