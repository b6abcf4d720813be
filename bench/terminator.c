/*
 * The floor of termination: the least work that a TLS terminator of Lunette's
 * kind must do with OpenSSL, without a product around it. Connections are
 * handed to two workers; a worker peeks until the ClientHello is whole, does
 *the handshake, connects to the one upstream and copies. All records that 256
 *KiB of plaintext make go to the socket in one send; records are read many at a
 * time. Idle connections give their buffers back. No names, certificates by
 * name, limits, timeouts, counters or log.
 *
 *	terminator UPSTREAM_PORT PEM [no-tickets]
 *
 * PEM holds chain and key. Prints its port. Ends when standard input does.
 */
#include "common.h"
#include "crew.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLAIN_BYTES (256 * 1024)
#define RECORD_BYTES (16 * 1024)
#define READ_AHEAD_BYTES (128 * 1024)
/* What PLAIN_BYTES become as records, and an alert. */
#define OUT_BYTES (PLAIN_BYTES + PLAIN_BYTES / RECORD_BYTES * 64 + 4096)
#define TICKET_KEY_BYTES 80

struct end {
	struct session *session;
	int fd;
	bool readable, writable, hung_up, ended, shut;
	uint8_t *kept; /* what the socket did not take */
	size_t kept_at, kept_len;
};

struct session {
	struct handed handed; /* `next` then links the graveyard */
	struct worker *worker;
	SSL *ssl;
	struct end client, upstream;
	bool established, connected, closed;
};

struct worker {
	struct crew_worker crew;
	SSL_CTX *context;
	BIO_METHOD *method;
	unsigned upstream_port;
	struct session *graveyard;
	uint8_t *plain, *out;
	size_t out_len;
};

/* The library's view of the client's socket. */

static int
bio_read(BIO *bio, char *data, int size)
{
	struct end *e = &((struct session *)BIO_get_data(bio))->client;
	ssize_t n;

	BIO_clear_retry_flags(bio);
	if (!e->readable) {
		BIO_set_retry_read(bio);
		return -1;
	}
	n = recv(e->fd, data, (size_t)size, 0);
	/* The kernel says again when there is more, so a short read is enough
	 * to know. */
	if (n < size && !e->hung_up)
		e->readable = false;
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_read(bio);
	return (int)n;
}

static int
bio_write(BIO *bio, const char *data, int size)
{
	struct worker *w = ((struct session *)BIO_get_data(bio))->worker;

	BIO_clear_retry_flags(bio);
	if (w->out_len + (size_t)size > OUT_BYTES)
		return -1;
	memcpy(w->out + w->out_len, data, (size_t)size);
	w->out_len += (size_t)size;
	return size;
}

static long
bio_control(BIO *bio, int command, long number, void *data)
{
	(void)bio, (void)number, (void)data;
	return command == BIO_CTRL_FLUSH;
}

static int
bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static BIO_METHOD *
make_method(void)
{
	BIO_METHOD *m =
	    BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "floor");

	if (!m)
		die("BIO_meth_new");
	BIO_meth_set_create(m, bio_create);
	BIO_meth_set_read(m, bio_read);
	BIO_meth_set_write(m, bio_write);
	BIO_meth_set_ctrl(m, bio_control);
	return m;
}

/* Sockets */

static bool
keep(struct end *e, const uint8_t *data, size_t len)
{
	uint8_t *all = malloc(e->kept_len + len);

	if (!all)
		return false;
	if (e->kept)
		memcpy(all, e->kept + e->kept_at, e->kept_len);
	memcpy(all + e->kept_len, data, len);
	free(e->kept);
	e->kept = all;
	e->kept_at = 0;
	e->kept_len += len;
	return true;
}

/* Bytes written, or -1 when the connection is broken. */
static ssize_t
write_some(struct end *e, const uint8_t *data, size_t len)
{
	ssize_t n = send(e->fd, data, len, MSG_NOSIGNAL);

	if (n < (ssize_t)len)
		e->writable = false;
	return n < 0 && errno == EAGAIN ? 0 : n;
}

/* False when the connection is broken. */
static bool
give(struct end *e, const uint8_t *data, size_t len)
{
	ssize_t n = 0;

	if (!e->kept && (n = write_some(e, data, len)) < 0)
		return false;
	return (size_t)n == len || keep(e, data + n, len - (size_t)n);
}

