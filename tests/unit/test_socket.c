#include "unit.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include "faults.h"
#include "sys/socket.h"

FAULT(socket);
FAULT(setsockopt);
FAULT(bind);
FAULT(listen);
FAULT(accept4);
FAULT(getsockname);
FAULT(connect);
FAULT(recv);
FAULT(send);

#define WRAP(name, parameters, arguments)       \
	int __real_##name parameters;           \
	int __wrap_##name parameters;           \
	int __wrap_##name parameters            \
	{                                       \
		if (fault_hits(&name##_fault))  \
			return -1;              \
		return __real_##name arguments; \
	}

WRAP(socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(setsockopt, (int fd, int level, int name, const void *value, socklen_t n),
    (fd, level, name, value, n))
WRAP(bind, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
WRAP(listen, (int fd, int backlog), (fd, backlog))
WRAP(accept4, (int fd, struct sockaddr *sa, socklen_t *len, int flags),
    (fd, sa, len, flags))
WRAP(getsockname, (int fd, struct sockaddr *sa, socklen_t *len), (fd, sa, len))
WRAP(connect, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))

ssize_t __real_recv(int, void *, size_t, int);
ssize_t __wrap_recv(int, void *, size_t, int);
ssize_t __real_send(int, const void *, size_t, int);
ssize_t __wrap_send(int, const void *, size_t, int);

ssize_t
__wrap_recv(int fd, void *buffer, size_t size, int flags)
{
	return fault_hits(&recv_fault) ? -1
				       : __real_recv(fd, buffer, size, flags);
}

ssize_t
__wrap_send(int fd, const void *data, size_t len, int flags)
{
	return fault_hits(&send_fault) ? -1 : __real_send(fd, data, len, flags);
}

static struct addr
address(const char *text)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(span_text(text), &a), 0);
	return a;
}

static void
wait_for(int fd, short events)
{
	struct pollfd p = { fd, events, 0 };

	ck_assert_int_eq(poll(&p, 1, 30000), 1);
}

static int
next_fd(void)
{
	int fd = dup(0);

	ck_assert_int_ge(fd, 0);
	close(fd);
	return fd;
}

/* A listener and a connection to it, both ends. */
static struct {
	int listener, client, server;
	struct addr at, peer, local;
} net;

static void
open_listener(const char *text)
{
	struct addr a = address(text);

	net.listener = socket_listen(&a);
	ck_assert_int_ge(net.listener, 0);
	ck_assert_int_eq(socket_local_addr(net.listener, &net.at), 0);
	ck_assert_uint_ne(net.at.port, 0);
}

static void
open_connection(const char *text)
{
	struct addr a = address(text);

	a.port = net.at.port;
	net.client = socket_connect(&a);
	ck_assert_int_ge(net.client, 0);
	wait_for(net.client, POLLOUT);
	ck_assert_int_eq(socket_connect_result(net.client), 0);
	wait_for(net.listener, POLLIN);
	net.server = socket_accept(net.listener, &net.peer, &net.local);
	ck_assert_int_ge(net.server, 0);
}

static void
close_all(void)
{
	close(net.client);
	close(net.server);
	close(net.listener);
}

static int
option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static void
check_keep_alive(int fd)
{
	ck_assert_int_ne(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
	ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
	ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 10);
	ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 6);
	ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 120000);
}

