#include "unit.h"

#include <arpa/inet.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tls/ocsp.h"
#include "tls/private.h"
#include "tls_support.h"

static char error_storage[1024];
static struct text error;

/* A CA, a leaf of it, and what it is in the product. */
static struct made *ca, *leaf;
static struct certificate *certificate;

static struct certificate *
parse(const char *crt, const char *key)
{
	struct certificate *c;

	text_init(&error, error_storage, sizeof(error_storage));
	c = certificate_parse(span_text(crt), span_text(key), &error);
	ck_assert_msg(c != NULL, "%s", error_storage);
	return c;
}

static void
set_up(const char *url)
{
	ca = make((struct recipe){ .ca = true });
	leaf = make((struct recipe){ .issuer = ca,
	    .names = "DNS:a.test",
	    .ocsp_url = url,
	    .must_staple = true });
	certificate = parse(join(leaf->crt, ca->crt, NULL), leaf->key_pem);
}

static void
tear_down(void)
{
	certificate_put(certificate);
}

/* --- responses --- */

struct answer {
	const struct made *about;  /* NULL: the leaf */
	const struct made *issuer; /* of it; NULL: the CA */
	const struct made *signer; /* NULL: the CA */
	const EVP_MD *digest;	   /* NULL: SHA-1 */
	int status;
	/* Seconds from now; both 0: from a minute ago for a day. */
	int64_t from, until;
	bool is_endless; /* without nextUpdate */
	bool leaves_signer_out;
};

struct response {
	uint8_t *der;
	int len;
};

static ASN1_TIME *
time_from_now(int64_t seconds)
{
	return X509_gmtime_adj(NULL, (long)seconds);
}

static void
add_single(OCSP_BASICRESP *basic, const struct answer *a)
{
	bool usual = a->from == 0 && a->until == 0;
	ASN1_TIME *from = time_from_now(usual ? -60 : a->from);
	ASN1_TIME *until = time_from_now(usual ? MADE_DAY : a->until);
	ASN1_TIME *revoked = time_from_now(-3600);
	const struct made *about = a->about ? a->about : leaf;
	const struct made *issuer = a->issuer ? a->issuer : ca;
	OCSP_CERTID *id = OCSP_cert_to_id(a->digest, about->x509, issuer->x509);

	ck_assert_ptr_nonnull(OCSP_basic_add1_status(basic, id, a->status,
	    OCSP_REVOKED_STATUS_KEYCOMPROMISE,
	    a->status == V_OCSP_CERTSTATUS_REVOKED ? revoked : NULL, from,
	    a->is_endless ? NULL : until));
	OCSP_CERTID_free(id);
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	ASN1_TIME_free(revoked);
}

static struct response
answer(struct answer a)
{
	const struct made *signer = a.signer ? a.signer : ca;
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	OCSP_RESPONSE *whole;
	struct response r = { NULL, 0 };

	add_single(basic, &a);
	ck_assert_int_eq(
	    OCSP_basic_sign(basic, signer->x509, signer->key, EVP_sha256(),
		NULL, a.leaves_signer_out ? OCSP_NOCERTS : 0),
	    1);
	whole = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
	r.len = i2d_OCSP_RESPONSE(whole, &r.der);
	ck_assert_int_gt(r.len, 0);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(whole);
	return r;
}

static int
set(struct certificate *c, struct span response, int64_t *next_update)
{
	text_init(&error, error_storage, sizeof(error_storage));
	return certificate_set_staple(
	    c, response, time(NULL), next_update, &error);
}

static void
check_taken(struct answer a)
{
	struct response r = answer(a);
	int64_t until = 0, now = time(NULL);
	size_t len;
	uint8_t *copy;

	ck_assert_msg(
	    set(certificate, span_of(r.der, (size_t)r.len), &until) == 0, "%s",
	    error_storage);
	ck_assert(certificate_is_stapled(certificate, now));
	ck_assert(!certificate_is_stapled(certificate, until + 301));
	ck_assert(certificate_staple_copy(certificate, now, &copy, &len));
	ck_assert(
	    span_equal(span_of(copy, len), span_of(r.der, (size_t)r.len)));
	OPENSSL_free(copy);
	ck_assert(
	    !certificate_staple_copy(certificate, until + 301, &copy, &len));
	ck_assert_ptr_null(copy);
	OPENSSL_free(r.der);
	ck_assert_int_eq(set(certificate, span_of(NULL, 0), &until), 0);
	ck_assert_int_eq(until, 0);
	ck_assert(!certificate_is_stapled(certificate, now));
}

