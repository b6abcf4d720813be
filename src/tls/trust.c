#include "tls/trust.h"

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "tls/private.h"

/* In a CertificateRequest they share 64 KiB, and a flight of more than a few
 * kilobytes costs each handshake a round trip. */
#define NAMES_MAX_BYTES 32768

/* What the files held when they were read; never changed. */
struct content {
	atomic_uint references;
	STACK_OF(X509) * cas;	   /* sorted, no two the same */
	STACK_OF(X509_CRL) * crls; /* as well */
	X509_STORE *store;
	bool names_fit;
	uint8_t digest[TRUST_DIGEST_BYTES];
};

struct trust {
	atomic_uint references;
	bool is_system, is_fixed; /* fixed: not from files */
	size_t ca_files, crl_files;
	char **paths;		      /* CAs first */
	pthread_mutex_t refresh_lock; /* one reader of files at a time */
	pthread_mutex_t lock;	      /* guards the pointer */
	struct content *content;
};

static const struct span no_text;

static void
content_put(struct content *c)
{
	if (!c || atomic_fetch_sub(&c->references, 1) != 1)
		return;
	X509_STORE_free(c->store);
	sk_X509_pop_free(c->cas, X509_free);
	sk_X509_CRL_pop_free(c->crls, X509_CRL_free);
	free(c);
}

static int
ca_order(const X509 *const *a, const X509 *const *b)
{
	return X509_cmp(*a, *b);
}

static int
crl_order(const X509_CRL *const *a, const X509_CRL *const *b)
{
	return X509_CRL_match(*a, *b);
}

static struct content *
content_new(void)
{
	struct content *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	atomic_init(&c->references, 1);
	c->cas = sk_X509_new(ca_order);
	c->crls = sk_X509_CRL_new(crl_order);
	c->store = X509_STORE_new();
	if (c->cas && c->crls && c->store)
		return c;
	content_put(c);
	return NULL;
}

/* The same CA often stands in several bundles. */
static void
drop_duplicates(struct content *c)
{
	sk_X509_sort(c->cas);
	for (int i = sk_X509_num(c->cas) - 1; i > 0; i--)
		if (X509_cmp(sk_X509_value(c->cas, i),
			sk_X509_value(c->cas, i - 1)) == 0)
			X509_free(sk_X509_delete(c->cas, i));
	sk_X509_CRL_sort(c->crls);
	for (int i = sk_X509_CRL_num(c->crls) - 1; i > 0; i--)
		if (X509_CRL_match(sk_X509_CRL_value(c->crls, i),
			sk_X509_CRL_value(c->crls, i - 1)) == 0)
			X509_CRL_free(sk_X509_CRL_delete(c->crls, i));
}

static bool
has_issuer(const struct content *c, X509 *x)
{
	for (int i = 0; i < sk_X509_num(c->cas); i++)
		if (X509_check_issued(sk_X509_value(c->cas, i), x) == X509_V_OK)
			return true;
	return false;
}

static bool
has_crl(const struct content *c, X509 *ca)
{
	const X509_NAME *name = X509_get_subject_name(ca);

	for (int i = 0; i < sk_X509_CRL_num(c->crls); i++)
		if (X509_NAME_cmp(
			X509_CRL_get_issuer(sk_X509_CRL_value(c->crls, i)),
			name) == 0)
			return true;
	return false;
}

/*
 * With CRLs each certificate of a chain is looked for in one, that of the root
 * included, and the chain must reach a root: an anchor in the middle could not
 * be checked for having been revoked.
 */
static int
check_revocable(const struct content *c, struct text *error)
{
	char subject[TRUST_NAME_SIZE];

	for (int i = 0; i < sk_X509_num(c->cas); i++) {
		X509 *ca = sk_X509_value(c->cas, i);

		trust_name_line(
		    X509_get_subject_name(ca), subject, sizeof(subject));
		if (!has_issuer(c, ca)) {
			text_addf(error,
			    "with CRLs the CAs must be complete up to the "
			    "root: the issuer of \"%s\" is not among them",
			    subject);
			return -1;
		}
		if (!has_crl(c, ca))
			LOG_WARN("a CA has no CRL while others have: its "
				 "clients are refused",
			    LOG_TEXT("subject", subject));
	}
	return 0;
}

static bool
fill_store(struct content *c)
{
	unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;

	for (int i = 0; i < sk_X509_num(c->cas); i++)
		if (!X509_STORE_add_cert(c->store, sk_X509_value(c->cas, i)))
			return false;
	for (int i = 0; i < sk_X509_CRL_num(c->crls); i++)
		if (!X509_STORE_add_crl(
			c->store, sk_X509_CRL_value(c->crls, i)))
			return false;
	/* A chain that ended at a listed intermediate would leave that one's
	 * own revocation unchecked. */
	if (sk_X509_CRL_num(c->crls) > 0)
		flags = X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
	return X509_STORE_set_flags(c->store, flags) == 1;
}

static int
digest_order(const void *a, const void *b)
{
	return memcmp(a, b, TRUST_DIGEST_BYTES);
}

