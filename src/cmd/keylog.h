/*
 * Writing down the secrets of TLS sessions, as SSLKEYLOGFILE asks: only with a
 * flag of its own, since a variable can be set by whoever starts a shell.
 */
#ifndef CMD_KEYLOG_H
#define CMD_KEYLOG_H

#include "cmd/flags.h"

/* The file of --allow-keylog, NULL without the flag; lives with the
 * environment. False, with a line on standard error, when the flag is given
 * and the variable is not. */
bool keylog_file(const struct flags *f, const char **file);

#endif
