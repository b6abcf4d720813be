/*
 * One TLS connection that can do what Python's ssl cannot: export keys and
 * speak TLS 1.3 with an external PSK. Compiled by the tests (tunnelpeer.py):
 *
 *	cc -o tunnelpeer tunnelpeer.c -lssl -lcrypto
 *	tunnelpeer client|server NET PLAIN [OPTION VALUE]...
 *
 * NET is the descriptor of a connected socket, PLAIN of one where the text
 * comes and goes. Options: alpn (one name; of a client a comma-separated list),
 * sni, ca, crt, key, identity, psk (both hex), ciphers, groups, version (1.2 or
 * 1.3: only that), hash (the PSK's: sha256 or sha384).
 *
 * On standard output it says a line of JSON for each thing that happens: the
 * handshake, tickets, the end. On standard input it takes lines: "export LABEL
 * CONTEXT LENGTH" (context in hex, or - for none), "cut" (FIN without
 * close_notify), "update" (new keys). The end of PLAIN is close_notify and FIN.
 */
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 65536

static const char *option_alpn, *option_sni, *option_ca, *option_crt;
static const char *option_key, *option_ciphers, *option_groups;
static const char *option_version, *option_hash;
static unsigned char identity[512], psk[64];
static size_t identity_len, psk_len;
static unsigned char alpn_wire[256];
static unsigned alpn_wire_len;
static int tickets, alert_in = -1, alert_out = -1, hellos;

struct pipe {
	unsigned char data[BLOCK];
	size_t at, len;
	bool ended, passed_on;
};

static void
fail(const char *what)
{
	fprintf(stderr, "tunnelpeer: %s\n", what);
	ERR_print_errors_fp(stderr);
	exit(2);
}

static size_t
from_hex(const char *hex, unsigned char *out, size_t size)
{
	size_t len = strlen(hex) / 2;

	if (len > size)
		fail("too much hex");
	for (size_t i = 0; i < len; i++) {
		unsigned value;

		if (sscanf(hex + 2 * i, "%2x", &value) != 1)
			fail("not hex");
		out[i] = (unsigned char)value;
	}
	return len;
}

static void
set_alpn(const char *list)
{
	const char *at = list;

	while (*at != '\0') {
		size_t len = strcspn(at, ",");

		alpn_wire[alpn_wire_len++] = (unsigned char)len;
		memcpy(alpn_wire + alpn_wire_len, at, len);
		alpn_wire_len += (unsigned)len;
		at += len + (at[len] == ',');
	}
}

static void
read_options(char **argument)
{
	for (; argument[0] != NULL; argument += 2) {
		const char *name = argument[0], *value = argument[1];

		if (value == NULL)
			fail("an option without a value");
		if (strcmp(name, "alpn") == 0)
			set_alpn(option_alpn = value);
		else if (strcmp(name, "sni") == 0)
			option_sni = value;
		else if (strcmp(name, "ca") == 0)
			option_ca = value;
		else if (strcmp(name, "crt") == 0)
			option_crt = value;
		else if (strcmp(name, "key") == 0)
			option_key = value;
		else if (strcmp(name, "ciphers") == 0)
			option_ciphers = value;
		else if (strcmp(name, "groups") == 0)
			option_groups = value;
		else if (strcmp(name, "version") == 0)
			option_version = value;
		else if (strcmp(name, "hash") == 0)
			option_hash = value;
		else if (strcmp(name, "identity") == 0)
			identity_len =
			    from_hex(value, identity, sizeof(identity));
		else if (strcmp(name, "psk") == 0)
			psk_len = from_hex(value, psk, sizeof(psk));
		else
			fail(name);
	}
}

/* ---- what OpenSSL asks and tells ---- */

