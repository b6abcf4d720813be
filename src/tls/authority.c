#include "tls/authority.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "tls/file.h"
#include "tls/private.h"

#define CRT_NAME "local-ca.pem"
#define KEY_NAME "local-ca.key"
#define BUCKETS 1024

/* A certificate that was made. */
struct leaf {
	struct list recent; /* the least recently used first */
	struct leaf *next;  /* in its bucket */
	struct host name;
	struct certificate *certificate;
};

struct authority {
	atomic_uint refs;
	char *crt_path;
	struct certificate *ca;
	EVP_PKEY *leaf_key;   /* of all leaves: a key each would cost as much
			       * as the signature, and protect nothing more */
	pthread_mutex_t lock; /* over all below */
	struct leaf *buckets[BUCKETS];
	struct list recent;
	size_t count;
};

/* --- leaves; under the lock --- */

static struct leaf **
bucket_of(struct authority *a, const struct host *name)
{
	return &a->buckets[hash_bytes(host_span(name)) % BUCKETS];
}

static struct leaf *
find_leaf(struct authority *a, const struct host *name)
{
	struct leaf *l = *bucket_of(a, name);

	while (l && !span_equal(host_span(&l->name), host_span(name)))
		l = l->next;
	return l;
}

static void
drop_leaf(struct authority *a, struct leaf *l)
{
	struct leaf **at = bucket_of(a, &l->name);

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	list_remove(&l->recent);
	a->count--;
	certificate_put(l->certificate);
	free(l);
}

static struct leaf *
add_leaf(struct authority *a, const struct host *name)
{
	struct leaf *l = calloc(1, sizeof(*l));
	struct leaf **bucket = bucket_of(a, name);

	if (!l)
		return NULL;
	if (a->count >= AUTHORITY_MAX_LEAVES)
		drop_leaf(a, LIST_ENTRY(a->recent.next, struct leaf, recent));
	l->name = *name;
	l->next = *bucket;
	*bucket = l;
	list_append(&a->recent, &l->recent);
	a->count++;
	return l;
}

/* A third of its life must be left, and the clock not have gone back. */
static bool
is_fresh(const struct certificate *c, int64_t now)
{
	int64_t from = certificate_not_before(c);
	int64_t life = certificate_not_after(c) - from;

	return now >= from && now < from + life / 3 * 2;
}

static struct certificate *
make_certificate(struct authority *a, const struct host *name, int64_t now)
{
	X509 *ca = certificate_leaf(a->ca);
	struct certificate *c = NULL;
	X509 *x = NULL;

	if (ca)
		x = signing_leaf(
		    ca, certificate_key(a->ca), a->leaf_key, name, now);
	if (x)
		c = certificate_new(x, NULL, a->leaf_key, true);
	X509_free(x);
	return c;
}

static struct certificate *
issue(struct authority *a, const struct host *name, int64_t now)
{
	struct leaf *l = find_leaf(a, name);
	struct certificate *c;

	if (l && is_fresh(l->certificate, now)) {
		list_remove(&l->recent);
		list_append(&a->recent, &l->recent);
		return certificate_get(l->certificate);
	}
	c = make_certificate(a, name, now);
	if (!c)
		return NULL;
	if (l)
		drop_leaf(a, l);
	l = add_leaf(a, name);
	if (l)
		l->certificate = certificate_get(c);
	return c;
}

struct certificate *
authority_issue(struct authority *a, const struct host *name, int64_t now)
{
	struct certificate *c;

	if (name->len == 0 || host_is_wildcard(name))
		return NULL;
	pthread_mutex_lock(&a->lock);
	c = issue(a, name, now);
	pthread_mutex_unlock(&a->lock);
	/* What OpenSSL noted belongs to no connection. */
	if (!c)
		ERR_clear_error();
	return c;
}

/* --- life --- */

struct authority *
authority_get(struct authority *a)
{
	atomic_fetch_add(&a->refs, 1);
	return a;
}

