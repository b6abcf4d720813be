/*
 * Configuration from its source to a snapshot, and its problems to the user.
 */
#ifndef CMD_LOAD_H
#define CMD_LOAD_H

#include "config/snapshot.h"

/* NULL with at least one problem. Relative paths are the file's folder's. */
struct snapshot *load_file(const char *path, struct problems *p);

/* The folder of a path, "." for a bare name. False when it does not fit. */
bool folder_of(const char *path, char *out, size_t size);

/* Each problem a line on standard error, behind `prefix`. */
void print_problems(const struct problems *p, const char *prefix);

/* Each problem a log line. */
void log_problems(const struct problems *p);

#endif
