#include "sys/inherit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/units.h"
#include "sys/socket.h"

/* A number in the environment; false: there is none, or it is not in range. */
static bool
read_variable(const char *name, uint64_t min, uint64_t max, uint64_t *out)
{
	const char *text = getenv(name);

	return text && number_parse(span_text(text), min, max, out) == 0;
}

static int
option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

static bool
is_tcp_listener(int fd)
{
	int domain = option(fd, SO_DOMAIN);

	return (domain == AF_INET || domain == AF_INET6) &&
	       option(fd, SO_TYPE) == SOCK_STREAM &&
	       option(fd, SO_ACCEPTCONN) == 1;
}

/* [::] is to take IPv4 as well. */
static bool
lacks_ip4(int fd)
{
	struct addr bound;
	int only = 0;
	socklen_t len = sizeof(only);

	return option(fd, SO_DOMAIN) == AF_INET6 &&
	       socket_local_addr(fd, &bound) == 0 && addr_is_any(&bound) &&
	       getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len) == 0 &&
	       only;
}

/* As one that was made here (socket_listen). */
static int
make_ours(int fd)
{
	if (!is_tcp_listener(fd))
		return -EBADF;
	if (lacks_ip4(fd))
		return -EAFNOSUPPORT;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	socket_keep_alive(fd);
	return 0;
}

static int
take_sockets(struct inherit *i, size_t count, struct text *error)
{
	i->fds = calloc(count, sizeof(*i->fds));
	if (!i->fds) {
		text_add(error, "no memory for the sockets that were passed");
		return -ENOMEM;
	}
	for (; i->count < count; i->count++) {
		int fd = INHERIT_FIRST_FD + (int)i->count;
		int err = make_ours(fd);

		if (err < 0) {
			text_addf(error,
			    "LISTEN_FDS: descriptor %d is no listening TCP "
			    "socket%s",
			    fd,
			    err == -EAFNOSUPPORT
				? " for both families (BindIPv6Only=both)"
				: "");
			return err;
		}
		i->fds[i->count] = fd;
	}
	return 0;
}

static int
take_listeners(struct inherit *i, struct text *error)
{
	uint64_t pid, count;

	if (!read_variable("LISTEN_PID", 1, INT32_MAX, &pid) ||
	    pid != (uint64_t)getpid() || !getenv("LISTEN_FDS"))
		return 0;
	if (read_variable("LISTEN_FDS", 1, INHERIT_MAX, &count))
		return take_sockets(i, count, error);
	text_addf(
	    error, "LISTEN_FDS must be a number from 1 to %d", INHERIT_MAX);
	return -EINVAL;
}

/* Whoever set it passed the descriptor with it. */
static void
take_ready_fd(struct inherit *i)
{
	uint64_t fd;

	if (read_variable("LUNETTE_READY_FD", INHERIT_FIRST_FD,
		INHERIT_FIRST_FD + INHERIT_MAX, &fd) &&
	    fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0)
		i->ready_fd = (int)fd;
}

int
inherit_take(struct inherit *i, struct text *error)
{
	int err;

	*i = (struct inherit){ .ready_fd = -1 };
	err = take_listeners(i, error);
	if (err == 0)
		take_ready_fd(i);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	unsetenv("LUNETTE_READY_FD");
	return err;
}

static bool
listens_on(int fd, const struct addr *wanted)
{
	struct addr bound;

	return fd >= 0 && socket_local_addr(fd, &bound) == 0 &&
	       addr_same_ip(&bound, wanted) &&
	       (wanted->port == 0 || wanted->port == bound.port);
}

int
inherit_pick(struct inherit *i, const struct addr *a)
{
	for (size_t n = 0; n < i->count; n++) {
		int fd = i->fds[n];

		if (!listens_on(fd, a))
			continue;
		i->fds[n] = -1;
		return fd;
	}
	return -1;
}

void
inherit_tell_ready(struct inherit *i)
{
	if (i->ready_fd < 0)
		return;
	if (write(i->ready_fd, "", 1) < 0)
		ASSERT(errno != EBADF);
	close(i->ready_fd);
	i->ready_fd = -1;
}

size_t
inherit_close_rest(struct inherit *i)
{
	size_t left = 0;

	for (size_t n = 0; n < i->count; n++) {
		if (i->fds[n] < 0)
			continue;
		close(i->fds[n]);
		left++;
	}
	free(i->fds);
	i->fds = NULL;
	i->count = 0;
	return left;
}

void
inherit_fini(struct inherit *i)
{
	(void)inherit_close_rest(i);
	if (i->ready_fd >= 0)
		close(i->ready_fd);
	i->ready_fd = -1;
}
