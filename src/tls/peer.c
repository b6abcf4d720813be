#include "tls/peer.h"

#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/addr.h"
#include "tls/digest.h"
#include "tls/file.h"
#include "tls/private.h"

#define PEM_LINE_BYTES 48 /* of DER: 64 digits, as RFC 7468 wants */

/*
 * Everything lies in one allocation. The same functions run twice: first with
 * no memory behind them, to find out how much is needed, then to fill it.
 */
struct arena {
	uint8_t *base; /* NULL: measuring */
	size_t size, used;
	bool failed;
};

static void *
take(struct arena *a, size_t bytes)
{
	void *at = a->base ? a->base + a->used : NULL;

	if (a->base && bytes > a->size - a->used) {
		a->failed = true;
		return NULL;
	}
	a->used += bytes;
	return at;
}

static struct span
keep(struct arena *a, const void *data, size_t len)
{
	void *at = len > 0 ? take(a, len) : NULL;

	if (!at)
		return span_of("", 0);
	memcpy(at, data, len);
	return span_of(at, len);
}

/* Spans come first in the arena's parts, so each begins aligned. */
static struct span *
take_items(struct arena *a, size_t count)
{
	size_t align = _Alignof(struct span);

	take(a, (align - a->used % align) % align);
	return count > 0 ? take(a, count * sizeof(struct span)) : NULL;
}

static bool
is_ascii(const unsigned char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] >= 0x80)
			return false;
	return true;
}

/* One byte a character in these, and ASCII needs no conversion. */
static bool
is_single_byte(int type)
{
	return type == V_ASN1_UTF8STRING || type == V_ASN1_PRINTABLESTRING ||
	       type == V_ASN1_IA5STRING || type == V_ASN1_T61STRING ||
	       type == V_ASN1_VISIBLESTRING || type == V_ASN1_NUMERICSTRING;
}

/*
 * As UTF-8, with whatever it holds: NULs too, which end a C string and have
 * let "bank.test\0.evil.test" pass for another name. What is no text stays an
 * empty one, so that the others keep their places in the list.
 */
static struct span
keep_string(struct arena *a, const ASN1_STRING *s)
{
	const unsigned char *data = ASN1_STRING_get0_data(s);
	size_t len = (size_t)ASN1_STRING_length(s);
	unsigned char *utf8 = NULL;
	struct span kept;
	int utf8_len;

	if (is_single_byte(ASN1_STRING_type(s)) && is_ascii(data, len))
		return keep(a, data, len);
	utf8_len = ASN1_STRING_to_UTF8(&utf8, s);
	if (utf8_len < 0) {
		if (ERR_GET_REASON(ERR_peek_last_error()) ==
		    ERR_R_MALLOC_FAILURE)
			a->failed = true;
		ERR_clear_error();
		return span_of("", 0);
	}
	kept = keep(a, utf8, (size_t)utf8_len);
	OPENSSL_free(utf8);
	return kept;
}

static const ASN1_STRING *
name_value(const X509_NAME *name, int at)
{
	return X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
}

static struct peer_list
keep_attributes(struct arena *a, const X509_NAME *name, int nid)
{
	struct peer_list list = { NULL, 0 };
	struct span *items;
	size_t filled = 0;
	int at = -1;

	while ((at = X509_NAME_get_index_by_NID(name, nid, at)) >= 0)
		list.count++;
	items = take_items(a, list.count);
	list.items = items;
	while ((at = X509_NAME_get_index_by_NID(name, nid, at)) >= 0) {
		struct span text = keep_string(a, name_value(name, at));

		if (items && filled < list.count)
			items[filled++] = text;
	}
	return list;
}

/* The last is the most specific one. */
static struct span
keep_common_name(struct arena *a, const X509_NAME *name)
{
	int at = -1, last = -1;

	while ((at = X509_NAME_get_index_by_NID(name, NID_commonName, at)) >= 0)
		last = at;
	if (last < 0)
		return span_of("", 0);
	return keep_string(a, name_value(name, last));
}

static void
keep_name(struct arena *a, const X509_NAME *name, struct peer_name *out)
{
	out->common_name = keep_common_name(a, name);
	out->country = keep_attributes(a, name, NID_countryName);
	out->locality = keep_attributes(a, name, NID_localityName);
	out->organization = keep_attributes(a, name, NID_organizationName);
	out->organizational_unit =
	    keep_attributes(a, name, NID_organizationalUnitName);
	out->province = keep_attributes(a, name, NID_stateOrProvinceName);
	out->postal_code = keep_attributes(a, name, NID_postalCode);
	out->street_address = keep_attributes(a, name, NID_streetAddress);
}

