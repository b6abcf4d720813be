#include "tunnel/outbound.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine_bench.h"
#include "unit.h"

/* One attempt with all that it runs in; time passes only when it is told to. */
struct scene {
	struct loop loop;
	struct timeouts timeouts;
	struct outbound_host host;
	int listener;
	uint16_t port;
	unsigned called;
	int fd;
	struct addr reached;
	char why[128];
};

static void
scene_init(struct scene *st)
{
	*st = (struct scene){ .fd = -1 };
	ck_assert_int_eq(loop_init(&st->loop), 0);
	timeouts_init(&st->timeouts, 1000);
	st->host = (struct outbound_host){
		.loop = &st->loop,
		.timeouts = &st->timeouts,
	};
	st->listener = socket_on_any_port(&st->port);
}

static void
scene_fini(struct scene *st)
{
	if (st->fd >= 0)
		close(st->fd);
	close(st->listener);
	loop_fini(&st->loop);
}

static void
on_done(void *owner, int fd, const struct addr *reached, const char *why)
{
	struct scene *st = owner;

	st->called++;
	st->fd = fd;
	st->reached = *reached;
	snprintf(st->why, sizeof(st->why), "%s", why ? why : "");
}

static void
turn(struct scene *st, int wait_ms)
{
	loop_turn(&st->loop, wait_ms);
	timeouts_run(&st->timeouts, st->timeouts.now_ms + 16);
}

static void
until_called(struct scene *st)
{
	for (int i = 0; i < 5000 && st->called == 0; i++)
		turn(st, 1);
	ck_assert_uint_eq(st->called, 1);
}

static struct outbound_target
target(const char *address)
{
	struct outbound_target t = { .timeout_ms = 1000000 };

	ck_assert_int_eq(
	    upstream_address_parse(span_text(address), &t.address, NULL), 0);
	return t;
}

static struct outbound_target
target_here(const struct scene *st)
{
	char address[64];

	snprintf(address, sizeof(address), "127.0.0.1:%u", st->port);
	return target(address);
}

START_TEST(straight)
{
	struct scene st;
	struct outbound_target t;

	scene_init(&st);
	t = target_here(&st);
	ck_assert_ptr_nonnull(outbound_start(&st.host, &t, NULL, on_done, &st));
	ck_assert_uint_eq(st.called, 0);
	until_called(&st);
	ck_assert_int_ge(st.fd, 0);
	ck_assert_uint_eq(st.reached.port, st.port);
	close(accept_from(st.listener));
	scene_fini(&st);
}
END_TEST

START_TEST(refused)
{
	struct scene st;
	struct outbound_target t;

	scene_init(&st);
	t = target_here(&st);
	close(st.listener);
	ck_assert_ptr_nonnull(outbound_start(&st.host, &t, NULL, on_done, &st));
	until_called(&st);
	ck_assert_int_eq(st.fd, -ECONNREFUSED);
	ck_assert_str_eq(st.why, "cannot connect");
	st.listener = socket_on_any_port(&st.port);
	scene_fini(&st);
}
END_TEST

static struct proxy_url
proxy_here(const struct scene *st, const char *before)
{
	char url[128];
	struct proxy_url p;
	const char *why;

	snprintf(url, sizeof(url), "%s127.0.0.1:%u", before, st->port);
	ck_assert_int_eq(proxy_url_parse(span_text(url), &p, &why), 0);
	return p;
}

/* The proxy's part: what it hears, and what it says, byte by byte. */
struct exchange {
	const char *hears;
	size_t hears_len; /* 0: as a text */
	const char *says;
	size_t says_len; /* 0: as a text */
};

static void
play(struct scene *st, int fd, const struct exchange *e)
{
	size_t hears = e->hears_len ? e->hears_len : strlen(e->hears);
	size_t says = e->says_len ? e->says_len : strlen(e->says);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char heard[1024];

	for (int i = 0; i < 5000 && poll(&p, 1, 0) == 0; i++)
		turn(st, 1);
	receive_bytes(fd, heard, hears);
	ck_assert_mem_eq(heard, e->hears, hears);
	for (size_t i = 0; i < says; i++) {
		send_bytes(fd, e->says + i, 1);
		turn(st, 1);
		ck_assert_msg(st->called == 0 || i + 1 == says || st->fd < 0,
		    "called after %zu of %zu", i, says);
	}
}

