#include "tls/ocsp.h"

#include <openssl/err.h>
#include <openssl/http.h>
#include <openssl/ocsp.h>
#include <time.h>

#include "tls/private.h"

#define SKEW_S 300
#define BUFFER_BYTES 4096

static int
fail(struct text *error, const char *message)
{
	text_add(error, message);
	return -1;
}

/* --- checking a response --- */

/* A store that trusts the issuer and nobody else. */
static X509_STORE *
trust_only(X509 *issuer, int64_t now)
{
	X509_STORE *store = X509_STORE_new();

	if (!store)
		return NULL;
	if (X509_STORE_add_cert(store, issuer) != 1) {
		X509_STORE_free(store);
		return NULL;
	}
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), (time_t)now);
	return store;
}

/*
 * By the issuer itself, or by a responder whose certificate the issuer signed
 * for that purpose (RFC 6960 section 4.2.2.2): OCSP_basic_verify looks for both
 * among the certificates given and those in the response.
 */
static bool
is_signed_by(OCSP_BASICRESP *basic, X509 *issuer, int64_t now)
{
	X509_STORE *store = trust_only(issuer, now);
	STACK_OF(X509) *known = sk_X509_new_null();
	bool is_good = store && known && sk_X509_push(known, issuer) > 0 &&
		       OCSP_basic_verify(basic, known, store, 0) == 1;

	sk_X509_free(known);
	X509_STORE_free(store);
	return is_good;
}

/* Responders hash the issuer with what they like. */
static bool
is_about(const OCSP_SINGLERESP *single, X509 *leaf, X509 *issuer)
{
	const OCSP_CERTID *theirs = OCSP_SINGLERESP_get0_id(single);
	OCSP_CERTID *copy = OCSP_CERTID_dup(theirs), *ours = NULL;
	ASN1_OBJECT *algorithm = NULL;
	const EVP_MD *digest = NULL;
	bool is_same;

	if (copy && OCSP_id_get0_info(NULL, &algorithm, NULL, NULL, copy) == 1)
		digest = EVP_get_digestbyobj(algorithm);
	if (digest)
		ours = OCSP_cert_to_id(digest, leaf, issuer);
	is_same = ours && OCSP_id_cmp(ours, copy) == 0;
	OCSP_CERTID_free(ours);
	OCSP_CERTID_free(copy);
	return is_same;
}

static OCSP_SINGLERESP *
find_single(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer)
{
	for (int i = 0; i < OCSP_resp_count(basic); i++) {
		OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);

		if (is_about(single, leaf, issuer))
			return single;
	}
	return NULL;
}

static bool
unix_seconds(const ASN1_GENERALIZEDTIME *t, int64_t *out)
{
	struct tm parts;

	if (!t || ASN1_TIME_to_tm(t, &parts) != 1)
		return false;
	*out = (int64_t)timegm(&parts);
	return true;
}

static int
check_single(OCSP_SINGLERESP *single, int64_t now, int64_t *next_update,
    struct text *error)
{
	ASN1_GENERALIZEDTIME *this = NULL, *next = NULL;
	int64_t from, until;
	int status = OCSP_single_get0_status(single, NULL, NULL, &this, &next);

	if (status == V_OCSP_CERTSTATUS_REVOKED)
		return fail(error,
		    "the OCSP response says that the certificate is revoked");
	if (status != V_OCSP_CERTSTATUS_GOOD)
		return fail(error, "the OCSP responder does not know the "
				   "certificate");
	if (!unix_seconds(this, &from))
		return fail(error, "the OCSP response is damaged");
	if (!unix_seconds(next, &until))
		return fail(error, "the OCSP response does not say until when "
				   "it may be used");
	if (from > now + SKEW_S)
		return fail(error, "the OCSP response is not valid yet (is the "
				   "clock right?)");
	if (until < now - SKEW_S)
		return fail(error, "the OCSP response has expired");
	*next_update = until;
	return 0;
}

static int
check_basic(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer, int64_t now,
    int64_t *next_update, struct text *error)
{
	OCSP_SINGLERESP *single;

	if (!is_signed_by(basic, issuer, now))
		return fail(error, "the OCSP response is not signed by the "
				   "certificate's issuer or its responder");
	single = find_single(basic, leaf, issuer);
	if (!single)
		return fail(
		    error, "the OCSP response is about another certificate");
	return check_single(single, now, next_update, error);
}

