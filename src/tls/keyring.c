#include "tls/keyring.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"

/* Threads that read files: more do not help where parsing is the work. */
#define READERS_MAX 16

/*
 * A table of texts (names, or labels) to the places of certificates: open
 * addressing over indexes into `links`, each of which is one text of one
 * certificate. Texts belong to the certificate or to the entry.
 */
struct link {
	const char *text; /* NULL: of a certificate that is gone */
	uint32_t id;	  /* of the entry */
	uint32_t next;	  /* of the same chain, plus 1; 0: the last */
};

struct table {
	uint32_t *heads; /* links, plus 1; 0: none */
	size_t size;	 /* a power of two */
	struct link *links;
	size_t count, room;
};

struct entry {
	struct certificate *certificate; /* counted */
	char *label;			 /* NULL: none */
};

struct keyring {
	atomic_uint refs;
	pthread_mutex_t lock;
	struct entry *entries;
	size_t count, room;
	struct table names, labels;
	size_t dead_count; /* links of certificates that were replaced */
};

void
key_choice_put(struct key_choice *choice)
{
	for (int i = 0; i < KEY_KIND_COUNT; i++)
		certificate_put(choice->by_kind[i]);
	*choice = (struct key_choice){ { NULL } };
}

/* ---- tables ---- */

static void
table_fini(struct table *t)
{
	free(t->heads);
	free(t->links);
}

static void
chain(struct table *t, uint32_t index)
{
	struct link *l = &t->links[index];
	uint32_t *head =
	    &t->heads[hash_bytes(span_text(l->text)) & (t->size - 1)];

	l->next = *head;
	*head = index + 1;
}

/* Room for so many more links; afterwards adding them cannot fail. */
static bool
table_reserve(struct table *t, size_t more)
{
	size_t wanted = t->count + more, room = t->room ? t->room : 16;
	struct link *links;
	uint32_t *heads;

	if (wanted > UINT32_MAX / 2)
		return false;
	if (wanted <= t->room)
		return true;
	while (room < wanted)
		room *= 2;
	links = realloc(t->links, room * sizeof(*links));
	if (!links)
		return false;
	t->links = links;
	heads = calloc(2 * room, sizeof(*heads));
	if (!heads)
		return false;
	free(t->heads);
	t->heads = heads;
	t->size = 2 * room;
	t->room = room;
	for (size_t i = 0; i < t->count; i++)
		if (links[i].text)
			chain(t, (uint32_t)i);
	return true;
}

static void
table_add(struct table *t, const char *text, size_t id)
{
	ASSERT(t->count < t->room);
	t->links[t->count] = (struct link){ text, (uint32_t)id, 0 };
	chain(t, (uint32_t)t->count++);
}

static void
table_clear(struct table *t)
{
	t->count = 0;
	if (t->heads)
		memset(t->heads, 0, t->size * sizeof(*t->heads));
}

/* ---- life ---- */

struct keyring *
keyring_new(void)
{
	struct keyring *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	atomic_init(&k->refs, 1);
	pthread_mutex_init(&k->lock, NULL);
	return k;
}

