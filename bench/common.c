#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SOURCES 8

struct writer {
	uint8_t *data;
	size_t len;
};

static void
put(struct writer *w, const void *data, size_t len)
{
	memcpy(w->data + w->len, data, len);
	w->len += len;
}

static void
put8(struct writer *w, unsigned value)
{
	w->data[w->len++] = (uint8_t)value;
}

static void
put16(struct writer *w, size_t value)
{
	put8(w, (unsigned)(value >> 8));
	put8(w, (unsigned)value & 0xff);
}

/* A length that is filled in when what it counts is written. */
static size_t
open16(struct writer *w)
{
	put16(w, 0);
	return w->len;
}

static void
close16(struct writer *w, size_t begin)
{
	size_t len = w->len - begin;

	w->data[begin - 2] = (uint8_t)(len >> 8);
	w->data[begin - 1] = (uint8_t)len;
}

static void
put_extension(struct writer *w, unsigned type, const void *data, size_t len)
{
	put16(w, type);
	put16(w, len);
	put(w, data, len);
}

static void
put_server_name(struct writer *w, const char *name)
{
	size_t extension, list, host;

	put16(w, 0);
	extension = open16(w);
	list = open16(w);
	put8(w, 0);
	host = open16(w);
	put(w, name, strlen(name));
	close16(w, host);
	close16(w, list);
	close16(w, extension);
}

static void
put_key_share(struct writer *w)
{
	uint8_t key[32];

	memset(key, 0x5a, sizeof(key));
	put16(w, 51);
	put16(w, 38);
	put16(w, 36);
	put16(w, 29); /* x25519 */
	put16(w, sizeof(key));
	put(w, key, sizeof(key));
}

static void
put_extensions(struct writer *w, const char *name)
{
	static const uint8_t formats[] = { 3, 0, 1, 2 };
	static const uint8_t groups[] = { 0, 10, 0, 29, 0, 23, 0, 30, 0, 25, 0,
		24 };
	static const uint8_t alpn[] = { 0, 12, 2, 'h', '2', 8, 'h', 't', 't',
		'p', '/', '1', '.', '1' };
	static const uint8_t signatures[] = { 0, 24, 4, 3, 5, 3, 6, 3, 8, 7, 8,
		8, 8, 9, 8, 10, 8, 11, 8, 4, 8, 5, 8, 6, 4, 1 };
	static const uint8_t versions[] = { 4, 3, 4, 3, 3 };
	static const uint8_t key_modes[] = { 1, 1 };
	size_t all = open16(w);

	put_server_name(w, name);
	put_extension(w, 11, formats, sizeof(formats));
	put_extension(w, 10, groups, sizeof(groups));
	put_extension(w, 35, NULL, 0);
	put_extension(w, 16, alpn, sizeof(alpn));
	put_extension(w, 22, NULL, 0);
	put_extension(w, 23, NULL, 0);
	put_extension(w, 13, signatures, sizeof(signatures));
	put_extension(w, 43, versions, sizeof(versions));
	put_extension(w, 45, key_modes, sizeof(key_modes));
	put_key_share(w);
	close16(w, all);
}

static void
put_hello_body(struct writer *w, const char *name)
{
	static const uint8_t ciphers[] = { 0x13, 0x02, 0x13, 0x03, 0x13, 0x01,
		0xc0, 0x2c, 0xc0, 0x30, 0xcc, 0xa9, 0xcc, 0xa8, 0xc0, 0x2b,
		0xc0, 0x2f, 0x00, 0xff };
	uint8_t noise[32];

	memset(noise, 0xa5, sizeof(noise));
	put16(w, 0x0303);
	put(w, noise, sizeof(noise)); /* random */
	put8(w, sizeof(noise));
	put(w, noise, sizeof(noise)); /* session id */
	put16(w, sizeof(ciphers));
	put(w, ciphers, sizeof(ciphers));
	put8(w, 1);
	put8(w, 0); /* no compression */
	put_extensions(w, name);
}

size_t
hello_make(uint8_t out[HELLO_MAX_BYTES], const char *name)
{
	struct writer w = { out, 0 };
	size_t record, body;

	if (strlen(name) > 253)
		die("the name is too long");
	put8(&w, 22);
	put16(&w, 0x0301);
	record = open16(&w);
	put8(&w, 1); /* ClientHello, a length of three bytes */
	put8(&w, 0);
	body = open16(&w);
	put_hello_body(&w, name);
	close16(&w, body);
	close16(&w, record);
	return w.len;
}

void
die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in
loopback(unsigned last, unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };

	a.sin_addr.s_addr = htonl(0x7f000000 | last);
	a.sin_port = htons((uint16_t)port);
	return a;
}

int
listen_anywhere(unsigned *port)
{
	struct sockaddr_in a = loopback(1, 0);
	socklen_t size = sizeof(a);
	int one = 1,
	    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(fd, 4096) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &size) < 0)
		die("listen");
	*port = ntohs(a.sin_port);
	return fd;
}

int
connect_to(unsigned port)
{
	static unsigned turn;
	struct sockaddr_in to = loopback(1, port);
	struct sockaddr_in from = loopback(2 + turn++ % SOURCES, 0);
	int one = 1,
	    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)&from, sizeof(from)) < 0)
		die("bind");
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 &&
	    errno != EINPROGRESS)
		die("connect");
	return fd;
}

void
raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("setrlimit");
}

uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
