#include "engine/pairs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "config/folder_pairs.h"
#include "config/index.h"
#include "tls/ocsp.h"

/* Loaded at a time: enough to keep all cores busy, few enough that the first
 * ones serve while the last ones are read. */
#define BATCH 128

bool
pair_asks_responder(
    bool fetch, bool off, const char *file, const struct certificate *c)
{
	if (off || file || !certificate_ocsp_url(c))
		return false;
	return fetch || certificate_must_staple(c);
}

static bool
asks_responder(const struct pair *pair, const struct certificate *c)
{
	return pair_asks_responder(
	    pair->ocsp_fetch, pair->ocsp_off, pair->ocsp_file, c);
}

static void
pair_fini(struct pair *pair)
{
	free(pair->label);
	free(pair->crt);
	free(pair->key);
	free(pair->ocsp_file);
}

static bool
copy_text(const char *text, char **out)
{
	*out = text ? strdup(text) : NULL;
	return !text || *out;
}

/* A pair at the end of the list, known by its path. */
static struct pair *
add_pair(struct pairs *p, const struct pair *like)
{
	struct pair *pair;
	size_t known;

	if (p->count == p->room) {
		size_t room = p->room ? 2 * p->room : 16;
		struct pair *list = realloc(p->list, room * sizeof(*list));

		if (!list)
			return NULL;
		p->list = list;
		p->room = room;
	}
	pair = &p->list[p->count];
	*pair = (struct pair){
		.ocsp_fetch = like->ocsp_fetch,
		.ocsp_off = like->ocsp_off,
		.id = like->id,
	};
	if (copy_text(like->label, &pair->label) &&
	    copy_text(like->crt, &pair->crt) &&
	    copy_text(like->key, &pair->key) &&
	    copy_text(like->ocsp_file, &pair->ocsp_file) &&
	    index_add(p->by_crt, span_text(pair->crt), p->count, &known) !=
		-ENOMEM) {
		p->count++;
		return pair;
	}
	pair_fini(pair);
	return NULL;
}

static bool
add_configured(struct pairs *p, const struct snapshot *s)
{
	for (size_t i = 0; i < s->certificate_count; i++) {
		const struct certificate_settings *c = &s->certificates[i];
		struct pair like = {
			.label = c->label,
			.crt = c->crt,
			.key = c->key,
			.ocsp_file = c->ocsp_file,
			.ocsp_fetch = c->ocsp_fetch,
			.ocsp_off = c->ocsp_off,
			.id = c->id,
		};
		struct pair *pair = add_pair(p, &like);

		if (!pair)
			return false;
		pair->staple_due = pair->ocsp_file != NULL;
	}
	return true;
}

struct pairs *
pairs_new(const struct snapshot *s, struct stapler *stapler)
{
	struct pairs *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->keyring = keyring_get(s->keyring);
	p->stapler = stapler;
	p->by_crt = calloc(1, sizeof(*p->by_crt));
	if (p->by_crt && add_configured(p, s))
		return p;
	pairs_free(p);
	return NULL;
}

void
pairs_free(struct pairs *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->count; i++)
		pair_fini(&p->list[i]);
	free(p->list);
	if (p->by_crt)
		index_fini(p->by_crt);
	free(p->by_crt);
	keyring_put(p->keyring);
	free(p);
}

static bool
is_inside(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return !strncmp(path, folder, len) && path[len] == '/' &&
	       !strchr(path + len + 1, '/');
}