static void
check_span_refused(
    struct certificate *c, struct span response, const char *message)
{
	ck_assert_int_eq(set(c, response, NULL), -1);
	ck_assert_msg(strstr(error_storage, message) != NULL,
	    "\"%s\" is not in \"%s\"", message, error_storage);
	ck_assert(!certificate_is_stapled(c, time(NULL)));
}

static void
check_refused(struct answer a, const char *message)
{
	struct response r = answer(a);

	check_span_refused(certificate, span_of(r.der, (size_t)r.len), message);
	OPENSSL_free(r.der);
}

START_TEST(good_responses)
{
	struct made *responder;

	set_up("http://ocsp.test/");
	responder = make((struct recipe){
	    .issuer = ca, .extended_key_usage = "OCSPSigning" });
	check_taken((struct answer){ .status = V_OCSP_CERTSTATUS_GOOD });
	check_taken((struct answer){ .digest = EVP_sha256() });
	check_taken((struct answer){ .leaves_signer_out = true });
	check_taken((struct answer){ .signer = responder });
	check_taken((struct answer){ .from = 250, .until = MADE_DAY });
	check_taken((struct answer){ .from = -MADE_DAY, .until = -250 });
	tear_down();
}
END_TEST

START_TEST(responses_that_say_something_else)
{
	struct made *other;

	set_up("http://ocsp.test/");
	other = make((struct recipe){ .issuer = ca, .names = "DNS:b.test" });
	check_refused((struct answer){ .status = V_OCSP_CERTSTATUS_REVOKED },
	    "the certificate is revoked");
	check_refused((struct answer){ .status = V_OCSP_CERTSTATUS_UNKNOWN },
	    "does not know the certificate");
	check_refused(
	    (struct answer){ .about = other }, "about another certificate");
	check_refused(
	    (struct answer){ .from = 900, .until = MADE_DAY }, "not valid yet");
	check_refused(
	    (struct answer){ .from = -MADE_DAY, .until = -900 }, "has expired");
	check_refused((struct answer){ .is_endless = true }, "until when");
	tear_down();
}
END_TEST

START_TEST(responses_of_strangers)
{
	static const char message[] = "is not signed by";
	struct made *stranger, *no_purpose, *expired, *foreign;

	set_up("http://ocsp.test/");
	stranger = make((struct recipe){ .ca = true });
	no_purpose = make((struct recipe){ .issuer = ca });
	expired = make((struct recipe){ .issuer = ca,
	    .extended_key_usage = "OCSPSigning",
	    .not_before = -9 * MADE_DAY,
	    .not_after = -MADE_DAY });
	foreign = make((struct recipe){
	    .issuer = stranger, .extended_key_usage = "OCSPSigning" });
	check_refused((struct answer){ .signer = stranger }, message);
	check_refused((struct answer){ .signer = leaf }, message);
	check_refused((struct answer){ .signer = no_purpose }, message);
	check_refused((struct answer){ .signer = expired }, message);
	check_refused((struct answer){ .signer = foreign }, message);
	check_refused(
	    (struct answer){ .signer = foreign, .issuer = stranger }, message);
	/* The same serial number, of another issuer. */
	check_refused((struct answer){ .issuer = stranger }, "");
	tear_down();
}
END_TEST

START_TEST(what_is_no_response)
{
	OCSP_RESPONSE *later =
	    OCSP_response_create(OCSP_RESPONSE_STATUS_TRYLATER, NULL);
	struct response r = { NULL, 0 };
	struct certificate *alone;
	uint8_t *large;

	set_up("http://ocsp.test/");
	check_span_refused(
	    certificate, span_text("hello"), "it is no OCSP response");
	r.len = i2d_OCSP_RESPONSE(later, &r.der);
	check_span_refused(
	    certificate, span_of(r.der, (size_t)r.len), "\"trylater\"");
	OCSP_RESPONSE_free(later);
	OPENSSL_free(r.der);
	large = calloc(1, OCSP_MAX_RESPONSE_BYTES + 1);
	check_span_refused(certificate,
	    span_of(large, OCSP_MAX_RESPONSE_BYTES + 1),
	    "it is no OCSP response");
	free(large);
	alone = parse(leaf->crt, leaf->key_pem);
	r = answer((struct answer){ .status = 0 });
	check_span_refused(
	    alone, span_of(r.der, (size_t)r.len), "does not hold its issuer");
	OPENSSL_free(r.der);
	certificate_put(alone);
	tear_down();
}
END_TEST

