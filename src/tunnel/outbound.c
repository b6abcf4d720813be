#include "tunnel/outbound.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/base64.h"
#include "sys/socket.h"
#include "tls/secret.h"

/* What a proxy may say, at most. */
#define HTTP_ANSWER_MAX 8192
#define SOCKS_ANSWER_MAX (4 + 1 + 255 + 2)

enum state {
	RESOLVING,
	CONNECTING,
	HTTP_ANSWER,
	SOCKS_METHOD,
	SOCKS_LOGIN,
	SOCKS_ANSWER,
	ENDED, /* on_done is due */
};

struct question {
	struct resolver_query query;
	struct outbound *outbound; /* NULL: it has lost interest */
};

struct outbound {
	struct watch watch;
	const struct outbound_host *host;
	struct outbound_target target;
	const struct proxy_url *proxy; /* NULL: none */
	outbound_on_done *on_done;
	void *owner;
	struct timeout timeout;
	struct question *question;
	struct addr addrs[RESOLVER_MAX_ADDRS];
	size_t addr_count, addr_next;
	enum state state;
	struct addr reached;
	int fd; /* the result */
	int error;
	const char *why;
	uint8_t *heard; /* of the proxy */
	size_t heard_len;
};

static void
forget(struct outbound *o)
{
	int fd = o->watch.fd;

	if (fd < 0)
		return;
	loop_remove(o->host->loop, &o->watch);
	close(fd);
}

static void
outbound_free(struct outbound *o)
{
	forget(o);
	timeouts_clear(o->host->timeouts, &o->timeout);
	if (o->question)
		o->question->outbound = NULL;
	if (o->heard)
		wipe(o->heard, HTTP_ANSWER_MAX);
	free(o->heard);
	free(o);
}

void
outbound_cancel(struct outbound *o)
{
	if (!o)
		return;
	if (o->state == ENDED && o->fd >= 0)
		close(o->fd);
	outbound_free(o);
}

/* Told from the timeouts, where the watch's memory may go. */
static void
end(struct outbound *o, int fd, int error, const char *why)
{
	o->state = ENDED;
	o->fd = fd;
	o->error = error;
	o->why = why;
	timeouts_set(o->host->timeouts, &o->timeout, 1);
}

static void
fail(struct outbound *o, int error, const char *why)
{
	forget(o);
	end(o, -1, error, why);
}

static void
succeed(struct outbound *o)
{
	int fd = o->watch.fd;

	loop_remove(o->host->loop, &o->watch);
	end(o, fd, 0, NULL);
}

static void
on_timeout(struct timeout *t)
{
	struct outbound *o = CONTAINER_OF(t, struct outbound, timeout);
	struct addr reached = o->reached;

	if (o->state != ENDED) {
		forget(o);
		o->fd = -1;
		o->error = -ETIMEDOUT;
		o->why = o->state == RESOLVING ? "its name was not resolved "
						 "in time"
					       : "no connection in time";
	}
	o->on_done(o->owner, o->fd >= 0 ? o->fd : o->error, &reached, o->why);
	outbound_free(o);
}

/* --- a proxy --- */

static bool
say(struct outbound *o, const void *data, size_t len)
{
	size_t count;

	/* The first bytes on a new connection fit. */
	if (socket_write(o->watch.fd, data, len, &count) == IO_OK &&
	    count == len)
		return true;
	fail(o, -ECONNRESET, "the proxy closed the connection");
	return false;
}

/* The host as a proxy is told it. */
static void
add_authority(struct text *t, const struct upstream_address *a)
{
	char ip[ADDR_TEXT_SIZE];

	if (a->kind == UPSTREAM_NAME) {
		text_addf(t, "%s:%u", a->name.text, a->port);
		return;
	}
	addr_format(&a->addr, ip);
	text_add(t, ip);
}

static void
ask_http(struct outbound *o)
{
	const struct proxy_url *p = o->proxy;
	char request[2048], login[2 * PROXY_URL_CREDENTIAL_MAX + 2],
	    encoded[BASE64_LEN(sizeof(login)) + 1];
	struct text t;

	text_init(&t, request, sizeof(request));
	text_add(&t, "CONNECT ");
	add_authority(&t, &o->target.address);
	text_add(&t, " HTTP/1.1\r\nHost: ");
	add_authority(&t, &o->target.address);
	if (p->has_user) {
		int len = snprintf(
		    login, sizeof(login), "%s:%s", p->user, p->password);

		base64_write(span_of(login, (size_t)len), encoded);
		text_addf(&t, "\r\nProxy-Authorization: Basic %s", encoded);
		wipe(login, sizeof(login));
		wipe(encoded, sizeof(encoded));
	}
	text_add(&t, "\r\n\r\n");
	o->state = HTTP_ANSWER;
	(void)say(o, request, t.len);
	wipe(request, sizeof(request));
}

