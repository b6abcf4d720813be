/*
 * What the compiler is asked to check, and assertions.
 *
 * ASSERT is for programmer errors only and stays on in releases: a process that
 * has lost its invariants must not go on moving other people's bytes. Input,
 * however hostile, never reaches an ASSERT.
 */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(at, first) __attribute__((format(printf, at, first)))
#define NORETURN __attribute__((noreturn))
#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The struct that holds `member`, from a pointer to that member. */
#define CONTAINER_OF(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define ASSERT(cond) \
	((cond) ? (void)0 : assert_failed(#cond, __FILE__, __LINE__))

/* Writes where and what to standard error and aborts. Any thread. */
NORETURN void assert_failed(const char *what, const char *file, int line);

/* The answers of I/O functions; a count goes through a pointer beside them. */
enum io { IO_OK, IO_AGAIN, IO_EOF, IO_ERROR };

/* The answers of parsers; the result goes through a pointer beside them. */
enum parse { PARSE_OK, PARSE_MORE, PARSE_BAD };

#endif