/* The SHA-256 of the sorted SHA-256 of each. */
static bool
fill_digest(struct content *c)
{
	size_t cas = (size_t)sk_X509_num(c->cas);
	size_t count = cas + (size_t)sk_X509_CRL_num(c->crls);
	uint8_t(*all)[TRUST_DIGEST_BYTES] = calloc(count, sizeof(*all));
	bool ok = all != NULL;

	for (size_t i = 0; ok && i < count; i++)
		ok = i < cas ? X509_digest(sk_X509_value(c->cas, (int)i),
				   EVP_sha256(), all[i], NULL) == 1
			     : X509_CRL_digest(
				   sk_X509_CRL_value(c->crls, (int)(i - cas)),
				   EVP_sha256(), all[i], NULL) == 1;
	if (ok) {
		qsort(all, count, sizeof(*all), digest_order);
		ok = EVP_Digest(all, count * sizeof(*all), c->digest, NULL,
			 EVP_sha256(), NULL) == 1;
	}
	free(all);
	return ok;
}

static bool
do_names_fit(const struct content *c)
{
	size_t bytes = 0, len;

	for (int i = 0; i < sk_X509_num(c->cas); i++) {
		if (!X509_NAME_get0_der(
			X509_get_subject_name(sk_X509_value(c->cas, i)), NULL,
			&len))
			return false;
		bytes += 2 + len;
	}
	return bytes <= NAMES_MAX_BYTES;
}

static int
finish(struct content *c, struct text *error)
{
	drop_duplicates(c);
	if (sk_X509_CRL_num(c->crls) > 0 && check_revocable(c, error) < 0)
		return -1;
	c->names_fit = do_names_fit(c);
	if (fill_store(c) && fill_digest(c))
		return 0;
	ERR_clear_error();
	text_add(error, "no memory");
	return -1;
}

/* "5ed36f99.0": what c_rehash and update-ca-certificates leave. */
static bool
is_hash_link(const char *name)
{
	static const char digits[] = "0123456789";
	size_t hex = strspn(name, "0123456789abcdef");

	return hex == 8 && name[8] == '.' && name[9] != '\0' &&
	       name[9 + strspn(name + 9, digits)] == '\0';
}

static int
read_folder(const char *folder, STACK_OF(X509) * cas, struct text *error)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char path[4096];
	int result = 0;

	while (dir && result == 0 && (entry = readdir(dir))) {
		struct text t;

		if (!is_hash_link(entry->d_name))
			continue;
		text_init(&t, path, sizeof(path));
		text_addf(&t, "%s/%s", folder, entry->d_name);
		result = trust_read_cas(path, true, cas, error);
	}
	if (dir)
		closedir(dir);
	return result;
}

/* Read now and whole, where OpenSSL would look into the folder during
 * handshakes: a worker must not wait for a disk, nor may it open files. */
static int
read_system(STACK_OF(X509) * cas, struct text *error)
{
	const char *file = secure_getenv(X509_get_default_cert_file_env());
	const char *folder = secure_getenv(X509_get_default_cert_dir_env());
	struct stat st;

	if (!file)
		file = X509_get_default_cert_file();
	if (!folder)
		folder = X509_get_default_cert_dir();
	if (stat(file, &st) == 0 && trust_read_cas(file, true, cas, error) < 0)
		return -1;
	if (sk_X509_num(cas) == 0 && read_folder(folder, cas, error) < 0)
		return -1;
	if (sk_X509_num(cas) > 0)
		return 0;
	text_addf(error,
	    "no root certificates of the system in %s nor in %s (Debian: "
	    "install ca-certificates)",
	    file, folder);
	return -1;
}

static int
read_files(const struct trust *t, struct content *c, struct text *error)
{
	if (t->is_system)
		return read_system(c->cas, error);
	for (size_t i = 0; i < t->ca_files; i++)
		if (trust_read_cas(t->paths[i], false, c->cas, error) < 0)
			return -1;
	for (size_t i = t->ca_files; i < trust_file_count(t); i++)
		if (trust_read_crls(t->paths[i], c->cas, c->crls, error) < 0)
			return -1;
	return 0;
}

/* From its files, or from `pem`. */
static struct content *
read_content(const struct trust *t, struct span pem, struct text *error)
{
	struct content *c = content_new();
	int result;

	if (!c) {
		text_add(error, "no memory");
		return NULL;
	}
	result = t->is_fixed ? trust_read_cas_text(pem, c->cas, error)
			     : read_files(t, c, error);
	if (result == 0 && finish(c, error) == 0)
		return c;
	content_put(c);
	return NULL;
}

static struct content *
content_get(struct trust *t)
{
	struct content *c;

	pthread_mutex_lock(&t->lock);
	c = t->content;
	atomic_fetch_add(&c->references, 1);
	pthread_mutex_unlock(&t->lock);
	return c;
}

static struct trust *
trust_new(void)
{
	struct trust *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	atomic_init(&t->references, 1);
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_init(&t->refresh_lock, NULL);
	return t;
}

