#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/notify.h"

/* A service manager's socket under an abstract name, so that no file is left.
 */
static int
open_manager(char name[64])
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int len = snprintf(name, 64, "@lunette-notify-%d", (int)getpid());

	ck_assert_int_ge(fd, 0);
	memcpy(a.sun_path + 1, name + 1, (size_t)len - 1);
	ck_assert_int_eq(
	    bind(fd, (struct sockaddr *)&a,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			    (size_t)len)),
	    0);
	return fd;
}

START_TEST(state_reaches_the_manager)
{
	char name[64], got[128];
	int fd = open_manager(name);

	setenv("NOTIFY_SOCKET", name, 1);
	ck_assert_int_eq(notify_send("READY=1"), 0);
	ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	ck_assert_str_eq(got, "READY=1");
	ck_assert_int_eq(notify_reloading(), 0);
	n = recv(fd, got, sizeof(got) - 1, 0);
	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	ck_assert(strstr(got, "RELOADING=1\nMONOTONIC_USEC=") == got);
	close(fd);
}
END_TEST

START_TEST(nobody_asked_is_fine)
{
	unsetenv("NOTIFY_SOCKET");
	ck_assert_int_eq(notify_send("READY=1"), 0);
}
END_TEST

START_TEST(a_wrong_address_is_an_error)
{
	char path[200];

	setenv("NOTIFY_SOCKET", "relative", 1);
	ck_assert_int_eq(notify_send("READY=1"), -EINVAL);
	setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
	ck_assert_int_eq(notify_send("READY=1"), -ENOENT);
	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	setenv("NOTIFY_SOCKET", path, 1);
	ck_assert_int_eq(notify_send("READY=1"), -EINVAL);
}
END_TEST

START_TEST(watchdog_is_half_of_what_is_allowed)
{
	char pid[32];

	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	ck_assert_uint_eq(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	ck_assert_uint_eq(notify_watchdog_ms(), 15000);
	setenv("WATCHDOG_PID", "1", 1);
	ck_assert_uint_eq(notify_watchdog_ms(), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	ck_assert_uint_eq(notify_watchdog_ms(), 15000);
	setenv("WATCHDOG_USEC", "soon", 1);
	ck_assert_uint_eq(notify_watchdog_ms(), 0);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, state_reaches_the_manager);
	tcase_add_test(tcase, nobody_asked_is_fine);
	tcase_add_test(tcase, a_wrong_address_is_an_error);
	tcase_add_test(tcase, watchdog_is_half_of_what_is_allowed);
}

UNIT_MAIN("notify", add_tests)