static SSL_SESSION *
psk_session(SSL *ssl)
{
	static const unsigned char aes128_sha256[] = { 0x13, 0x01 };
	static const unsigned char aes256_sha384[] = { 0x13, 0x02 };
	bool is_384 = option_hash != NULL && strcmp(option_hash, "sha384") == 0;
	SSL_SESSION *s = SSL_SESSION_new();

	if (s == NULL || SSL_SESSION_set1_master_key(s, psk, psk_len) != 1 ||
	    SSL_SESSION_set_cipher(s,
		SSL_CIPHER_find(ssl, is_384 ? aes256_sha384 : aes128_sha256)) !=
		1 ||
	    SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION) != 1)
		fail("no session for the PSK");
	return s;
}

static int
use_session(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *len,
    SSL_SESSION **session)
{
	(void)md;
	*id = identity;
	*len = identity_len;
	*session = psk_session(ssl);
	return 1;
}

static int
find_session(
    SSL *ssl, const unsigned char *id, size_t len, SSL_SESSION **session)
{
	*session = NULL;
	if (len == identity_len && memcmp(id, identity, len) == 0)
		*session = psk_session(ssl);
	return 1;
}

static int
choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *in, unsigned in_len, void *arg)
{
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, alpn_wire, alpn_wire_len,
		in, in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static void
on_message(int written, int version, int type, const void *data, size_t len,
    SSL *ssl, void *arg)
{
	const unsigned char *bytes = data;

	(void)version;
	(void)ssl;
	(void)arg;
	if (type == SSL3_RT_ALERT && len == 2) {
		if (written)
			alert_out = bytes[1];
		else
			alert_in = bytes[1];
	}
	if (type != SSL3_RT_HANDSHAKE || len == 0)
		return;
	if (!written && bytes[0] == SSL3_MT_NEWSESSION_TICKET)
		tickets++;
	if (bytes[0] == SSL3_MT_CLIENT_HELLO)
		hellos++;
}

/* ---- the connection ---- */

static SSL_CTX *
make_context(bool is_server)
{
	SSL_CTX *c =
	    SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());

	if (c == NULL)
		fail("no context");
	if (option_version != NULL) {
		int v = strcmp(option_version, "1.2") == 0 ? TLS1_2_VERSION
							   : TLS1_3_VERSION;

		SSL_CTX_set_min_proto_version(c, v);
		SSL_CTX_set_max_proto_version(c, v);
	}
	if (option_ciphers != NULL &&
	    SSL_CTX_set_ciphersuites(c, option_ciphers) != 1)
		fail("ciphers");
	if (option_groups != NULL &&
	    SSL_CTX_set1_groups_list(c, option_groups) != 1)
		fail("groups");
	if (option_crt != NULL &&
	    (SSL_CTX_use_certificate_chain_file(c, option_crt) != 1 ||
		SSL_CTX_use_PrivateKey_file(c, option_key, SSL_FILETYPE_PEM) !=
		    1))
		fail("certificate");
	if (option_ca != NULL) {
		if (SSL_CTX_load_verify_locations(c, option_ca, NULL) != 1)
			fail("ca");
		SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	}
	if (alpn_wire_len > 0 && is_server)
		SSL_CTX_set_alpn_select_cb(c, choose_alpn, NULL);
	else if (alpn_wire_len > 0)
		SSL_CTX_set_alpn_protos(c, alpn_wire, alpn_wire_len);
	if (psk_len > 0 && is_server)
		SSL_CTX_set_psk_find_session_callback(c, find_session);
	else if (psk_len > 0)
		SSL_CTX_set_psk_use_session_callback(c, use_session);
	SSL_CTX_set_msg_callback(c, on_message);
	if (is_server)
		SSL_CTX_set_num_tickets(c, 0);
	return c;
}