void
authority_put(struct authority *a)
{
	if (!a || atomic_fetch_sub(&a->refs, 1) != 1)
		return;
	while (!list_empty(&a->recent))
		drop_leaf(a, LIST_ENTRY(a->recent.next, struct leaf, recent));
	certificate_put(a->ca);
	EVP_PKEY_free(a->leaf_key);
	free(a->crt_path);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

const char *
authority_path(const struct authority *a)
{
	return a->crt_path;
}

/* Takes `ca`. */
static struct authority *
new_authority(struct certificate *ca, const char *crt_path)
{
	struct authority *a = calloc(1, sizeof(*a));

	if (!a) {
		certificate_put(ca);
		return NULL;
	}
	atomic_init(&a->refs, 1);
	list_init(&a->recent);
	pthread_mutex_init(&a->lock, NULL);
	a->ca = ca;
	a->crt_path = strdup(crt_path);
	a->leaf_key = signing_new_key();
	if (a->crt_path && a->leaf_key)
		return a;
	authority_put(a);
	return NULL;
}

/* --- files --- */

/* An open folder and what lies in it. */
struct place {
	const char *folder;
	int fd;
	char *crt_path, *key_path;
};

static bool
fail(struct text *error, const char *path, const char *message)
{
	text_addf(error, "%s: %s", path, message);
	return false;
}

static bool
fail_errno(struct text *error, const char *path, const char *what)
{
	text_addf(
	    error, "%s: cannot be %s: %s", path, what, log_errno_text(errno));
	return false;
}

static bool
fail_folder(struct text *error, const struct place *p, const char *what)
{
	text_addf(error,
	    "the state folder %s cannot be %s: %s; the local CA lives there "
	    "(edge.state names another folder)",
	    p->folder, what, log_errno_text(errno));
	return false;
}

/* Opens the folder and locks it: two processes that start together make one CA
 * after the other, and the second finds that of the first. */
static bool
open_folder(struct place *p, struct text *error)
{
	struct stat st;
	int err = file_make_folders(p->folder);

	if (err < 0) {
		errno = -err;
		return fail_folder(error, p, "made");
	}
	p->fd = open(p->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->fd < 0 || fstat(p->fd, &st) < 0)
		return fail_folder(error, p, "opened");
	if (st.st_mode & S_IWOTH)
		return fail(error, p->folder,
		    "everybody may write to it, so "
		    "no CA can be kept there");
	while (flock(p->fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return fail_folder(error, p, "locked");
	}
	return true;
}

static bool
exists(const struct place *p, const char *name)
{
	struct stat st;

	return fstatat(p->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
	       errno != ENOENT;
}

static bool
write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t put = write(fd, data, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return false;
		data += put;
		len -= (size_t)put;
	}
	return fsync(fd) == 0;
}

/* Under its name only once it is whole and on the disk. */
static bool
install(const struct place *p, const char *name, mode_t mode, struct span bytes)
{
	char new_name[64];
	bool is_written;
	int fd;

	snprintf(new_name, sizeof(new_name), "%s.new", name);
	unlinkat(p->fd, new_name, 0);
	fd = openat(p->fd, new_name,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	is_written = write_all(fd, (const char *)bytes.data, bytes.len) &&
		     fchmod(fd, mode) == 0;
	if (close(fd) == 0 && is_written &&
	    renameat(p->fd, new_name, p->fd, name) == 0)
		return true;
	unlinkat(p->fd, new_name, 0);
	return false;
}

static struct span
bio_span(BIO *bio)
{
	char *data = NULL;
	long len = BIO_get_mem_data(bio, &data);

	return span_of(data, len > 0 ? (size_t)len : 0);
}

/* The key first: without its certificate it is made anew. */
static bool
install_both(const struct place *p, BIO *crt, BIO *key, struct text *error)
{
	if (!install(p, KEY_NAME, 0600, bio_span(key)))
		return fail_errno(error, p->key_path, "written");
	if (!install(p, CRT_NAME, 0644, bio_span(crt)))
		return fail_errno(error, p->crt_path, "written");
	if (fsync(p->fd) < 0)
		return fail_folder(error, p, "written");
	return true;
}

static bool
make_ca(const struct place *p, struct text *error)
{
	EVP_PKEY *key = signing_new_key();
	X509 *x = key ? signing_ca(key, time(NULL)) : NULL;
	BIO *crt_pem = BIO_new(BIO_s_mem());
	BIO *key_pem = BIO_new(BIO_s_mem()); /* wiped when it is freed */
	bool is_made = x && crt_pem && key_pem &&
		       PEM_write_bio_X509(crt_pem, x) == 1 &&
		       PEM_write_bio_PKCS8PrivateKey(
			   key_pem, key, NULL, NULL, 0, NULL, NULL) == 1;

	if (is_made)
		is_made = install_both(p, crt_pem, key_pem, error);
	else
		fail(error, p->folder, "no memory for a CA");
	BIO_free(crt_pem);
	BIO_free(key_pem);
	X509_free(x);
	EVP_PKEY_free(key);
	return is_made;
}

/* --- opening --- */

static bool
check_ca(const struct place *p, struct certificate *ca, struct text *error)
{
	X509 *x = certificate_leaf(ca);
	int64_t now = time(NULL);

	if (!x)
		return fail(error, p->crt_path, "no memory");
	if (X509_check_ca(x) != 1)
		return fail(error, p->crt_path,
		    "it is not the certificate of "
		    "a CA");
	if (certificate_not_after(ca) <= now)
		return fail(error, p->crt_path,
		    "the local CA has expired; without this file and " KEY_NAME
		    " a new one is made");
	if (certificate_not_before(ca) > now)
		return fail(error, p->crt_path,
		    "the local CA is not valid yet (is the clock right?)");
	return true;
}

static struct certificate *
read_ca(const struct place *p, struct text *error)
{
	struct span crt = { NULL, 0 }, key = { NULL, 0 };
	struct certificate *ca = NULL;
	char storage[256];
	struct text why;

	text_init(&why, storage, sizeof(storage));
	if (file_read(p->crt_path, FILE_PUBLIC, &crt, error) == 0 &&
	    file_read(p->key_path, FILE_SECRET, &key, error) == 0) {
		if (key.len > 0)
			ca = certificate_parse(crt, key, &why);
		else
			text_add(&why, KEY_NAME " is empty");
		if (!ca)
			fail(error, p->crt_path, storage);
	}
	file_wipe(&crt);
	file_wipe(&key);
	if (ca && !check_ca(p, ca, error)) {
		certificate_put(ca);
		ca = NULL;
	}
	return ca;
}

static struct certificate *
read_or_make(struct place *p, bool *made, struct text *error)
{
	if (!open_folder(p, error))
		return NULL;
	if (!exists(p, CRT_NAME)) {
		if (!make_ca(p, error))
			return NULL;
		*made = true;
	}
	return read_ca(p, error);
}

struct authority *
authority_open(const char *folder, bool *made, struct text *error)
{
	struct place p = { .folder = folder, .fd = -1 };
	struct authority *a = NULL;
	struct certificate *ca = NULL;

	*made = false;
	if (asprintf(&p.crt_path, "%s/" CRT_NAME, folder) < 0)
		p.crt_path = NULL;
	if (asprintf(&p.key_path, "%s/" KEY_NAME, folder) < 0)
		p.key_path = NULL;
	if (p.crt_path && p.key_path)
		ca = read_or_make(&p, made, error);
	else
		fail(error, folder, "no memory");
	if (ca) {
		a = new_authority(ca, p.crt_path);
		if (!a)
			fail(error, folder, "no memory");
	}
	if (p.fd >= 0)
		close(p.fd);
	free(p.crt_path);
	free(p.key_path);
	ERR_clear_error();
	return a;
}
