#include "unit.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "faults.h"
#include "sys/loop.h"

FAULT(epoll_ctl);
FAULT(epoll_create1);
FAULT(epoll_wait);

int __real_epoll_ctl(int, int, int, struct epoll_event *);
int __wrap_epoll_ctl(int, int, int, struct epoll_event *);
int __real_epoll_create1(int);
int __wrap_epoll_create1(int);
int __real_epoll_wait(int, struct epoll_event *, int, int);
int __wrap_epoll_wait(int, struct epoll_event *, int, int);

int
__wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
	if (fault_hits(&epoll_ctl_fault))
		return -1;
	return __real_epoll_ctl(epoll_fd, op, fd, event);
}

int
__wrap_epoll_create1(int flags)
{
	if (fault_hits(&epoll_create1_fault))
		return -1;
	return __real_epoll_create1(flags);
}

int
__wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	if (fault_hits(&epoll_wait_fault))
		return -1;
	return __real_epoll_wait(fd, events, max, timeout);
}

/* One end of a socket pair in a loop, the other in our hand. */
struct end {
	struct watch watch;
	int fd, peer;
	unsigned calls;
	uint32_t events;
};

static struct loop loop;
static struct end ends[2];

static void
on_end(struct watch *w, uint32_t events)
{
	struct end *e = CONTAINER_OF(w, struct end, watch);

	e->calls++;
	e->events |= events;
}

static void
open_end(struct end *e)
{
	int fds[2];

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	*e = (struct end){ .fd = fds[0], .peer = fds[1] };
}

static void
close_end(struct end *e)
{
	loop_remove(&loop, &e->watch);
	close(e->fd);
	close(e->peer);
}

START_TEST(readiness_is_told_once)
{
	struct end *e = &ends[0];

	ck_assert_int_eq(loop_init(&loop), 0);
	open_end(e);
	ck_assert_int_eq(loop_add(&loop, &e->watch, e->fd, on_end), 0);
	loop_turn(&loop, -1);
	ck_assert_uint_eq(e->calls, 1);
	ck_assert(e->events == EPOLLOUT);
	loop_turn(&loop, 0);
	ck_assert_uint_eq(e->calls, 1);
	ck_assert_int_eq(write(e->peer, "x", 1), 1);
	loop_turn(&loop, -1);
	ck_assert_uint_eq(e->calls, 2);
	ck_assert(e->events & EPOLLIN);
	loop_turn(&loop, 0);
	ck_assert_uint_eq(e->calls, 2);
	shutdown(e->peer, SHUT_WR);
	loop_turn(&loop, -1);
	ck_assert(e->events & EPOLLRDHUP);
	close_end(e);
	loop_fini(&loop);
}
END_TEST

START_TEST(a_removed_watch_is_silent)
{
	struct end *e = &ends[0];
	struct watch never = { .fd = 0 };

	ck_assert_int_eq(loop_init(&loop), 0);
	open_end(e);
	ck_assert_int_eq(loop_add(&loop, &e->watch, e->fd, on_end), 0);
	loop_remove(&loop, &e->watch);
	loop_remove(&loop, &e->watch);
	loop_remove(&loop, &never);
	loop_turn(&loop, 0);
	ck_assert_uint_eq(e->calls, 0);
	/* The descriptor is still ours and can be added again. */
	ck_assert_int_eq(loop_add(&loop, &e->watch, e->fd, on_end), 0);
	loop_turn(&loop, -1);
	ck_assert_uint_eq(e->calls, 1);
	close_end(e);
	loop_fini(&loop);
}
END_TEST

static struct end *
other_of(struct watch *w)
{
	return w == &ends[0].watch ? &ends[1] : &ends[0];
}

static unsigned calls;

static void
remove_the_other(struct watch *w, uint32_t events)
{
	(void)events;
	calls++;
	loop_remove(&loop, &other_of(w)->watch);
}

START_TEST(an_event_of_the_batch_for_a_removed_watch_is_skipped)
{
	ck_assert_int_eq(loop_init(&loop), 0);
	for (int i = 0; i < 2; i++) {
		open_end(&ends[i]);
		ck_assert_int_eq(loop_add(&loop, &ends[i].watch, ends[i].fd,
				     remove_the_other),
		    0);
	}
	loop_turn(&loop, -1);
	ck_assert_uint_eq(calls, 1);
	close_end(&ends[0]);
	close_end(&ends[1]);
	loop_fini(&loop);
}
END_TEST

static int spare_fd;

static void
add_the_other_again(struct watch *w, uint32_t events)
{
	struct end *other = other_of(w);

	ck_assert(!(events & EPOLLIN) == (calls == 0));
	if (calls++ > 0)
		return;
	loop_remove(&loop, &other->watch);
	ck_assert_int_eq(
	    loop_add(&loop, &other->watch, spare_fd, add_the_other_again), 0);
}

/* What was ready is the old descriptor; only the new one has bytes. */
START_TEST(an_event_of_the_batch_is_not_for_the_new_descriptor)
{
	int fds[2];

	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	spare_fd = fds[0];
	for (int i = 0; i < 2; i++) {
		open_end(&ends[i]);
		ck_assert_int_eq(loop_add(&loop, &ends[i].watch, ends[i].fd,
				     add_the_other_again),
		    0);
	}
	loop_turn(&loop, -1);
	ck_assert_uint_eq(calls, 1);
	loop_turn(&loop, -1);
	ck_assert_uint_eq(calls, 2);
	close_end(&ends[0]);
	close_end(&ends[1]);
	close(fds[0]);
	close(fds[1]);
	loop_fini(&loop);
}
END_TEST

START_TEST(failures_are_reported)
{
	struct end *e = &ends[0];
	int err;

	fault_set(&epoll_create1_fault, 1, EMFILE);
	UNDER_FAULTS(err = loop_init(&loop));
	ck_assert_int_eq(err, -EMFILE);
	loop_fini(&loop);
	ck_assert_int_eq(loop_init(&loop), 0);
	open_end(e);
	fault_set(&epoll_ctl_fault, 2, ENOSPC);
	UNDER_FAULTS(err = loop_add(&loop, &e->watch, e->fd, on_end));
	ck_assert_int_eq(err, 0);
	loop_remove(&loop, &e->watch);
	UNDER_FAULTS(err = loop_add(&loop, &e->watch, e->fd, on_end));
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert_int_eq(loop_add(&loop, &e->watch, -1, on_end), -EBADF);
	fault_set(&epoll_wait_fault, 1, EINTR);
	UNDER_FAULTS(loop_turn(&loop, -1));
	ck_assert_uint_eq(e->calls, 0);
	close_end(e);
	loop_fini(&loop);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, readiness_is_told_once);
	tcase_add_test(tcase, a_removed_watch_is_silent);
	tcase_add_test(
	    tcase, an_event_of_the_batch_for_a_removed_watch_is_skipped);
	tcase_add_test(
	    tcase, an_event_of_the_batch_is_not_for_the_new_descriptor);
	tcase_add_test(tcase, failures_are_reported);
}

UNIT_MAIN("loop", add_tests)
