#include "web_bench.h"

#include <pthread.h>
#include <sys/eventfd.h>

#include "sys/socket.h"

FAULT(bind);
FAULT(calloc);
FAULT(eventfd);
FAULT(malloc);
FAULT(pthread_create);

/* How far the server's clock is ahead. */
static atomic_ullong ahead_ms;
/* accept fails that often; it runs on the server's thread. */
static atomic_uint failing_accepts;

uint64_t __real_clock_ms(void);
uint64_t __wrap_clock_ms(void);
int __real_accept4(int, struct sockaddr *, socklen_t *, int);
int __wrap_accept4(int, struct sockaddr *, socklen_t *, int);
int __real_bind(int, const struct sockaddr *, socklen_t);
int __wrap_bind(int, const struct sockaddr *, socklen_t);
int __real_eventfd(unsigned, int);
int __wrap_eventfd(unsigned, int);
void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
int __real_pthread_create(
    pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(
    pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

uint64_t
__wrap_clock_ms(void)
{
	return __real_clock_ms() + atomic_load(&ahead_ms);
}

int
__wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	unsigned left = atomic_load(&failing_accepts);

	if (left > 0) {
		atomic_store(&failing_accepts, left - 1);
		errno = EMFILE;
		return -1;
	}
	return __real_accept4(fd, sa, len, flags);
}

int
__wrap_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	return fault_hits(&bind_fault) ? -1 : __real_bind(fd, sa, len);
}

int
__wrap_eventfd(unsigned initial, int flags)
{
	return fault_hits(&eventfd_fault) ? -1 : __real_eventfd(initial, flags);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	return fault_hits(&calloc_fault) ? NULL : __real_calloc(count, size);
}

void *
__wrap_malloc(size_t size)
{
	return fault_hits(&malloc_fault) ? NULL : __real_malloc(size);
}

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
    void *(*run)(void *), void *arg)
{
	if (fault_hits(&pthread_create_fault))
		return EAGAIN;
	return __real_pthread_create(thread, attr, run, arg);
}

static void
advance(uint64_t ms)
{
	atomic_fetch_add(&ahead_ms, ms);
}

START_TEST(a_silent_client_is_cut_off)
{
	struct bench b;
	int silent, partial;

	start(&b);
	silent = http_connect(&b.address);
	partial = http_connect(&b.address);
	http_send(partial, "GET / HTTP/1.1\r\nHos");
	poke(&b); /* both are accepted by now */
	advance(WEB_REQUEST_MS);
	poke(&b);
	ck_assert_uint_eq(http_drain(silent), 0);
	ck_assert_uint_eq(http_drain(partial), 0);
	close(silent);
	close(partial);
	web_server_free(b.server);
}
END_TEST

START_TEST(a_client_that_drips_is_cut_off)
{
	struct bench b;
	int fd;

	start(&b);
	fd = http_connect(&b.address);
	http_send(fd, "GET / HTTP/1.1\r\nHost: here\r\nX: ");
	poke(&b);
	for (int i = 0; i < 10; i++) {
		advance(WEB_REQUEST_MS / 10);
		http_send_bytes(fd, "x", 1);
	}
	ck_assert_uint_eq(http_drain(fd), 0);
	close(fd);
	web_server_free(b.server);
}
END_TEST

START_TEST(a_connection_that_is_used_stays)
{
	struct bench b;
	int fd;

	start(&b);
	fd = http_connect(&b.address);
	for (int i = 0; i < 20; i++) {
		http_send(fd, GET("/"));
		must_answer(fd, "GET / here");
		advance(WEB_REQUEST_MS * 9 / 10);
	}
	advance(WEB_REQUEST_MS);
	poke(&b);
	ck_assert_uint_eq(http_drain(fd), 0);
	close(fd);
	web_server_free(b.server);
}
END_TEST

/* Asks for what does not fit into the kernel's buffers and reads its begin. */
static int
stall(struct bench *b)
{
	int fd = http_connect(&b->address);
	char byte;

	http_send(fd, GET("/big"));
	ck_assert_int_eq(recv(fd, &byte, 1, 0), 1);
	return fd;
}