static void
through(const char *before, const char *address,
    const struct exchange *exchanges, size_t count, int error, const char *why)
{
	struct scene st;
	struct outbound_target t = target(address);
	struct proxy_url p;
	int fd;

	scene_init(&st);
	p = proxy_here(&st, before);
	ck_assert_ptr_nonnull(outbound_start(&st.host, &t, &p, on_done, &st));
	fd = accept_from(st.listener);
	for (size_t i = 0; i < count; i++)
		play(&st, fd, &exchanges[i]);
	until_called(&st);
	if (error == 0) {
		ck_assert_int_ge(st.fd, 0);
		ck_assert_int_eq(st.reached.family, ADDR_NONE);
		send_text(st.fd, "ours");
		receive_bytes(fd, (char[4]){ 0 }, 4);
	} else {
		ck_assert_int_eq(st.fd, error);
		ck_assert_str_eq(st.why, why);
	}
	close(fd);
	scene_fini(&st);
}

#define ASKED                                                       \
	"CONNECT edge.test:443 HTTP/1.1\r\nHost: edge.test:443\r\n" \
	"\r\n"

static const struct {
	const char *says;
	int error;
	const char *why;
} answers[] = {
	{ "HTTP/1.1 200 Connection established\r\n\r\n", 0, "" },
	{ "HTTP/1.0 204 x\r\nVia: 1.1 p\r\n\r\n", 0, "" },
	{ "HTTP/1.1 403 Forbidden\r\n\r\n", -ECONNREFUSED,
	    "the proxy refuses to connect" },
	{ "HTTP/1.1 407 Login\r\n\r\n", -EACCES,
	    "the proxy wants other credentials" },
	{ "SSH-2.0-OpenSSH\r\n\r\n", -EPROTO, "the proxy does not speak HTTP" },
	{ "HTTP\r\n\r\n", -EPROTO, "the proxy does not speak HTTP" },
};

START_TEST(by_http)
{
	struct exchange e = { .hears = ASKED, .says = answers[_i].says };

	through("http://", "edge.test:443", &e, 1, answers[_i].error,
	    answers[_i].why);
}
END_TEST

START_TEST(by_http_with_credentials)
{
	struct exchange e = {
		.hears = "CONNECT [2001:db8::1]:443 HTTP/1.1\r\n"
			 "Host: [2001:db8::1]:443\r\n"
			 "Proxy-Authorization: Basic bWU6YSBiOmM=\r\n\r\n",
		.says = "HTTP/1.1 200 OK\r\n\r\n",
	};

	through("http://me:a%20b%3Ac@", "[2001:db8::1]:443", &e, 1, 0, "");
}
END_TEST

/* What comes right behind the answer would be lost: it is refused. */
START_TEST(bytes_behind_the_answer)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\n\r\nmore";
	struct scene st;
	struct outbound_target t = target("edge.test:443");
	struct proxy_url p;
	int fd;

	scene_init(&st);
	p = proxy_here(&st, "http://");
	ck_assert_ptr_nonnull(outbound_start(&st.host, &t, &p, on_done, &st));
	fd = accept_from(st.listener);
	send_text(fd, answer);
	until_called(&st);
	ck_assert_int_eq(st.fd, -EPROTO);
	close(fd);
	scene_fini(&st);
}
END_TEST

START_TEST(a_proxy_that_says_too_much)
{
	struct scene st;
	struct outbound_target t = target("edge.test:443");
	struct proxy_url p;
	char line[1000];
	int fd;

	memset(line, 'x', sizeof(line));
	scene_init(&st);
	p = proxy_here(&st, "http://");
	ck_assert_ptr_nonnull(outbound_start(&st.host, &t, &p, on_done, &st));
	fd = accept_from(st.listener);
	for (int i = 0; i < 9; i++)
		send_bytes(fd, line, sizeof(line));
	until_called(&st);
	ck_assert_int_eq(st.fd, -EPROTO);
	ck_assert_str_eq(st.why, "the proxy says too much");
	close(fd);
	scene_fini(&st);
}
END_TEST

#define METHOD                         \
	{                              \
		"\5\1\0", 3, "\5\0", 2 \
	}
#define CONNECT "\5\1\0\3\11edge.test\1\273"
#define CONNECT_LEN 16

