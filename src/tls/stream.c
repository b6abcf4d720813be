#include "tls/stream.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "tls/stream_private.h"

/* Room for what a peer says in one flight. What comes behind it is kept for the
 * first read, so it must not be much. */
#define FLIGHT_BYTES (RECORD_MAX_BYTES + 1024)

/* As much plaintext as one record of the peer may bring, and as much as part of
 * one that OpenSSL holds already. */
#define READ_RESERVE_BYTES (RECORD_MAX_BYTES + 256)

struct tls_stream *
stream_new(struct tls_context *c, SSL_CTX *ssl_ctx, int fd, size_t alpn_len)
{
	struct tls_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->context = c;
	c->stream_count++;
	s->fd = fd;
	s->handshake = calloc(1, sizeof(*s->handshake) + alpn_len);
	s->ssl = s->handshake ? SSL_new(ssl_ctx) : NULL;
	if (!s->ssl) {
		tls_free(s);
		return NULL;
	}
	s->handshake->alpn_len = alpn_len;
	BIO_up_ref(c->bio);
	SSL_set_bio(s->ssl, c->bio, c->bio);
	return s;
}

static void
free_handshake(struct tls_stream *s)
{
	if (!s->handshake)
		return;
	key_choice_put(&s->handshake->keys);
	free(s->handshake);
	s->handshake = NULL;
}

