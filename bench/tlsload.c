/*
 * The TLS clients of the benchmarks. Each connection does a handshake, sends
 * some bytes and reads the answer to its end, which must have exactly the
 * expected length. Offers TLS 1.3 with AES-128-GCM and X25519 alone, so that
 *all servers do the same work; believes any certificate.
 *
 *	tlsload [-2] [-R] [-s SEND] [-r EXPECT] [-n NAMES] [-w CONCURRENCY]
 *	    PORT NAME COUNT|hold
 *
 * -2 speaks TLS 1.2. -R resumes: the first connection does a full handshake,
 * each other one the newest session; if one is not resumed, it has failed. -n
 * puts a number below NAMES in front of the name, another one each time.
 *
 * `hold` reads numbers from standard input, one a line, opens connections until
 * so many are open and answered, and says "ok"; it ends with its input. Else
 * one line is printed: connections that were served, seconds in all, and the
 * median and 99th percentile from connecting to the answer's first byte, in
 * microseconds.
 */
#include "common.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES (256 * 1024)
#define EVENTS 256
/* So that numbers below 10,000 come in no order that a cache could like. */
#define STRIDE 7919

struct client {
	SSL *ssl;
	int fd;
	bool established;
	uint64_t sent, got, began_ns, first_ns;
};

struct load {
	int epoll_fd;
	unsigned port;
	const char *name;
	SSL_CTX *context;
	SSL_SESSION *session; /* the newest */
	bool resume;
	uint64_t send, expected, names, begun, open, served, failed, answered;
	uint8_t *buffer;
	uint32_t *latency_us;
};

static int
on_session(SSL *ssl, SSL_SESSION *session)
{
	struct load *l = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(l->session);
	l->session = session;
	return 1; /* it is ours now */
}

static SSL_CTX *
make_context(struct load *l, bool old)
{
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());

	if (!c ||
	    SSL_CTX_set_cipher_list(c, "ECDHE-ECDSA-AES128-GCM-SHA256:"
				       "ECDHE-RSA-AES128-GCM-SHA256") != 1 ||
	    SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256") != 1 ||
	    SSL_CTX_set1_groups_list(c, "X25519:P-256") != 1)
		die("SSL_CTX_new");
	SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	if (old)
		SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS |
				SSL_MODE_ENABLE_PARTIAL_WRITE |
				SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(c, 1);
	SSL_CTX_set_default_read_buffer_len(c, 128 * 1024);
	SSL_CTX_set_app_data(c, l);
	if (l->resume) {
		SSL_CTX_set_session_cache_mode(c,
		    SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
		SSL_CTX_sess_set_new_cb(c, on_session);
	}
	return c;
}

static void
set_name(const struct load *l, SSL *ssl)
{
	char name[300];

	if (l->names == 0) {
		SSL_set_tlsext_host_name(ssl, l->name);
		return;
	}
	snprintf(name, sizeof(name), "%llu.%s",
	    (unsigned long long)(l->begun * STRIDE % l->names), l->name);
	SSL_set_tlsext_host_name(ssl, name);
}

/* A copy: in TLS 1.3 the library lets each session be used only once. */
static void
set_session(const struct load *l, SSL *ssl)
{
	SSL_SESSION *copy = SSL_SESSION_dup(l->session);

	if (!copy || SSL_set_session(ssl, copy) != 1)
		die("SSL_set_session");
	SSL_SESSION_free(copy);
}

static void
begin(struct load *l)
{
	struct client *c = calloc(1, sizeof(*c));
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = c,
	};

	if (!c)
		die("calloc");
	c->began_ns = now_ns();
	c->fd = connect_to(l->port);
	c->ssl = SSL_new(l->context);
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
		die("SSL_new");
	set_name(l, c->ssl);
	if (l->session)
		set_session(l, c->ssl);
	SSL_set_connect_state(c->ssl);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
		die("epoll_ctl");
	l->open++;
	l->begun++;
}

static void
end(struct load *l, struct client *c)
{
	bool full = l->resume && l->begun > 1 && !SSL_session_reused(c->ssl);

	if (c->established && c->got == l->expected && !full) {
		if (l->latency_us)
			l->latency_us[l->served] =
			    (uint32_t)((c->first_ns - c->began_ns) / 1000);
		l->served++;
	} else {
		l->failed++;
	}
	/* Else the library takes its session for bad. */
	SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(c->ssl);
	close(c->fd);
	free(c);
	l->open--;
}

/* The connection is over unless the library only waits for the socket. */
static bool
is_over(const struct client *c, int result)
{
	int error = SSL_get_error(c->ssl, result);

	return error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
}

