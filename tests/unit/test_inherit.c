#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/inherit.h"
#include "sys/socket.h"

/* Where sockets are passed Check must not have files of its own. */
__attribute__((constructor)) static void
keep_descriptors(void)
{
	for (int fd = INHERIT_FIRST_FD; fd < INHERIT_FIRST_FD + 4; fd++)
		if (dup2(STDIN_FILENO, fd) < 0)
			abort();
}

static struct inherit inherit;
static char message[256];

static struct addr
address(const char *text)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(span_text(text), &a), 0);
	return a;
}

static void
set(const char *name, long long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", value);
	ck_assert_int_eq(setenv(name, text, 1), 0);
}

static int
take(void)
{
	struct text error;
	int err;

	text_init(&error, message, sizeof(message));
	err = inherit_take(&inherit, &error);
	ck_assert(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS"));
	ck_assert(!getenv("LISTEN_FDNAMES") && !getenv("LUNETTE_READY_FD"));
	return err;
}

/* At this descriptor, in place of what was there. */
static struct addr
listen_at(int fd, const char *where)
{
	struct addr a = address(where), bound;
	int made = socket_listen(&a);

	ck_assert_int_ge(made, 0);
	ck_assert_int_eq(socket_local_addr(made, &bound), 0);
	if (made == fd)
		return bound;
	ck_assert_int_eq(dup2(made, fd), fd);
	close(made);
	return bound;
}

START_TEST(nothing)
{
	ck_assert_int_eq(take(), 0);
	ck_assert_uint_eq(inherit.count, 0);
	ck_assert_int_eq(inherit.ready_fd, -1);
	inherit_tell_ready(&inherit);
	ck_assert_uint_eq(inherit_close_rest(&inherit), 0);
	inherit_fini(&inherit);
}
END_TEST

/* Another one's, no number, none at all: not for us, and no error. */
START_TEST(not_ours)
{
	static const char *const pids[] = { "1", "", "x", "-5", "0" };

	setenv("LISTEN_PID", pids[_i], 1);
	setenv("LISTEN_FDS", "nonsense", 1);
	ck_assert_int_eq(take(), 0);
	ck_assert_uint_eq(inherit.count, 0);
	inherit_fini(&inherit);
}
END_TEST

START_TEST(wrong_counts)
{
	static const char *const counts[] = { "0", "257", "x", "", "1x", "-1",
		"18446744073709551617" };

	set("LISTEN_PID", getpid());
	setenv("LISTEN_FDS", counts[_i], 1);
	ck_assert_int_eq(take(), -EINVAL);
	ck_assert_str_eq(message, "LISTEN_FDS must be a number from 1 to 256");
	inherit_fini(&inherit);
}
END_TEST

START_TEST(picked_by_address)
{
	struct addr first = listen_at(3, "127.0.0.1");
	struct addr second = listen_at(4, "127.0.0.1");
	struct addr sixth, other = first, any = address("127.0.0.1");

	sixth = listen_at(5, "127.0.0.2");
	set("LISTEN_PID", getpid());
	set("LISTEN_FDS", 3);
	ck_assert_int_eq(take(), 0);
	ck_assert_uint_eq(inherit.count, 3);
	ck_assert(fcntl(3, F_GETFD) & FD_CLOEXEC);
	ck_assert(fcntl(4, F_GETFL) & O_NONBLOCK);
	other.port = sixth.port;
	ck_assert_int_eq(inherit_pick(&inherit, &other), -1);
	ck_assert_int_eq(inherit_pick(&inherit, &sixth), 5);
	ck_assert_int_eq(inherit_pick(&inherit, &sixth), -1);
	ck_assert_int_eq(inherit_pick(&inherit, &second), 4);
	ck_assert_int_eq(inherit_pick(&inherit, &any), 3);
	ck_assert_int_eq(inherit_pick(&inherit, &any), -1);
	ck_assert_uint_eq(inherit_close_rest(&inherit), 0);
	inherit_fini(&inherit);
	for (int fd = 3; fd <= 5; fd++)
		ck_assert_int_eq(close(fd), 0);
}
END_TEST

START_TEST(the_rest_is_closed)
{
	struct addr first = listen_at(3, "127.0.0.1");

	(void)listen_at(4, "127.0.0.1");
	set("LISTEN_PID", getpid());
	set("LISTEN_FDS", 2);
	ck_assert_int_eq(take(), 0);
	ck_assert_int_eq(inherit_pick(&inherit, &first), 3);
	ck_assert_uint_eq(inherit_close_rest(&inherit), 1);
	inherit_fini(&inherit);
	ck_assert_int_eq(close(3), 0);
	ck_assert_int_eq(close(4), -1);
}
END_TEST

/* A UDP socket, one that does not listen, a Unix one, a file, nothing. */
START_TEST(no_listeners)
{
	int fd = -1;

	close(4);
	(void)listen_at(3, "127.0.0.1");
	if (_i == 0)
		fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (_i == 1)
		fd = socket(AF_INET, SOCK_STREAM, 0);
	if (_i == 2)
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (_i == 3)
		fd = open("/dev/null", O_RDONLY);
	if (fd >= 0 && fd != 4) {
		ck_assert_int_eq(dup2(fd, 4), 4);
		close(fd);
	}
	set("LISTEN_PID", getpid());
	set("LISTEN_FDS", 2);
	ck_assert_int_eq(take(), -EBADF);
	ck_assert_str_eq(
	    message, "LISTEN_FDS: descriptor 4 is no listening TCP socket");
	inherit_fini(&inherit);
	ck_assert_int_eq(close(3), -1);
}
END_TEST

/* systemd's BindIPv6Only=ipv6-only would leave all of IPv4 unserved. */
START_TEST(half_of_the_wildcard)
{
	const struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	const int only = _i == 0;
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	if (fd < 0)
		return; /* no IPv6 here */
	ck_assert_int_eq(
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)), 0);
	ck_assert_int_eq(
	    bind(fd, (const struct sockaddr *)&any, sizeof(any)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(dup2(fd, 3), 3);
	close(fd);
	set("LISTEN_PID", getpid());
	set("LISTEN_FDS", 1);
	ck_assert_int_eq(take(), only ? -EAFNOSUPPORT : 0);
	if (only)
		ck_assert_ptr_nonnull(strstr(message, "BindIPv6Only=both"));
	inherit_fini(&inherit);
	close(3);
}
END_TEST

START_TEST(the_word)
{
	int fds[2];
	char byte = 'x';

	ck_assert_int_eq(pipe(fds), 0);
	set("LUNETTE_READY_FD", fds[1]);
	ck_assert_int_eq(take(), 0);
	ck_assert_int_eq(inherit.ready_fd, fds[1]);
	ck_assert(fcntl(fds[1], F_GETFD) & FD_CLOEXEC);
	if (_i == 0)
		inherit_tell_ready(&inherit);
	inherit_fini(&inherit);
	/* The word, or only the end. */
	ck_assert_int_eq(read(fds[0], &byte, 1), _i == 0);
	ck_assert_int_eq(byte, _i == 0 ? '\0' : 'x');
	ck_assert_int_eq(read(fds[0], &byte, 1), 0);
	close(fds[0]);
}
END_TEST

static void
add(TCase *t)
{
	tcase_add_test(t, nothing);
	tcase_add_loop_test(t, not_ours, 0, 5);
	tcase_add_loop_test(t, wrong_counts, 0, 7);
	tcase_add_test(t, picked_by_address);
	tcase_add_test(t, the_rest_is_closed);
	tcase_add_loop_test(t, no_listeners, 0, 5);
	tcase_add_loop_test(t, half_of_the_wildcard, 0, 2);
	tcase_add_loop_test(t, the_word, 0, 2);
}

UNIT_MAIN("inherit", add)
