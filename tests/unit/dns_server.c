#include "dns_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

#define PACKET_BYTES 4096
#define HEADER_BYTES 12
#define MAX_HELD 16
#define MAX_ASKED 40000
#define TYPE_A 1
#define TYPE_AAAA 28

struct question {
	struct sockaddr_in from;
	uint8_t packet[512]; /* header and question only */
	size_t len;
	unsigned type;
	char label[64];
};

struct dns_server {
	pthread_t thread;
	int fd, wake_fd, tcp_fd;
	uint16_t port;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop, released;
	struct question held[MAX_HELD];
	size_t held_count;
	char (*asked)[16];
	size_t asked_count;
};

struct reply {
	uint8_t data[PACKET_BYTES];
	size_t len;
};

static void
put16(struct reply *r, unsigned value)
{
	r->data[r->len++] = (uint8_t)(value >> 8);
	r->data[r->len++] = (uint8_t)value;
}

static void
put32(struct reply *r, uint32_t value)
{
	put16(r, value >> 16);
	put16(r, value & 0xffff);
}

static void
set16(struct reply *r, size_t at, unsigned value)
{
	r->data[at] = (uint8_t)(value >> 8);
	r->data[at + 1] = (uint8_t)value;
}

/* The question comes back, with flags, a code and a count of answers. */
static void
reply_begin(
    struct reply *r, const struct question *q, unsigned flags, unsigned answers)
{
	memcpy(r->data, q->packet, q->len);
	r->len = q->len;
	set16(r, 2, 0x8180 | flags);
	set16(r, 4, 1);
	set16(r, 6, answers);
	set16(r, 8, 0);
	set16(r, 10, 0);
}

static void
put_record(
    struct reply *r, unsigned type, uint32_t ttl, const void *data, size_t len)
{
	put16(r, 0xc000 | HEADER_BYTES); /* the name of the question */
	put16(r, type);
	put16(r, 1);
	put32(r, ttl);
	put16(r, (unsigned)len);
	memcpy(r->data + r->len, data, len);
	r->len += len;
}

static void
put_ip4(struct reply *r, uint32_t ttl, unsigned last)
{
	uint8_t ip[4] = { 192, 0, (uint8_t)(last >> 8), (uint8_t)last };

	put_record(r, TYPE_A, ttl, ip, sizeof(ip));
}

static void
put_ip6(struct reply *r, uint32_t ttl)
{
	uint8_t ip[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };

	put_record(r, TYPE_AAAA, ttl, ip, sizeof(ip));
}

/* An IPv4 address in IPv6 clothes. */
static void
put_mapped(struct reply *r)
{
	uint8_t ip[16] = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 };

	put_record(r, TYPE_AAAA, 60, ip, sizeof(ip));
}

static void
send_bytes(struct dns_server *s, const struct question *q, const void *data,
    size_t len)
{
	ck_assert_int_ge(
	    sendto(s->fd, data, len, 0, (const struct sockaddr *)&q->from,
		sizeof(q->from)),
	    0);
}

static void
send_addresses(struct dns_server *s, const struct question *q, unsigned count,
    uint32_t ttl)
{
	struct reply r;

	if (q->type != TYPE_A)
		count = 0;
	reply_begin(&r, q, 0, count);
	for (unsigned i = 0; i < count; i++)
		put_ip4(&r, ttl, 513 + i);
	send_bytes(s, q, r.data, r.len);
}

static void
send_both(struct dns_server *s, const struct question *q)
{
	struct reply r;

	reply_begin(&r, q, 0, 1);
	if (q->type == TYPE_A)
		put_ip4(&r, 60, 513);
	else
		put_ip6(&r, 60);
	send_bytes(s, q, r.data, r.len);
}

static void
send_mapped(struct dns_server *s, const struct question *q)
{
	struct reply r;

	reply_begin(&r, q, 0, q->type == TYPE_AAAA);
	if (q->type == TYPE_AAAA)
		put_mapped(&r);
	send_bytes(s, q, r.data, r.len);
}

static void
send_code(struct dns_server *s, const struct question *q, unsigned flags)
{
	struct reply r;

	reply_begin(&r, q, flags, 0);
	send_bytes(s, q, r.data, r.len);
}

