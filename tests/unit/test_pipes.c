#include "unit.h"

#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

#include "faults.h"
#include "sys/pipes.h"

FAULT(pipe2);
FAULT(fcntl);
FAULT(calloc);

int __real_pipe2(int *, int);
int __wrap_pipe2(int *, int);
int __real_fcntl(int, int, ...);
int __wrap_fcntl(int, int, ...);
int __real_fcntl64(int, int, ...);
int __wrap_fcntl64(int, int, ...);
void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);

int
__wrap_pipe2(int *fds, int flags)
{
	return fault_hits(&pipe2_fault) ? -1 : __real_pipe2(fds, flags);
}

int
__wrap_fcntl(int fd, int command, ...)
{
	va_list args;
	int value;

	va_start(args, command);
	value = va_arg(args, int);
	va_end(args);
	if (fault_hits(&fcntl_fault))
		return -1;
	return __real_fcntl(fd, command, value);
}

int
__wrap_fcntl64(int fd, int command, ...)
{
	va_list args;
	int value;

	va_start(args, command);
	value = va_arg(args, int);
	va_end(args);
	return __wrap_fcntl(fd, command, value);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	return fault_hits(&calloc_fault) ? NULL : __real_calloc(count, size);
}

static struct pipe_budget budget;

/* The next free descriptor shows whether any were leaked. */
static int
next_fd(void)
{
	int fd = dup(0);

	ck_assert_int_ge(fd, 0);
	close(fd);
	return fd;
}

START_TEST(a_pipe_is_large_and_never_blocks)
{
	static char bytes[PIPE_BYTES];
	struct pipes p;
	struct pipe *pipe;

	pipes_init(&p, &budget);
	pipe = pipes_borrow(&p);
	ck_assert_ptr_nonnull(pipe);
	ck_assert_uint_eq(pipe->bytes, 0);
	ck_assert_int_eq(
	    write(pipe->write_fd, bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_int_eq(write(pipe->write_fd, "x", 1), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert(fcntl(pipe->read_fd, F_GETFD) & FD_CLOEXEC);
	pipe->bytes = sizeof(bytes);
	pipes_return(&p, pipe);
	ck_assert_int_eq(budget.open_count, 0);
	pipes_fini(&p);
}
END_TEST

START_TEST(an_empty_pipe_is_lent_again)
{
	struct pipes p;
	struct pipe *first, *second;
	int read_fd;

	pipes_init(&p, &budget);
	first = pipes_borrow(&p);
	read_fd = first->read_fd;
	pipes_return(&p, first);
	ck_assert_int_eq(budget.open_count, 1);
	second = pipes_borrow(&p);
	ck_assert_int_eq(second->read_fd, read_fd);
	pipes_return(&p, second);
	pipes_fini(&p);
	ck_assert_int_eq(budget.open_count, 0);
}
END_TEST

START_TEST(a_pipe_with_bytes_is_never_lent_again)
{
	struct pipes p;
	struct pipe *pipe;
	char byte;
	int fd = next_fd();

	pipes_init(&p, &budget);
	pipe = pipes_borrow(&p);
	ck_assert_int_eq(write(pipe->write_fd, "secret", 6), 6);
	pipe->bytes = 6;
	pipes_return(&p, pipe);
	ck_assert_int_eq(next_fd(), fd);
	pipe = pipes_borrow(&p);
	ck_assert_int_eq(read(pipe->read_fd, &byte, 1), -1);
	pipes_return(&p, pipe);
	pipes_fini(&p);
}
END_TEST

START_TEST(the_budget_is_one_for_all_workers)
{
	struct pipe *lent[PIPES_MAX];
	struct pipes a, b;
	int fd = next_fd(), got = 0;

	pipes_init(&a, &budget);
	pipes_init(&b, &budget);
	/* The kernel may allow an ordinary user fewer than our budget. */
	while (got < PIPES_MAX && (lent[got] = pipes_borrow(got % 2 ? &a : &b)))
		got++;
	ck_assert_int_gt(got, PIPES_FREE_MAX + 1);
	ck_assert_ptr_null(pipes_borrow(&a));
	ck_assert_ptr_null(pipes_borrow(&b));
	ck_assert_int_eq(budget.open_count, got);
	while (got > 0)
		pipes_return(&a, lent[--got]);
	ck_assert_int_eq(budget.open_count, PIPES_FREE_MAX);
	pipes_fini(&a);
	pipes_fini(&b);
	ck_assert_int_eq(budget.open_count, 0);
	ck_assert_int_eq(next_fd(), fd);
}
END_TEST

START_TEST(what_fails_leaves_nothing_behind)
{
	struct fault *faults[] = { &pipe2_fault, &fcntl_fault, &calloc_fault };
	struct pipes p;
	struct pipe *pipe;
	int fd = next_fd();

	pipes_init(&p, &budget);
	fault_set(faults[_i], 2, EPERM);
	UNDER_FAULTS(pipe = pipes_borrow(&p));
	ck_assert_ptr_nonnull(pipe);
	pipe->bytes = 1;
	pipes_return(&p, pipe);
	UNDER_FAULTS(pipe = pipes_borrow(&p));
	ck_assert_ptr_null(pipe);
	ck_assert_uint_eq(atomic_load(&faults[_i]->hits), 1);
	ck_assert_int_eq(budget.open_count, 0);
	ck_assert_int_eq(next_fd(), fd);
	pipes_fini(&p);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_pipe_is_large_and_never_blocks);
	tcase_add_test(tcase, an_empty_pipe_is_lent_again);
	tcase_add_test(tcase, a_pipe_with_bytes_is_never_lent_again);
	tcase_add_test(tcase, the_budget_is_one_for_all_workers);
	tcase_add_loop_test(tcase, what_fails_leaves_nothing_behind, 0, 3);
}

UNIT_MAIN("pipes", add_tests)
