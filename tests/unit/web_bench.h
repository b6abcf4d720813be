/*
 * A web server whose handler says what it was asked, and a client for it.
 */
#ifndef TESTS_WEB_BENCH_H
#define TESTS_WEB_BENCH_H

#include "unit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "control/web_server.h"
#include "faults.h"
#include "http_client.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: here\r\n\r\n"
#define BIG_BYTES ((size_t)24 * 1024 * 1024)

/* Says what it was asked. "/big" is more than the kernel buffers; "/none" has
 * no memory; after "/fault" the server has none. */
static inline void
answer(void *data, const struct web_request *q, struct web_answer *a)
{
	bool is_big = span_is(q->path, "/big");
	size_t size = is_big ? BIG_BYTES : 1024;

	faults_armed = false;
	atomic_fetch_add((atomic_uint *)data, 1);
	a->status = 200;
	a->type = "text/plain";
	if (span_is(q->path, "/none"))
		return;
	a->body = calloc(1, size);
	a->len = is_big ? BIG_BYTES
			: (size_t)snprintf(a->body, size, "%s %.*s %.*s%s",
			      q->method, SPAN_ARG(q->path), SPAN_ARG(q->host),
			      q->has_body ? " body" : "");
	if (span_is(q->path, "/405"))
		a->allow = "GET, HEAD";
	a->closes = span_is(q->path, "/close");
	faults_armed = span_is(q->path, "/fault");
}

struct bench {
	struct web_server *server;
	struct addr address;
	atomic_uint asked;
};

static inline struct web_settings
settings_for(struct bench *b)
{
	struct web_settings s = {
		.ports = 10,
		.thread_name = "test-web",
		.answer = answer,
		.data = &b->asked,
		.content_policy = "default-src 'none'",
	};

	ck_assert_int_eq(addr_parse(span_text("127.0.0.1"), &s.address), 0);
	return s;
}

static inline void
start(struct bench *b)
{
	struct web_settings s = settings_for(b);

	atomic_init(&b->asked, 0);
	ck_assert_int_eq(web_server_new(&s, &b->server), 0);
	web_server_address(b->server, &b->address);
}

static inline void
must_answer(int fd, const char *body)
{
	char *got = http_read(fd, false);

	ck_assert_ptr_nonnull(got);
	ck_assert_int_eq(http_status(got), 200);
	ck_assert_str_eq(http_body(got), body);
	free(got);
}

/* One request on a connection of its own: the server makes a turn. */
static inline void
poke(struct bench *b)
{
	char *got = http_exchange(&b->address, GET("/poke"));

	ck_assert_int_eq(http_status(got), 200);
	free(got);
}

#endif
