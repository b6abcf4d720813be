#include "tls/stream_private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/*
 * Reading: whatever the socket holds is received with one call into the
 * context's buffer, and OpenSSL takes headers and bodies from there. To read
 * the rest of a record straight to where OpenSSL wants it, with one call a
 * record, was measured and was no cheaper.
 *
 * Writing: what OpenSSL makes is collected and sent with one call.
 */

/* Only answers to what the peer sends can pile up beside what was written; a
 * peer that provokes them and takes none is no good. */
#define KEPT_MAX_BYTES (2 * OUTPUT_BYTES)

#define KEY_UPDATES_FREE 32
#define BYTES_PER_KEY_UPDATE (64 * 1024)

static bool
spill(struct tls_stream *s, const uint8_t *data, size_t len)
{
	uint8_t *grown;

	if (s->kept_at > 0) {
		s->kept_len -= s->kept_at;
		memmove(s->kept, s->kept + s->kept_at, s->kept_len);
		s->kept_at = 0;
	}
	if (s->kept_len + len > KEPT_MAX_BYTES) {
		s->broken = ENOBUFS;
		return false;
	}
	grown = realloc(s->kept, s->kept_len + len);
	if (!grown) {
		s->broken = ENOMEM;
		return false;
	}
	memcpy(grown + s->kept_len, data, len);
	s->kept = grown;
	s->kept_len += (uint32_t)len;
	return true;
}

/* Sends, and says how much the socket took. */
static enum io
send_some(struct tls_stream *s, const uint8_t *data, size_t len, size_t *taken)
{
	int flags = MSG_NOSIGNAL | (s->more ? MSG_MORE : 0);
	ssize_t n;

	*taken = 0;
	do
		n = send(s->fd, data, len, flags);
	while (n < 0 && errno == EINTR);
	if (n >= 0) {
		*taken = (size_t)n;
		return (size_t)n < len ? IO_AGAIN : IO_OK;
	}
	if (errno == EAGAIN)
		return IO_AGAIN;
	s->broken = errno;
	return IO_ERROR;
}

static enum io
send_kept(struct tls_stream *s)
{
	size_t taken;
	enum io io;

	s->lazy = false;
	if (!s->kept)
		return IO_OK;
	io = send_some(
	    s, s->kept + s->kept_at, s->kept_len - s->kept_at, &taken);
	s->kept_at += (uint32_t)taken;
	if (io == IO_OK) {
		free(s->kept);
		s->kept = NULL;
		s->kept_at = s->kept_len = 0;
	}
	return io;
}

static enum io
send_made(struct tls_stream *s)
{
	struct tls_context *c = s->context;
	size_t len = c->out_len, taken = 0;
	enum io io = IO_OK;

	c->out_len = 0;
	if (len == 0)
		return IO_OK;
	io = s->kept ? IO_AGAIN : send_some(s, c->out, len, &taken);
	if (io == IO_AGAIN && !spill(s, c->out + taken, len - taken))
		return IO_ERROR;
	return io;
}

enum io
transport_flush(struct tls_stream *s)
{
	enum io io;

	if (s->broken)
		return IO_ERROR;
	io = send_kept(s);
	if (io != IO_ERROR && send_made(s) == IO_ERROR)
		io = IO_ERROR;
	if (io == IO_OK && s->kept)
		io = IO_AGAIN;
	if (io == IO_AGAIN)
		s->blocked |= TLS_BLOCKED_WRITE;
	return io;
}

enum io
transport_hold(struct tls_stream *s)
{
	struct tls_context *c = s->context;

	if (c->out_len == 0)
		return IO_OK;
	if (s->kept)
		return transport_flush(s);
	if (!spill(s, c->out, c->out_len))
		return IO_ERROR;
	c->out_len = 0;
	s->lazy = true;
	return IO_OK;
}

void
transport_unhold(struct tls_stream *s)
{
	struct tls_context *c = s->context;

	if (!s->lazy)
		return;
	s->lazy = false;
	if (c->out_len + s->kept_len > OUTPUT_BYTES / 2)
		return;
	memcpy(c->out + c->out_len, s->kept, s->kept_len);
	c->out_len += s->kept_len;
	free(s->kept);
	s->kept = NULL;
	s->kept_len = 0;
}

static int
on_write(BIO *bio, const char *data, int len)
{
	struct tls_context *c = BIO_get_data(bio);
	size_t size = (size_t)len;

	BIO_clear_retry_flags(bio);
	if (OUTPUT_BYTES - c->out_len < size &&
	    transport_flush(c->current) == IO_ERROR)
		return -1;
	if (size > OUTPUT_BYTES) {
		c->current->broken = EMSGSIZE;
		return -1;
	}
	memcpy(c->out + c->out_len, data, size);
	c->out_len += size;
	return len;
}

