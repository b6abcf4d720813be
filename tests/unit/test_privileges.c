#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/privileges.h"

START_TEST(descriptors_are_raised_to_the_hard_limit)
{
	struct rlimit now;
	uint64_t limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
	now.rlim_cur = 64;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
	ck_assert_int_eq(privileges_raise_descriptors(&limit), 0);
	ck_assert_uint_eq(limit, now.rlim_max);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
	ck_assert_uint_eq(now.rlim_cur, now.rlim_max);
}
END_TEST

START_TEST(no_new_privileges)
{
	privileges_refuse_new();
	ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
}
END_TEST

START_TEST(an_unknown_user_is_named)
{
	char storage[256];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	ck_assert_int_eq(privileges_user_exists("no-such-user-here"), -ENOENT);
	ck_assert_int_eq(
	    privileges_become("no-such-user-here", &error), -ENOENT);
	ck_assert(strstr(error.data, "no-such-user-here") != NULL);
	ck_assert_int_eq(privileges_user_exists("root"), 0);
}
END_TEST

static bool
can_bind_low(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bool done = false;

	/* Which low ports are taken is the machine's business. */
	for (uint16_t port = 1; port < 100 && !done; port++) {
		a.sin_port = htons(port);
		done = bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
	}
	close(fd);
	return done;
}

struct other {
	pthread_barrier_t changed;
	bool can_bind;
	uid_t uid;
};

static void *
other_thread(void *context)
{
	struct other *o = context;

	pthread_barrier_wait(&o->changed);
	o->can_bind = can_bind_low();
	o->uid = getuid();
	return NULL;
}

START_TEST(root_is_gone_and_low_ports_stay_for_the_caller_alone)
{
	char storage[256];
	struct text error;
	struct other other = { .can_bind = true };
	pthread_t thread;

	text_init(&error, storage, sizeof(storage));
	if (getuid() != 0) {
		ck_assert_int_eq(privileges_become("root", &error), -EPERM);
		ck_assert(strstr(error.data, "only root can become") != NULL);
		return;
	}
	ck_assert_int_eq(pthread_barrier_init(&other.changed, NULL, 2), 0);
	ck_assert_int_eq(
	    pthread_create(&thread, NULL, other_thread, &other), 0);
	ck_assert_msg(
	    privileges_become("nobody", &error) == 0, "%s", error.data);
	ck_assert_int_ne(getuid(), 0);
	ck_assert_int_ne(getgid(), 0);
	ck_assert_int_eq(getgroups(0, NULL) <= 1, 1);
	ck_assert_int_ne(setuid(0), 0);
	ck_assert_int_ne(access("/etc/shadow", R_OK), 0);
	ck_assert(can_bind_low());
	pthread_barrier_wait(&other.changed);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(other.uid, getuid());
	ck_assert(!other.can_bind);
	ck_assert_int_eq(privileges_become("nobody", &error), 0);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, descriptors_are_raised_to_the_hard_limit);
	tcase_add_test(tcase, no_new_privileges);
	tcase_add_test(tcase, an_unknown_user_is_named);
	tcase_add_test(
	    tcase, root_is_gone_and_low_ports_stay_for_the_caller_alone);
}

UNIT_MAIN("privileges", add_tests)
