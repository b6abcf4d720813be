#include "web_bench.h"

START_TEST(it_answers_with_its_headers)
{
	struct bench b;
	char value[100], *got;

	start(&b);
	got = http_exchange(&b.address, GET("/a%20b?query=1"));
	ck_assert_int_eq(http_status(got), 200);
	ck_assert_str_eq(http_body(got), "GET /a%20b here");
	ck_assert_str_eq(http_field(got, "Content-Type", value, sizeof(value)),
	    "text/plain");
	ck_assert_str_eq(
	    http_field(got, "Cache-Control", value, sizeof(value)), "no-store");
	ck_assert_str_eq(
	    http_field(got, "Content-Security-Policy", value, sizeof(value)),
	    "default-src 'none'");
	ck_assert_str_eq(
	    http_field(got, "X-Content-Type-Options", value, sizeof(value)),
	    "nosniff");
	ck_assert_str_eq(http_field(got, "Access-Control-Allow-Origin", value,
			     sizeof(value)),
	    "");
	ck_assert_str_eq(http_field(got, "Allow", value, sizeof(value)), "");
	free(got);
	got = http_exchange(&b.address, GET("/405"));
	ck_assert_str_eq(
	    http_field(got, "Allow", value, sizeof(value)), "GET, HEAD");
	free(got);
	web_server_free(b.server);
}
END_TEST

START_TEST(a_head_has_the_length_and_no_body)
{
	struct bench b;
	char value[100], *got;
	int fd;

	start(&b);
	fd = http_connect(&b.address);
	http_send(fd, "HEAD /x HTTP/1.1\r\nHost: here\r\n\r\n" GET("/y"));
	got = http_read(fd, true);
	ck_assert_int_eq(http_status(got), 200);
	ck_assert_str_eq(
	    http_field(got, "Content-Length", value, sizeof(value)), "12");
	free(got);
	/* What follows is the next answer. */
	must_answer(fd, "GET /y here");
	close(fd);
	web_server_free(b.server);
}
END_TEST

START_TEST(requests_in_one_piece_get_their_answers_in_order)
{
	struct bench b;
	int fd;

	start(&b);
	fd = http_connect(&b.address);
	http_send(fd, GET("/1") GET("/2") GET("/3") GET("/close") GET("/5"));
	must_answer(fd, "GET /1 here");
	must_answer(fd, "GET /2 here");
	must_answer(fd, "GET /3 here");
	must_answer(fd, "GET /close here");
	ck_assert_uint_eq(http_drain(fd), 0);
	ck_assert_uint_eq(b.asked, 4);
	close(fd);
	web_server_free(b.server);
}
END_TEST

START_TEST(requests_may_come_byte_by_byte)
{
	const char *request = GET("/slow");
	struct bench b;
	int fd;

	start(&b);
	fd = http_connect(&b.address);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < strlen(request); i++)
			http_send_bytes(fd, request + i, 1);
		must_answer(fd, "GET /slow here");
	}
	close(fd);
	web_server_free(b.server);
}
END_TEST

/*
 * The connection ends after the answer, which is at least `least` (or there is
 * none), and what stands behind the body is never taken for a request. Some
 * versions of libmicrohttpd send the head of their own 400s twice.
 */
static void
check_one_answer(struct bench *b, const char *request, int least)
{
	int fd = http_connect(&b->address), status;
	char *got;

	http_send(fd, request);
	shutdown(fd, SHUT_WR);
	got = http_read_all(fd);
	status = http_status(got);
	ck_assert_msg(strstr(got, "/smuggled") == NULL, "%s", request);
	ck_assert_msg(
	    status == 0 || status >= least, "%d: %s", status, request);
	if (status == 200)
		ck_assert_msg(strstr(got + 1, "HTTP/1.1") == NULL,
		    "two answers to %s", request);
	free(got);
	close(fd);
}

#define POST "POST / HTTP/1.1\r\nHost: here\r\n"
#define PLAIN "GET / HTTP/1.1\r\nHost: here\r\n"
#define SMUGGLED "GET /smuggled HTTP/1.1\r\nHost: here\r\n\r\n"