/* True when the connection is over. */
static bool
shake_hands(struct client *c)
{
	int result;

	if (c->established)
		return false;
	result = SSL_do_handshake(c->ssl);
	c->established = result == 1;
	return !c->established && is_over(c, result);
}

static bool
send_bytes(struct load *l, struct client *c)
{
	while (c->sent < l->send) {
		uint64_t left = l->send - c->sent;
		size_t n, len = left < BUFFER_BYTES ? left : BUFFER_BYTES;

		if (SSL_write_ex(c->ssl, l->buffer, len, &n) != 1)
			return is_over(c, 0);
		c->sent += n;
	}
	return false;
}

static void
note_bytes(struct load *l, struct client *c, size_t n)
{
	if (c->got == 0)
		c->first_ns = now_ns();
	c->got += n;
	if (c->got == l->expected)
		l->answered++;
}

static bool
read_answer(struct load *l, struct client *c)
{
	size_t n;

	while (SSL_read_ex(c->ssl, l->buffer, BUFFER_BYTES, &n) == 1)
		note_bytes(l, c, n);
	return is_over(c, 0);
}

static void
serve(struct load *l, struct client *c, uint32_t events)
{
	bool over;

	if (!(events & (EPOLLOUT | EPOLLIN | EPOLLRDHUP | EPOLLHUP)))
		return;
	ERR_clear_error();
	over = shake_hands(c);
	if (!over && c->established)
		over = send_bytes(l, c) || read_answer(l, c);
	if (over)
		end(l, c);
}

static void
turn(struct load *l)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(l->epoll_fd, events, EVENTS, -1);

	for (int i = 0; i < count; i++)
		serve(l, events[i].data.ptr, events[i].events);
}

static void
run(struct load *l, uint64_t count, uint64_t concurrency)
{
	uint64_t target = l->begun + count;

	while (l->begun < target || l->open > 0) {
		while (l->begun < target && l->open < concurrency)
			begin(l);
		turn(l);
	}
}

static int
hold(struct load *l)
{
	char line[64];

	while (fgets(line, sizeof(line), stdin)) {
		uint64_t wanted = strtoull(line, NULL, 10);

		/* A hundred at a time: no backlog is longer than that. */
		while (l->answered < wanted && l->failed == 0) {
			while (l->open < wanted && l->open < l->answered + 100)
				begin(l);
			turn(l);
		}
		printf("%s\n", l->failed ? "failed" : "ok");
		fflush(stdout);
	}
	return l->failed ? 1 : 0;
}

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void
report(struct load *l, uint64_t start_ns)
{
	uint32_t median = 0, high = 0;

	qsort(l->latency_us, l->served, sizeof(*l->latency_us), compare);
	if (l->served > 0) {
		median = l->latency_us[l->served / 2];
		high = l->latency_us[l->served * 99 / 100];
	}
	printf("%llu %.6f %u %u\n", (unsigned long long)l->served,
	    (double)(now_ns() - start_ns) / 1e9, median, high);
}

static int
usage(void)
{
	fprintf(stderr,
	    "usage: tlsload [-2] [-R] [-s SEND] [-r EXPECT] [-n NAMES] "
	    "[-w CONCURRENCY] PORT NAME COUNT|hold\n");
	return 2;
}

int
main(int argc, char **argv)
{
	struct load l = { .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
		.send = 1,
		.expected = 1 };
	uint64_t start_ns, count, concurrency = 32;
	bool old = false;
	int option;

	while ((option = getopt(argc, argv, "2Rs:r:n:w:")) >= 0) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;

		switch (option) {
		case '2':
			old = true;
			break;
		case 'R':
			l.resume = true;
			break;
		case 's':
			l.send = number;
			break;
		case 'r':
			l.expected = number;
			break;
		case 'n':
			l.names = number;
			break;
		case 'w':
			concurrency = number;
			break;
		default:
			return usage();
		}
	}
	if (argc - optind != 3)
		return usage();
	raise_limits();
	l.port = (unsigned)atoi(argv[optind]);
	l.name = argv[optind + 1];
	l.buffer = calloc(1, BUFFER_BYTES);
	l.context = make_context(&l, old);
	if (!strcmp(argv[optind + 2], "hold"))
		return hold(&l);
	count = strtoull(argv[optind + 2], NULL, 10);
	l.latency_us = calloc(count + 1, sizeof(*l.latency_us));
	start_ns = now_ns();
	if (l.resume)
		run(&l, 1, 1);
	run(&l, l.resume ? count - 1 : count, concurrency);
	report(&l, start_ns);
	return l.served == count ? 0 : 1;
}