static bool
copy_paths(struct trust *t, const char *const *cas, size_t ca_count,
    const char *const *crls, size_t crl_count)
{
	t->paths = calloc(ca_count + crl_count, sizeof(*t->paths));
	if (!t->paths)
		return false;
	t->ca_files = ca_count;
	t->crl_files = crl_count;
	for (size_t i = 0; i < ca_count + crl_count; i++) {
		t->paths[i] =
		    strdup(i < ca_count ? cas[i] : crls[i - ca_count]);
		if (!t->paths[i])
			return false;
	}
	return true;
}

struct trust *
trust_load(const char *const *cas, size_t ca_count, const char *const *crls,
    size_t crl_count, struct text *error)
{
	struct trust *t;

	/* Nothing listed never means everything trusted. */
	if (ca_count == 0) {
		text_add(error, "no file with CA certificates");
		return NULL;
	}
	t = trust_new();
	if (!t || !copy_paths(t, cas, ca_count, crls, crl_count)) {
		text_add(error, "no memory");
		goto fail;
	}
	t->content = read_content(t, no_text, error);
	if (!t->content)
		goto fail;
	return t;
fail:
	trust_put(t);
	return NULL;
}

/* Takes `t`, which may be NULL, and fills it. */
static struct trust *
fill(struct trust *t, struct span pem, struct text *error)
{
	if (!t) {
		text_add(error, "no memory");
		return NULL;
	}
	t->content = read_content(t, pem, error);
	if (t->content)
		return t;
	trust_put(t);
	return NULL;
}

struct trust *
trust_system(struct text *error)
{
	struct trust *t = trust_new();

	if (t)
		t->is_system = true;
	return fill(t, no_text, error);
}

struct trust *
trust_parse(struct span cas, struct text *error)
{
	struct trust *t = trust_new();

	if (t)
		t->is_fixed = true;
	return fill(t, cas, error);
}

struct trust *
trust_get(struct trust *t)
{
	atomic_fetch_add(&t->references, 1);
	return t;
}

void
trust_put(struct trust *t)
{
	if (!t || atomic_fetch_sub(&t->references, 1) != 1)
		return;
	content_put(t->content);
	for (size_t i = 0; t->paths && i < trust_file_count(t); i++)
		free(t->paths[i]);
	free(t->paths);
	pthread_mutex_destroy(&t->lock);
	pthread_mutex_destroy(&t->refresh_lock);
	free(t);
}

int
trust_refresh(struct trust *t, struct text *error)
{
	struct content *fresh, *old;

	if (t->is_fixed)
		return 0;
	pthread_mutex_lock(&t->refresh_lock);
	fresh = read_content(t, no_text, error);
	if (fresh) {
		pthread_mutex_lock(&t->lock);
		old = t->content;
		t->content = fresh;
		pthread_mutex_unlock(&t->lock);
		content_put(old);
	}
	pthread_mutex_unlock(&t->refresh_lock);
	return fresh ? 0 : -1;
}

size_t
trust_file_count(const struct trust *t)
{
	return t->ca_files + t->crl_files;
}

const char *
trust_file(const struct trust *t, size_t i)
{
	ASSERT(i < trust_file_count(t));
	return t->paths[i];
}

void
trust_digest(struct trust *t, uint8_t out[TRUST_DIGEST_BYTES])
{
	struct content *c = content_get(t);

	memcpy(out, c->digest, TRUST_DIGEST_BYTES);
	content_put(c);
}

bool
trust_same(struct trust *a, struct trust *b)
{
	uint8_t digest_a[TRUST_DIGEST_BYTES], digest_b[TRUST_DIGEST_BYTES];

	if (a == b)
		return true;
	trust_digest(a, digest_a);
	trust_digest(b, digest_b);
	return memcmp(digest_a, digest_b, sizeof(digest_a)) == 0;
}

size_t
trust_ca_count(struct trust *t)
{
	struct content *c = content_get(t);
	size_t count = (size_t)sk_X509_num(c->cas);

	content_put(c);
	return count;
}

size_t
trust_crl_count(struct trust *t)
{
	struct content *c = content_get(t);
	size_t count = (size_t)sk_X509_CRL_num(c->crls);

	content_put(c);
	return count;
}

static STACK_OF(X509_NAME) * copy_names(const struct content *c)
{
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();

	for (int i = 0; names && i < sk_X509_num(c->cas); i++) {
		X509_NAME *name = X509_NAME_dup(
		    X509_get_subject_name(sk_X509_value(c->cas, i)));

		if (name && sk_X509_NAME_push(names, name))
			continue;
		X509_NAME_free(name);
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		names = NULL;
	}
	return names;
}

bool
trust_take(struct trust *t, bool with_names, struct trust_content *out)
{
	struct content *c = content_get(t);
	bool wants_names = with_names && c->names_fit;
	bool ok;

	memset(out, 0, sizeof(*out));
	if (wants_names)
		out->names = copy_names(c);
	ok = (!wants_names || out->names) && X509_STORE_up_ref(c->store) == 1;
	if (ok) {
		out->store = c->store;
		memcpy(out->digest, c->digest, sizeof(out->digest));
	} else {
		sk_X509_NAME_pop_free(out->names, X509_NAME_free);
		out->names = NULL;
	}
	content_put(c);
	return ok;
}