static void
ask_socks_method(struct outbound *o)
{
	static const uint8_t open[] = { 5, 1, 0 }, login[] = { 5, 2, 0, 2 };

	o->state = SOCKS_METHOD;
	if (o->proxy->has_user)
		(void)say(o, login, sizeof(login));
	else
		(void)say(o, open, sizeof(open));
}

static void
ask_socks_login(struct outbound *o)
{
	size_t user = strlen(o->proxy->user);
	size_t password = strlen(o->proxy->password);
	uint8_t request[3 + 2 * PROXY_URL_CREDENTIAL_MAX + 2] = { 1,
		(uint8_t)user };

	memcpy(request + 2, o->proxy->user, user);
	request[2 + user] = (uint8_t)password;
	memcpy(request + 3 + user, o->proxy->password, password);
	o->state = SOCKS_LOGIN;
	(void)say(o, request, 3 + user + password);
	wipe(request, sizeof(request));
}

static void
ask_socks_connect(struct outbound *o)
{
	const struct upstream_address *a = &o->target.address;
	uint8_t request[SOCKS_ANSWER_MAX] = { 5, 1, 0 };
	size_t len = 4;
	uint16_t port;

	if (a->kind == UPSTREAM_NAME) {
		request[3] = 3;
		request[len++] = a->name.len;
		memcpy(request + len, a->name.text, a->name.len);
		len += a->name.len;
	} else {
		size_t size = a->addr.family == ADDR_IP4 ? 4 : 16;

		request[3] = size == 4 ? 1 : 4;
		memcpy(request + len, a->addr.bytes, size);
		len += size;
	}
	port = a->port;
	request[len++] = (uint8_t)(port >> 8);
	request[len++] = (uint8_t)port;
	o->state = SOCKS_ANSWER;
	(void)say(o, request, len);
}

static void
hear_http(struct outbound *o)
{
	struct span heard = span_of(o->heard, o->heard_len);
	uint8_t *end = memmem(heard.data, heard.len, "\r\n\r\n", 4);

	if (!end) {
		if (heard.len == HTTP_ANSWER_MAX)
			fail(o, -EPROTO, "the proxy says too much");
		return;
	}
	if (heard.len < 12 || memcmp(heard.data, "HTTP/1.", 7) != 0 ||
	    heard.data[8] != ' ') {
		fail(o, -EPROTO, "the proxy does not speak HTTP");
		return;
	}
	if (memcmp(heard.data + 9, "407", 3) == 0)
		fail(o, -EACCES, "the proxy wants other credentials");
	else if (heard.data[9] != '2')
		fail(o, -ECONNREFUSED, "the proxy refuses to connect");
	else if ((size_t)(end + 4 - heard.data) != heard.len)
		fail(o, -EPROTO, "bytes behind the proxy's answer");
	else
		succeed(o);
}

static void
hear_socks_method(struct outbound *o)
{
	if (o->heard_len < 2)
		return;
	o->heard_len = 0;
	if (o->heard[0] != 5)
		fail(o, -EPROTO, "the proxy does not speak SOCKS5");
	else if (o->heard[1] == 0)
		ask_socks_connect(o);
	else if (o->heard[1] == 2 && o->proxy->has_user)
		ask_socks_login(o);
	else
		fail(o, -EACCES, "the proxy wants credentials");
}

static void
hear_socks_login(struct outbound *o)
{
	if (o->heard_len < 2)
		return;
	o->heard_len = 0;
	if (o->heard[1] == 0)
		ask_socks_connect(o);
	else
		fail(o, -EACCES, "the proxy wants other credentials");
}

/* How long an answer is; 0: not known yet. */
static size_t
socks_answer_len(const struct outbound *o)
{
	if (o->heard_len < 5)
		return 0;
	switch (o->heard[3]) {
	case 1:
		return 10;
	case 3:
		return 7 + (size_t)o->heard[4];
	case 4:
		return 22;
	default:
		return 5; /* and refused */
	}
}

static void
hear_socks_answer(struct outbound *o)
{
	size_t len = socks_answer_len(o);

	if (o->heard_len >= 2 && (o->heard[0] != 5 || o->heard[1] != 0))
		fail(o, -ECONNREFUSED, "the proxy refuses to connect");
	else if (len == 0 || o->heard_len < len)
		return;
	else if (o->heard_len > len || len == 5)
		fail(o, -EPROTO, "the proxy's answer is not well formed");
	else
		succeed(o);
}

static void (*const hearing[])(struct outbound *) = {
	[HTTP_ANSWER] = hear_http,
	[SOCKS_METHOD] = hear_socks_method,
	[SOCKS_LOGIN] = hear_socks_login,
	[SOCKS_ANSWER] = hear_socks_answer,
};

