/* What this process has leave to do in the file system, without doing it. */
#ifndef CMD_LEAVE_H
#define CMD_LEAVE_H

#include "base/compiler.h"

/* A file that a start would open to append. 0 or -errno. */
int leave_to_append(const char *path) MUST_CHECK;
/* A folder that a start would make, with those above it, or write to. 0 or
 * -errno. */
int leave_to_make(const char *path) MUST_CHECK;

#endif