static const struct {
	const char *says;
	size_t says_len;
	int error;
	const char *why;
} socks_answers[] = {
	{ "\5\0\0\1\177\0\0\1\0\1", 10, 0, "" },
	{ "\5\0\0\3\4name\0\1", 11, 0, "" },
	{ "\5\0\0\4AAAABBBBCCCCDDDD\0\1", 22, 0, "" },
	{ "\5\5\0\1\0\0\0\0\0\0", 10, -ECONNREFUSED,
	    "the proxy refuses to connect" },
	{ "\4\0\0\1\0\0\0\0\0\0", 10, -ECONNREFUSED,
	    "the proxy refuses to connect" },
	{ "\5\0\0\2\0", 5, -EPROTO, "the proxy's answer is not well formed" },
};

START_TEST(by_socks)
{
	struct exchange e[] = { METHOD,
		{ CONNECT, CONNECT_LEN, socks_answers[_i].says,
		    socks_answers[_i].says_len } };

	through("socks5://", "edge.test:443", e, 2, socks_answers[_i].error,
	    socks_answers[_i].why);
}
END_TEST

START_TEST(by_socks_with_credentials)
{
	struct exchange e[] = {
		{ "\5\2\0\2", 4, "\5\2", 2 },
		{ "\1\2me\4word", 9, "\1\0", 2 },
		{ "\5\1\0\1\300\0\2\1\1\273", 10, "\5\0\0\1\0\0\0\0\0\0", 10 },
	};
	struct exchange wrong[] = {
		{ "\5\2\0\2", 4, "\5\2", 2 },
		{ "\1\2me\4word", 9, "\1\1", 2 },
	};
	struct exchange none[] = { { "\5\1\0", 3, "\5\377", 2 } };

	through("socks5://me:word@", "192.0.2.1:443", e, 3, 0, "");
	through("socks5://me:word@", "192.0.2.1:443", wrong, 2, -EACCES,
	    "the proxy wants other credentials");
	through("socks5://", "192.0.2.1:443", none, 1, -EACCES,
	    "the proxy wants credentials");
}
END_TEST

START_TEST(a_proxy_that_closes)
{
	struct scene st;
	struct outbound_target t = target("edge.test:443");
	struct proxy_url p;

	scene_init(&st);
	p = proxy_here(&st, _i == 0 ? "http://" : "socks5://");
	ck_assert_ptr_nonnull(outbound_start(&st.host, &t, &p, on_done, &st));
	close(accept_from(st.listener));
	until_called(&st);
	ck_assert_int_eq(st.fd, -ECONNRESET);
	scene_fini(&st);
}
END_TEST

START_TEST(in_vain)
{
	struct scene st;
	struct outbound_target t = target("edge.test:443");
	struct proxy_url p;
	int fd;

	scene_init(&st);
	p = proxy_here(&st, "http://");
	t.timeout_ms = 500;
	ck_assert_ptr_nonnull(outbound_start(&st.host, &t, &p, on_done, &st));
	fd = accept_from(st.listener);
	turn(&st, 1);
	ck_assert_uint_eq(st.called, 0);
	timeouts_run(&st.timeouts, st.timeouts.now_ms + 1000);
	ck_assert_uint_eq(st.called, 1);
	ck_assert_int_eq(st.fd, -ETIMEDOUT);
	close(fd);
	scene_fini(&st);
}
END_TEST

/* At any moment, and nothing is left open. */
START_TEST(cancelled)
{
	struct scene st;
	struct outbound_target t;
	struct outbound *o;
	unsigned before = open_descriptors();
	int fd;

	scene_init(&st);
	t = target_here(&st);
	o = outbound_start(&st.host, &t, NULL, on_done, &st);
	if (_i > 0)
		loop_turn(&st.loop, 1000);
	outbound_cancel(o);
	timeouts_run(&st.timeouts, st.timeouts.now_ms + 5000);
	ck_assert_uint_eq(st.called, 0);
	fd = accept_from(st.listener);
	expect_end(fd);
	close(fd);
	scene_fini(&st);
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

static void
add_tests(TCase *t)
{
	tcase_add_test(t, straight);
	tcase_add_test(t, refused);
	tcase_add_loop_test(t, by_http, 0, ARRAY_COUNT(answers));
	tcase_add_test(t, by_http_with_credentials);
	tcase_add_test(t, bytes_behind_the_answer);
	tcase_add_test(t, a_proxy_that_says_too_much);
	tcase_add_loop_test(t, by_socks, 0, ARRAY_COUNT(socks_answers));
	tcase_add_test(t, by_socks_with_credentials);
	tcase_add_loop_test(t, a_proxy_that_closes, 0, 2);
	tcase_add_test(t, in_vain);
	tcase_add_loop_test(t, cancelled, 0, 2);
}

UNIT_MAIN("outbound", add_tests)
