#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "tls/file.h"
#include "tls/pem.h"
#include "tls/private.h"

#define MAX_PEM_BYTES (1u << 20)
/* Far more than any client goes through. */
#define MAX_CERTIFICATES 16

enum wanted { WANTS_CERTIFICATES = 1 << 0, WANTS_KEY = 1 << 1 };

/* One text, and what was seen in it beside what was wanted. */
struct source {
	const char *path; /* NULL: none */
	struct span text;
	bool has_certificate, has_key;
	struct span other; /* the first other label */
};

struct parsing {
	struct text *error;
	struct source *crt, *key; /* the same if all is in one text */
	STACK_OF(X509) * certificates;
	struct pem_block key_block; /* `der` or `is_encrypted`: there is one */
};

/* The error begins with the file. */
static struct text *
complain(struct parsing *p, const struct source *s)
{
	if (s->path)
		text_addf(p->error, "%s: ", s->path);
	return p->error;
}

static bool
fail(struct parsing *p, const struct source *s, const char *message)
{
	text_add(complain(p, s), message);
	return false;
}

static bool
ends_with(struct span s, const char *end)
{
	size_t len = strlen(end);

	return s.len >= len && memcmp(s.data + s.len - len, end, len) == 0;
}

/* --- the blocks --- */

static bool
add_certificate(
    struct parsing *p, const struct source *s, const struct pem_block *b)
{
	const uint8_t *at = b->der;
	X509 *x;

	if (sk_X509_num(p->certificates) >= MAX_CERTIFICATES) {
		text_addf(complain(p, s), "more than %d certificates in it",
		    MAX_CERTIFICATES);
		return false;
	}
	x = d2i_X509(NULL, &at, (long)b->len);
	if (!x || at != b->der + b->len) {
		X509_free(x);
		text_addf(complain(p, s),
		    "the certificate in line %u is "
		    "damaged",
		    b->line);
		return false;
	}
	if (sk_X509_push(p->certificates, x) > 0)
		return true;
	X509_free(x);
	return fail(p, s, "no memory");
}

/* Keeps the block; its bytes are wiped with `p`. */
static bool
set_key(struct parsing *p, const struct source *s, struct pem_block *b)
{
	if (p->key_block.der || p->key_block.is_encrypted)
		return fail(p, s, "more than one private key in it");
	p->key_block = *b;
	memset(b, 0, sizeof(*b));
	return true;
}

static bool
add_block(struct parsing *p, struct source *s, enum wanted wanted,
    struct pem_block *b)
{
	if (span_is(b->label, "CERTIFICATE") ||
	    span_is(b->label, "X509 CERTIFICATE")) {
		s->has_certificate = true;
		return !(wanted & WANTS_CERTIFICATES) ||
		       add_certificate(p, s, b);
	}
	if (ends_with(b->label, "PRIVATE KEY")) {
		s->has_key = true;
		return !(wanted & WANTS_KEY) || set_key(p, s, b);
	}
	if (s->other.len == 0 && !ends_with(b->label, "PARAMETERS"))
		s->other = b->label;
	return true;
}

static bool
read_source(struct parsing *p, struct source *s, enum wanted wanted)
{
	struct pem_reader r = pem_reader_of(s->text);
	struct pem_block b;
	const char *why;
	enum parse parse;
	bool is_good;

	while ((parse = pem_next(&r, &b, &why)) == PARSE_OK) {
		is_good = add_block(p, s, wanted, &b);
		pem_wipe(&b);
		if (!is_good)
			return false;
	}
	if (parse == PARSE_MORE)
		return true;
	text_addf(complain(p, s), "the PEM block that begins in line %u %s",
	    b.line, why);
	return false;
}

/* --- what is missing --- */

/* What a text is that holds nothing that was wanted. */
static const char *
describe(const struct source *s)
{
	static const struct {
		const char *label, *description;
	} known[] = {
		{ "CERTIFICATE REQUEST",
		    "a certificate signing request (CSR)" },
		{ "NEW CERTIFICATE REQUEST",
		    "a certificate signing request (CSR)" },
		{ "X509 CRL", "a revocation list (CRL)" },
		{ "PUBLIC KEY", "a public key" },
		{ "RSA PUBLIC KEY", "a public key" },
		{ "PKCS7", "a PKCS #7 bundle" },
		{ "CMS", "a PKCS #7 bundle" },
		{ "TRUSTED CERTIFICATE",
		    "a TRUSTED CERTIFICATE (OpenSSL's own form)" },
	};

	if (s->has_certificate)
		return "a certificate";
	if (s->has_key)
		return "a private key";
	for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
		if (span_is(s->other, known[i].label))
			return known[i].description;
	}
	return s->other.len > 0 ? "PEM of another kind" : NULL;
}

/* DER begins with a SEQUENCE whose length takes some bytes. */
static bool
looks_like_der(struct span text)
{
	return text.len > 2 && text.data[0] == 0x30 && text.data[1] >= 0x80;
}

static bool
fail_missing(struct parsing *p, const struct source *s, const char *thing)
{
	const char *description = describe(s);
	struct text *error = complain(p, s);

	if (s->text.len == 0)
		text_add(error, "it is empty");
	else if (description)
		text_addf(error, "%s where the %s belongs", description, thing);
	else if (looks_like_der(s->text))
		text_addf(error,
		    "no %s found: it is DER or PKCS #12, PEM is needed", thing);
	else
		text_addf(error, "no %s found: there is no PEM in it", thing);
	return false;
}