START_TEST(a_client_that_does_not_read_is_cut_off)
{
	struct bench b;
	char *got;
	int fd;

	start(&b);
	fd = stall(&b);
	/* No memory for a second one of that size. */
	got = http_exchange(&b.address, GET("/big"));
	ck_assert_int_eq(http_status(got), 503);
	free(got);
	advance(WEB_REQUEST_MS);
	poke(&b);
	ck_assert_uint_lt(http_drain(fd), BIG_BYTES);
	close(fd);
	/* What it held is free again. */
	got = http_exchange(&b.address, GET("/big"));
	ck_assert_int_eq(http_status(got), 200);
	free(got);
	web_server_free(b.server);
}
END_TEST

START_TEST(a_hundred_at_once_are_all_served)
{
	enum { CLIENTS = 100 };
	struct bench b;
	int fds[CLIENTS];

	start(&b);
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = http_connect(&b.address);
	for (int i = CLIENTS - 1; i >= 0; i--)
		http_send(fds[i], "GET / HTTP/1.1\r\nHost: here\r\n"
				  "Connection: close\r\n\r\n");
	for (int i = 0; i < CLIENTS; i++) {
		must_answer(fds[i], "GET / here");
		close(fds[i]);
	}
	ck_assert_uint_eq(b.asked, CLIENTS);
	web_server_free(b.server);
}
END_TEST

START_TEST(those_beyond_the_limit_wait_their_turn)
{
	struct bench b;
	int fds[WEB_CONNECTIONS_MAX], late;

	start(&b);
	for (int i = 0; i < WEB_CONNECTIONS_MAX; i++) {
		fds[i] = http_connect(&b.address);
		http_send(fds[i], GET("/"));
		must_answer(fds[i], "GET / here");
	}
	/* All places are taken, by clients that could ask again. */
	late = http_connect(&b.address);
	http_send(late, GET("/late"));
	http_send(fds[1], GET("/again"));
	must_answer(fds[1], "GET /again here");
	ck_assert_uint_eq(b.asked, WEB_CONNECTIONS_MAX + 1);
	close(fds[0]);
	must_answer(late, "GET /late here");
	/* And by time, if nobody goes. */
	close(late);
	late = http_connect(&b.address);
	http_send(late, GET("/later"));
	advance(WEB_REQUEST_MS);
	http_send(fds[1], "G");
	must_answer(late, "GET /later here");
	for (int i = 1; i < WEB_CONNECTIONS_MAX; i++)
		close(fds[i]);
	close(late);
	web_server_free(b.server);
}
END_TEST

START_TEST(it_ends_whatever_clients_do)
{
	struct bench b;
	int fds[20], big;

	start(&b);
	for (size_t i = 0; i < ARRAY_COUNT(fds); i++) {
		fds[i] = http_connect(&b.address);
		if (i % 2 == 0)
			http_send(fds[i], "GET / HTTP/1.1\r\nHo");
	}
	big = stall(&b);
	web_server_free(b.server);
	for (size_t i = 0; i < ARRAY_COUNT(fds); i++) {
		ck_assert_uint_eq(http_drain(fds[i]), 0);
		close(fds[i]);
	}
	ck_assert_uint_lt(http_drain(big), BIG_BYTES);
	close(big);
	web_server_free(NULL);
}
END_TEST

/* A socket that listens on a port with one more above it. */
static int
take_port(struct addr *a)
{
	int fd;

	ck_assert_int_eq(addr_parse(span_text("127.0.0.1"), a), 0);
	fd = socket_listen(a);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(socket_local_addr(fd, a), 0);
	return fd;
}