static bool
give_kept(struct end *e)
{
	ssize_t n;

	if (!e->kept || !e->writable)
		return true;
	n = write_some(e, e->kept + e->kept_at, e->kept_len);
	if (n < 0)
		return false;
	e->kept_at += (size_t)n;
	e->kept_len -= (size_t)n;
	if (e->kept_len == 0) {
		free(e->kept);
		e->kept = NULL;
	}
	return true;
}

static bool
give_records(struct worker *w, struct session *s)
{
	size_t len = w->out_len;

	w->out_len = 0;
	return len == 0 || give(&s->client, w->out, len);
}

/* The connection */

static void
end_close(struct end *e)
{
	if (e->fd >= 0)
		close(e->fd);
	free(e->kept);
}

/* Freed at the end of the turn: a later event may still point here. */
static void
session_close(struct session *s)
{
	struct worker *w = s->worker;

	if (s->closed)
		return;
	s->closed = true;
	w->out_len = 0;
	SSL_free(s->ssl);
	end_close(&s->client);
	end_close(&s->upstream);
	s->handed.next = (struct handed *)w->graveyard;
	w->graveyard = s;
}

static void
bury(struct worker *w)
{
	while (w->graveyard) {
		struct session *s = w->graveyard;

		w->graveyard = (struct session *)s->handed.next;
		free(s);
	}
}

static bool
start_connect(struct worker *w, struct session *s)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int one = 1,
	    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	s->upstream.fd = fd;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons((uint16_t)w->upstream_port);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 &&
	    errno != EINPROGRESS)
		return false;
	crew_watch(&w->crew, fd, &s->upstream);
	return true;
}

static bool
start_tls(struct worker *w, struct session *s)
{
	BIO *bio = BIO_new(w->method);

	s->ssl = SSL_new(w->context);
	if (!s->ssl || !bio)
		die("SSL_new");
	BIO_set_data(bio, s);
	SSL_set_bio(s->ssl, bio, bio);
	SSL_set_accept_state(s->ssl);
	return true;
}

/* Begins TLS once the whole record is there; false: give up. */
static bool
peek(struct worker *w, struct session *s)
{
	uint8_t hello[HELLO_MAX_BYTES];
	ssize_t n = recv(s->client.fd, hello, sizeof(hello), MSG_PEEK);

	if (n < 0)
		return errno == EAGAIN;
	if (n == 0)
		return false;
	if (n < 5 || (hello[3] << 8 | hello[4]) + 5 > n)
		return hello[0] == 22;
	return start_tls(w, s);
}

static bool
shake_hands(struct worker *w, struct session *s)
{
	int result = SSL_do_handshake(s->ssl);

	if (!give_records(w, s))
		return false;
	if (result != 1)
		return SSL_get_error(s->ssl, result) == SSL_ERROR_WANT_READ;
	s->established = true;
	return start_connect(w, s);
}

/* As much plaintext as there is; `ended` when no more will come. */
static size_t
read_plain(struct worker *w, struct session *s)
{
	size_t len = 0, n;

	while (PLAIN_BYTES - len >= RECORD_BYTES) {
		int result =
		    SSL_read_ex(s->ssl, w->plain + len, PLAIN_BYTES - len, &n);

		if (result != 1) {
			s->client.ended =
			    SSL_get_error(s->ssl, 0) != SSL_ERROR_WANT_READ;
			break;
		}
		len += n;
	}
	return len;
}

static bool
pump_up(struct worker *w, struct session *s)
{
	while (!s->client.ended && !s->upstream.kept) {
		size_t len = read_plain(w, s);

		if (len > 0 && !give(&s->upstream, w->plain, len))
			return false;
		if (len == 0)
			break;
	}
	if (s->client.ended && !s->upstream.kept && !s->upstream.shut) {
		s->upstream.shut = true;
		shutdown(s->upstream.fd, SHUT_WR);
	}
	return give_records(w, s); /* a key update is answered */
}

/* One read and one write; false when the connection is broken. */
static bool
copy_down(struct worker *w, struct session *s)
{
	struct end *e = &s->upstream;
	ssize_t n = recv(e->fd, w->plain, PLAIN_BYTES, 0);
	size_t written;

	if (n < PLAIN_BYTES && !e->hung_up)
		e->readable = false;
	if (n < 0) {
		e->readable = false;
		return errno == EAGAIN;
	}
	e->ended = n == 0;
	if (n > 0 && SSL_write_ex(s->ssl, w->plain, (size_t)n, &written) != 1)
		return false;
	return give_records(w, s);
}