/* Of another length it is no address: RFC 5280 section 4.2.1.6. */
static struct span
keep_address(struct arena *a, const ASN1_STRING *s)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in in4 = { .sin_family = AF_INET };
	const unsigned char *data = ASN1_STRING_get0_data(s);
	char text[ADDR_TEXT_SIZE];
	struct addr addr;

	if (ASN1_STRING_length(s) == 4) {
		memcpy(&in4.sin_addr, data, 4);
		addr = addr_from_sockaddr((const struct sockaddr *)&in4);
	} else if (ASN1_STRING_length(s) == 16) {
		memcpy(&in6.sin6_addr, data, 16);
		addr = addr_from_sockaddr((const struct sockaddr *)&in6);
	} else {
		return span_of("", 0);
	}
	addr_format_ip(&addr, text);
	return keep(a, text, strlen(text));
}

static struct peer_list
keep_names(struct arena *a, const GENERAL_NAMES *names, int type)
{
	struct peer_list list = { NULL, 0 };
	struct span *items;
	size_t filled = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		if (sk_GENERAL_NAME_value(names, i)->type == type)
			list.count++;
	items = take_items(a, list.count);
	list.items = items;
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		struct span text;

		if (name->type != type)
			continue;
		text = type == GEN_IPADD ? keep_address(a, name->d.iPAddress)
					 : keep_string(a, name->d.ia5);
		if (items && filled < list.count)
			items[filled++] = text;
	}
	return list;
}

static struct span
keep_hex(struct arena *a, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t *hex = take(a, 2 * len);

	if (!hex)
		return span_of("", 0);
	for (size_t i = 0; i < len; i++) {
		hex[2 * i] = (uint8_t)digits[bytes[i] >> 4];
		hex[2 * i + 1] = (uint8_t)digits[bytes[i] & 15];
	}
	return span_of(hex, 2 * len);
}

/* As `openssl x509 -serial`: whole bytes, "00" for none, "-" for a negative. */
static struct span
keep_serial(struct arena *a, const ASN1_INTEGER *serial)
{
	bool is_negative = ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER;
	const uint8_t *bytes = ASN1_STRING_get0_data(serial);
	size_t len = (size_t)ASN1_STRING_length(serial);
	struct span sign = keep(a, "-", is_negative ? 1 : 0);
	struct span hex = len > 0 ? keep_hex(a, bytes, len) : keep(a, "00", 2);

	return is_negative && sign.len > 0 ? span_of(sign.data, hex.len + 1)
					   : hex;
}

