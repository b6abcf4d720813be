/*
 * The commands and their flags as data: what --help, the shell completion's
 * test and the parser share. No code, so that a test can link it alone.
 */
#ifndef CMD_USAGE_H
#define CMD_USAGE_H

#include "cmd/flags.h"

enum command {
	COMMAND_TLS,
	COMMAND_EDGE,
	COMMAND_AGENT,
	COMMAND_CHECK,
	COMMAND_POLICY_CHECK,
	COMMAND_POLICY_TEST,
	COMMAND_DIAGNOSE,
	COMMAND_VERIFY,
	COMMAND_VERSION,
	COMMAND_COUNT
};

const struct usage *usage_of(enum command c);

/* What `lunette --help` prints. */
void usage_write_overview(struct text *out);

#endif
