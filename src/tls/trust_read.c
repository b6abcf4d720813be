#include "tls/private.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/log.h"
#include "tls/file.h"

/* A file while it is read, for messages that name it. */
struct reading {
	const char *path; /* NULL: from somebody else's memory */
	struct text *error;
	size_t blocks; /* of PEM, so far */
	bool skip_others;
};

static int PRINTF_LIKE(2, 3) refuse(struct reading *r, const char *format, ...)
{
	va_list args;

	if (r->path)
		text_addf(r->error, "%s: ", r->path);
	va_start(args, format);
	text_vaddf(r->error, format, args);
	va_end(args);
	return -1;
}

static int
refuse_without_memory(struct reading *r)
{
	return refuse(r, "no memory");
}

void
trust_name_line(const X509_NAME *name, char *out, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	struct text t;
	char *line;
	long len;

	text_init(&t, out, size);
	/* RFC 2253 as OpenSSL writes it is ASCII without control characters. */
	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
		len = BIO_get_mem_data(bio, &line);
		text_add_span(&t, span_of(line, len > 0 ? (size_t)len : 0));
	}
	BIO_free(bio);
}

/* Lines that begin a block as a person sees them. OpenSSL passes over those
 * that have blanks or a byte order mark in front, silently. */
static size_t
count_begin_lines(struct span pem)
{
	static const char begin[] = "-----BEGIN ";
	const uint8_t *at = pem.data, *end = pem.data + pem.len;
	size_t count = 0;

	while (at < end) {
		if (end - at >= 3 && !memcmp(at, "\xef\xbb\xbf", 3))
			at += 3;
		while (at < end && (*at == ' ' || *at == '\t'))
			at++;
		if ((size_t)(end - at) >= sizeof(begin) - 1 &&
		    !memcmp(at, begin, sizeof(begin) - 1))
			count++;
		at = memchr(at, '\n', (size_t)(end - at));
		if (!at)
			break;
		at++;
	}
	return count;
}

static bool
ends_with(struct span s, const char *end)
{
	struct span e = span_text(end);

	return s.len >= e.len && !memcmp(s.data + s.len - e.len, e.data, e.len);
}

/* Says what stands in the place of what is wanted. */
static int
refuse_block(struct reading *r, const char *label, const char *wanted)
{
	struct span name = span_text(label);

	if (ends_with(name, "PRIVATE KEY"))
		return refuse(r, "a private key where %s belongs", wanted);
	if (span_is(name, PEM_STRING_X509_CRL))
		return refuse(r, "a CRL where %s belongs", wanted);
	if (ends_with(name, "TRUSTED CERTIFICATE"))
		return refuse(r,
		    "a \"TRUSTED CERTIFICATE\", a form that only OpenSSL "
		    "knows, where %s belongs (openssl x509 -in FILE writes a "
		    "plain one)",
		    wanted);
	if (ends_with(name, "CERTIFICATE"))
		return refuse(r, "a certificate where %s belongs", wanted);
	refuse(r, "a block \"");
	text_add_escaped(r->error, name, 40);
	text_addf(r->error, "\" where %s belongs", wanted);
	return -1;
}

typedef int block_function(struct reading *r, const char *label,
    struct span der, void *arg) MUST_CHECK;

static int
read_block(
    struct reading *r, BIO *bio, block_function *on_block, void *arg, bool *end)
{
	char *label = NULL, *header = NULL;
	unsigned char *data = NULL;
	long len = 0;
	int result;

	/* PEM_FLAG_SECURE: what is freed is wiped, should it be a key. */
	ERR_clear_error();
	*end = !PEM_read_bio_ex(
	    bio, &label, &header, &data, &len, PEM_FLAG_SECURE);
	if (*end) {
		bool none_left = ERR_GET_REASON(ERR_peek_last_error()) ==
				 PEM_R_NO_START_LINE;

		ERR_clear_error();
		return none_left
			   ? 0
			   : refuse(r, "broken PEM after %zu whole blocks",
				 r->blocks);
	}
	r->blocks++;
	result = header[0] != '\0' && !ends_with(span_text(label), "KEY")
		     ? refuse(r, "a block with headers")
		     : on_block(r, label, span_of(data, (size_t)len), arg);
	OPENSSL_secure_free(label);
	OPENSSL_secure_free(header);
	OPENSSL_secure_clear_free(data, (size_t)len);
	return result;
}

