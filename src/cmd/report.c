#include "cmd/report.h"

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "policy/version.h"
#include "sys/version.h"
#include "tls/version.h"

#define HEAD_SIZE 2048

int
report_open(const char *path)
{
	/* A pipe without a reader must not hold us up, nor a link lead
	 * elsewhere. */
	int fd = open(path,
	    O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	struct stat st;
	int err = 0;

	if (fd < 0)
		return errno == ELOOP || errno == ENXIO ? -EEXIST : -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = -EEXIST;
	else if (fchmod(fd, 0600) < 0)
		err = -errno;
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

static void
add_head(struct text *out)
{
	struct utsname u;

	text_add(out, "lunette diagnose, ");
	text_add_time(out, clock_wall_us(), 3);
	text_addf(out, "\nlunette %s\n%s\n%s\nc-ares %s\n", PACKAGE_VERSION,
	    policy_library_version(), tls_library_version(),
	    sys_resolver_version());
	if (uname(&u) == 0)
		text_addf(out, "%s %s %s, host %s\n", u.sysname, u.release,
		    u.machine, u.nodename);
	text_add_char(out, '\n');
}

static int
write_all(int fd, struct span s)
{
	while (s.len > 0) {
		ssize_t n = write(fd, s.data, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		s = span_of(s.data + n, s.len - (size_t)n);
	}
	return 0;
}

int
report_write(int fd, struct span lines)
{
	char storage[HEAD_SIZE];
	struct text head;
	int err = ftruncate(fd, 0) < 0 ? -errno : 0;

	text_init(&head, storage, sizeof(storage));
	add_head(&head);
	if (err == 0)
		err = write_all(fd, text_span(&head));
	if (err == 0)
		err = write_all(fd, lines);
	if (close(fd) < 0 && err == 0)
		err = -errno;
	return err;
}