static bool
add_found(struct pairs *p, const struct certificate_folder *folder,
    const struct folder_pair *found)
{
	struct pair like = {
		.crt = found->crt,
		.key = found->key,
		.ocsp_fetch = folder->ocsp_fetch,
		.ocsp_off = folder->ocsp_off,
		.id = PAIR_NO_PLACE,
	};
	struct pair *pair = add_pair(p, &like);

	if (pair)
		pair->due = true;
	return pair != NULL;
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* Its key may have moved into a file of its own, or out of it. */
static bool
take_key(struct pair *pair, const char *key)
{
	char *copy;

	if (same_text(pair->key, key) || !copy_text(key, &copy))
		return false;
	free(pair->key);
	pair->key = copy;
	pair->due = true;
	return true;
}

static bool
consider(struct pairs *p, const struct certificate_folder *folder,
    const struct folder_pair *found)
{
	struct pair *pair;
	size_t known;

	if (!index_find(p->by_crt, span_text(found->crt), &known))
		return add_found(p, folder, found);
	pair = &p->list[known];
	/* One that is listed by itself has the key that the list says. */
	if (pair->label || (pair->key && !is_inside(pair->key, folder->path)))
		return false;
	return take_key(pair, found->key);
}

bool
pairs_look_into(struct pairs *p, const struct certificate_folder *folder)
{
	struct folder_pair *found;
	size_t count;
	bool changed = false;
	int err = folder_pairs_read(folder->path, &found, &count);

	if (err < 0) {
		LOG_WARN("cannot read the folder, its certificates stay",
		    LOG_TEXT("folder", folder->path), LOG_ERRNO(-err));
		return false;
	}
	for (size_t i = 0; i < count; i++)
		changed |= consider(p, folder, &found[i]);
	folder_pairs_free(found, count);
	return changed;
}

void
pairs_try_failed(struct pairs *p)
{
	for (size_t i = 0; i < p->count; i++)
		p->list[i].due |= p->list[i].failed;
}

/* The same complaint about the same pair, or about its staple, is made once. */
static void
complain(const struct pair *pair, uint64_t *told_of, const char *what,
    const char *error)
{
	uint64_t hash = hash_bytes(span_text(error));

	if (*told_of == hash)
		return;
	*told_of = hash;
	LOG_WARN(what, LOG_TEXT("label", pair->label),
	    LOG_TEXT("path", pair->crt), LOG_TEXT("error", error));
}

static void
complain_of_pair(struct pair *pair, const char *error)
{
	pair->failed = true;
	complain(pair, &pair->told_of,
	    pair->id == PAIR_NO_PLACE
		? "certificate not loaded"
		: "certificate not replaced, the old one stays",
	    error);
}

static void
tell(const struct pair *pair, enum log_level level, const char *what,
    const char *old, const struct certificate *c)
{
	char until[40];
	struct text t;

	text_init(&t, until, sizeof(until));
	text_add_time(&t, certificate_not_after(c) * 1000000, 3);
	LOG_AT(level, what, LOG_TEXT("label", pair->label),
	    LOG_TEXT("path", pair->crt),
	    LOG_TEXT("name", certificate_name_count(c) > 0
				 ? certificate_name(c, 0)
				 : certificate_subject(c)),
	    LOG_TEXT("old_fingerprint", old),
	    LOG_TEXT("new_fingerprint", certificate_fingerprint(c)),
	    LOG_TEXT("not_after", until));
}

/* At most `size` bytes of a file; a longer one is refused. */
static int
read_small_file(const char *path, uint8_t *out, size_t size, size_t *len)
{
	/* O_NONBLOCK: a named pipe must not hold up everything else. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = 1;
	int err = 0;

	*len = 0;
	if (fd < 0)
		return -errno;
	while (n > 0 && *len < size) {
		n = read(fd, out + *len, size - *len);
		if (n > 0)
			*len += (size_t)n;
	}
	if (n < 0)
		err = -errno;
	else if (*len == size)
		err = -EFBIG;
	else if (*len == 0)
		err = -ENODATA;
	close(fd);
	return err;
}

static void
staple_from_file(struct pair *pair, struct certificate *c)
{
	uint8_t *answer = malloc(OCSP_MAX_RESPONSE_BYTES);
	char storage[512];
	struct text error;
	size_t len;
	int r = -ENOMEM;

	text_init(&error, storage, sizeof(storage));
	if (answer)
		r = read_small_file(
		    pair->ocsp_file, answer, OCSP_MAX_RESPONSE_BYTES, &len);
	if (r < 0)
		text_addf(
		    &error, "%s: %s", pair->ocsp_file, log_errno_text(-r));
	else
		r = certificate_set_staple(c, span_of(answer, len),
		    clock_wall_us() / 1000000, NULL, &error);
	free(answer);
	if (r < 0) {
		complain(pair, &pair->staple_told_of,
		    "OCSP response not stapled", error.data);
		return;
	}
	pair->staple_told_of = 0;
	LOG_DEBUG("OCSP response read", LOG_TEXT("path", pair->ocsp_file));
}

/* Stapled before it serves, where that can be. `old` NULL: it is new. */
static void
prepare_staple(struct pairs *p, struct pair *pair, struct certificate *old,
    struct certificate *c)
{
	bool asks = asks_responder(pair, c);

	if (pair->ocsp_file)
		staple_from_file(pair, c);
	pair->staple_due = false;
	if ((old || asks) &&
	    stapler_replace(p->stapler, old, asks ? c : NULL) < 0)
		LOG_ERROR("no memory to keep a certificate stapled",
		    LOG_TEXT("path", pair->crt));
}

/* Takes the reference. */
static int
place(struct pairs *p, struct pair *pair, struct certificate *c)
{
	int err;

	if (pair->id == PAIR_NO_PLACE)
		err = keyring_add(p->keyring, pair->label, c, &pair->id);
	else
		err = keyring_replace(p->keyring, pair->id, c);
	if (err < 0)
		certificate_put(c);
	return err;
}

static void
take_loaded(struct pairs *p, struct pair *pair, struct certificate *c)
{
	struct certificate *old = NULL;
	bool same;

	if (pair->id != PAIR_NO_PLACE)
		old = keyring_at(p->keyring, pair->id);
	same = old && !strcmp(certificate_fingerprint(old),
			  certificate_fingerprint(c));
	pair->told_of = 0;
	/* Another certificate without its staple is news, the same is not. */
	if (!same)
		pair->staple_told_of = 0;
	prepare_staple(p, pair, old, c);
	if (place(p, pair, certificate_get(c)) < 0)
		complain_of_pair(pair, log_errno_text(ENOMEM));
	else if (same)
		tell(pair, LOG_LEVEL_DEBUG, "certificate read again",
		    certificate_fingerprint(old), c);
	else
		tell(pair, LOG_LEVEL_INFO,
		    old ? "certificate replaced" : "certificate added",
		    old ? certificate_fingerprint(old) : "", c);
	certificate_put(c);
	certificate_put(old);
}

static void
take_file(struct pairs *p, struct pair *pair, struct keyring_file *file)
{
	pair->failed = false;
	if (file->loaded)
		take_loaded(p, pair, file->loaded);
	else
		complain_of_pair(pair, file->error);
}

/* Up to BATCH of those that are due, from `*at` on; how many. */
static size_t
gather(struct pairs *p, size_t *at, struct keyring_file *files, size_t *which)
{
	size_t count = 0;

	for (; *at < p->count && count < BATCH; ++*at) {
		struct pair *pair = &p->list[*at];

		if (!pair->due)
			continue;
		pair->due = false;
		which[count] = *at;
		files[count++] = (struct keyring_file){
			.label = pair->label,
			.crt = pair->crt,
			.key = pair->key,
		};
	}
	return count;
}

static void
read_pairs(struct pairs *p, const atomic_bool *stop, struct keyring_file *files)
{
	size_t which[BATCH], at = 0, count;

	while (
	    !atomic_load(stop) && (count = gather(p, &at, files, which)) > 0) {
		keyring_read_files(files, count);
		for (size_t i = 0; i < count; i++)
			take_file(p, &p->list[which[i]], &files[i]);
	}
}

static void
read_staple(struct pairs *p, struct pair *pair)
{
	struct certificate *c;

	pair->staple_due = false;
	if (pair->id == PAIR_NO_PLACE)
		return;
	c = keyring_at(p->keyring, pair->id);
	staple_from_file(pair, c);
	certificate_put(c);
}

void
pairs_read(struct pairs *p, const atomic_bool *stop)
{
	struct keyring_file *files = calloc(BATCH, sizeof(*files));

	if (files)
		read_pairs(p, stop, files);
	free(files);
	for (size_t i = 0; i < p->count && !atomic_load(stop); i++)
		if (p->list[i].staple_due)
			read_staple(p, &p->list[i]);
}
