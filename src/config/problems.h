/*
 * What is wrong with a configuration: every error that was found, in the order
 * found, each with the place where it was written.
 *
 * A hostile file could have a million of them: the first PROBLEMS_KEPT are
 * kept, the rest is counted in one last line. Foreign text in a message is
 * escaped, so that a line stays a line. One thread at a time.
 *
 * Memory that runs out is a problem too: `problems_new` may give NULL, and all
 * functions take that NULL as "one problem: out of memory".
 */
#ifndef CONFIG_PROBLEMS_H
#define CONFIG_PROBLEMS_H

#include <stdarg.h>
#include <stdint.h>

#include "base/compiler.h"

#define PROBLEMS_KEPT 1000

struct origin {
	const char *source;    /* file name, or "--flag"; lives with the tree */
	uint32_t line, column; /* from 1; 0: no position (a flag) */
};

struct problems;

struct problems *problems_new(void);
void problems_free(struct problems *p);
void problems_add(struct problems *p, const struct origin *where,
    const char *format, ...) PRINTF_LIKE(3, 4);
void problems_vadd(struct problems *p, const struct origin *where,
    const char *format, va_list args) PRINTF_LIKE(3, 0);
/* Notes that memory ran out; needs none itself. */
void problems_add_no_memory(struct problems *p);

size_t problems_count(const struct problems *p);
/* "file:line:column: message", "--flag: message"; lives with `p`. */
const char *problems_get(const struct problems *p, size_t index);

#endif