static void
check_options(int fd)
{
	ck_assert_int_ne(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

START_TEST(both_ends_have_addresses_and_options)
{
	struct addr client_at, loopback = address(_i ? "::1" : "127.0.0.1");

	open_listener(_i ? "::1" : "127.0.0.1");
	ck_assert_int_eq(
	    socket_accept(net.listener, &net.peer, &net.local), -EAGAIN);
	open_connection(_i ? "::1" : "127.0.0.1");
	ck_assert_int_eq(socket_local_addr(net.client, &client_at), 0);
	ck_assert(addr_same_ip(&net.peer, &loopback));
	ck_assert_uint_eq(net.peer.port, client_at.port);
	ck_assert(addr_same_ip(&net.local, &loopback));
	ck_assert_uint_eq(net.local.port, net.at.port);
	check_options(net.client);
	socket_keep_alive(net.client);
	check_keep_alive(net.client);
	check_options(net.server);
	check_keep_alive(net.server);
	close_all();
}
END_TEST

START_TEST(the_ip6_wildcard_takes_ip4)
{
	struct addr ip4 = address("127.0.0.1"), ip6 = address("::1");

	open_listener("::");
	open_connection("127.0.0.1");
	ck_assert(addr_same_ip(&net.peer, &ip4));
	ck_assert(addr_same_ip(&net.local, &ip4));
	close(net.client);
	close(net.server);
	open_connection("::1");
	ck_assert(addr_same_ip(&net.peer, &ip6));
	close_all();
}
END_TEST

START_TEST(a_port_in_use_is_told)
{
	open_listener("127.0.0.1");
	ck_assert_int_eq(socket_listen(&net.at), -EADDRINUSE);
	struct addr elsewhere = address("192.0.2.1");
	ck_assert_int_eq(socket_listen(&elsewhere), -EADDRNOTAVAIL);
	close(net.listener);
}
END_TEST

START_TEST(a_refused_connection_is_told)
{
	int fd;

	open_listener("127.0.0.1");
	close(net.listener);
	fd = socket_connect(&net.at);
	if (fd < 0) {
		ck_assert_int_eq(fd, -ECONNREFUSED);
		return;
	}
	wait_for(fd, POLLOUT);
	ck_assert_int_eq(socket_connect_result(fd), -ECONNREFUSED);
	close(fd);
	ck_assert_int_eq(socket_connect_result(-1), -EBADF);
}
END_TEST

START_TEST(bytes_go_through)
{
	char buffer[16];
	size_t n;

	open_listener("127.0.0.1");
	open_connection("127.0.0.1");
	ck_assert_int_eq(socket_read(net.server, buffer, 16, &n), IO_AGAIN);
	ck_assert_int_eq(socket_write(net.client, "hello", 5, &n), IO_OK);
	ck_assert_uint_eq(n, 5);
	wait_for(net.server, POLLIN);
	ck_assert_uint_eq(socket_unread_bytes(net.server), 5);
	ck_assert_int_eq(socket_peek(net.server, buffer, 16, &n), IO_OK);
	ck_assert_uint_eq(n, 5);
	ck_assert_int_eq(socket_read(net.server, buffer, 2, &n), IO_OK);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_eq(socket_read(net.server, buffer, 0, &n), IO_OK);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(socket_write(net.server, buffer, 0, &n), IO_OK);
	ck_assert_int_eq(socket_read(net.server, buffer, 16, &n), IO_OK);
	ck_assert(n == 3 && !memcmp(buffer, "llo", 3));
	shutdown(net.client, SHUT_WR);
	wait_for(net.server, POLLIN);
	ck_assert_int_eq(socket_peek(net.server, buffer, 16, &n), IO_EOF);
	ck_assert_int_eq(socket_read(net.server, buffer, 16, &n), IO_EOF);
	ck_assert_uint_eq(n, 0);
	close_all();
}
END_TEST

START_TEST(a_full_socket_says_again_and_counts)
{
	static char bytes[1 << 16];
	size_t n, sent = 0;
	enum io io;

	open_listener("127.0.0.1");
	open_connection("127.0.0.1");
	while (
	    (io = socket_write(net.client, bytes, sizeof(bytes), &n)) == IO_OK)
		sent += n;
	ck_assert_int_eq(io, IO_AGAIN);
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_gt(socket_unsent_bytes(net.client), 0);
	ck_assert_uint_le(socket_unsent_bytes(net.client), sent);
	ck_assert_uint_eq(socket_unsent_bytes(-1), 0);
	close_all();
}
END_TEST

/* Since when nothing has come of the server. */
static unsigned
silence_ms(void)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	ck_assert_int_eq(
	    getsockopt(net.client, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info.tcpi_last_ack_recv;
}

static void
wait_for_silence(unsigned ms)
{
	while (silence_ms() < ms)
		usleep(1000);
}

static int
option_of(int fd, int name)
{
	int value;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, name, &value, &len), 0);
	return value;
}

START_TEST(an_idle_peer_answers_a_probe)
{
	open_listener("127.0.0.1");
	open_connection("127.0.0.1");
	wait_for_silence(100);
	ck_assert(!socket_probe_answered(net.client, 100));
	socket_probe(net.client);
	while (silence_ms() >= 100)
		usleep(1000);
	ck_assert(socket_probe_answered(net.client, 5000));
	ck_assert_int_eq(option_of(net.client, TCP_KEEPIDLE), 60);
	ck_assert_int_eq(option_of(net.client, TCP_KEEPINTVL), 10);
	close_all();
}
END_TEST

START_TEST(a_closed_window_is_a_sign_of_life)
{
	static const uint8_t block[65536];
	size_t n;

	open_listener("127.0.0.1");
	open_connection("127.0.0.1");
	/* The kernel's own probes of the window come less and less often. */
	while (silence_ms() < 300)
		(void)socket_write(net.client, block, sizeof(block), &n);
	ck_assert(socket_probe_answered(net.client, 300));
	close_all();
}
END_TEST

START_TEST(what_is_no_connection_is_not_silent)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	socket_probe(fds[0]);
	ck_assert(socket_probe_answered(fds[0], 0));
	ck_assert(socket_probe_answered(-1, 0));
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* Were SIGPIPE raised, Check would report the signal. */
START_TEST(a_reset_is_an_error_and_no_signal)
{
	char buffer[16];
	size_t n;

	open_listener("127.0.0.1");
	open_connection("127.0.0.1");
	socket_reset(net.client);
	wait_for(net.server, POLLIN);
	ck_assert_int_eq(socket_read(net.server, buffer, 16, &n), IO_ERROR);
	ck_assert_int_eq(errno, ECONNRESET);
	ck_assert_int_eq(socket_write(net.server, "x", 1, &n), IO_ERROR);
	ck_assert_int_eq(errno, EPIPE);
	close(net.server);
	close(net.listener);
}
END_TEST

START_TEST(few_bytes_do_not_wake_below_the_mark)
{
	struct pollfd p;
	size_t n;

	open_listener("127.0.0.1");
	open_connection("127.0.0.1");
	socket_set_lowat(net.server, 10);
	ck_assert_int_eq(socket_write(net.client, "123456789", 9, &n), IO_OK);
	p = (struct pollfd){ net.server, POLLIN, 0 };
	/* On loopback what was sent has arrived when send returns. */
	ck_assert_uint_eq(socket_unread_bytes(net.server), 9);
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	ck_assert_int_eq(socket_write(net.client, "0", 1, &n), IO_OK);
	wait_for(net.server, POLLIN);
	socket_set_lowat(net.server, 1);
	ck_assert_int_eq(option(net.server, SOL_SOCKET, SO_RCVLOWAT), 1);
	socket_set_lowat(net.server, SIZE_MAX);
	close_all();
}
END_TEST

START_TEST(unix_sockets_connect)
{
	char folder[] = "socket-test-XXXXXX";
	char path[64], too_long[200];
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;
	struct addr a;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	memcpy(un.sun_path, path, strlen(path));
	ck_assert_int_eq(socket_connect_unix(path), -ENOENT);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	fd = socket_connect_unix(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(socket_connect_result(fd), 0);
	ck_assert_int_eq(socket_local_addr(fd, &a), 0);
	ck_assert_int_eq(a.family, ADDR_UNIX);
	memset(too_long, 'x', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = '\0';
	ck_assert_int_eq(socket_connect_unix(too_long), -ENAMETOOLONG);
	ck_assert_int_eq(socket_connect_unix(""), -ENAMETOOLONG);
	close(fd);
	close(listener);
	unlink(path);
	rmdir(folder);
}
END_TEST

static struct fault *const opening_faults[] = { &socket_fault,
	&setsockopt_fault, &bind_fault, &listen_fault, &connect_fault };

START_TEST(a_failed_opening_leaks_nothing)
{
	struct addr a = address("::1");
	struct fault *f = opening_faults[_i];
	int before, fd;

	open_listener("::1");
	before = next_fd();
	for (unsigned every = 1; every <= 8; every++) {
		fault_set(f, every, ENOBUFS);
		UNDER_FAULTS(fd = socket_listen(&a));
		ck_assert(fd >= 0 || fd == -ENOBUFS);
		if (fd >= 0)
			close(fd);
		UNDER_FAULTS(fd = socket_connect(&net.at));
		ck_assert(fd >= 0 || fd == -ENOBUFS);
		if (fd >= 0)
			close(fd);
		if (every == 1)
			ck_assert_uint_gt(atomic_load(&f->hits), 0);
		ck_assert_int_eq(next_fd(), before);
	}
	close(net.listener);
}
END_TEST

START_TEST(a_failed_accept_says_why_and_leaks_nothing)
{
	int fd, before;

	open_listener("127.0.0.1");
	before = next_fd();
	fault_set(&accept4_fault, 1, EMFILE);
	UNDER_FAULTS(fd = socket_accept(net.listener, &net.peer, &net.local));
	ck_assert_int_eq(fd, -EMFILE);
	/* A connection that is gone again costs the next one nothing... */
	open_connection("127.0.0.1");
	int other = socket_connect(&net.at);
	wait_for(net.listener, POLLIN);
	fault_set(&accept4_fault, 2, ECONNABORTED);
	atomic_store(&accept4_fault.calls, 1);
	UNDER_FAULTS(fd = socket_accept(net.listener, &net.peer, &net.local));
	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(atomic_load(&accept4_fault.hits), 1);
	close(fd);
	/* ... but no row of them keeps the caller for ever. */
	fault_set(&accept4_fault, 1, EPROTO);
	UNDER_FAULTS(fd = socket_accept(net.listener, &net.peer, &net.local));
	ck_assert_int_eq(fd, -ECONNABORTED);
	close(other);
	close(net.client);
	close(net.server);
	ck_assert_int_eq(next_fd(), before);
	close(net.listener);
}
END_TEST

START_TEST(an_accepted_socket_without_a_name_is_closed)
{
	int fd, before, client;

	open_listener("127.0.0.1");
	client = socket_connect(&net.at);
	wait_for(net.listener, POLLIN);
	before = next_fd();
	fault_set(&getsockname_fault, 1, ENOBUFS);
	UNDER_FAULTS(fd = socket_accept(net.listener, &net.peer, &net.local));
	ck_assert_int_eq(fd, -ENOBUFS);
	ck_assert_int_eq(next_fd(), before);
	close(client);
	close(net.listener);
}
END_TEST

START_TEST(interrupted_calls_go_on)
{
	char buffer[4];
	size_t n;
	enum io io;

	open_listener("127.0.0.1");
	open_connection("127.0.0.1");
	fault_set(&send_fault, 2, EINTR);
	atomic_store(&send_fault.calls, 1);
	UNDER_FAULTS(io = socket_write(net.client, "abc", 3, &n));
	ck_assert_int_eq(io, IO_OK);
	wait_for(net.server, POLLIN);
	fault_set(&recv_fault, 2, EINTR);
	atomic_store(&recv_fault.calls, 1);
	UNDER_FAULTS(io = socket_read(net.server, buffer, 4, &n));
	ck_assert_int_eq(io, IO_OK);
	ck_assert_uint_eq(n, 3);
	fault_set(&recv_fault, 1, ETIMEDOUT);
	UNDER_FAULTS(io = socket_peek(net.server, buffer, 4, &n));
	ck_assert_int_eq(io, IO_ERROR);
	close_all();
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, both_ends_have_addresses_and_options, 0, 2);
	tcase_add_test(tcase, the_ip6_wildcard_takes_ip4);
	tcase_add_test(tcase, a_port_in_use_is_told);
	tcase_add_test(tcase, a_refused_connection_is_told);
	tcase_add_test(tcase, bytes_go_through);
	tcase_add_test(tcase, a_full_socket_says_again_and_counts);
	tcase_add_test(tcase, an_idle_peer_answers_a_probe);
	tcase_add_test(tcase, a_closed_window_is_a_sign_of_life);
	tcase_add_test(tcase, what_is_no_connection_is_not_silent);
	tcase_add_test(tcase, a_reset_is_an_error_and_no_signal);
	tcase_add_test(tcase, few_bytes_do_not_wake_below_the_mark);
	tcase_add_test(tcase, unix_sockets_connect);
	tcase_add_loop_test(tcase, a_failed_opening_leaks_nothing, 0,
	    ARRAY_COUNT(opening_faults));
	tcase_add_test(tcase, a_failed_accept_says_why_and_leaks_nothing);
	tcase_add_test(tcase, an_accepted_socket_without_a_name_is_closed);
	tcase_add_test(tcase, interrupted_calls_go_on);
}

UNIT_MAIN("socket", add_tests)