static void
hear(struct outbound *o)
{
	size_t count;

	while (o->state >= HTTP_ANSWER && o->state < ENDED) {
		switch (socket_read(o->watch.fd, o->heard + o->heard_len,
		    HTTP_ANSWER_MAX - o->heard_len, &count)) {
		case IO_OK:
			o->heard_len += count;
			hearing[o->state](o);
			break;
		case IO_AGAIN:
			return;
		default:
			fail(o, -ECONNRESET, "the proxy closed the connection");
			return;
		}
	}
}

static void
greet_proxy(struct outbound *o)
{
	o->reached = (struct addr){ .family = ADDR_NONE };
	o->heard = malloc(HTTP_ANSWER_MAX);
	if (!o->heard)
		fail(o, -ENOMEM, "out of memory");
	else if (o->proxy->kind == PROXY_KIND_HTTP)
		ask_http(o);
	else
		ask_socks_method(o);
}

/* --- connecting --- */

static void try_next(struct outbound *o);

static void
finish_connect(struct outbound *o)
{
	int error = socket_connect_result(o->watch.fd);

	if (error < 0) {
		forget(o);
		o->error = error;
		try_next(o);
	} else if (o->proxy) {
		greet_proxy(o);
	} else {
		succeed(o);
	}
}

static void
on_ready(struct watch *w, uint32_t events)
{
	struct outbound *o = CONTAINER_OF(w, struct outbound, watch);

	if (o->state == CONNECTING &&
	    (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		finish_connect(o);
	hear(o);
}

static void
try_next(struct outbound *o)
{
	while (o->addr_next < o->addr_count) {
		const struct addr *to = &o->addrs[o->addr_next++];
		int fd = socket_connect(to);

		if (fd >= 0)
			o->error =
			    loop_add(o->host->loop, &o->watch, fd, on_ready);
		else
			o->error = fd;
		if (fd >= 0 && o->error == 0) {
			o->state = CONNECTING;
			o->reached = *to;
			return;
		}
		if (fd >= 0)
			close(fd);
		o->watch.fd = -1;
	}
	fail(o, o->error, "cannot connect");
}

/* Whose turn is first is the caller's word; the rest follow. */
static void
take_addrs(struct outbound *o, const struct resolver_answer *a, uint16_t port)
{
	for (size_t i = 0; i < a->count; i++) {
		o->addrs[i] = a->addrs[(i + o->target.first) % a->count];
		o->addrs[i].port = port;
	}
	o->addr_count = a->count;
	if (a->error < 0 || a->count == 0)
		fail(o, a->error < 0 ? a->error : -ENOENT,
		    "its name has no address");
	else
		try_next(o);
}

static void
on_answer(struct resolver_query *query, void *receiver)
{
	struct question *q = CONTAINER_OF(query, struct question, query);
	struct outbound *o = q->outbound;

	(void)receiver;
	if (o) {
		o->question = NULL;
		take_addrs(o, &query->answer,
		    o->proxy ? o->proxy->address.port : o->target.address.port);
	}
	free(q);
}

static void
on_discard(struct resolver_query *query)
{
	free(CONTAINER_OF(query, struct question, query));
}

static void
resolve(struct outbound *o, const struct host *name)
{
	struct question *q = calloc(1, sizeof(*q));

	if (!q) {
		fail(o, -ENOMEM, "out of memory");
		return;
	}
	q->outbound = o;
	o->question = q;
	q->query.return_to = o->host->mailbox;
	q->query.name = *name;
	q->query.on_answer = on_answer;
	q->query.on_discard = on_discard;
	if (resolver_ask(o->host->resolver, &q->query))
		on_answer(&q->query, NULL);
}

static void
begin(struct outbound *o)
{
	const struct upstream_address *a =
	    o->proxy ? &o->proxy->address : &o->target.address;

	if (!o->proxy && o->target.fixed.family != ADDR_NONE)
		o->addrs[o->addr_count++] = o->target.fixed;
	else if (a->kind == UPSTREAM_IP)
		o->addrs[o->addr_count++] = a->addr;
	if (o->addr_count > 0)
		try_next(o);
	else
		resolve(o, &a->name);
}

struct outbound *
outbound_start(const struct outbound_host *h,
    const struct outbound_target *target, const struct proxy_url *proxy,
    outbound_on_done *on_done, void *owner)
{
	struct outbound *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->watch.fd = o->fd = -1;
	o->host = h;
	o->target = *target;
	o->proxy = proxy;
	o->on_done = on_done;
	o->owner = owner;
	timeout_init(&o->timeout, on_timeout);
	timeouts_set(
	    h->timeouts, &o->timeout, h->timeouts->now_ms + target->timeout_ms);
	begin(o);
	return o;
}