static int64_t
unix_time(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

static struct span
keep_signature_algorithm(struct arena *a, const X509 *x)
{
	const ASN1_OBJECT *object;
	char text[80];
	int len;

	X509_ALGOR_get0(&object, NULL, NULL, X509_get0_tbs_sigalg(x));
	len = OBJ_obj2txt(text, sizeof(text), object, 0);
	if (len <= 0 || (size_t)len >= sizeof(text))
		return span_of("", 0);
	return keep(a, text, (size_t)len);
}

/* As HAProxy writes it in the PROXY header: "RSA2048", "EC256"; a key whose
 * size says nothing by its name alone. */
static struct span
keep_key_algorithm(struct arena *a, X509 *x)
{
	EVP_PKEY *key = X509_get0_pubkey(x);
	const char *name = key ? EVP_PKEY_get0_type_name(key) : NULL;
	char text[48];
	int len;

	ERR_clear_error();
	if (!name)
		return span_of("", 0);
	if (!strcmp(name, "RSA") || !strcmp(name, "EC") ||
	    !strcmp(name, "DSA") || !strcmp(name, "RSA-PSS"))
		len = snprintf(
		    text, sizeof(text), "%s%d", name, EVP_PKEY_get_bits(key));
	else
		len = snprintf(text, sizeof(text), "%s", name);
	return keep(a, text,
	    (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

static struct span
keep_der(struct arena *a, X509 *x, size_t len)
{
	uint8_t *der = take(a, len), *end = der;

	if (!der)
		return span_of("", 0);
	/* What was measured is what it writes: `x` is not touched between. */
	if (i2d_X509(x, &end) != (int)len)
		a->failed = true;
	return span_of(der, len);
}

static size_t
pem_bytes(size_t der_len, size_t head, size_t tail)
{
	size_t digits = (der_len + 2) / 3 * 4;
	size_t lines = (der_len + PEM_LINE_BYTES - 1) / PEM_LINE_BYTES;

	return head + digits + lines + tail;
}

static struct span
keep_pem(struct arena *a, struct span der, size_t der_len)
{
	static const char head[] = "-----BEGIN CERTIFICATE-----\n";
	static const char tail[] = "-----END CERTIFICATE-----\n";
	size_t len = pem_bytes(der_len, sizeof(head) - 1, sizeof(tail) - 1);
	uint8_t *pem = take(a, len), *at = pem;

	if (!pem)
		return span_of("", 0);
	memcpy(at, head, sizeof(head) - 1);
	at += sizeof(head) - 1;
	for (size_t i = 0; i < der.len; i += PEM_LINE_BYTES) {
		size_t line =
		    der.len - i < PEM_LINE_BYTES ? der.len - i : PEM_LINE_BYTES;

		/* Its NUL falls where the line ends. */
		at += EVP_EncodeBlock(at, der.data + i, (int)line);
		*at++ = '\n';
	}
	memcpy(at, tail, sizeof(tail) - 1);
	return span_of(pem, len);
}

static void
keep_fingerprint(struct arena *a, struct peer *p)
{
	char hex[SHA256_HEX_SIZE] = { 0 };

	if (a->base && sha256_hex(p->der, hex) < 0)
		a->failed = true;
	p->fingerprint_sha256 = keep(a, hex, sizeof(hex) - 1);
}

static void
keep_all(struct arena *a, X509 *x, size_t der_len, const GENERAL_NAMES *names,
    struct peer *p)
{
	keep_name(a, X509_get_subject_name(x), &p->subject);
	keep_name(a, X509_get_issuer_name(x), &p->issuer);
	p->dns_names = keep_names(a, names, GEN_DNS);
	p->email_addresses = keep_names(a, names, GEN_EMAIL);
	p->ip_addresses = keep_names(a, names, GEN_IPADD);
	p->uris = keep_names(a, names, GEN_URI);
	p->serial_number = keep_serial(a, X509_get0_serialNumber(x));
	p->not_before = unix_time(X509_get0_notBefore(x));
	p->not_after = unix_time(X509_get0_notAfter(x));
	p->signature_algorithm = keep_signature_algorithm(a, x);
	p->key_algorithm = keep_key_algorithm(a, x);
	p->der = keep_der(a, x, der_len);
	p->pem = keep_pem(a, p->der, der_len);
	keep_fingerprint(a, p);
}

static struct peer *
peer_make(X509 *x, size_t der_len, const GENERAL_NAMES *names)
{
	struct arena a = { NULL, 0, 0, false };
	struct peer measured = { 0 }, *p;

	take(&a, sizeof(*p));
	keep_all(&a, x, der_len, names, &measured);
	if (a.failed)
		return NULL;
	a.size = a.used;
	a.used = 0;
	a.base = calloc(1, a.size);
	if (!a.base)
		return NULL;
	p = take(&a, sizeof(*p));
	keep_all(&a, x, der_len, names, p);
	if (!a.failed)
		return p;
	peer_free(p);
	return NULL;
}

struct peer *
peer_from_x509(X509 *leaf)
{
	int der_len = i2d_X509(leaf, NULL), found;
	GENERAL_NAMES *names;
	struct peer *p = NULL;

	ERR_clear_error();
	names = X509_get_ext_d2i(leaf, NID_subject_alt_name, &found, NULL);
	/* -1: it has none; -2: several. Anything else is one that was not read:
	 * a peer that hides its names is no peer. */
	if (der_len > 0 && (names || found == -1))
		p = peer_make(leaf, (size_t)der_len, names);
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return p;
}

/* Or OpenSSL would ask for it on the terminal. */
static int
no_passphrase(char *buffer, int size, int is_writing, void *arg)
{
	(void)buffer, (void)size, (void)is_writing, (void)arg;
	return -1;
}

struct peer *
peer_load(const char *path, struct text *error)
{
	struct peer *p = NULL;
	struct span pem;
	X509 *x = NULL;
	BIO *bio;

	if (file_read(path, FILE_PUBLIC, &pem, error) < 0)
		return NULL;
	bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	if (bio)
		x = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
	if (x)
		p = peer_from_x509(x);
	if (!p)
		text_addf(error, "%s: %s", path,
		    x ? "its certificate cannot be read"
		      : "no certificate in it, or a broken one");
	X509_free(x);
	BIO_free(bio);
	file_wipe(&pem);
	ERR_clear_error();
	return p;
}

void
peer_free(struct peer *p)
{
	free(p);
}