START_TEST(bodies_are_not_read_and_nothing_behind_them)
{
	static const char *const requests[] = {
		POST "Content-Length: 5\r\n\r\nhello" SMUGGLED,
		POST "Content-Length: 42\r\n\r\n" SMUGGLED SMUGGLED,
		POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED,
		POST "Transfer-Encoding: chunked\r\n\r\n"
		     "5\r\nhello\r\n0\r\n\r\n" SMUGGLED,
		POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
		     "0\r\n\r\n" SMUGGLED,
		POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
		     "0\r\n\r\n" SMUGGLED,
		POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" SMUGGLED,
		POST "Transfer-Encoding: chunked, identity\r\n\r\n"
		     "0\r\n\r\n" SMUGGLED,
		POST "Content-Length: 0\r\nContent-Length: 5\r\n\r\n"
		     "hello" SMUGGLED,
		POST "Content-Length: 5\r\nContent-Length: 0\r\n\r\n"
		     "hello" SMUGGLED,
		POST "Content-Length: 5, 5\r\n\r\nhello" SMUGGLED,
		POST "Content-Length: +5\r\n\r\nhello" SMUGGLED,
		POST "Content-Length: -1\r\n\r\n" SMUGGLED,
		POST "Content-Length: 0x5\r\n\r\nhello" SMUGGLED,
		POST "Content-Length: 1e3\r\n\r\nhello" SMUGGLED,
		POST "Content-Length: 99999999999999999999999\r\n\r\n" SMUGGLED,
		POST "Content-Length:\r\n\r\n" SMUGGLED,
		PLAIN "Content-Length: 5\r\n\r\nhello" SMUGGLED,
		PLAIN "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED,
		PLAIN "Content-Length : 5\r\n\r\nhello" SMUGGLED,
		PLAIN "Content-Length\t: 5\r\n\r\nhello" SMUGGLED,
		PLAIN " Content-Length: 5\r\n\r\nhello" SMUGGLED,
		PLAIN "X: y\r\n Content-Length: 5\r\n\r\nhello" SMUGGLED,
		PLAIN "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" SMUGGLED,
		PLAIN "content-length: 5\r\n\r\nhello" SMUGGLED,
		PLAIN "TRANSFER-ENCODING: chunked\r\n\r\n0\r\n\r\n" SMUGGLED,
	};
	struct bench b;

	start(&b);
	for (size_t i = 0; i < ARRAY_COUNT(requests); i++)
		check_one_answer(&b, requests[i], 200);
	web_server_free(b.server);
}
END_TEST

START_TEST(an_empty_body_is_none)
{
	struct bench b;
	int fd;

	start(&b);
	fd = http_connect(&b.address);
	http_send(fd, PLAIN "Content-Length: 0\r\n\r\n" GET("/2"));
	must_answer(fd, "GET / here");
	must_answer(fd, "GET /2 here");
	close(fd);
	web_server_free(b.server);
}
END_TEST

START_TEST(a_huge_body_costs_nothing)
{
	struct bench b;
	char *got, *body = calloc(1, 1 << 20);
	int fd;

	start(&b);
	fd = http_connect(&b.address);
	http_send(fd, POST "Content-Length: 10485760\r\n\r\n");
	/* It is answered before it has come, and may then be sent or not. */
	got = http_read(fd, false);
	ck_assert_str_eq(http_body(got), "POST / here body");
	for (int i = 0; i < 10 && http_send_bytes(fd, body, 1 << 20); i++)
		continue;
	http_drain(fd);
	free(got);
	free(body);
	close(fd);
	web_server_free(b.server);
}
END_TEST

START_TEST(what_is_no_request_is_refused)
{
	static const char *const requests[] = {
		"GARBAGE\r\n\r\n",
		"GET\r\n\r\n",
		"GET  /smuggled  HTTP/1.1 \r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n" /* no Host */,
		"GET / HTTP/1.1\r\nHost here\r\n\r\n",
		"GET / HTTP/1.1\r\n: x\r\nHost: here\r\n\r\n",
		"GET / HTTP/9.9\r\nHost: here\r\n\r\n",
		"GET / FTP/1.1\r\nHost: here\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
	};
	struct bench b;

	start(&b);
	for (size_t i = 0; i < ARRAY_COUNT(requests); i++)
		check_one_answer(&b, requests[i], 400);
	poke(&b);
	web_server_free(b.server);
}
END_TEST

START_TEST(two_hosts_are_none)
{
	struct bench b;
	char *got;

	start(&b);
	got = http_exchange(
	    &b.address, "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n");
	ck_assert_str_eq(http_body(got), "GET / ");
	free(got);
	got = http_exchange(&b.address, "GET / HTTP/1.0\r\n\r\n");
	ck_assert_str_eq(http_body(got), "GET / ");
	free(got);
	web_server_free(b.server);
}
END_TEST

static void
check_huge(struct bench *b, const char *before)
{
	size_t size = 100000;
	char *filler = malloc(size), *got;
	int fd = http_connect(&b->address);

	memset(filler, 'x', size);
	http_send(fd, before);
	http_send_bytes(fd, filler, size);
	http_send(fd, " HTTP/1.1\r\n\r\n");
	got = http_read(fd, false);
	/* Or the answer was lost to the reset that follows. */
	if (got)
		ck_assert_int_ge(http_status(got), 400);
	http_drain(fd);
	free(got);
	free(filler);
	close(fd);
}

START_TEST(a_huge_head_is_refused)
{
	struct bench b;

	start(&b);
	check_huge(&b, "GET / HTTP/1.1\r\nHost: here\r\nX: ");
	check_huge(&b, "GET /");
	check_huge(&b, "");
	ck_assert_uint_eq(b.asked, 0);
	poke(&b);
	web_server_free(b.server);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, it_answers_with_its_headers);
	tcase_add_test(tcase, a_head_has_the_length_and_no_body);
	tcase_add_test(tcase, requests_in_one_piece_get_their_answers_in_order);
	tcase_add_test(tcase, requests_may_come_byte_by_byte);
	tcase_add_test(tcase, bodies_are_not_read_and_nothing_behind_them);
	tcase_add_test(tcase, an_empty_body_is_none);
	tcase_add_test(tcase, a_huge_body_costs_nothing);
	tcase_add_test(tcase, what_is_no_request_is_refused);
	tcase_add_test(tcase, two_hosts_are_none);
	tcase_add_test(tcase, a_huge_head_is_refused);
}

UNIT_MAIN("web_server", add_tests)
