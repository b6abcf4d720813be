#include "tls/certificate.h"

#include <errno.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "tls/digest.h"
#include "tls/private.h"
#include "wire/host.h"

#define SUBJECT_SIZE 1024
#define URL_MAX_BYTES 1024
/* Clocks differ: a response counts that much longer, and earlier. */
#define STAPLE_SKEW_S 300

/* In OpenSSL's form. */
struct built {
	X509 *leaf;
	STACK_OF(X509) * chain;
};

/* What changes: under the lock, but for `built`, which is set once. */
struct live {
	pthread_mutex_t lock;
	struct built *_Atomic built;
	uint8_t *staple;
	size_t staple_len;
	int64_t staple_until;
};

struct certificate {
	atomic_uint refs;
	enum key_kind kind;
	bool must_staple, is_exposed;
	EVP_PKEY *key;
	struct live *live;
	int64_t not_before, not_after;
	/* Names, subject and URL, NUL-terminated, then the DER of the leaf and
	 * of its issuers: one allocation. */
	uint8_t *store;
	const char **names;
	size_t name_count;
	const char *subject, *url;
	struct span der;
	char fingerprint[CERTIFICATE_FINGERPRINT_SIZE];
};

/* --- what is taken from the leaf --- */

/* Bytes that grow; `failed` once there was no memory. */
struct heap_bytes {
	uint8_t *data;
	size_t len, size;
	bool failed;
};

static uint8_t *
reserve(struct heap_bytes *h, size_t more)
{
	size_t size = 2 * h->size + more;
	uint8_t *data;

	if (h->len + more <= h->size)
		return h->data + h->len;
	data = h->failed ? NULL : realloc(h->data, size);
	h->failed = !data;
	if (!data)
		return NULL;
	h->data = data;
	h->size = size;
	return data + h->len;
}

static void
append(struct heap_bytes *h, struct span s)
{
	uint8_t *at = reserve(h, s.len + 1);

	if (!at)
		return;
	memcpy(at, s.data, s.len);
	at[s.len] = '\0';
	h->len += s.len + 1;
}

static bool
append_pattern(struct heap_bytes *h, struct span text)
{
	struct host host;

	if (host_parse_pattern(text, &host, NULL) < 0)
		return false;
	append(h, host_span(&host));
	return true;
}

static struct span
string_span(const ASN1_STRING *s)
{
	return span_of(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
}

/* NULL: it is not there, or it cannot be read and `failed` is set: without
 * memory a certificate must not seem to say less than it does. */
static void *
read_extension(X509 *leaf, int nid, bool *failed)
{
	int found = 0;
	void *value = X509_get_ext_d2i(leaf, nid, &found, NULL);

	if (!value && found != -1)
		*failed = true;
	return value;
}

static size_t
append_dns_names(struct heap_bytes *h, X509 *leaf, bool *any)
{
	GENERAL_NAMES *names =
	    read_extension(leaf, NID_subject_alt_name, &h->failed);
	size_t count = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type != GEN_DNS)
			continue;
		*any = true;
		count += append_pattern(h, string_span(name->d.dNSName));
	}
	GENERAL_NAMES_free(names);
	return count;
}

