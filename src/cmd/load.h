/*
 * Configuration from its source to a snapshot, and its problems to the user.
 */
#ifndef CMD_LOAD_H
#define CMD_LOAD_H

#include "cmd/flags.h"
#include "config/snapshot.h"

/* Whose file is expected. */
enum load_kind { LOAD_ANY, LOAD_EDGE, LOAD_AGENT };

/* NULL with at least one problem. */
struct tree *load_tree(
    const char *path, enum load_kind kind, struct problems *p);

/* Puts those flags that have a path into the tree: they beat the file. 0, or
 * -ENOMEM. */
int load_flags(struct tree *t, const struct flags *f) MUST_CHECK;

/* Takes what load_tree gave for that path. NULL with at least one problem.
 * Relative paths are the file's folder's. */
struct snapshot *load_from_tree(
    struct tree *t, const char *path, struct problems *p);

/* Both at once. */
struct snapshot *load_file(
    const char *path, enum load_kind kind, struct problems *p);

/* Where tls/authority.h keeps the local CA's certificate; cut if it does not
 * fit. */
void local_ca_path(const struct snapshot *s, char *out, size_t size);

/* The folder of a path, "." for a bare name. False when it does not fit. */
bool folder_of(const char *path, char *out, size_t size);

/* Each problem a line on standard error, behind `prefix`. */
void print_problems(const struct problems *p, const char *prefix);

/* Each problem a log line. */
void log_problems(const struct problems *p);
/* Each thing that is odd a log line. */
void log_warnings(const struct snapshot *s);

#endif
