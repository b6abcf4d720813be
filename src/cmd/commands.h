/*
 * The commands. Each gets its flags already parsed and returns the exit code.
 */
#ifndef CMD_COMMANDS_H
#define CMD_COMMANDS_H

#include "cmd/flags.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

int cmd_tls(const struct flags *f);
int cmd_edge(const struct flags *f);
int cmd_agent(const struct flags *f);
int cmd_check(const struct flags *f);
int cmd_policy_check(const struct flags *f);
int cmd_policy_test(const struct flags *f);
int cmd_diagnose(const struct flags *f);
int cmd_verify(const struct flags *f);
int cmd_version(const struct flags *f);

/* One line on standard error: "lunette: ...". */
void say_error(const char *format, ...) PRINTF_LIKE(1, 2);

/* Text on standard output. EXIT_DONE, or EXIT_FAILED with a line on standard
 * error when it could not be written. */
int print_text(struct span s);

#endif