/* The last one is the most specific. */
static size_t
append_common_name(struct heap_bytes *h, X509 *leaf)
{
	const X509_NAME *subject = X509_get_subject_name(leaf);
	uint8_t *text = NULL;
	int at = -1, next, len;
	bool is_added;

	while ((next = X509_NAME_get_index_by_NID(
		    subject, NID_commonName, at)) >= 0)
		at = next;
	if (at < 0)
		return 0;
	len = ASN1_STRING_to_UTF8(
	    &text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	if (len < 0)
		h->failed = true;
	is_added = len > 0 && append_pattern(h, span_of(text, (size_t)len));
	OPENSSL_free(text);
	return is_added;
}

static void
append_subject(struct heap_bytes *h, X509 *leaf)
{
	char line[SUBJECT_SIZE];

	trust_name_line(X509_get_subject_name(leaf), line, sizeof(line));
	append(h, span_text(line));
}

static bool
is_http_url(struct span url)
{
	if (url.len < 8 || url.len > URL_MAX_BYTES ||
	    memcmp(url.data, "http://", 7) != 0)
		return false;
	for (size_t i = 0; i < url.len; i++) {
		if (url.data[i] <= ' ' || url.data[i] >= 0x7f)
			return false;
	}
	return true;
}

/* The address of a responder that is asked over http; else empty. */
static struct span
responder_of(const ACCESS_DESCRIPTION *access)
{
	struct span url = { NULL, 0 };

	if (OBJ_obj2nid(access->method) == NID_ad_OCSP &&
	    access->location->type == GEN_URI)
		url =
		    string_span(access->location->d.uniformResourceIdentifier);
	return is_http_url(url) ? url : span_of(NULL, 0);
}

static bool
append_url(struct heap_bytes *h, X509 *leaf)
{
	AUTHORITY_INFO_ACCESS *all =
	    read_extension(leaf, NID_info_access, &h->failed);
	struct span url = { NULL, 0 };

	for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(all) && url.len == 0; i++)
		url = responder_of(sk_ACCESS_DESCRIPTION_value(all, i));
	if (url.len > 0)
		append(h, url);
	AUTHORITY_INFO_ACCESS_free(all);
	return url.len > 0;
}

static size_t
append_der(struct heap_bytes *h, X509 *x)
{
	int len = i2d_X509(x, NULL);
	uint8_t *at = len > 0 ? reserve(h, (size_t)len) : NULL;

	if (!at || i2d_X509(x, &at) != len) {
		h->failed = true;
		return 0;
	}
	h->len += (size_t)len;
	return (size_t)len;
}

/* RFC 7633: the TLS extension status_request, or status_request_v2. */
static bool
read_must_staple(X509 *leaf, bool *failed)
{
	STACK_OF(ASN1_INTEGER) *features =
	    read_extension(leaf, NID_tlsfeature, failed);
	bool found = false;

	for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++) {
		long n = ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i));

		found = found || n == 5 || n == 17;
	}
	sk_ASN1_INTEGER_pop_free(features, ASN1_INTEGER_free);
	return found;
}

