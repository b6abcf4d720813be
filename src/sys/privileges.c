#include "sys/privileges.h"

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PASSWD_BUFFER_SIZE 65536

int
privileges_raise_descriptors(uint64_t *limit)
{
	struct rlimit now;

	*limit = 0;
	if (getrlimit(RLIMIT_NOFILE, &now) != 0)
		return -errno;
	struct rlimit wanted = { now.rlim_max, now.rlim_max };
	int r = setrlimit(RLIMIT_NOFILE, &wanted) == 0 ? 0 : -errno;

	*limit = r == 0 ? wanted.rlim_cur : now.rlim_cur;
	return r;
}

void
privileges_hide_memory(void)
{
#ifndef SANITIZED
	struct rlimit none = { 0, 0 };

	/* Lowering a limit and clearing the flag need no privilege: neither
	 * can fail but for a programmer's error. */
	ASSERT(setrlimit(RLIMIT_CORE, &none) == 0);
	ASSERT(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
#endif
}

void
privileges_refuse_new(void)
{
	ASSERT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
}

struct account {
	uid_t uid;
	gid_t gid;
};

static int
find_account(const char *user, struct account *out)
{
	struct passwd entry, *found = NULL;
	char *buffer = malloc(PASSWD_BUFFER_SIZE);

	if (buffer == NULL)
		return -ENOMEM;
	int r = getpwnam_r(user, &entry, buffer, PASSWD_BUFFER_SIZE, &found);

	if (found != NULL)
		*out = (struct account){ entry.pw_uid, entry.pw_gid };
	free(buffer);
	if (found == NULL)
		return r == 0 ? -ENOENT : -r;
	return 0;
}

int
privileges_user_exists(const char *user)
{
	struct account ignored;

	return find_account(user, &ignored);
}

static int
give(int fd, const struct account *a)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != 0)
		return -EINVAL;
	return fchown(fd, a->uid, a->gid) == 0 ? 0 : -errno;
}

int
privileges_give_file(const char *path, const char *user)
{
	struct account a;
	int r = find_account(user, &a);

	if (r != 0 || geteuid() != 0)
		return r;
	int fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	r = give(fd, &a);
	close(fd);
	return r;
}

/* Keeps CAP_NET_BIND_SERVICE and nothing else, for the calling thread. glibc
 * has no wrapper and libcap would be a dependency for one call. */
static int
keep_bind_only(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { 0 };

	data[0].effective = data[0].permitted = 1u << CAP_NET_BIND_SERVICE;
	return syscall(SYS_capset, &header, data) == 0 ? 0 : -errno;
}

/* glibc applies each call to all threads. */
static int
change_ids(const char *user, const struct account *a, const char **what)
{
	*what = "set its groups";
	if (initgroups(user, a->gid) != 0)
		return -errno;
	*what = "set its group";
	if (setresgid(a->gid, a->gid, a->gid) != 0)
		return -errno;
	*what = "set its id";
	if (setresuid(a->uid, a->uid, a->uid) != 0)
		return -errno;
	return 0;
}

/* A drop that can be undone is none. */
static int
check_gone(const struct account *a, const char **what)
{
	*what = "give up root";
	if (a->uid != 0 && (setuid(0) == 0 || seteuid(0) == 0))
		return -EPERM;
	if (a->gid != 0 && (setgid(0) == 0 || setegid(0) == 0))
		return -EPERM;
	return 0;
}

static int
become(const char *user, const struct account *a, const char **what)
{
	*what = "keep the right to listen on low ports";
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
		return -errno;
	int r = change_ids(user, a, what);

	if (r != 0)
		return r;
	*what = "keep the right to listen on low ports";
	r = keep_bind_only();
	return r != 0 ? r : check_gone(a, what);
}

int
privileges_become(const char *user, struct text *error)
{
	struct account a;
	const char *what = "find it";
	int r = find_account(user, &a);

	if (r == 0 && geteuid() == a.uid && getuid() == a.uid)
		return 0;
	if (r == 0)
		r = become(user, &a, &what);
	/* A change of user clears or sets this as a sysctl says. */
	if (r == 0)
		privileges_hide_memory();
	if (r == -ENOENT)
		text_addf(error, "edge.user: there is no user \"%s\"", user);
	else if (r == -EPERM && geteuid() != 0)
		text_addf(error,
		    "edge.user: only root can become \"%s\": start as root or "
		    "as that user, or leave the key out",
		    user);
	else if (r != 0)
		text_addf(error, "edge.user: cannot become \"%s\" (%s): %s",
		    user, what, strerror(-r));
	return r;
}