/* The right identifier, then nothing that makes sense. */
static void
send_garbage(struct dns_server *s, const struct question *q)
{
	uint8_t noise[600];
	uint32_t state = 12345;

	for (size_t i = 0; i < sizeof(noise); i++) {
		state = state * 1664525 + 1013904223;
		noise[i] = (uint8_t)(state >> 24);
	}
	memcpy(noise, q->packet, 2);
	send_bytes(s, q, noise, sizeof(noise));
	memcpy(noise, q->packet, q->len);
	noise[2] = 0x81;
	noise[7] = 200; /* answers announced */
	send_bytes(s, q, noise, sizeof(noise));
}

/* A name that points at itself. */
static void
send_loop(struct dns_server *s, const struct question *q)
{
	struct reply r;

	reply_begin(&r, q, 0, 1);
	put16(&r, 0xc000 | (unsigned)r.len);
	put16(&r, TYPE_A);
	put16(&r, 1);
	put32(&r, 60);
	put16(&r, 4);
	put32(&r, 0xc0000201);
	send_bytes(s, q, r.data, r.len);
}

/* Cut after `keep` bytes; a length in the label: "cut40". */
static void
send_cut(struct dns_server *s, const struct question *q)
{
	size_t keep = (size_t)atoi(q->label + strlen("cut"));
	struct reply r;

	reply_begin(&r, q, 0, 1);
	put_ip4(&r, 60, 513);
	send_bytes(s, q, r.data, keep < r.len ? keep : r.len);
}

/* Somebody guesses: other identifier, other question; then the real answer. */
static void
send_forged(struct dns_server *s, const struct question *q)
{
	struct reply r;

	reply_begin(&r, q, 0, 1);
	put_ip4(&r, 60, 6666);
	r.data[0] ^= 0x55;
	send_bytes(s, q, r.data, r.len);
	r.data[0] ^= 0x55;
	r.data[HEADER_BYTES + 1] ^= 0x01;
	send_bytes(s, q, r.data, r.len);
	send_addresses(s, q, 1, 60);
}

static void
hold_or_answer(struct dns_server *s, const struct question *q)
{
	if (s->released) {
		send_addresses(s, q, 1, 60);
		return;
	}
	if (s->held_count < MAX_HELD)
		s->held[s->held_count++] = *q;
	pthread_cond_broadcast(&s->changed);
}

static bool
starts(const char *label, const char *with)
{
	return !strncmp(label, with, strlen(with));
}

static void
answer(struct dns_server *s, const struct question *q)
{
	const char *label = q->label;

	if (starts(label, "silent"))
		return;
	if (starts(label, "held"))
		hold_or_answer(s, q);
	else if (starts(label, "nx"))
		send_code(s, q, 3);
	else if (starts(label, "empty"))
		send_code(s, q, 0);
	else if (starts(label, "servfail"))
		send_code(s, q, 2);
	else if (starts(label, "truncated"))
		send_code(s, q, 0x0200);
	else if (starts(label, "garbage"))
		send_garbage(s, q);
	else if (starts(label, "loop"))
		send_loop(s, q);
	else if (starts(label, "cut"))
		send_cut(s, q);
	else if (starts(label, "forged"))
		send_forged(s, q);
	else if (starts(label, "both"))
		send_both(s, q);
	else if (starts(label, "mapped"))
		send_mapped(s, q);
	else if (starts(label, "many"))
		send_code(s, q, 0x0200); /* the whole of it by TCP */
	else if (starts(label, "zero"))
		send_addresses(s, q, 1, 0);
	else if (starts(label, "eternal"))
		send_addresses(s, q, 1, 0x7fffffff);
	else if (starts(label, "negative"))
		send_addresses(s, q, 1, 0xffffffff);
	else
		send_addresses(s, q, 2, 60);
}

/* Header and question without what comes behind; false: not for us. */
static bool
read_question(const uint8_t *data, size_t len, struct question *q)
{
	size_t at = HEADER_BYTES, label;

	if (len < HEADER_BYTES + 6 || len > sizeof(q->packet))
		return false;
	label = data[at];
	memset(q->label, 0, sizeof(q->label));
	memcpy(q->label, data + at + 1, label & 63);
	for (char *c = q->label; *c; c++)
		*c |= 0x20; /* the client may play with capitals */
	while (at < len && data[at] != 0)
		at += 1 + (data[at] & 63);
	if (at + 5 > len)
		return false;
	q->type = (unsigned)(data[at + 1] << 8 | data[at + 2]);
	q->len = at + 5;
	memcpy(q->packet, data, q->len);
	return true;
}

