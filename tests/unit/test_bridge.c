#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "faults.h"
#include "sys/bridge.h"

FAULT(socketpair);
FAULT(malloc);

int __real_socketpair(int, int, int, int[2]);
int __wrap_socketpair(int, int, int, int[2]);
void *__real_malloc(size_t);
void *__wrap_malloc(size_t);

int
__wrap_socketpair(int domain, int type, int protocol, int fds[2])
{
	if (fault_hits(&socketpair_fault))
		return -1;
	return __real_socketpair(domain, type, protocol, fds);
}

void *
__wrap_malloc(size_t size)
{
	if (fault_hits(&malloc_fault))
		return NULL;
	return __real_malloc(size);
}

static struct bridge *bridge;
static int fds[2], outer, inner;

static void
setup(void)
{
	ck_assert_int_eq(bridge_open(&bridge, fds), 0);
	outer = fds[BRIDGE_OUTER];
	inner = fds[BRIDGE_INNER];
}

static void
teardown(void)
{
	close(outer);
	close(inner);
	bridge_put(bridge);
	bridge_put(bridge);
}

START_TEST(bytes_cross_both_ways)
{
	char got[8];

	ck_assert_int_eq(write(outer, "there", 5), 5);
	ck_assert_int_eq(read(inner, got, sizeof(got)), 5);
	ck_assert_mem_eq(got, "there", 5);
	ck_assert_int_eq(write(inner, "back", 4), 4);
	ck_assert_int_eq(read(outer, got, sizeof(got)), 4);
	ck_assert_mem_eq(got, "back", 4);
	ck_assert_int_eq(read(outer, got, sizeof(got)), -1);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert(fcntl(inner, F_GETFD) & FD_CLOEXEC);
	ck_assert(fcntl(outer, F_GETFL) & O_NONBLOCK);
}
END_TEST

/* What is not read is bounded, and is a good deal. */
START_TEST(each_way_holds_some_and_no_more)
{
	static char block[4096];
	size_t sum = 0;
	ssize_t n;

	while ((n = write(outer, block, sizeof(block))) > 0)
		sum += (size_t)n;
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_uint_ge(sum, 64 * 1024);
	ck_assert_uint_le(sum, 1024 * 1024);
}
END_TEST

START_TEST(resets_are_noted_by_end)
{
	ck_assert(!bridge_was_reset(bridge, BRIDGE_OUTER));
	ck_assert(!bridge_was_reset(bridge, BRIDGE_INNER));
	bridge_note_reset(bridge, BRIDGE_OUTER);
	ck_assert(bridge_was_reset(bridge, BRIDGE_OUTER));
	ck_assert(!bridge_was_reset(bridge, BRIDGE_INNER));
	bridge_note_reset(bridge, BRIDGE_INNER);
	ck_assert(bridge_was_reset(bridge, BRIDGE_INNER));
}
END_TEST

START_TEST(the_struct_lives_as_long_as_its_last_end)
{
	struct bridge *more = bridge_get(bridge);

	bridge_put(bridge);
	bridge_put(bridge);
	ck_assert(!bridge_was_reset(more, BRIDGE_OUTER));
	bridge_get(more);
	bridge_put(NULL);
}
END_TEST

START_TEST(a_direction_that_ends_is_no_parting)
{
	ck_assert(!bridge_is_parted(inner));
	shutdown(outer, SHUT_WR);
	ck_assert(!bridge_is_parted(inner));
	close(outer);
	ck_assert(bridge_is_parted(inner));
	outer = -1;
}
END_TEST

START_TEST(what_cannot_be_made_leaves_nothing)
{
	struct bridge *none = NULL;
	int error, pair[2];

	fault_set(&socketpair_fault, 1, EMFILE);
	UNDER_FAULTS(error = bridge_open(&none, pair));
	fault_set(&socketpair_fault, 0, 0);
	ck_assert_int_eq(error, -EMFILE);
	fault_set(&malloc_fault, 1, ENOMEM);
	UNDER_FAULTS(error = bridge_open(&none, pair));
	fault_set(&malloc_fault, 0, 0);
	ck_assert_int_eq(error, -ENOMEM);
	ck_assert_ptr_null(none);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, bytes_cross_both_ways);
	tcase_add_test(tcase, each_way_holds_some_and_no_more);
	tcase_add_test(tcase, resets_are_noted_by_end);
	tcase_add_test(tcase, the_struct_lives_as_long_as_its_last_end);
	tcase_add_test(tcase, a_direction_that_ends_is_no_parting);
	tcase_add_test(tcase, what_cannot_be_made_leaves_nothing);
}

UNIT_MAIN("bridge", add_tests)