START_TEST(a_taken_port_leads_to_the_next)
{
	struct bench b = { 0 };
	struct web_settings s = settings_for(&b);
	int taken = take_port(&s.address);

	/* Others may hold the next ones, but hardly nine in a row. */
	ck_assert_int_eq(web_server_new(&s, &b.server), 0);
	web_server_address(b.server, &b.address);
	ck_assert_uint_gt(b.address.port, s.address.port);
	ck_assert_uint_lt(b.address.port, s.address.port + 10);
	poke(&b);
	web_server_free(b.server);
	/* With one to try there is no next. */
	s.ports = 1;
	ck_assert_int_eq(web_server_new(&s, &b.server), -EADDRINUSE);
	close(taken);
}
END_TEST

START_TEST(there_are_ten_ports_and_none_above_the_last)
{
	struct bench b = { 0 };
	struct web_settings s = settings_for(&b);

	s.address.port = 4040;
	fault_set(&bind_fault, 1, EADDRINUSE);
	UNDER_FAULTS(
	    ck_assert_int_eq(web_server_new(&s, &b.server), -EADDRINUSE));
	ck_assert_uint_eq(bind_fault.calls, 10);
	s.address.port = 65534;
	fault_set(&bind_fault, 1, EADDRINUSE);
	UNDER_FAULTS(
	    ck_assert_int_eq(web_server_new(&s, &b.server), -EADDRINUSE));
	ck_assert_uint_eq(bind_fault.calls, 2);
	/* Another error is one, at once. */
	fault_set(&bind_fault, 1, EACCES);
	UNDER_FAULTS(ck_assert_int_eq(web_server_new(&s, &b.server), -EACCES));
	ck_assert_uint_eq(bind_fault.calls, 1);
}
END_TEST

static void
fail_to_start(struct fault *f, int error, int expected)
{
	struct bench b = { 0 };
	struct web_settings s = settings_for(&b);
	int err = 0;

	fault_set(f, 1, error);
	UNDER_FAULTS(err = web_server_new(&s, &b.server));
	ck_assert_int_eq(err, expected);
	fault_set(f, 0, 0);
}

START_TEST(a_failed_start_leaves_nothing)
{
	fail_to_start(&calloc_fault, ENOMEM, -ENOMEM);
	fail_to_start(&eventfd_fault, EMFILE, -EMFILE);
	fail_to_start(&pthread_create_fault, EAGAIN, -EAGAIN);
}
END_TEST

START_TEST(without_memory_it_says_503)
{
	struct bench b;
	char *got;
	int fd;

	start(&b);
	fault_set(&malloc_fault, 1, ENOMEM);
	fd = http_connect(&b.address);
	http_send(fd, GET("/none"));
	got = http_read(fd, false);
	ck_assert_int_eq(http_status(got), 503);
	free(got);
	close(fd);
	got = http_exchange(&b.address, GET("/fault"));
	ck_assert_int_eq(http_status(got), 503);
	free(got);
	poke(&b);
	web_server_free(b.server);
}
END_TEST

START_TEST(accept_that_fails_is_tried_again)
{
	struct bench b;

	start(&b);
	for (unsigned i = 0; i < 3; i++) {
		atomic_store(&failing_accepts, 1);
		poke(&b);
	}
	web_server_free(b.server);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_silent_client_is_cut_off);
	tcase_add_test(tcase, a_client_that_drips_is_cut_off);
	tcase_add_test(tcase, a_connection_that_is_used_stays);
	tcase_add_test(tcase, a_client_that_does_not_read_is_cut_off);
	tcase_add_test(tcase, a_hundred_at_once_are_all_served);
	tcase_add_test(tcase, those_beyond_the_limit_wait_their_turn);
	tcase_add_test(tcase, it_ends_whatever_clients_do);
	tcase_add_test(tcase, a_taken_port_leads_to_the_next);
	tcase_add_test(tcase, there_are_ten_ports_and_none_above_the_last);
	tcase_add_test(tcase, a_failed_start_leaves_nothing);
	tcase_add_test(tcase, without_memory_it_says_503);
	tcase_add_test(tcase, accept_that_fails_is_tried_again);
}

UNIT_MAIN("web_bounds", add_tests)