int
ocsp_check(struct span response, X509 *leaf, X509 *issuer, int64_t now,
    int64_t *next_update, struct text *error)
{
	const uint8_t *at = response.data;
	OCSP_RESPONSE *r = NULL;
	OCSP_BASICRESP *basic = NULL;
	int status, result = -1;

	if (response.len <= OCSP_MAX_RESPONSE_BYTES)
		r = d2i_OCSP_RESPONSE(NULL, &at, (long)response.len);
	if (!r || at != response.data + response.len) {
		fail(error, "it is no OCSP response");
		goto end;
	}
	status = OCSP_response_status(r);
	if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
		text_addf(error, "the OCSP responder answered \"%s\"",
		    OCSP_response_status_str(status));
		goto end;
	}
	basic = OCSP_response_get1_basic(r);
	if (!basic)
		fail(error, "the OCSP response is damaged");
	else
		result =
		    check_basic(basic, leaf, issuer, now, next_update, error);
end:
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(r);
	ERR_clear_error();
	return result;
}

/* --- asking --- */

/* SHA-1 names the certificate here and protects nothing; RFC 5019 section 2.1.1
 * asks for it, and most responders know nothing else. */
static OCSP_REQUEST *
new_request(X509 *leaf, X509 *issuer)
{
	OCSP_REQUEST *request = OCSP_REQUEST_new();
	OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), leaf, issuer);

	if (request && id && OCSP_request_add0_id(request, id))
		return request;
	OCSP_CERTID_free(id);
	OCSP_REQUEST_free(request);
	return NULL;
}

static BIO *
write_request(X509 *leaf, X509 *issuer)
{
	OCSP_REQUEST *request = new_request(leaf, issuer);
	BIO *body = BIO_new(BIO_s_mem());

	if (request && body && i2d_OCSP_REQUEST_bio(body, request) == 1) {
		OCSP_REQUEST_free(request);
		return body;
	}
	OCSP_REQUEST_free(request);
	BIO_free(body);
	return NULL;
}

struct target {
	char *host, *port, *path;
};

static void
free_target(struct target *t)
{
	OPENSSL_free(t->host);
	OPENSSL_free(t->port);
	OPENSSL_free(t->path);
}

static bool
parse_url(const char *url, struct target *t)
{
	int is_tls = 0;

	return OSSL_HTTP_parse_url(url, &is_tls, NULL, &t->host, &t->port, NULL,
		   &t->path, NULL, NULL) == 1 &&
	       !is_tls;
}

/* One POST on a connection of its own. */
static int
exchange(const struct target *t, BIO *body, unsigned timeout_s, uint8_t *out,
    size_t *len)
{
	BIO *answer = OSSL_HTTP_transfer(NULL, t->host, t->port, t->path, 0,
	    NULL, NULL, NULL, NULL, NULL, NULL, BUFFER_BYTES, NULL,
	    "application/ocsp-request", body, "application/ocsp-response", 1,
	    OCSP_MAX_RESPONSE_BYTES, (int)timeout_s, 0);
	int got = answer ? BIO_read(answer, out, OCSP_MAX_RESPONSE_BYTES) : 0;

	BIO_free(answer);
	if (got <= 0)
		return -1;
	*len = (size_t)got;
	return 0;
}

static int
fail_fetch(const char *url, struct text *error)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	text_addf(error, "no OCSP response from %s: %s", url,
	    reason ? reason : "no answer in time");
	ERR_clear_error();
	return -1;
}

int
ocsp_fetch(struct certificate *c, unsigned timeout_s, uint8_t *out, size_t *len,
    struct text *error)
{
	const char *url = certificate_ocsp_url(c);
	X509 *leaf = certificate_leaf(c);
	STACK_OF(X509) *chain = certificate_chain(c);
	struct target target = { NULL, NULL, NULL };
	BIO *body;
	int result = -1;

	*len = 0;
	if (!url)
		return fail(error, "the certificate names no OCSP responder "
				   "that is asked over http");
	if (sk_X509_num(chain) < 1)
		return fail(error, "the OCSP responder cannot be asked: the "
				   "certificate's file does not hold its "
				   "issuer");
	ERR_clear_error();
	body = write_request(leaf, sk_X509_value(chain, 0));
	if (body && parse_url(url, &target))
		result = exchange(&target, body, timeout_s, out, len);
	if (result < 0)
		fail_fetch(url, error);
	free_target(&target);
	BIO_free(body);
	return result;
}