static int
read_blocks(
    struct reading *r, struct span pem, block_function *on_block, void *arg)
{
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	size_t begun = count_begin_lines(pem);
	bool end = false;
	int result = 0;

	if (!bio)
		return refuse_without_memory(r);
	while (!end && result == 0)
		result = read_block(r, bio, on_block, arg, &end);
	BIO_free(bio);
	if (result == 0 && r->blocks != begun)
		result = refuse(r,
		    "only %zu of its %zu PEM blocks can be read "
		    "(\"-----BEGIN\" "
		    "must stand at the beginning of a line)",
		    r->blocks, begun);
	return result;
}

/* Why it cannot be a CA here, or NULL. RFC 5280 section 4.2.1.9; a version 1
 * root says nothing of itself, so any leaf of one would do as well. */
static const char *
not_a_ca(X509 *x)
{
	bool is_readable = X509_check_purpose(x, -1, 0) == 1;
	uint32_t flags = X509_get_extension_flags(x);

	if (!is_readable || (flags & EXFLAG_INVALID))
		return "its extensions cannot be read";
	if (X509_get_version(x) < X509_VERSION_3)
		return "it is of an old version, which cannot say cA=true";
	if (!(flags & EXFLAG_BCONS))
		return "it has no basicConstraints";
	if (!(flags & EXFLAG_CA))
		return "its basicConstraints have cA=false";
	if ((flags & EXFLAG_KUSAGE) &&
	    !(X509_get_key_usage(x) & X509v3_KU_KEY_CERT_SIGN))
		return "its keyUsage lacks keyCertSign";
	if (!X509_get0_pubkey(x))
		return "its key is of a kind that is not supported";
	return NULL;
}

static void
warn_if_expired(const char *path, const char *subject, X509 *x)
{
	if (X509_cmp_current_time(X509_get0_notAfter(x)) > 0)
		return;
	LOG_WARN("a CA has expired: what it has signed is refused",
	    LOG_TEXT("file", path), LOG_TEXT("subject", subject));
}

static int
add_ca(struct reading *r, X509 *x, STACK_OF(X509) * cas)
{
	char subject[TRUST_NAME_SIZE];
	const char *why = not_a_ca(x);

	trust_name_line(X509_get_subject_name(x), subject, sizeof(subject));
	if (why && r->skip_others)
		return 0;
	if (why)
		return refuse(r, "\"%s\" is not a CA: %s", subject, why);
	/* The system's are not the operator's to renew, nor are an agent's. */
	if (!r->skip_others && r->path)
		warn_if_expired(r->path, subject, x);
	if (!X509_up_ref(x))
		return refuse_without_memory(r);
	if (!sk_X509_push(cas, x)) {
		X509_free(x);
		return refuse_without_memory(r);
	}
	return 0;
}

static int
on_ca_block(struct reading *r, const char *label, struct span der, void *arg)
{
	const unsigned char *at = der.data;
	X509 *x;
	int result;

	if (strcmp(label, PEM_STRING_X509) != 0 &&
	    strcmp(label, PEM_STRING_X509_OLD) != 0)
		return refuse_block(r, label, "a CA certificate");
	x = d2i_X509(NULL, &at, (long)der.len);
	if (x && at == der.data + der.len)
		result = add_ca(r, x, arg);
	else
		result = refuse(r, "block %zu is not a certificate", r->blocks);
	X509_free(x);
	ERR_clear_error();
	return result;
}

static int
read_cas(struct reading *r, struct span pem, STACK_OF(X509) * cas)
{
	int result = read_blocks(r, pem, on_ca_block, cas);

	if (result == 0 && r->blocks == 0)
		result = refuse(r, "no certificate in it");
	return result;
}

int
trust_read_cas_text(struct span pem, STACK_OF(X509) * cas, struct text *error)
{
	struct reading r = { .error = error };

	if (pem.len > FILE_MAX_BYTES)
		return refuse(&r, "too large");
	if (pem.len == 0)
		return refuse(&r, "no certificate in it");
	return read_cas(&r, pem, cas);
}

