#include "tls_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

static uint8_t heard[TLS_READ_MIN_BYTES + 1];

struct certificate *
scene_certificate(const struct made *leaf, const struct made *issuer)
{
	char message[256];
	struct text error;
	const char *crt =
	    issuer ? join(leaf->crt, issuer->crt, NULL) : leaf->crt;
	struct certificate *c;

	text_init(&error, message, sizeof(message));
	c = certificate_parse(span_text(crt), span_text(leaf->key_pem), &error);
	ck_assert_msg(c != NULL, "%s", message);
	return c;
}

struct trust *
scene_trust(const char *cas, const char *crls)
{
	char message[256];
	struct text error;
	const char *cas_path = make_file("cas.pem", cas);
	const char *crls_path = crls ? make_file("crls.pem", crls) : NULL;
	struct trust *t;

	text_init(&error, message, sizeof(message));
	t = trust_load(&cas_path, 1, &crls_path, crls ? 1 : 0, &error);
	ck_assert_msg(t != NULL, "%s", message);
	return t;
}

void
scene_use_client(
    struct scene *s, const struct made *leaf, const struct made *issuer)
{
	certificate_put(s->client_certificate);
	s->client_certificate = scene_certificate(leaf, issuer);
	s->as_client.certificate = s->client_certificate;
}

void
scene_open(struct scene *s)
{
	*s = (struct scene){ .server_fd = -1, .client_fd = -1 };
	s->ca = make((struct recipe){ .ca = true });
	s->leaf = make((struct recipe){
	    .issuer = s->ca, .names = "DNS:a.test,DNS:b.test" });
	s->client_ca = make((struct recipe){ .ca = true });
	s->client_leaf = make((struct recipe){ .issuer = s->client_ca,
	    .common_name = "a client",
	    .extended_key_usage = "clientAuth" });
	s->trust = scene_trust(s->ca->crt, NULL);
	s->client_trust = scene_trust(s->client_ca->crt, NULL);
	s->keys.by_kind[KEY_ECDSA] = scene_certificate(s->leaf, NULL);
	s->tickets = tickets_new();
	s->edge = tls_context_new(s->tickets, -1);
	s->outside = tls_context_new(s->tickets, -1);
	ck_assert_ptr_nonnull(s->edge);
	ck_assert_ptr_nonnull(s->outside);
	s->as_server = (struct tls_server_settings){
		.keys = &s->keys,
		.min_version = TLS_VERSION_1_2,
		.max_version = TLS_VERSION_1_3,
		.name = span_text("a.test"),
		.endpoint_id = "ep_1",
		.session_life_s = 7200,
		.wants_tickets = true,
	};
	s->as_client = (struct tls_client_settings){
		.trust = s->trust,
		.server_name = span_text("a.test"),
	};
}

void
scene_close(struct scene *s)
{
	scene_part(s);
	SSL_CTX_free(s->raw_ctx);
	tls_context_free(s->edge);
	tls_context_free(s->outside);
	tickets_free(s->tickets);
	key_choice_put(&s->keys);
	certificate_put(s->client_certificate);
	trust_put(s->trust);
	trust_put(s->client_trust);
}

static void
open_sockets(struct scene *s)
{
	int fds[2];

	scene_part(s);
	ck_assert_int_eq(
	    socketpair(
		AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
	    0);
	s->server_fd = fds[0];
	s->client_fd = fds[1];
	s->server = tls_accept(s->edge, s->server_fd, &s->as_server);
	ck_assert_ptr_nonnull(s->server);
}

void
scene_meet(struct scene *s)
{
	open_sockets(s);
	s->client = tls_connect(s->outside, s->client_fd, &s->as_client);
	ck_assert_ptr_nonnull(s->client);
}

void
scene_meet_raw(struct scene *s)
{
	open_sockets(s);
	if (!s->raw_ctx)
		s->raw_ctx = SSL_CTX_new(TLS_client_method());
	s->raw = SSL_new(s->raw_ctx);
	ck_assert_ptr_nonnull(s->raw);
	ck_assert_int_eq(SSL_set_fd(s->raw, s->client_fd), 1);
	SSL_set_connect_state(s->raw);
	scene_ask_for(s, "a.test");
}

void
scene_ask_for(struct scene *s, const char *name)
{
	void *text = (void *)(uintptr_t)name;

	ck_assert_int_eq(SSL_set_tlsext_host_name(s->raw, text), 1);
}

void
scene_narrow(struct scene *s)
{
	int size = 1; /* the kernel takes its least */

	setsockopt(s->server_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(s->client_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

void
scene_part(struct scene *s)
{
	tls_free(s->server);
	tls_free(s->client);
	if (s->raw) /* else its session is broken off */
		SSL_set_shutdown(s->raw, SSL_SENT_SHUTDOWN);
	SSL_free(s->raw);
	s->server = s->client = NULL;
	s->raw = NULL;
	if (s->server_fd >= 0)
		close(s->server_fd);
	if (s->client_fd >= 0)
		close(s->client_fd);
	s->server_fd = s->client_fd = -1;
}

static enum io
shake_raw(SSL *raw)
{
	int result, error;

	ERR_clear_error();
	result = SSL_do_handshake(raw);
	if (result == 1)
		return IO_OK;
	error = SSL_get_error(raw, result);
	ERR_clear_error();
	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE
		   ? IO_AGAIN
		   : IO_ERROR;
}

void
scene_shake(struct scene *s, enum io *server, enum io *client)
{
	*server = *client = IO_AGAIN;
	for (int i = 0; i < 100000; i++) {
		if (*client == IO_AGAIN)
			*client = s->raw ? shake_raw(s->raw)
					 : tls_handshake(s->client);
		if (*server == IO_AGAIN)
			*server = tls_handshake(s->server);
		/* Whoever waits has met a socket that will tell of more. */
		ck_assert(*server != IO_AGAIN || tls_blocked_on(s->server));
		/* What failed says no more: the other may wait in vain. */
		if (*server != IO_AGAIN && *client != IO_AGAIN)
			return;
		if (*server == IO_ERROR && i > 10)
			return;
	}
	ck_abort_msg("the handshake does not end");
}

void
scene_greet(struct scene *s)
{
	enum io server, client;

	scene_meet(s);
	scene_shake(s, &server, &client);
	ck_assert_msg(
	    server == IO_OK, "server: %s", tls_failure(s->server)->detail);
	ck_assert_msg(
	    client == IO_OK, "client: %s", tls_failure(s->client)->detail);
}

enum io
scene_read(struct tls_stream *s)
{
	size_t count;

	return tls_read(s, heard, sizeof(heard) - 1, &count);
}

const char *
scene_hear(struct tls_stream *s)
{
	size_t all = 0, count;
	static uint8_t buffer[TLS_READ_MIN_BYTES];

	while (tls_read(s, buffer, sizeof(buffer), &count) == IO_OK) {
		ck_assert_uint_lt(all + count, sizeof(heard));
		memcpy(heard + all, buffer, count);
		all += count;
	}
	heard[all] = '\0';
	return (const char *)heard;
}

void
scene_say(struct tls_stream *from, struct tls_stream *to, const char *text)
{
	ck_assert_int_eq(tls_write(from, span_text(text)), IO_OK);
	ck_assert_str_eq(scene_hear(to), text);
}