struct keyring *
keyring_get(struct keyring *k)
{
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

void
keyring_put(struct keyring *k)
{
	if (!k ||
	    atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (size_t i = 0; i < k->count; i++) {
		certificate_put(k->entries[i].certificate);
		free(k->entries[i].label);
	}
	free(k->entries);
	table_fini(&k->names);
	table_fini(&k->labels);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

/* ---- adding ---- */

static bool
reserve_entry(struct keyring *k)
{
	size_t room = k->room ? 2 * k->room : 16;
	struct entry *grown;

	if (k->count < k->room)
		return true;
	grown = realloc(k->entries, room * sizeof(*grown));
	if (!grown)
		return false;
	k->entries = grown;
	k->room = room;
	return true;
}

static void
index_names(struct keyring *k, size_t id)
{
	const struct certificate *c = k->entries[id].certificate;

	for (size_t i = 0; i < certificate_name_count(c); i++)
		table_add(&k->names, certificate_name(c, i), id);
}

static int
add(struct keyring *k, char *label, struct certificate *c, size_t *id)
{
	if (!reserve_entry(k) ||
	    !table_reserve(&k->names, certificate_name_count(c)) ||
	    !table_reserve(&k->labels, 1))
		return -ENOMEM;
	*id = k->count++;
	k->entries[*id] = (struct entry){ c, label };
	index_names(k, *id);
	if (label)
		table_add(&k->labels, label, *id);
	return 0;
}

int
keyring_add(
    struct keyring *k, const char *label, struct certificate *c, size_t *id)
{
	char *copy = label ? strdup(label) : NULL;
	int error = -ENOMEM;

	if (label && !copy)
		return error;
	pthread_mutex_lock(&k->lock);
	error = add(k, copy, c, id);
	pthread_mutex_unlock(&k->lock);
	if (error < 0)
		free(copy);
	return error;
}

/*
 * The names of what was replaced point into a certificate that is gone, so they
 * go first: their links are made to point to nothing. When half of all do, the
 * index is made anew.
 */
static void
forget_names(struct keyring *k, size_t id)
{
	const struct certificate *c = k->entries[id].certificate;
	struct table *t = &k->names;

	for (size_t i = 0; i < certificate_name_count(c); i++) {
		const char *name = certificate_name(c, i);
		uint32_t at =
		    t->heads[hash_bytes(span_text(name)) & (t->size - 1)];

		for (; at != 0; at = t->links[at - 1].next) {
			struct link *l = &t->links[at - 1];

			if (l->id == id && l->text == name) {
				l->text = NULL;
				k->dead_count++;
				break;
			}
		}
	}
}

static void
index_anew(struct keyring *k)
{
	table_clear(&k->names);
	k->dead_count = 0;
	for (size_t i = 0; i < k->count; i++)
		index_names(k, i);
}

static struct certificate *
replace(struct keyring *k, size_t id, struct certificate *c)
{
	struct certificate *old = k->entries[id].certificate;

	forget_names(k, id);
	k->entries[id].certificate = c;
	if (k->dead_count > k->names.count / 2)
		index_anew(k);
	else
		index_names(k, id);
	return old;
}

int
keyring_replace(struct keyring *k, size_t id, struct certificate *c)
{
	struct certificate *old = NULL;
	bool room;

	pthread_mutex_lock(&k->lock);
	ASSERT(id < k->count);
	room = table_reserve(&k->names, certificate_name_count(c));
	if (room)
		old = replace(k, id, c);
	pthread_mutex_unlock(&k->lock);
	certificate_put(old);
	return room ? 0 : -ENOMEM;
}

size_t
keyring_count(struct keyring *k)
{
	size_t count;

	pthread_mutex_lock(&k->lock);
	count = k->count;
	pthread_mutex_unlock(&k->lock);
	return count;
}

struct certificate *
keyring_at(struct keyring *k, size_t id)
{
	struct certificate *c;

	pthread_mutex_lock(&k->lock);
	ASSERT(id < k->count);
	c = certificate_get(k->entries[id].certificate);
	pthread_mutex_unlock(&k->lock);
	return c;
}

/* ---- finding ---- */

static bool
is_valid(const struct certificate *c, int64_t now)
{
	return certificate_not_before(c) <= now &&
	       now <= certificate_not_after(c);
}

static bool
is_better(const struct certificate *a, const struct certificate *b, int64_t now)
{
	if (is_valid(a, now) != is_valid(b, now))
		return is_valid(a, now);
	return certificate_not_after(a) > certificate_not_after(b);
}

static void
offer(struct keyring *k, size_t id, size_t ids[KEY_KIND_COUNT], int64_t now)
{
	const struct certificate *c = k->entries[id].certificate, *best;
	size_t *chosen = &ids[certificate_key_kind(c)];

	if (*chosen == SIZE_MAX) {
		*chosen = id;
		return;
	}
	best = k->entries[*chosen].certificate;
	/* A chain has its last member first: of equals the first added. */
	if (is_better(c, best, now) ||
	    (!is_better(best, c, now) && id < *chosen))
		*chosen = id;
}

/* All links with this text; false: none. */
static bool
collect(struct keyring *k, const struct table *t, struct span text, int64_t now,
    struct key_choice *out)
{
	size_t ids[KEY_KIND_COUNT] = { SIZE_MAX, SIZE_MAX, SIZE_MAX };
	uint32_t at;
	bool found = false;

	if (t->size == 0)
		return false;
	at = t->heads[hash_bytes(text) & (t->size - 1)];
	for (; at != 0; at = t->links[at - 1].next) {
		const struct link *l = &t->links[at - 1];

		if (l->text && span_is(text, l->text))
			offer(k, l->id, ids, now);
	}
	for (int i = 0; i < KEY_KIND_COUNT; i++) {
		if (ids[i] == SIZE_MAX)
			continue;
		out->by_kind[i] =
		    certificate_get(k->entries[ids[i]].certificate);
		found = true;
	}
	return found;
}

/* "*.x" for "a.x": one label up (RFC 6125 section 6.4.3). */
static bool
collect_wildcard(
    struct keyring *k, struct span name, int64_t now, struct key_choice *out)
{
	const uint8_t *dot =
	    name.len > 0 ? memchr(name.data, '.', name.len) : NULL;
	char pattern[256];
	size_t len;

	if (!dot)
		return false;
	len = name.len - (size_t)(dot - name.data);
	if (len >= sizeof(pattern))
		return false;
	pattern[0] = '*';
	memcpy(pattern + 1, dot, len);
	return collect(k, &k->names, span_of(pattern, len + 1), now, out);
}

bool
keyring_find(
    struct keyring *k, struct span name, int64_t now, struct key_choice *out)
{
	bool found;

	*out = (struct key_choice){ { NULL } };
	/* What a pattern begins with is no name, though it is in the table. */
	if (name.len == 0 || name.data[0] == '*' || name.data[0] == '.')
		return false;
	pthread_mutex_lock(&k->lock);
	found = collect(k, &k->names, name, now, out) ||
		collect_wildcard(k, name, now, out);
	pthread_mutex_unlock(&k->lock);
	return found;
}

bool
keyring_labelled(
    struct keyring *k, const char *label, int64_t now, struct key_choice *out)
{
	bool found;

	*out = (struct key_choice){ { NULL } };
	pthread_mutex_lock(&k->lock);
	found = collect(k, &k->labels, span_text(label), now, out);
	pthread_mutex_unlock(&k->lock);
	return found;
}

/* ---- files ---- */

struct reading {
	struct keyring_file *files;
	size_t count;
	atomic_size_t next;
};

static void *
read_some(void *arg)
{
	struct reading *r = arg;
	size_t i;

	while ((i = atomic_fetch_add(&r->next, 1)) < r->count) {
		struct keyring_file *f = &r->files[i];
		struct text error;

		text_init(&error, f->error, sizeof(f->error));
		f->loaded = certificate_load(f->crt, f->key, &error);
	}
	return NULL;
}

static size_t
reader_count(size_t files)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t count = cores > 0 ? (size_t)cores : 1;

	if (count > READERS_MAX)
		count = READERS_MAX;
	/* A thread is worth some files. */
	return count < files / 16 + 1 ? count : files / 16 + 1;
}

void
keyring_read_files(struct keyring_file *files, size_t count)
{
	struct reading r = { .files = files, .count = count };
	pthread_t threads[READERS_MAX];
	size_t wanted = reader_count(count), started = 0;

	atomic_init(&r.next, 0);
	/* This thread reads too, so one that cannot be started costs time
	 * only. */
	while (started + 1 < wanted &&
	       pthread_create(&threads[started], NULL, read_some, &r) == 0)
		started++;
	read_some(&r);
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}