/* IO_AGAIN also when the call's limit is reached. */
static enum io
receive(struct tls_context *c)
{
	struct tls_stream *s = c->current;
	ssize_t n;

	if (s->fin || c->in_limit == 0)
		return IO_AGAIN;
	do
		n = recv(s->fd, c->in, c->in_limit, 0);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		c->in_limit -= (size_t)n;
		s->heard_bytes += (size_t)n;
		c->in_at = 0;
		c->in_end = (size_t)n;
		return IO_OK;
	}
	if (n == 0) {
		s->fin = true;
		return IO_AGAIN;
	}
	if (errno == EAGAIN) {
		s->blocked |= TLS_BLOCKED_READ;
		return IO_AGAIN;
	}
	s->broken = errno;
	return IO_ERROR;
}

/*
 * New keys cost 20 us and a message of 27 bytes asks for them: without a bound
 * a megabyte a second keeps a core busy, and one read may hold up a worker for
 * long. Honest peers change keys after gigabytes.
 */
static bool
has_too_many_keys(const struct tls_stream *s)
{
	return s->key_updates >
	       KEY_UPDATES_FREE + s->heard_bytes / BYTES_PER_KEY_UPDATE;
}

/*
 * A FIN is told as "nothing yet": to OpenSSL an end without close_notify is a
 * fatal error, after which it would not write either, but the other direction
 * may go on for long. The stream knows of it by `fin`.
 */
static int
on_read(BIO *bio, char *to, int len)
{
	struct tls_context *c = BIO_get_data(bio);
	size_t size = (size_t)len;
	enum io io = IO_OK;

	BIO_clear_retry_flags(bio);
	if (len <= 0)
		return 0;
	if (has_too_many_keys(c->current)) {
		c->current->broken = EOVERFLOW;
		return -1;
	}
	if (c->in_at == c->in_end)
		io = receive(c);
	if (io == IO_AGAIN)
		BIO_set_retry_read(bio);
	if (io != IO_OK)
		return -1;
	if (size > c->in_end - c->in_at)
		size = c->in_end - c->in_at;
	memcpy(to, c->in + c->in_at, size);
	c->in_at += size;
	return (int)size;
}

static long
on_control(BIO *bio, int command, long number, void *data)
{
	(void)bio;
	(void)number;
	(void)data;
	return command == BIO_CTRL_FLUSH;
}

bool
transport_init(struct tls_context *c)
{
	c->in = malloc(INPUT_BYTES);
	c->out = malloc(OUTPUT_BYTES);
	c->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "lunette");
	if (!c->in || !c->out || !c->method)
		return false;
	BIO_meth_set_write(c->method, on_write);
	BIO_meth_set_read(c->method, on_read);
	BIO_meth_set_ctrl(c->method, on_control);
	c->bio = BIO_new(c->method);
	if (!c->bio)
		return false;
	BIO_set_data(c->bio, c);
	BIO_set_init(c->bio, 1);
	return true;
}

void
transport_fini(struct tls_context *c)
{
	BIO_free(c->bio);
	BIO_meth_free(c->method);
	free(c->in);
	free(c->out);
}

/* Between two contexts a stream has no BIO, and OpenSSL is not called. */
struct tls_context *
transport_context(const SSL *ssl)
{
	return BIO_get_data(SSL_get_rbio(ssl));
}

void
transport_begin(struct tls_stream *s, size_t limit)
{
	struct tls_context *c = s->context;

	ASSERT(!c->current);
	c->current = s;
	c->in_at = c->in_end = c->out_len = 0;
	c->in_limit = limit < INPUT_BYTES ? limit : INPUT_BYTES;
	s->blocked = 0;
	if (!s->early || limit == 0)
		return;
	memcpy(c->in, s->early, s->early_len);
	c->in_end = s->early_len;
	c->in_limit -= s->early_len < c->in_limit ? s->early_len : c->in_limit;
	free(s->early);
	s->early = NULL;
}

bool
transport_end(struct tls_stream *s)
{
	struct tls_context *c = s->context;
	size_t left = c->in_end - c->in_at;

	ASSERT(c->current == s);
	c->current = NULL;
	if (left == 0 || s->closed || s->failed)
		return true;
	s->early = malloc(left);
	if (!s->early) {
		s->broken = ENOMEM;
		return false;
	}
	memcpy(s->early, c->in + c->in_at, left);
	s->early_len = (uint32_t)left;
	return true;
}
