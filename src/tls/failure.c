#include "tls/stream_private.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "wire/alert.h"

#define ALERT_LEVEL_FATAL 2

static const struct tls_failure none;
static const struct tls_failure no_memory = {
	.fault = TLS_FAULT_MEMORY,
	.alert = SSL_AD_INTERNAL_ERROR,
	.detail = "no memory",
};

/*
 * OpenSSL tells of each alert. Warnings end nothing in TLS 1.2; in TLS 1.3 the
 * level means nothing, and all but these two are fatal (RFC 8446 section 6).
 */
static bool
is_fatal(const SSL *ssl, int level, int alert)
{
	if (alert == SSL_AD_CLOSE_NOTIFY || alert == SSL_AD_USER_CANCELLED)
		return false;
	return level == ALERT_LEVEL_FATAL || SSL_version(ssl) == TLS1_3_VERSION;
}

void
failure_note_alert(const SSL *ssl, int where, int value)
{
	struct tls_context *c;

	if (!(where & SSL_CB_ALERT) || !is_fatal(ssl, value >> 8, value & 0xff))
		return;
	c = transport_context(ssl);
	if (!c->current || c->current->alert)
		return;
	c->current->alert = (uint8_t)(value & 0xff);
	c->current->alert_received = (where & SSL_CB_READ) != 0;
}

/* The first error is the cause, those behind it are what came of it. */
static unsigned long
empty_queue(bool *out_of_memory)
{
	unsigned long first = ERR_peek_error(), error;

	*out_of_memory = false;
	while ((error = ERR_get_error()) != 0)
		if (ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE)
			*out_of_memory = true;
	return first;
}

static void
tell_refusal(struct tls_stream *s, struct tls_failure *f)
{
	long result = SSL_get_verify_result(s->ssl);

	f->fault = result == X509_V_ERR_OUT_OF_MEM
		       ? TLS_FAULT_MEMORY
		       : TLS_FAULT_CERTIFICATE_INVALID;
	f->detail = s->handshake->why;
	if (!f->detail)
		f->detail = X509_verify_cert_error_string(result);
}

static void
tell_protocol(struct tls_stream *s, struct tls_failure *f, unsigned long error)
{
	f->fault = TLS_FAULT_PROTOCOL;
	if (ERR_GET_LIB(error) == ERR_LIB_SSL &&
	    ERR_GET_REASON(error) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		f->fault = TLS_FAULT_CERTIFICATE_MISSING;
	if (s->handshake && s->handshake->why)
		f->detail = s->handshake->why;
	else
		f->detail = ERR_reason_error_string(error);
	if (!f->detail)
		f->detail = "protocol error";
}

static void
tell_socket(struct tls_stream *s, struct tls_failure *f)
{
	switch (s->broken) {
	case ENOMEM:
		f->fault = TLS_FAULT_MEMORY;
		f->detail = "no memory";
		return;
	case ENOBUFS:
		f->fault = TLS_FAULT_PROTOCOL;
		f->detail = "the peer does not take our answers";
		return;
	case EOVERFLOW:
		f->fault = TLS_FAULT_PROTOCOL;
		f->detail = "too many key updates";
		return;
	case ECONNRESET:
	case EPIPE:
		f->detail = "the peer has reset the connection";
		break;
	default:
		f->detail = "the socket has failed";
	}
	f->fault = TLS_FAULT_RESET;
}

/* OpenSSL 3.0 has no words for certificate_required and other young alerts. */
static const char *
describe(uint8_t alert)
{
	const char *name = alert_name(alert);

	return name ? name : SSL_alert_desc_string_long(alert);
}

static void
tell(struct tls_stream *s, struct tls_failure *f)
{
	bool out_of_memory;
	unsigned long error = empty_queue(&out_of_memory);

	f->alert = s->alert;
	if (s->alert && s->alert_received) {
		f->fault = TLS_FAULT_ALERT_RECEIVED;
		f->detail = describe(s->alert);
	} else if (s->handshake && s->handshake->refused) {
		tell_refusal(s, f);
	} else if (out_of_memory) {
		f->fault = TLS_FAULT_MEMORY;
		f->detail = "no memory";
	} else if (error) {
		tell_protocol(s, f, error);
	} else if (s->broken) {
		tell_socket(s, f);
	} else {
		f->fault = TLS_FAULT_CLOSED;
		f->detail = "the peer has closed the connection";
	}
}

static bool
prepare(struct tls_stream *s)
{
	if (!s->failure)
		s->failure = calloc(1, sizeof(*s->failure));
	return s->failure != NULL;
}

void
failure_note(struct tls_stream *s)
{
	if (prepare(s) && s->failure->fault == TLS_FAULT_NONE)
		tell(s, s->failure);
	ERR_clear_error();
}

void
failure_set(struct tls_stream *s, enum tls_fault fault, const char *why)
{
	if (!prepare(s) || s->failure->fault != TLS_FAULT_NONE)
		return;
	s->failure->fault = fault;
	s->failure->detail = why;
	s->failure->alert = s->alert;
}

void
failure_note_leaf(struct tls_stream *s, const X509 *leaf)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	char *out;

	if (!leaf || !prepare(s) ||
	    X509_digest(leaf, s->context->sha256, hash, &len) != 1)
		return;
	out = s->failure->fingerprint;
	for (unsigned i = 0; i < len; i++) {
		*out++ = digits[hash[i] >> 4];
		*out++ = digits[hash[i] & 15];
	}
	*out = '\0';
}

const struct tls_failure *
tls_failure(const struct tls_stream *s)
{
	if (s->failure)
		return s->failure;
	return s->failed ? &no_memory : &none;
}