static bool
has_all(struct parsing *p)
{
	if (sk_X509_num(p->certificates) == 0)
		return fail_missing(p, p->crt, "certificate");
	if (p->key->has_key)
		return true;
	if (p->key == p->crt)
		return fail(p, p->crt,
		    "no private key found in it, nor a key file for it");
	return fail_missing(p, p->key, "private key");
}

/* --- do they belong together --- */

static EVP_PKEY *
public_key(const struct parsing *p, int i)
{
	return X509_get0_pubkey(sk_X509_value(p->certificates, i));
}

/* 0: of none. */
static int
find_owner(const struct parsing *p)
{
	char storage[1];
	struct text unused;

	for (int i = 1; i < sk_X509_num(p->certificates); i++) {
		EVP_PKEY *key;

		text_init(&unused, storage, sizeof(storage));
		key = key_from_pem(&p->key_block, public_key(p, i), &unused);
		EVP_PKEY_free(key);
		if (key)
			return i;
	}
	return 0;
}

/* The key, or NULL with the error told. */
static EVP_PKEY *
match_key(struct parsing *p)
{
	char storage[256];
	struct text why;
	enum key_kind kind;
	EVP_PKEY *key;
	int owner;

	text_init(&why, storage, sizeof(storage));
	if (!key_check_public(public_key(p, 0), &kind, &why)) {
		fail(p, p->crt, storage);
		return NULL;
	}
	key = key_from_pem(&p->key_block, public_key(p, 0), &why);
	if (key)
		return key;
	owner = find_owner(p);
	if (owner > 0)
		text_addf(complain(p, p->crt),
		    "chain out of order: the private key belongs to "
		    "certificate %d, which must be the first",
		    owner + 1);
	else
		fail(p, p->key, storage);
	return NULL;
}

static bool
check_order(struct parsing *p)
{
	for (int i = 1; i < sk_X509_num(p->certificates); i++) {
		if (X509_check_issued(sk_X509_value(p->certificates, i),
			sk_X509_value(p->certificates, i - 1)) == X509_V_OK)
			continue;
		text_addf(complain(p, p->crt),
		    "chain out of order: certificate %d has not issued "
		    "certificate %d before it",
		    i + 1, i);
		return false;
	}
	return true;
}

/* What OpenSSL would not take at the first handshake is refused here, where
 * somebody can mend it. */
static bool
check_extensions(struct parsing *p)
{
	for (int i = 0; i < sk_X509_num(p->certificates); i++) {
		if (X509_check_purpose(
			sk_X509_value(p->certificates, i), -1, 0) == 1)
			continue;
		text_addf(complain(p, p->crt),
		    "certificate %d: its extensions cannot be read", i + 1);
		return false;
	}
	return true;
}

static struct certificate *
assemble(struct parsing *p)
{
	EVP_PKEY *key = match_key(p);
	struct certificate *c;
	X509 *leaf;

	if (!key)
		return NULL;
	if (!check_extensions(p) || !check_order(p)) {
		EVP_PKEY_free(key);
		return NULL;
	}
	leaf = sk_X509_shift(p->certificates);
	c = certificate_new(leaf, p->certificates, key, false);
	X509_free(leaf);
	EVP_PKEY_free(key);
	if (!c)
		fail(p, p->crt,
		    "the certificate's extensions cannot be read (or there is "
		    "no memory)");
	return c;
}

static struct certificate *
parse(struct source *crt, struct source *key, struct text *error)
{
	struct parsing p = { .error = error, .crt = crt, .key = key };
	struct certificate *c = NULL;
	enum wanted wanted = WANTS_CERTIFICATES;

	if (crt == key)
		wanted |= WANTS_KEY;
	p.certificates = sk_X509_new_null();
	if (!p.certificates)
		fail(&p, crt, "no memory");
	else if (read_source(&p, crt, wanted) &&
		 (crt == key || read_source(&p, key, WANTS_KEY)) && has_all(&p))
		c = assemble(&p);
	pem_wipe(&p.key_block);
	sk_X509_pop_free(p.certificates, X509_free);
	/* What OpenSSL noted on the way belongs to no connection. */
	ERR_clear_error();
	return c;
}

struct certificate *
certificate_parse(struct span crt, struct span key, struct text *error)
{
	struct source first = { .text = crt }, second = { .text = key };

	return parse(&first, key.len > 0 ? &second : &first, error);
}

/* --- from files --- */

static bool
load(struct source *s, struct text *error)
{
	if (file_read(s->path, FILE_PUBLIC, &s->text, error) < 0)
		return false;
	if (s->text.len <= MAX_PEM_BYTES)
		return true;
	text_addf(error, "%s: it is larger than 1 MiB", s->path);
	return false;
}

static bool
everybody_may_read(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_mode & S_IROTH;
}

struct certificate *
certificate_load(const char *crt_path, const char *key_path, struct text *error)
{
	struct source crt = { .path = crt_path }, key = { .path = key_path };
	struct source *of_key = key_path ? &key : &crt;
	struct certificate *c = NULL;

	if (load(&crt, error) && (!key_path || load(&key, error)))
		c = parse(&crt, of_key, error);
	file_wipe(&crt.text);
	file_wipe(&key.text);
	if (c && everybody_may_read(of_key->path))
		certificate_set_exposed(c);
	return c;
}