static SSL *
make_ssl(bool is_server, int net)
{
	SSL *ssl = SSL_new(make_context(is_server));

	if (ssl == NULL || SSL_set_fd(ssl, net) != 1)
		fail("no SSL");
	if (!is_server && option_sni != NULL) {
		SSL_set_tlsext_host_name(ssl, option_sni);
		if (option_ca != NULL)
			SSL_set1_host(ssl, option_sni);
	}
	if (is_server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

static void
say_handshake(SSL *ssl, int result)
{
	const unsigned char *alpn;
	unsigned alpn_len;

	SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
	printf("{\"did\": \"handshake\", \"ok\": %s, \"version\": \"%s\", "
	       "\"alpn\": \"%.*s\", \"reused\": %s, \"cipher\": \"%s\", "
	       "\"alert_in\": %d, \"alert_out\": %d, \"hellos\": %d, "
	       "\"error\": \"%s\"}\n",
	    result == 1 ? "true" : "false", SSL_get_version(ssl), (int)alpn_len,
	    alpn != NULL ? (const char *)alpn : "",
	    SSL_session_reused(ssl) ? "true" : "false",
	    result == 1 ? SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl))
			: "",
	    alert_in, alert_out, hellos,
	    result == 1 ? "" : ERR_reason_error_string(ERR_peek_error()));
	fflush(stdout);
}

static void
say_end(const char *how)
{
	printf("{\"did\": \"end\", \"how\": \"%s\", \"tickets\": %d, "
	       "\"alert_in\": %d}\n",
	    how, tickets, alert_in);
	fflush(stdout);
}

static void
wait_for(SSL *ssl, int net, int error)
{
	struct pollfd p = { .fd = net,
		.events = error == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN };

	(void)ssl;
	poll(&p, 1, -1);
}

static bool
shake_hands(SSL *ssl, int net)
{
	for (;;) {
		int result, error;

		ERR_clear_error();
		result = SSL_do_handshake(ssl);
		error = SSL_get_error(ssl, result);
		if (error != SSL_ERROR_WANT_READ &&
		    error != SSL_ERROR_WANT_WRITE) {
			say_handshake(ssl, result);
			return result == 1;
		}
		wait_for(ssl, net, error);
	}
}

static void
do_export(SSL *ssl, char *line)
{
	unsigned char context[256], out[256];
	char *label = strtok(line, " "), *hex = strtok(NULL, " ");
	size_t len = (size_t)atoi(strtok(NULL, " ")), context_len = 0;
	bool has_context = strcmp(hex, "-") != 0;

	if (has_context)
		context_len = from_hex(hex, context, sizeof(context));
	if (len > sizeof(out) ||
	    SSL_export_keying_material(ssl, out, len, label, strlen(label),
		context, context_len, has_context) != 1)
		fail("export");
	printf("{\"did\": \"export\", \"key\": \"");
	for (size_t i = 0; i < len; i++)
		printf("%02x", out[i]);
	printf("\"}\n");
	fflush(stdout);
}

static void
obey(SSL *ssl, int net, char *line)
{
	if (strncmp(line, "export ", 7) == 0)
		do_export(ssl, line + 7);
	else if (strcmp(line, "cut") == 0)
		shutdown(net, SHUT_WR);
	else if (strcmp(line, "update") == 0)
		SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
	else
		fail(line);
}

/* False at the end of standard input. */
static bool
take_commands(SSL *ssl, int net)
{
	static char line[1024];
	static size_t len;
	ssize_t got = read(0, line + len, sizeof(line) - 1 - len);
	char *end;

	if (got <= 0)
		return false;
	len += (size_t)got;
	line[len] = '\0';
	while ((end = strchr(line, '\n')) != NULL) {
		*end = '\0';
		obey(ssl, net, line);
		len -= (size_t)(end + 1 - line);
		memmove(line, end + 1, len + 1);
	}
	return true;
}

