/* The file of lunette diagnose --write-report. */
#ifndef CMD_REPORT_H
#define CMD_REPORT_H

#include "base/text.h"

/* Opens it at once, so that nobody waits for nothing: mode 0600, and what a
 * regular file held is gone once the report is written. A descriptor, or
 * -errno (-EEXIST: there is something that is no regular file). */
int report_open(const char *path) MUST_CHECK;

/* Writes versions of what runs here, and the lines. Takes the descriptor. 0 or
 * -errno. */
int report_write(int fd, struct span lines) MUST_CHECK;

#endif