/* Cut anywhere, or with a byte wrong, it is never taken for a good one. */
START_TEST(damaged_responses)
{
	struct response r;
	int taken = 0;

	set_up("http://ocsp.test/");
	r = answer((struct answer){ .leaves_signer_out = true });
	for (int len = 1; len < r.len; len++) {
		uint8_t *copy = malloc((size_t)len);

		memcpy(copy, r.der, (size_t)len);
		QUICK_ASSERT(
		    set(certificate, span_of(copy, (size_t)len), NULL) == -1);
		free(copy);
	}
	for (int i = 0; i < r.len; i++) {
		r.der[i] ^= 1;
		taken +=
		    set(certificate, span_of(r.der, (size_t)r.len), NULL) == 0;
		r.der[i] ^= 1;
	}
	ck_assert_int_eq(taken, 0);
	OPENSSL_free(r.der);
	tear_down();
}
END_TEST

/* What is refused leaves the old one; a good one takes its place. */
START_TEST(the_old_one_stays)
{
	struct response r, bad;

	set_up("http://ocsp.test/");
	r = answer((struct answer){ .status = V_OCSP_CERTSTATUS_GOOD });
	bad = answer((struct answer){ .status = V_OCSP_CERTSTATUS_REVOKED });
	ck_assert_int_eq(
	    set(certificate, span_of(r.der, (size_t)r.len), NULL), 0);
	ck_assert_int_eq(
	    set(certificate, span_of(bad.der, (size_t)bad.len), NULL), -1);
	ck_assert(certificate_is_stapled(certificate, time(NULL)));
	ck_assert_int_eq(
	    set(certificate, span_of(r.der, (size_t)r.len), NULL), 0);
	OPENSSL_free(r.der);
	OPENSSL_free(bad.der);
	tear_down();
}
END_TEST

/* --- asking --- */

/* A responder for one connection. */
struct responder {
	int listener;
	char url[64];
	const char *head; /* NULL: a good answer */
	struct span body;
	bool is_silent;
	char request[2048];
	size_t request_len;
	OCSP_REQUEST *asked;
	pthread_t thread;
};

static void
read_request(struct responder *r, int fd)
{
	const uint8_t *at;
	char *body = NULL;

	while (r->request_len < sizeof(r->request) - 1) {
		ssize_t got = read(fd, r->request + r->request_len,
		    sizeof(r->request) - 1 - r->request_len);

		if (got <= 0)
			return;
		r->request_len += (size_t)got;
		body = strstr(r->request, "\r\n\r\n");
		if (!body)
			continue;
		at = (const uint8_t *)body + 4;
		r->asked = d2i_OCSP_REQUEST(NULL, &at,
		    (long)(r->request + r->request_len - (body + 4)));
		if (r->asked)
			return;
	}
}

static void *
respond(void *arg)
{
	struct responder *r = arg;
	int fd = accept(r->listener, NULL, NULL);
	struct pollfd closed = { .fd = fd, .events = POLLIN };

	read_request(r, fd);
	if (r->is_silent) {
		poll(&closed, 1, 20000);
	} else {
		/* It may have hung up. */
		send(fd, r->head, strlen(r->head), MSG_NOSIGNAL);
		send(fd, r->body.data, r->body.len, MSG_NOSIGNAL);
	}
	close(fd);
	return NULL;
}