/* From the peer into `in`; false if there was nothing. */
static bool
read_tls(SSL *ssl, struct pipe *in)
{
	int got;

	if (in->len > 0 || in->ended)
		return false;
	ERR_clear_error();
	got = SSL_read(ssl, in->data, BLOCK);
	if (got > 0) {
		in->at = 0;
		in->len = (size_t)got;
		return true;
	}
	switch (SSL_get_error(ssl, got)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return false;
	case SSL_ERROR_ZERO_RETURN:
		say_end("notify");
		break;
	case SSL_ERROR_SYSCALL:
		say_end(errno == ECONNRESET ? "reset" : "fin");
		break;
	default:
		say_end(ERR_GET_REASON(ERR_peek_error()) ==
				SSL_R_UNEXPECTED_EOF_WHILE_READING
			    ? "fin"
			    : "error");
		break;
	}
	in->ended = true;
	return true;
}

static void
write_plain(int plain, struct pipe *in)
{
	if (in->len > 0) {
		ssize_t put = send(plain, in->data + in->at, in->len,
		    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (put < 0 && errno != EAGAIN)
			in->len = 0; /* nobody reads it any more */
		else if (put > 0) {
			in->at += (size_t)put;
			in->len -= (size_t)put;
		}
	}
	if (in->len == 0 && in->ended && !in->passed_on) {
		in->passed_on = true;
		shutdown(plain, SHUT_WR);
	}
}

static void
read_plain(int plain, struct pipe *out)
{
	ssize_t got;

	if (out->len > 0 || out->ended)
		return;
	got = recv(plain, out->data, BLOCK, MSG_DONTWAIT);
	if (got > 0) {
		out->at = 0;
		out->len = (size_t)got;
	} else if (got == 0 || errno != EAGAIN)
		out->ended = true;
}

/* False once writing fails for good. */
static bool
write_tls(SSL *ssl, int net, struct pipe *out)
{
	if (out->len > 0) {
		int put;

		ERR_clear_error();
		put = SSL_write(ssl, out->data + out->at, (int)out->len);
		if (put > 0) {
			out->at += (size_t)put;
			out->len -= (size_t)put;
		} else if (SSL_get_error(ssl, put) > SSL_ERROR_WANT_WRITE ||
			   SSL_get_error(ssl, put) == SSL_ERROR_SSL)
			return false;
	}
	if (out->len == 0 && out->ended && !out->passed_on) {
		out->passed_on = true;
		SSL_shutdown(ssl);
		shutdown(net, SHUT_WR);
	}
	return true;
}

static void
relay(SSL *ssl, int net, int plain)
{
	static struct pipe in, out;
	bool commands = true;

	while (!in.passed_on || !out.passed_on) {
		struct pollfd p[] = {
			{ .fd = in.ended ? -1 : net,
			    .events = (short)((in.len == 0 ? POLLIN : 0) |
					      (out.len > 0 ? POLLOUT : 0)) },
			{ .fd = out.ended && in.len == 0 ? -1 : plain,
			    .events =
				(short)((out.len == 0 && !out.ended ? POLLIN
								    : 0) |
					(in.len > 0 ? POLLOUT : 0)) },
			{ .fd = commands ? 0 : -1, .events = POLLIN },
		};

		if (in.ended && out.len > 0)
			p[0] = (struct pollfd){ .fd = net, .events = POLLOUT };
		poll(p, 3, -1);
		if (p[2].revents != 0)
			commands = take_commands(ssl, net);
		while (read_tls(ssl, &in))
			write_plain(plain, &in);
		write_plain(plain, &in);
		read_plain(plain, &out);
		if (!write_tls(ssl, net, &out))
			out.len = 0, out.ended = out.passed_on = true;
	}
	while (commands)
		commands = take_commands(ssl, net);
}

int
main(int argc, char **argv)
{
	bool is_server;
	int net, plain;
	SSL *ssl;

	if (argc < 4)
		fail("client|server NET PLAIN ...");
	is_server = strcmp(argv[1], "server") == 0;
	net = atoi(argv[2]);
	plain = atoi(argv[3]);
	read_options(argv + 4);
	fcntl(net, F_SETFL, fcntl(net, F_GETFL) | O_NONBLOCK);
	ssl = make_ssl(is_server, net);
	if (shake_hands(ssl, net))
		relay(ssl, net, plain);
	return 0;
}