int
trust_read_cas(const char *path, bool skip_others, STACK_OF(X509) * cas,
    struct text *error)
{
	struct reading r = {
		.path = path, .error = error, .skip_others = skip_others
	};
	struct span pem;
	int result;

	if (file_read(path, FILE_PUBLIC, &pem, error) < 0)
		return -1;
	result = read_cas(&r, pem, cas);
	file_wipe(&pem);
	return result;
}

static int
add_crl(struct reading *r, struct span der, STACK_OF(X509_CRL) * crls)
{
	const unsigned char *at = der.data;
	X509_CRL *crl = d2i_X509_CRL(NULL, &at, (long)der.len);
	bool is_whole = crl && at == der.data + der.len;

	ERR_clear_error();
	if (is_whole && sk_X509_CRL_push(crls, crl))
		return 0;
	X509_CRL_free(crl);
	return is_whole ? refuse_without_memory(r)
			: refuse(r, "neither PEM nor the DER of a CRL");
}

static int
on_crl_block(struct reading *r, const char *label, struct span der, void *arg)
{
	if (strcmp(label, PEM_STRING_X509_CRL) != 0)
		return refuse_block(r, label, "a CRL");
	return add_crl(r, der, arg);
}

/* Some CA with the CRL's issuer as its name has signed it and may. */
static int
check_issuer(struct reading *r, X509_CRL *crl, const STACK_OF(X509) * cas)
{
	const X509_NAME *issuer = X509_CRL_get_issuer(crl);
	const char *why = "none of the CAs has that name";
	char name[TRUST_NAME_SIZE];

	for (int i = 0; i < sk_X509_num(cas); i++) {
		X509 *ca = sk_X509_value(cas, i);

		if (X509_NAME_cmp(issuer, X509_get_subject_name(ca)) != 0)
			continue;
		if (X509_CRL_verify(crl, X509_get0_pubkey(ca)) != 1)
			why = "its signature is not by the CA of that name";
		else if (!(X509_get_key_usage(ca) & X509v3_KU_CRL_SIGN))
			why = "the CA's keyUsage lacks cRLSign";
		else
			return 0;
	}
	ERR_clear_error();
	trust_name_line(issuer, name, sizeof(name));
	return refuse(r, "the CRL of \"%s\": %s", name, why);
}

static int
check_crl(struct reading *r, X509_CRL *crl, const STACK_OF(X509) * cas)
{
	const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
	char name[TRUST_NAME_SIZE];
	X509_REVOKED *unused;
	ASN1_INTEGER *zero;

	trust_name_line(X509_CRL_get_issuer(crl), name, sizeof(name));
	if (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0)
		return refuse(r,
		    "the CRL of \"%s\" is a delta CRL, which is not supported",
		    name);
	if (check_issuer(r, crl, cas) < 0)
		return -1;
	if (next && X509_cmp_current_time(next) <= 0)
		LOG_WARN("a CRL has expired: the clients of its CA are refused "
			 "until it is renewed",
		    LOG_TEXT("file", r->path), LOG_TEXT("issuer", name));
	/* The first look-up sorts the list, which no handshake shall do. */
	zero = ASN1_INTEGER_new();
	if (!zero)
		return refuse_without_memory(r);
	X509_CRL_get0_by_serial(crl, &unused, zero);
	ASN1_INTEGER_free(zero);
	return 0;
}

static int
read_crl_file(struct reading *r, STACK_OF(X509_CRL) * crls)
{
	struct span bytes;
	int result;

	if (file_read(r->path, FILE_PUBLIC, &bytes, r->error) < 0)
		return -1;
	if (count_begin_lines(bytes) > 0)
		result = read_blocks(r, bytes, on_crl_block, crls);
	else if (bytes.len > 0)
		result = add_crl(r, bytes, crls);
	else
		result = refuse(r, "no CRL in it");
	file_wipe(&bytes);
	return result;
}

int
trust_read_crls(const char *path, const STACK_OF(X509) * cas,
    STACK_OF(X509_CRL) * crls, struct text *error)
{
	struct reading r = { .path = path, .error = error };
	int i = sk_X509_CRL_num(crls);

	if (read_crl_file(&r, crls) < 0)
		return -1;
	for (; i < sk_X509_CRL_num(crls); i++)
		if (check_crl(&r, sk_X509_CRL_value(crls, i), cas) < 0)
			return -1;
	return 0;
}