void
tls_free(struct tls_stream *s)
{
	if (!s)
		return;
	if (s->context) {
		ASSERT(s->context->current != s);
		s->context->stream_count--;
	}
	free_handshake(s);
	/* Else OpenSSL takes its session for broken off, and it could not be
	 * taken up again. */
	if (s->done && !s->failed)
		SSL_set_shutdown(
		    s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(s->ssl);
	peer_free(s->peer);
	free(s->failure);
	free(s->session_key);
	data_part_free(s->data);
	free(s->early);
	free(s->kept);
	free(s);
}

bool
stream_use(struct tls_stream *s, struct certificate *c)
{
	X509 *leaf = certificate_leaf(c);

	return leaf && SSL_use_cert_and_key(s->ssl, leaf, certificate_key(c),
			   certificate_chain(c), 1) == 1;
}

unsigned
tls_blocked_on(const struct tls_stream *s)
{
	return s->blocked;
}

static enum io
fail(struct tls_stream *s)
{
	failure_note(s);
	s->failed = true;
	return IO_ERROR;
}

/* What is wrong with a handshake that OpenSSL takes for good, or NULL. It goes
 * on without ALPN and without a PSK, too. */
static const char *
objection(const struct tls_stream *s)
{
	const struct handshake *h = s->handshake;
	const unsigned char *alpn;
	unsigned len;

	if (!server_name_is_judged(s))
		return "the server name has changed";
	SSL_get0_alpn_selected(s->ssl, &alpn, &len);
	if (h->needs_alpn && !span_is(span_of(alpn, len), h->needs_alpn))
		return "the peer does not speak our protocol";
	if (h->needs_psk && SSL_session_reused(s->ssl) != 1)
		return "the key was not used";
	return NULL;
}

static void
conclude(struct tls_stream *s)
{
	facts_note(s);
	free_handshake(s);
	data_part_seal(s->data);
	if (SSL_version(s->ssl) != TLS1_3_VERSION)
		s->key_life = 0;
	s->done = true;
}

/* The last flight is out, or waits in `kept`; of one that we object to nothing
 * is said. */
static enum io
finish(struct tls_stream *s)
{
	const char *why = objection(s);
	enum io io;

	if (why) {
		failure_set(s, TLS_FAULT_PROTOCOL, why);
		return fail(s);
	}
	if (SSL_version(s->ssl) == TLS1_3_VERSION &&
	    (s->is_server || s->handshake->holds_last_flight))
		io = transport_hold(s);
	else
		io = transport_flush(s);
	if (io == IO_ERROR)
		return fail(s);
	conclude(s);
	return io;
}

static enum io
step(struct tls_stream *s)
{
	int result = SSL_do_handshake(s->ssl), error;

	if (result == 1)
		return finish(s);
	error = SSL_get_error(s->ssl, result);
	if (transport_flush(s) == IO_ERROR && error == SSL_ERROR_WANT_READ)
		return fail(s);
	if (error != SSL_ERROR_WANT_READ || s->fin)
		return fail(s);
	return IO_AGAIN;
}

enum io
tls_handshake(struct tls_stream *s)
{
	enum io io;

	if (s->failed)
		return IO_ERROR;
	if (s->done)
		return tls_flush(s);
	ERR_clear_error();
	/* A long flight comes in several pieces, and epoll tells of it once. */
	do {
		transport_begin(s, FLIGHT_BYTES);
		io = step(s);
		if (!transport_end(s))
			io = fail(s);
	} while (
	    io == IO_AGAIN && !s->done && !(s->blocked & TLS_BLOCKED_READ));
	return io;
}

/* What SSL_read said when it gave nothing. */
static enum io
read_result(struct tls_stream *s)
{
	switch (SSL_get_error(s->ssl, 0)) {
	case SSL_ERROR_ZERO_RETURN:
		s->closed = true;
		return IO_EOF;
	case SSL_ERROR_WANT_READ:
		return s->fin ? IO_EOF : IO_AGAIN;
	default:
		return IO_ERROR;
	}
}

/*
 * Records one after the other for as long as one more is sure to fit, so that
 * none is taken apart and nothing stays behind.
 */
static enum io
read_records(struct tls_stream *s, uint8_t *buffer, size_t size, size_t *count)
{
	struct tls_context *c = s->context;
	size_t n;

	while (size - *count >= READ_RESERVE_BYTES || c->in_at < c->in_end) {
		if (SSL_read_ex(s->ssl, buffer + *count, size - *count, &n) !=
		    1)
			return read_result(s);
		*count += n;
	}
	return IO_OK;
}

/*
 * A ticket that was held back waits for the answer to what the client says
 * first. If it says nothing, or goes on speaking without an answer, it goes
 * alone. A client's last flight waits only for what can be written before the
 * first read: a server that speaks first says nothing until then.
 */
static bool
hold_is_over(struct tls_stream *s, size_t count)
{
	if (!s->lazy)
		return false;
	if (!s->is_server)
		return true;
	if (!(s->blocked & TLS_BLOCKED_READ))
		return false;
	if (count == 0 && !s->spoke)
		return true;
	return ++s->dry_count == 3;
}

static enum io
read_all(struct tls_stream *s, uint8_t *buffer, size_t size, size_t *count)
{
	bool was_broken = s->broken != 0;
	enum io io = read_records(s, buffer, size, count);

	/* One buffer a call, not one a record as with RELEASE_BUFFERS. */
	SSL_free_buffers(s->ssl);
	if (io == IO_AGAIN && *count == 0 && !s->blocked) {
		failure_set(s, TLS_FAULT_PROTOCOL, "records without data");
		io = IO_ERROR;
	}
	/* Nobody takes an answer any more; behind close_notify there is none.
	 */
	if (was_broken || s->shut)
		s->context->out_len = 0;
	else if ((s->context->out_len > 0 || hold_is_over(s, *count)) &&
		 transport_flush(s) == IO_ERROR && io != IO_EOF)
		io = IO_ERROR;
	return io;
}

enum io
tls_read(struct tls_stream *s, void *buffer, size_t size, size_t *count)
{
	enum io io;

	ASSERT(s->done && size >= TLS_READ_MIN_BYTES);
	*count = 0;
	if (s->failed) {
		errno = s->broken ? s->broken : EPROTO;
		return IO_ERROR;
	}
	if (s->closed)
		return IO_EOF;
	ERR_clear_error();
	transport_begin(s, size - READ_RESERVE_BYTES);
	io = read_all(s, buffer, size, count);
	if (io == IO_ERROR)
		fail(s);
	if (!transport_end(s))
		io = fail(s);
	if (*count > 0) {
		s->spoke = true;
		return IO_OK;
	}
	if (io == IO_ERROR)
		errno = s->broken ? s->broken : EPROTO;
	return io;
}

bool
tls_truncated(const struct tls_stream *s)
{
	return s->fin && !s->closed;
}

/* The message goes in front of the next record. */
static bool
renew_key(struct tls_stream *s, size_t len)
{
	if (s->key_life == 0)
		return true;
	if (s->key_left > len) {
		s->key_left -= len;
		return true;
	}
	s->key_left = s->key_life;
	return SSL_key_update(s->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1;
}

void
tls_set_key_life(struct tls_stream *s, uint64_t bytes)
{
	bool may_change = !s->done || SSL_version(s->ssl) == TLS1_3_VERSION;

	s->key_life = s->key_left = may_change ? bytes : 0;
}

static enum io
write_records(struct tls_stream *s, struct span bytes)
{
	size_t n;

	transport_unhold(s);
	if (!renew_key(s, bytes.len))
		return IO_ERROR;
	while (bytes.len > 0) {
		if (SSL_write_ex(s->ssl, bytes.data, bytes.len, &n) != 1)
			return IO_ERROR;
		bytes.data += n;
		bytes.len -= n;
	}
	SSL_free_buffers(s->ssl);
	return transport_flush(s);
}

/*
 * After a record that was not made or not kept none can follow. But where the
 * socket refused, what the peer said before it went can still be read.
 */
static enum io
write_error(struct tls_stream *s)
{
	bool of_socket = s->broken && s->broken != ENOMEM;

	if (!s->broken)
		s->broken = EPROTO;
	failure_note(s);
	s->failed = !of_socket;
	errno = s->broken;
	return IO_ERROR;
}

enum io
tls_write(struct tls_stream *s, struct span bytes)
{
	enum io io;

	ASSERT(s->done && bytes.len <= TLS_WRITE_MAX_BYTES);
	if (s->failed || s->shut || s->broken) {
		errno = s->broken ? s->broken : EPIPE;
		return IO_ERROR;
	}
	ERR_clear_error();
	transport_begin(s, 0);
	io = write_records(s, bytes);
	if (io == IO_ERROR)
		io = write_error(s);
	if (!transport_end(s))
		io = write_error(s);
	return io;
}

void
tls_expect_more(struct tls_stream *s, bool more)
{
	s->more = more;
}

bool
tls_has_unsent(const struct tls_stream *s)
{
	return s->kept && !s->lazy;
}

size_t
tls_unsent_bytes(const struct tls_stream *s)
{
	return tls_has_unsent(s) ? s->kept_len - s->kept_at : 0;
}

enum io
tls_flush(struct tls_stream *s)
{
	enum io io;

	s->blocked = 0;
	if (!tls_has_unsent(s))
		return IO_OK;
	io = transport_flush(s);
	if (io == IO_ERROR)
		errno = s->broken;
	return io;
}

void
tls_drop_unsent(struct tls_stream *s)
{
	free(s->kept);
	s->kept = NULL;
	s->kept_at = s->kept_len = 0;
	s->lazy = false;
	s->shut = true;
}

enum io
tls_shut(struct tls_stream *s)
{
	enum io io;

	if (s->shut || s->failed || s->broken || !s->done)
		return tls_flush(s);
	s->shut = true;
	ERR_clear_error();
	transport_begin(s, 0);
	transport_unhold(s);
	SSL_shutdown(s->ssl);
	SSL_free_buffers(s->ssl);
	io = transport_flush(s);
	if (!transport_end(s))
		io = IO_ERROR;
	if (io == IO_ERROR)
		errno = s->broken;
	return io;
}

/* The SSL_CTX stays: it is counted, and not changed any more. */
void
tls_move(struct tls_stream *s, struct tls_context *to)
{
	struct tls_context *from = s->context;
	BIO *bio = to ? to->bio : NULL;

	ASSERT(s->done && (!from || from->current != s));
	if (from == to)
		return;
	if (from)
		from->stream_count--;
	if (to) {
		to->stream_count++;
		BIO_up_ref(bio);
	}
	SSL_set_bio(s->ssl, bio, bio);
	s->context = to;
}

void
tls_trim(struct tls_stream *s)
{
	if (!s->done)
		return;
	SSL_certs_clear(s->ssl);
	SSL_set0_CA_list(s->ssl, NULL);
	SSL_set1_verify_cert_store(s->ssl, NULL);
}