static void
take_packet(struct dns_server *s)
{
	uint8_t data[PACKET_BYTES];
	struct question q;
	socklen_t size = sizeof(q.from);
	ssize_t n = recvfrom(
	    s->fd, data, sizeof(data), 0, (struct sockaddr *)&q.from, &size);

	if (n < 0 || !read_question(data, (size_t)n, &q))
		return;
	pthread_mutex_lock(&s->lock);
	if (q.type == TYPE_A && s->asked_count < MAX_ASKED)
		memcpy(s->asked[s->asked_count++], q.label, 15);
	answer(s, &q);
	pthread_mutex_unlock(&s->lock);
}

/* 200 addresses to a question for "many", with the length in front. */
static void
answer_stream(int fd, const struct question *q)
{
	unsigned count =
	    starts(q->label, "many") && q->type == TYPE_A ? 200 : 0;
	struct reply r;
	uint8_t len[2];

	reply_begin(&r, q, 0, count);
	for (unsigned i = 0; i < count; i++)
		put_ip4(&r, 60, 513 + i);
	len[0] = (uint8_t)(r.len >> 8);
	len[1] = (uint8_t)r.len;
	if (send(fd, len, 2, MSG_NOSIGNAL | MSG_MORE) == 2)
		ck_assert_int_ge(send(fd, r.data, r.len, MSG_NOSIGNAL), 0);
}

/* All questions of one client, until it closes. */
static void
take_stream(struct dns_server *s)
{
	int fd = accept4(s->tcp_fd, NULL, NULL, SOCK_CLOEXEC);
	uint8_t data[512], len[2];
	struct question q;

	while (recv(fd, len, 2, MSG_WAITALL) == 2) {
		size_t n = (size_t)(len[0] << 8 | len[1]);

		if (n > sizeof(data) ||
		    recv(fd, data, n, MSG_WAITALL) != (ssize_t)n ||
		    !read_question(data, n, &q))
			break;
		answer_stream(fd, &q);
	}
	close(fd);
}

static void *
serve(void *arg)
{
	struct dns_server *s = arg;
	struct pollfd fds[3] = { { s->fd, POLLIN, 0 },
		{ s->wake_fd, POLLIN, 0 }, { s->tcp_fd, POLLIN, 0 } };

	for (;;) {
		poll(fds, 3, -1);
		if (fds[1].revents)
			return NULL;
		if (fds[0].revents)
			take_packet(s);
		if (fds[2].revents)
			take_stream(s);
	}
}

/* The UDP port that the kernel chose, for TCP too; false: that is taken. */
static bool
listen_streams(struct dns_server *s, const struct sockaddr_in *a)
{
	s->tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(s->tcp_fd, (const struct sockaddr *)a, sizeof(*a)) == 0 &&
	    listen(s->tcp_fd, 16) == 0)
		return true;
	close(s->tcp_fd);
	return false;
}

static bool
open_sockets(struct dns_server *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t size = sizeof(a);
	int room = 4 * 1024 * 1024;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	ck_assert_int_eq(
	    bind(s->fd, (const struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(getsockname(s->fd, (struct sockaddr *)&a, &size), 0);
	s->port = ntohs(a.sin_port);
	if (listen_streams(s, &a))
		return true;
	close(s->fd);
	return false;
}

struct dns_server *
dns_server_new(void)
{
	struct dns_server *s = calloc(1, sizeof(*s));

	s->asked = calloc(MAX_ASKED, sizeof(*s->asked));
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	s->wake_fd = eventfd(0, EFD_CLOEXEC);
	while (!open_sockets(s))
		continue;
	ck_assert_int_eq(pthread_create(&s->thread, NULL, serve, s), 0);
	return s;
}

void
dns_server_free(struct dns_server *s)
{
	eventfd_write(s->wake_fd, 1);
	pthread_join(s->thread, NULL);
	close(s->fd);
	close(s->tcp_fd);
	close(s->wake_fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s->asked);
	free(s);
}

uint16_t
dns_server_port(const struct dns_server *s)
{
	return s->port;
}

unsigned
dns_server_asked(struct dns_server *s, const char *label)
{
	unsigned count = 0;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->asked_count; i++)
		count += !strncmp(s->asked[i], label, 15);
	pthread_mutex_unlock(&s->lock);
	return count;
}

void
dns_server_wait_held(struct dns_server *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->held_count == 0)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void
dns_server_release(struct dns_server *s)
{
	pthread_mutex_lock(&s->lock);
	s->released = true;
	for (size_t i = 0; i < s->held_count; i++)
		send_addresses(s, &s->held[i], 1, 60);
	s->held_count = 0;
	pthread_mutex_unlock(&s->lock);
}