static int64_t
unix_seconds(const ASN1_TIME *t)
{
	struct tm parts;

	return ASN1_TIME_to_tm(t, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

/* The texts of the store lie in the order in which they were appended. */
static int
place_texts(struct certificate *c, size_t name_count, bool has_url)
{
	const char *at = (const char *)c->store;

	c->names = malloc((name_count + 1) * sizeof(*c->names));
	if (!c->names)
		return -ENOMEM;
	c->name_count = name_count;
	for (size_t i = 0; i < name_count; i++, at += strlen(at) + 1)
		c->names[i] = at;
	c->subject = at;
	at += strlen(at) + 1;
	if (has_url)
		c->url = at;
	return 0;
}

/* Takes what `h` holds. */
static int
fill_store(struct certificate *c, X509 *leaf, const STACK_OF(X509) * chain)
{
	struct heap_bytes h = { 0 };
	bool has_dns_names = false, has_url;
	size_t name_count = append_dns_names(&h, leaf, &has_dns_names);
	size_t der_at, leaf_len;
	uint8_t *trimmed;

	if (!has_dns_names)
		name_count = append_common_name(&h, leaf);
	c->must_staple = read_must_staple(leaf, &h.failed);
	append_subject(&h, leaf);
	has_url = append_url(&h, leaf);
	der_at = h.len;
	leaf_len = append_der(&h, leaf);
	for (int i = 0; i < sk_X509_num(chain); i++)
		append_der(&h, sk_X509_value(chain, i));
	trimmed = h.failed ? NULL : realloc(h.data, h.len);
	c->store = trimmed ? trimmed : h.data;
	if (h.failed || place_texts(c, name_count, has_url) < 0)
		return -ENOMEM;
	c->der = span_of(c->store + der_at, h.len - der_at);
	return sha256_hex(span_of(c->der.data, leaf_len), c->fingerprint);
}

/* --- OpenSSL's form --- */

static void
free_built(struct built *b)
{
	if (!b)
		return;
	X509_free(b->leaf);
	sk_X509_pop_free(b->chain, X509_free);
	free(b);
}

static bool
add_to_chain(struct built *b, X509 *x)
{
	if (!b->chain)
		b->chain = sk_X509_new_null();
	if (b->chain && sk_X509_push(b->chain, x) > 0)
		return true;
	X509_free(x);
	return false;
}

static struct built *
build(struct span der)
{
	struct built *b = calloc(1, sizeof(*b));
	const uint8_t *at = der.data, *end = der.data + der.len;

	while (b && at < end) {
		X509 *x = d2i_X509(NULL, &at, end - at);

		/* Without memory for the key or the extensions it would stay
		 * half a certificate for good. */
		if (!x || !X509_get0_pubkey(x) ||
		    X509_check_purpose(x, -1, 0) != 1) {
			X509_free(x);
			goto fail;
		}
		if (!b->leaf)
			b->leaf = x;
		else if (!add_to_chain(b, x))
			goto fail;
	}
	return b;
fail:
	free_built(b);
	return NULL;
}

static const struct built *
get_built(const struct certificate *c)
{
	struct live *live = c->live;
	struct built *b =
	    atomic_load_explicit(&live->built, memory_order_acquire);

	if (b)
		return b;
	pthread_mutex_lock(&live->lock);
	b = atomic_load_explicit(&live->built, memory_order_relaxed);
	if (!b) {
		b = build(c->der);
		atomic_store_explicit(&live->built, b, memory_order_release);
	}
	pthread_mutex_unlock(&live->lock);
	return b;
}

X509 *
certificate_leaf(const struct certificate *c)
{
	const struct built *b = get_built(c);

	return b ? b->leaf : NULL;
}

STACK_OF(X509) * certificate_chain(const struct certificate *c)
{
	const struct built *b = get_built(c);

	return b ? b->chain : NULL;
}

EVP_PKEY *
certificate_key(const struct certificate *c)
{
	return c->key;
}

/* --- life --- */

static struct live *
new_live(void)
{
	struct live *live = calloc(1, sizeof(*live));

	if (live)
		pthread_mutex_init(&live->lock, NULL);
	return live;
}

static void
free_live(struct live *live)
{
	if (!live)
		return;
	free_built(atomic_load(&live->built));
	pthread_mutex_destroy(&live->lock);
	free(live->staple);
	free(live);
}

struct certificate *
certificate_new(
    X509 *leaf, const STACK_OF(X509) * chain, EVP_PKEY *key, bool ready)
{
	struct certificate *c = calloc(1, sizeof(*c));
	char storage[1];
	struct text unused;

	text_init(&unused, storage, sizeof(storage));
	if (!c || EVP_PKEY_up_ref(key) != 1) {
		free(c);
		return NULL;
	}
	atomic_init(&c->refs, 1);
	c->key = key;
	c->live = new_live();
	c->not_before = unix_seconds(X509_get0_notBefore(leaf));
	c->not_after = unix_seconds(X509_get0_notAfter(leaf));
	if (c->live && key_check_public(key, &c->kind, &unused) &&
	    fill_store(c, leaf, chain) == 0 && (!ready || get_built(c)))
		return c;
	certificate_put(c);
	return NULL;
}

struct certificate *
certificate_get(struct certificate *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void
certificate_put(struct certificate *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	EVP_PKEY_free(c->key);
	free_live(c->live);
	free(c->names);
	free(c->store);
	free(c);
}

/* --- what it says --- */

size_t
certificate_name_count(const struct certificate *c)
{
	return c->name_count;
}

const char *
certificate_name(const struct certificate *c, size_t i)
{
	ASSERT(i < c->name_count);
	return c->names[i];
}

/* "*.x" for y.x; nothing for a name of one label. */
static bool
matches(const char *pattern, struct span name)
{
	const uint8_t *dot;

	if (pattern[0] != '*')
		return span_is(name, pattern);
	dot = name.len ? memchr(name.data, '.', name.len) : NULL;
	return dot && dot > name.data &&
	       span_is(span_of(dot, (size_t)(name.data + name.len - dot)),
		   pattern + 1);
}

bool
certificate_covers(const struct certificate *c, struct span name)
{
	for (size_t i = 0; i < c->name_count; i++) {
		if (matches(c->names[i], name))
			return true;
	}
	return false;
}

enum key_kind
certificate_key_kind(const struct certificate *c)
{
	return c->kind;
}

int64_t
certificate_not_before(const struct certificate *c)
{
	return c->not_before;
}

int64_t
certificate_not_after(const struct certificate *c)
{
	return c->not_after;
}

const char *
certificate_fingerprint(const struct certificate *c)
{
	return c->fingerprint;
}

const char *
certificate_subject(const struct certificate *c)
{
	return c->subject;
}

bool
certificate_key_is_exposed(const struct certificate *c)
{
	return c->is_exposed;
}

void
certificate_set_exposed(struct certificate *c)
{
	c->is_exposed = true;
}

bool
certificate_must_staple(const struct certificate *c)
{
	return c->must_staple;
}

const char *
certificate_ocsp_url(const struct certificate *c)
{
	return c->url;
}

/* --- the staple --- */

/* Takes `copy`, which may be NULL: none. */
static void
swap_staple(struct live *live, uint8_t *copy, size_t len, int64_t until)
{
	uint8_t *old;

	pthread_mutex_lock(&live->lock);
	old = live->staple;
	live->staple = copy;
	live->staple_len = len;
	live->staple_until = until;
	pthread_mutex_unlock(&live->lock);
	free(old);
}

static int
check_staple(struct certificate *c, struct span response, int64_t now,
    int64_t *until, struct text *error)
{
	const struct built *b = get_built(c);

	if (!b) {
		text_add(error, "no memory");
		return -1;
	}
	if (sk_X509_num(b->chain) < 1) {
		text_add(error, "an OCSP response cannot be checked: the "
				"certificate's file "
				"does not hold its issuer");
		return -1;
	}
	return ocsp_check(
	    response, b->leaf, sk_X509_value(b->chain, 0), now, until, error);
}

int
certificate_set_staple(struct certificate *c, struct span response, int64_t now,
    int64_t *next_update, struct text *error)
{
	uint8_t *copy = NULL;
	int64_t until = 0;

	if (response.len > 0) {
		if (check_staple(c, response, now, &until, error) < 0)
			return -1;
		copy = malloc(response.len);
		if (!copy) {
			text_add(error, "no memory");
			return -1;
		}
		memcpy(copy, response.data, response.len);
	}
	swap_staple(c->live, copy, response.len, until);
	if (next_update)
		*next_update = until;
	return 0;
}

/* Under the lock. */
static bool
is_current(const struct live *live, int64_t now)
{
	return live->staple && now <= live->staple_until + STAPLE_SKEW_S;
}

bool
certificate_is_stapled(struct certificate *c, int64_t now)
{
	bool result;

	pthread_mutex_lock(&c->live->lock);
	result = is_current(c->live, now);
	pthread_mutex_unlock(&c->live->lock);
	return result;
}

bool
certificate_staple_copy(
    struct certificate *c, int64_t now, uint8_t **der, size_t *len)
{
	struct live *live = c->live;

	*der = NULL;
	*len = 0;
	pthread_mutex_lock(&live->lock);
	if (is_current(live, now))
		*der = OPENSSL_memdup(live->staple, live->staple_len);
	if (*der)
		*len = live->staple_len;
	pthread_mutex_unlock(&live->lock);
	return *der != NULL;
}
