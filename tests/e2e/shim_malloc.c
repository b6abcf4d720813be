/*
 * A preloaded allocator that fails one call. The file named by SHIM_COUNT holds
 * "n\n": the n-th allocation after it appears fails; it is then removed, which
 * tells the test. Used by test_15_malloc.py only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t size);

static atomic_long countdown; /* 0: nothing to fail */
static atomic_long calls;

/* Looks for new orders now and then: it must not cost a call each time. */
static void
look(void)
{
	const char *path = getenv("SHIM_COUNT");
	char text[32];
	int fd;
	ssize_t n;

	if (!path)
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return;
	text[n] = '\0';
	unlink(path);
	atomic_store(&countdown, atol(text));
}

static int
must_fail(void)
{
	long left;

	if (atomic_load(&countdown) == 0) {
		int saved = errno;

		if (atomic_fetch_add(&calls, 1) % 4 == 0)
			look();
		errno = saved;
		return 0;
	}
	left = atomic_fetch_sub(&countdown, 1);
	if (left != 1)
		return 0;
	errno = ENOMEM;
	return 1;
}

void *
malloc(size_t size)
{
	return must_fail() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
	return must_fail() ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *p, size_t size)
{
	return must_fail() ? NULL : __libc_realloc(p, size);
}
