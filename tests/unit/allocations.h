/*
 * Lets one allocation of the code under test fail, by the linker's --wrap; to
 * be included by the test program's main file only, with $(ALLOCATION_WRAPS) in
 * its LDFLAGS. Counted are those between `allocations_begin` and
 * `allocations_end`, since Check itself allocates.
 */
#ifndef TESTS_ALLOCATIONS_H
#define TESTS_ALLOCATIONS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);
int __wrap_asprintf(char **out, const char *format, ...) PRINTF_LIKE(2, 3);

static bool allocations_counted;
static unsigned allocation_count, failing_allocation;

/* The allocation with this number fails; 0: none does. */
static void
allocations_begin(unsigned failing)
{
	allocation_count = 0;
	failing_allocation = failing;
	allocations_counted = true;
}

static unsigned
allocations_end(void)
{
	allocations_counted = false;
	return allocation_count;
}

static bool
allocation_fails(void)
{
	return allocations_counted && ++allocation_count == failing_allocation;
}

void *
__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	return allocation_fails() ? NULL : __real_realloc(old, size);
}

void *
__wrap_reallocarray(void *old, size_t count, size_t size)
{
	return allocation_fails() ? NULL
				  : __real_reallocarray(old, count, size);
}

char *
__wrap_strdup(const char *text)
{
	return allocation_fails() ? NULL : __real_strdup(text);
}

char *
__wrap_strndup(const char *text, size_t len)
{
	return allocation_fails() ? NULL : __real_strndup(text, len);
}

int
__wrap_asprintf(char **out, const char *format, ...)
{
	va_list args;
	int len;

	*out = NULL;
	if (allocation_fails())
		return -1;
	va_start(args, format);
	len = vasprintf(out, format, args);
	va_end(args);
	return len;
}

#endif