static bool
pump_down(struct worker *w, struct session *s)
{
	struct end *e = &s->upstream;

	while (e->readable && !e->ended && !s->client.kept)
		if (!copy_down(w, s))
			return false;
	if (e->ended && !s->client.kept && !s->client.shut) {
		s->client.shut = true;
		SSL_shutdown(s->ssl);
		if (!give_records(w, s))
			return false;
		shutdown(s->client.fd, SHUT_WR);
	}
	return true;
}

static bool
pump(struct worker *w, struct session *s)
{
	return give_kept(&s->client) && give_kept(&s->upstream) &&
	       pump_up(w, s) && pump_down(w, s) &&
	       !(s->client.shut && s->upstream.shut);
}

static void
step(struct worker *w, struct session *s)
{
	bool good = true;

	ERR_clear_error();
	if (!s->ssl)
		good = peek(w, s);
	if (good && s->ssl && !s->established)
		good = shake_hands(w, s);
	if (good && s->connected)
		good = pump(w, s);
	if (!good)
		session_close(s);
}

static void
on_event(struct worker *w, struct end *e, uint32_t events)
{
	struct session *s = e->session;

	if (s->closed)
		return;
	if (events & EPOLLOUT) {
		e->writable = true;
		if (e == &s->upstream)
			s->connected = true;
	}
	if (events & ~(uint32_t)EPOLLOUT)
		e->readable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		e->hung_up = true;
	if ((events & EPOLLERR) && !s->connected)
		session_close(s);
	else
		step(w, s);
}

static void
take_handed(struct worker *w)
{
	struct handed *h, *next;

	for (h = crew_take(&w->crew); h; h = next) {
		struct session *s = (struct session *)h;

		next = h->next;
		s->worker = w;
		s->client.session = s->upstream.session = s;
		s->client.fd = h->fd;
		s->upstream.fd = -1;
		s->client.readable = true;
		crew_watch(&w->crew, h->fd, &s->client);
		step(w, s);
	}
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct epoll_event events[CREW_EVENTS];

	for (;;) {
		int count =
		    epoll_wait(w->crew.epoll_fd, events, CREW_EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (!events[i].data.ptr)
				take_handed(w);
			else
				on_event(
				    w, events[i].data.ptr, events[i].events);
		}
		bury(w);
	}
	return NULL;
}

/* A context a worker; tickets that one gave open at the other. */
static SSL_CTX *
make_context(const char *pem, uint8_t keys[TICKET_KEY_BYTES], bool tickets)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());

	if (!c || SSL_CTX_use_certificate_chain_file(c, pem) != 1 ||
	    SSL_CTX_use_PrivateKey_file(c, pem, SSL_FILETYPE_PEM) != 1)
		die(pem);
	SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
				   SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_ciphersuites(
	    c, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384");
	SSL_CTX_set1_groups_list(c, "X25519:P-256:P-384");
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_read_ahead(c, 1);
	SSL_CTX_set_default_read_buffer_len(c, READ_AHEAD_BYTES);
	SSL_CTX_set_tlsext_ticket_keys(c, keys, TICKET_KEY_BYTES);
	if (!tickets) {
		SSL_CTX_set_num_tickets(c, 0);
		SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
	}
	return c;
}

int
main(int argc, char **argv)
{
	static struct worker workers[CREW_WORKERS];
	struct crew_worker *crew[CREW_WORKERS];
	uint8_t keys[TICKET_KEY_BYTES];
	SSL_CTX *first;

	if (argc < 3) {
		fprintf(stderr,
		    "usage: terminator UPSTREAM_PORT PEM [no-tickets]\n");
		return 2;
	}
	raise_limits();
	first = SSL_CTX_new(TLS_server_method());
	SSL_CTX_get_tlsext_ticket_keys(first, keys, sizeof(keys));
	SSL_CTX_free(first);
	for (int i = 0; i < CREW_WORKERS; i++) {
		struct worker *w = &workers[i];

		w->context = make_context(argv[2], keys, argc == 3);
		w->method = make_method();
		w->upstream_port = (unsigned)atoi(argv[1]);
		w->plain = malloc(PLAIN_BYTES);
		w->out = malloc(OUT_BYTES);
		crew[i] = &w->crew;
		crew_start(crew[i], work, w);
	}
	crew_accept(crew, sizeof(struct session));
	return 0;
}
