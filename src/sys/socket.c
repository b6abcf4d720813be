#include "sys/socket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel caps it at net.core.somaxconn */
#define ACCEPT_TRIES 16

struct option {
	int level, name, value;
};

/* Inherited by accepted sockets, all of them (inet_csk_clone_lock). */
static const struct option stream_options[] = {
	{ IPPROTO_TCP, TCP_NODELAY, 1 },
	{ SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 60 },
	{ IPPROTO_TCP, TCP_KEEPINTVL, 10 },
	{ IPPROTO_TCP, TCP_KEEPCNT, 6 },
	/* Unacknowledged data on a dead path: give up as keepalive would. */
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 120 * 1000 },
};

static int
set_option(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
		return -errno;
	return 0;
}

static int
set_stream_options(int fd)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < ARRAY_COUNT(stream_options); i++)
		err = set_option(fd, stream_options[i].level,
		    stream_options[i].name, stream_options[i].value);
	return err;
}

static int
open_stream(int domain)
{
	int fd = socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int
bind_and_listen(int fd, const struct addr *a)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, &ss);
	int err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);

	/* Said explicitly: net.ipv6.bindv6only may be set either way. */
	if (err == 0 && a->family == ADDR_IP6)
		err = set_option(
		    fd, IPPROTO_IPV6, IPV6_V6ONLY, addr_is_any(a) ? 0 : 1);
	if (err == 0)
		err = set_stream_options(fd);
	if (err < 0)
		return err;
	if (bind(fd, (struct sockaddr *)&ss, len) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

static int
domain_of(const struct addr *a)
{
	return a->family == ADDR_IP6 ? AF_INET6 : AF_INET;
}

int
socket_listen(const struct addr *a)
{
	int fd = open_stream(domain_of(a)), err;

	if (fd < 0)
		return fd;
	err = bind_and_listen(fd, a);
	if (err < 0) {
		close(fd);
		return err;
	}
	return fd;
}

/* accept(2): these tell of a connection that failed while it waited, not of
 * the listener. */
static bool
is_gone_again(int err)
{
	switch (err) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETDOWN:
	case ENETUNREACH:
		return true;
	default:
		return false;
	}
}

static int
accept_one(int listener, struct addr *peer)
{
	for (int tries = 0; tries < ACCEPT_TRIES; tries++) {
		struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
		socklen_t len = sizeof(ss);
		int fd = accept4(listener, (struct sockaddr *)&ss, &len,
		    SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			*peer = addr_from_sockaddr((struct sockaddr *)&ss);
			return fd;
		}
		if (!is_gone_again(errno))
			return -errno;
	}
	return -ECONNABORTED;
}

int
socket_accept(int listener, struct addr *peer, struct addr *local)
{
	int fd = accept_one(listener, peer), err;

	if (fd < 0 || !local)
		return fd;
	err = socket_local_addr(fd, local);
	if (err < 0) {
		close(fd);
		return err;
	}
	return fd;
}

/* Takes the descriptor. */
static int
start_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	int err;

	/* Interrupted is under way too: POSIX completes it asynchronously. */
	if (connect(fd, sa, len) == 0 || errno == EINPROGRESS || errno == EINTR)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int
socket_connect(const struct addr *a)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, &ss);
	int fd = open_stream(domain_of(a)), err;

	if (fd < 0)
		return fd;
	err = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (err < 0) {
		close(fd);
		return err;
	}
	return start_connect(fd, (struct sockaddr *)&ss, len);
}

void
socket_keep_alive(int fd)
{
	/* A Unix socket has none of these and needs none. */
	(void)set_stream_options(fd);
}

void
socket_set_keepalive(int fd, int idle_seconds)
{
	(void)set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_seconds);
}

void
socket_probe(int fd)
{
	socket_keep_alive(fd);
	(void)set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
	socket_set_keepalive(fd, 1);
}

/* Nothing is under way, yet something waits to be sent. */
static bool
meets_closed_window(int fd, const struct tcp_info *info)
{
	return info->tcpi_unacked == 0 && socket_unsent_bytes(fd) > 0;
}

bool
socket_probe_answered(int fd, unsigned within_ms)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	socket_keep_alive(fd);
	/* No TCP, or closed: that is for others to find out. */
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return true;
	/* Data that came need not have counted as an acknowledgement. */
	return info.tcpi_last_ack_recv < within_ms ||
	       info.tcpi_last_data_recv < within_ms ||
	       meets_closed_window(fd, &info);
}

int
socket_connect_unix(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int fd;

	if (len == 0 || len >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, len);
	fd = open_stream(AF_UNIX);
	if (fd < 0)
		return fd;
	return start_connect(fd, (struct sockaddr *)&un, sizeof(un));
}

int
socket_connect_result(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

int
socket_local_addr(int fd, struct addr *out)
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	*out = addr_from_sockaddr((struct sockaddr *)&ss);
	return 0;
}

static enum io
failure(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK ? IO_AGAIN : IO_ERROR;
}

static enum io
receive(int fd, void *buffer, size_t size, int flags, size_t *count)
{
	ssize_t n;

	*count = 0;
	if (size == 0)
		return IO_OK;
	do
		n = recv(fd, buffer, size, flags);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return failure();
	*count = (size_t)n;
	return n == 0 ? IO_EOF : IO_OK;
}

enum io
socket_peek(int fd, void *buffer, size_t size, size_t *count)
{
	return receive(fd, buffer, size, MSG_PEEK | MSG_DONTWAIT, count);
}

enum io
socket_read(int fd, void *buffer, size_t size, size_t *count)
{
	return receive(fd, buffer, size, MSG_DONTWAIT, count);
}

static enum io
send_with(int fd, const void *data, size_t len, int flags, size_t *count)
{
	ssize_t n;

	*count = 0;
	if (len == 0)
		return IO_OK;
	do
		n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return failure();
	*count = (size_t)n;
	return IO_OK;
}

enum io
socket_write(int fd, const void *data, size_t len, size_t *count)
{
	return send_with(fd, data, len, 0, count);
}

enum io
socket_write_more(int fd, const void *data, size_t len, size_t *count)
{
	return send_with(fd, data, len, MSG_MORE, count);
}

void
socket_set_lowat(int fd, size_t bytes)
{
	int value = bytes < INT32_MAX ? (int)bytes : INT32_MAX;

	/* A hint: without it there are only more wakes. */
	(void)set_option(fd, SOL_SOCKET, SO_RCVLOWAT, value);
}

static size_t
ask_count(int fd, unsigned long request)
{
	int count = 0;

	if (ioctl(fd, request, &count) < 0 || count < 0)
		return 0;
	return (size_t)count;
}

size_t
socket_unsent_bytes(int fd)
{
	return ask_count(fd, SIOCOUTQ);
}

size_t
socket_unread_bytes(int fd)
{
	return ask_count(fd, FIONREAD);
}

void
socket_reset(int fd)
{
	const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}