static void
start_responder(struct responder *r)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);

	signal(SIGPIPE, SIG_IGN);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(
	    bind(r->listener, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(listen(r->listener, 1), 0);
	ck_assert_int_eq(
	    getsockname(r->listener, (struct sockaddr *)&address, &len), 0);
	snprintf(r->url, sizeof(r->url), "http://127.0.0.1:%u/ocsp",
	    ntohs(address.sin_port));
}

static int
fetch(struct responder *r, uint8_t *out, size_t *len, unsigned timeout_s)
{
	int result;

	ck_assert_int_eq(pthread_create(&r->thread, NULL, respond, r), 0);
	text_init(&error, error_storage, sizeof(error_storage));
	result = ocsp_fetch(certificate, timeout_s, out, len, &error);
	ck_assert_int_eq(pthread_join(r->thread, NULL), 0);
	close(r->listener);
	return result;
}

static const char good_head[] =
    "HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n\r\n";

START_TEST(fetched)
{
	static uint8_t out[OCSP_MAX_RESPONSE_BYTES];
	struct responder r = { .head = good_head };
	struct response good;
	OCSP_CERTID *asked, *ours;
	size_t len;

	start_responder(&r);
	set_up(r.url);
	good = answer((struct answer){ .status = V_OCSP_CERTSTATUS_GOOD });
	r.body = span_of(good.der, (size_t)good.len);
	ck_assert_msg(fetch(&r, out, &len, 10) == 0, "%s", error_storage);
	ck_assert(span_equal(span_of(out, len), r.body));
	ck_assert_int_eq(set(certificate, span_of(out, len), NULL), 0);
	ck_assert_int_eq(strncmp(r.request, "POST /ocsp HTTP/1.", 18), 0);
	ck_assert_ptr_nonnull(strstr(r.request, "application/ocsp-request"));
	ck_assert_ptr_nonnull(r.asked);
	ck_assert_int_eq(OCSP_request_onereq_count(r.asked), 1);
	asked = OCSP_onereq_get0_id(OCSP_request_onereq_get0(r.asked, 0));
	ours = OCSP_cert_to_id(EVP_sha1(), leaf->x509, ca->x509);
	ck_assert_int_eq(OCSP_id_cmp(asked, ours), 0);
	OCSP_CERTID_free(ours);
	OCSP_REQUEST_free(r.asked);
	OPENSSL_free(good.der);
	tear_down();
}
END_TEST

static const char *const bad_heads[] = {
	"HTTP/1.0 404 Not Found\r\n\r\n",
	"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
	"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<p>",
	"HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n\r\nx",
	"HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n"
	"\r\n\x30\x84\x7f\xff\xff\xff",
	"HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n"
	"\r\n\x30\x83\x01\x10\x01",
	"nonsense",
	"",
};

START_TEST(bad_answers)
{
	static uint8_t out[OCSP_MAX_RESPONSE_BYTES];
	struct responder r = { .head = bad_heads[_i] };
	size_t len = 1;

	start_responder(&r);
	set_up(r.url);
	ck_assert_int_eq(fetch(&r, out, &len, 10), -1);
	ck_assert_uint_eq(len, 0);
	ck_assert_ptr_nonnull(strstr(error_storage, r.url));
	ck_assert_ptr_null(strchr(error_storage, '\n'));
	OCSP_REQUEST_free(r.asked);
	tear_down();
}
END_TEST

START_TEST(no_answer)
{
	static uint8_t out[OCSP_MAX_RESPONSE_BYTES];
	struct responder r = { .is_silent = true };
	time_t began = time(NULL);
	size_t len;

	start_responder(&r);
	set_up(r.url);
	ck_assert_int_eq(fetch(&r, out, &len, 1), -1);
	ck_assert_int_lt(time(NULL) - began, 15);
	ck_assert_ptr_nonnull(strstr(error_storage, r.url));
	OCSP_REQUEST_free(r.asked);
	tear_down();
}
END_TEST

START_TEST(nobody_to_ask)
{
	static uint8_t out[OCSP_MAX_RESPONSE_BYTES];
	struct responder r = { .head = "" };
	struct certificate *alone;
	size_t len;

	start_responder(&r);
	close(r.listener);
	set_up(r.url);
	text_init(&error, error_storage, sizeof(error_storage));
	ck_assert_int_eq(ocsp_fetch(certificate, 5, out, &len, &error), -1);
	ck_assert_ptr_nonnull(strstr(error_storage, r.url));
	alone = parse(leaf->crt, leaf->key_pem);
	text_init(&error, error_storage, sizeof(error_storage));
	ck_assert_int_eq(ocsp_fetch(alone, 5, out, &len, &error), -1);
	ck_assert_ptr_nonnull(
	    strstr(error_storage, "does not hold its issuer"));
	certificate_put(alone);
	tear_down();
	set_up("https://ocsp.test/");
	text_init(&error, error_storage, sizeof(error_storage));
	ck_assert_int_eq(ocsp_fetch(certificate, 5, out, &len, &error), -1);
	ck_assert_ptr_nonnull(strstr(error_storage, "names no OCSP responder"));
	tear_down();
}
END_TEST

static void
add_tests(TCase *tcase)
{
	unsetenv("http_proxy");
	unsetenv("HTTP_PROXY");
	tcase_add_test(tcase, good_responses);
	tcase_add_test(tcase, responses_that_say_something_else);
	tcase_add_test(tcase, responses_of_strangers);
	tcase_add_test(tcase, what_is_no_response);
	tcase_add_test(tcase, damaged_responses);
	tcase_add_test(tcase, the_old_one_stays);
	tcase_add_test(tcase, fetched);
	tcase_add_loop_test(tcase, bad_answers, 0, ARRAY_COUNT(bad_heads));
	tcase_add_test(tcase, no_answer);
	tcase_add_test(tcase, nobody_to_ask);
}

UNIT_MAIN("ocsp", add_tests)
