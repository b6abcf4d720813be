#include "tls/probe.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>

#include "sys/ready.h"
#include "tls/stream_private.h"

struct probe_chain {
	X509 *leaf;
	STACK_OF(X509) * others; /* as sent, the leaf among them; or NULL */
};

/* --- what was shown --- */

/*
 * A certificate is public: who shows it has proved nothing. In both versions of
 * TLS that are spoken here the server signs the handshake, and a wrong
 * signature ends it with an alert of ours. So the proof is there when all is
 * done, or when it is the server that gave up after it had signed.
 */
static bool
has_proved(const struct tls_stream *s)
{
	int type;

	if (s->done)
		return true;
	return tls_failure(s)->fault == TLS_FAULT_ALERT_RECEIVED &&
	       SSL_get_peer_signature_type_nid(s->ssl, &type) == 1;
}

static int64_t
unix_time(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static bool
note_fingerprint(const X509 *leaf, char out[CERTIFICATE_FINGERPRINT_SIZE])
{
	uint8_t hash[EVP_MAX_MD_SIZE];
	struct text t;

	if (X509_digest(leaf, EVP_sha256(), hash, NULL) != 1)
		return false;
	text_init(&t, out, CERTIFICATE_FINGERPRINT_SIZE);
	for (size_t i = 0; i < SHA256_BYTES; i++)
		text_addf(&t, "%02x", hash[i]);
	return true;
}

static struct probe_chain *
chain_new(const struct tls_stream *s, X509 *leaf)
{
	struct probe_chain *c = calloc(1, sizeof(*c));
	STACK_OF(X509) *sent = SSL_get_peer_cert_chain(s->ssl);

	if (!c)
		return NULL;
	X509_up_ref(leaf);
	c->leaf = leaf;
	if (sent)
		c->others = X509_chain_up_ref(sent);
	return c;
}

static bool
note_leaf(const struct tls_stream *s, struct probe *out)
{
	X509 *leaf = SSL_get0_peer_certificate(s->ssl);

	if (!leaf || !has_proved(s))
		return true;
	out->has_leaf = true;
	out->not_before = unix_time(X509_get0_notBefore(leaf));
	out->not_after = unix_time(X509_get0_notAfter(leaf));
	trust_name_line(
	    X509_get_subject_name(leaf), out->subject, sizeof(out->subject));
	trust_name_line(
	    X509_get_issuer_name(leaf), out->issuer, sizeof(out->issuer));
	out->chain = chain_new(s, leaf);
	return out->chain && note_fingerprint(leaf, out->fingerprint);
}

static void
note_facts(const struct tls_stream *s, struct probe *out)
{
	struct tls_facts facts;
	struct text t;

	tls_facts(s, &facts);
	out->done = true;
	out->version = facts.version;
	text_init(&t, out->alpn, sizeof(out->alpn));
	text_add_escaped(&t, facts.alpn, sizeof(out->alpn) / 4 - 1);
}

static void
note_failure(const struct tls_stream *s, struct probe *out)
{
	const struct tls_failure *f = tls_failure(s);
	struct text t;

	out->fault = f->fault;
	out->alert = f->alert;
	text_init(&t, out->detail, sizeof(out->detail));
	if (f->fault == TLS_FAULT_ALERT_RECEIVED)
		text_addf(&t, "alert %u, ", f->alert);
	text_add(&t, f->detail ? f->detail : "the handshake has failed");
}

/* --- the handshake --- */

/* 0, or -errno: why it was not waited to its end. */
static int
shake(struct tls_stream *s, int fd, uint64_t deadline_ms, enum io *io)
{
	while ((*io = tls_handshake(s)) == IO_AGAIN) {
		bool writes = tls_blocked_on(s) & TLS_BLOCKED_WRITE;
		int err = ready_wait(
		    fd, (short)(POLLIN | (writes ? POLLOUT : 0)), deadline_ms);

		if (err < 0)
			return err;
	}
	return 0;
}

static int
meet(struct tls_stream *s, int fd, const struct probe_settings *settings,
    struct probe *out)
{
	struct text detail;
	enum io io;
	int err;

	if (settings->max_version != 0 &&
	    SSL_set_max_proto_version(s->ssl, settings->max_version) != 1)
		return -ENOMEM;
	err = shake(s, fd, settings->deadline_ms, &io);
	if (err < 0) {
		text_init(&detail, out->detail, sizeof(out->detail));
		text_add(&detail, "no handshake in time");
		return 0;
	}
	if (io == IO_OK)
		note_facts(s, out);
	else
		note_failure(s, out);
	if (out->fault == TLS_FAULT_MEMORY || !note_leaf(s, out))
		return -ENOMEM;
	if (io == IO_OK)
		(void)tls_shut(s);
	return 0;
}

int
probe_run(int fd, const struct probe_settings *settings, struct probe *out)
{
	struct tls_client_settings as_client = {
		.server_name = settings->server_name,
		.alpn = settings->alpn,
	};
	struct tickets *tickets = tickets_new();
	struct tls_context *c = tickets ? tls_context_new(tickets, -1) : NULL;
	struct tls_stream *s = c ? tls_connect(c, fd, &as_client) : NULL;
	int result;

	*out = (struct probe){ .done = false };
	result = s ? meet(s, fd, settings, out) : -ENOMEM;
	tls_free(s);
	tls_context_free(c);
	tickets_free(tickets);
	ERR_clear_error();
	if (result < 0) {
		probe_fini(out);
		*out = (struct probe){ .done = false };
	}
	return result;
}

void
probe_fini(struct probe *p)
{
	if (!p->chain)
		return;
	X509_free(p->chain->leaf);
	sk_X509_pop_free(p->chain->others, X509_free);
	free(p->chain);
	p->chain = NULL;
}

/* --- whom it comes from --- */

static bool
expect(X509_STORE_CTX *c, struct span name)
{
	char text[NAME_TEXT_SIZE];

	return name.len == 0 ||
	       (name_copy(name, text) &&
		   name_expect(X509_STORE_CTX_get0_param(c), text));
}

static int
verify(const struct probe_chain *sent, X509_STORE *store, struct span name,
    struct text *error)
{
	X509_STORE_CTX *c = X509_STORE_CTX_new();
	int result = -1;

	if (!c ||
	    X509_STORE_CTX_init(c, store, sent->leaf, sent->others) != 1 ||
	    X509_STORE_CTX_set_default(c, "ssl_server") != 1 ||
	    !expect(c, name))
		text_add(error, "no memory");
	else if (X509_verify_cert(c) == 1)
		result = 0;
	else
		text_add(error,
		    X509_verify_cert_error_string(X509_STORE_CTX_get_error(c)));
	X509_STORE_CTX_free(c);
	ERR_clear_error();
	return result;
}

int
probe_check(const struct probe *p, struct trust *t, struct span name,
    struct text *error)
{
	struct trust_content content;
	int result;

	if (!p->chain) {
		text_add(error, "no certificate");
		return -1;
	}
	if (!trust_take(t, false, &content)) {
		text_add(error, "no memory");
		return -1;
	}
	result = verify(p->chain, content.store, name, error);
	X509_STORE_free(content.store);
	return result;
}
