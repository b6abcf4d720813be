/* Reads `certificates`, loads their files once each, and knows which names and
 * labels there are. */
#include "config/schema.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/nearest.h"
#include "config/folder_pairs.h"

#define DAY_S 86400
#define SOON_DAYS 14

/* Where a pair was written; beside the snapshot's `certificates`. */
struct source {
	const struct node *crt, *key; /* `key` NULL: in crt */
	bool from_folder;
	char *files;   /* both paths, by which the same pair is known again */
	size_t loaded; /* its place among the distinct files */
};

/* Certificates with one label: at most one for each kind of key. */
struct label {
	const char *name;
	const struct node *where[KEY_KIND_COUNT];
};

struct certificate_reading {
	struct source *sources;
	struct index files; /* paths of a pair to the first source with them */
	size_t file_count;  /* distinct ones */
	struct index labels, names;
	struct label *label_list;
	size_t label_count;
	bool incomplete; /* some could not be loaded */
};

static struct certificate_reading *
reading_of(struct reader *r)
{
	if (r->certificates == NULL)
		r->certificates = reader_array(r, 1, sizeof(*r->certificates));
	return r->certificates;
}

static void
pair_fini(struct certificate_settings *pair)
{
	free(pair->label);
	free(pair->crt);
	free(pair->key);
	free(pair->ocsp_file);
}

void
certificates_done(struct reader *r)
{
	struct certificate_reading *c = r->certificates;

	if (c == NULL)
		return;
	for (size_t i = 0; i < r->s->certificate_count; i++)
		free(c->sources[i].files);
	free(c->sources);
	free(c->label_list);
	index_fini(&c->files);
	index_fini(&c->labels);
	index_fini(&c->names);
	free(c);
	r->certificates = NULL;
}

void
read_ocsp(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct certificate_entry *entry = target;
	const char *text = reader_text(r, n, key);

	if (text == NULL || !strcmp(text, "auto"))
		return;
	entry->pair.ocsp_off = !strcmp(text, "off");
	entry->pair.ocsp_fetch = !strcmp(text, "fetch");
	if (entry->pair.ocsp_off || entry->pair.ocsp_fetch)
		return;
	free(entry->pair.ocsp_file);
	entry->pair.ocsp_file = reader_path(r, n, key);
	if (entry->pair.ocsp_file != NULL)
		reader_readable(r, n, entry->pair.ocsp_file);
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && !strcmp(a, b));
}

/* A pair that a folder has, too, needs no second place. */
static bool
is_second(struct reader *r, const struct source *source, size_t first,
    const struct certificate_settings *pair)
{
	const struct source *other = &r->certificates->sources[first];

	if (!same_text(r->s->certificates[first].label, pair->label))
		return false;
	if (!source->from_folder && !other->from_folder)
		reader_complain(r, &source->crt->origin,
		    "'crt': '%s' is listed already, in line %u", pair->crt,
		    other->crt->origin.line);
	return true;
}

static bool
make_room(struct reader *r)
{
	struct certificate_reading *c = reading_of(r);
	struct snapshot *s = r->s;
	void *pairs, *sources;

	if (c == NULL)
		return false;
	pairs = reader_grow(
	    r, s->certificates, s->certificate_count, sizeof(*s->certificates));
	if (pairs == NULL)
		return false;
	s->certificates = pairs;
	sources = reader_grow(
	    r, c->sources, s->certificate_count, sizeof(*c->sources));
	if (sources == NULL)
		return false;
	c->sources = sources;
	return true;
}

/* Takes what is in `pair` and `source`, whatever comes of it. */
static void
add_pair(
    struct reader *r, struct certificate_settings *pair, struct source *source)
{
	struct snapshot *s = r->s;
	size_t first = s->certificate_count;
	int err;

	if (!make_room(r))
		goto drop;
	if (asprintf(&source->files, "%s\n%s", pair->crt,
		pair->key != NULL ? pair->key : "") < 0) {
		source->files = NULL;
		reader_no_memory(r);
		goto drop;
	}
	err = index_add(
	    &r->certificates->files, span_text(source->files), first, &first);
	if (err == -ENOMEM) {
		reader_no_memory(r);
		goto drop;
	}
	if (err == -EEXIST && is_second(r, source, first, pair))
		goto drop;
	source->loaded = err == -EEXIST ? r->certificates->sources[first].loaded
					: r->certificates->file_count++;
	r->certificates->sources[s->certificate_count] = *source;
	s->certificates[s->certificate_count++] = *pair;
	return;
drop:
	free(source->files);
	pair_fini(pair);
}

void
certificates_add(struct reader *r, const struct node *crt,
    const struct node *key, struct certificate_settings *pair)
{
	struct source source = { .crt = crt, .key = key };

	add_pair(r, pair, &source);
}

/* Takes the paths. */
static void
add_pair_of_folder(struct reader *r, const struct node *n,
    struct folder_pair *found, const struct certificate_entry *entry)
{
	struct source source = { .crt = n, .key = n, .from_folder = true };
	struct certificate_settings pair = {
		.crt = found->crt,
		.key = found->key,
		.ocsp_fetch = entry->pair.ocsp_fetch,
		.ocsp_off = entry->pair.ocsp_off,
	};

	*found = (struct folder_pair){ 0 };
	add_pair(r, &pair, &source);
}

static void
add_files_of_folder(struct reader *r, const struct node *n,
    const struct certificate_entry *entry)
{
	struct folder_pair *found;
	size_t count;
	int err = folder_pairs_read(entry->folder, &found, &count);

	if (err < 0) {
		reader_complain(r, &n->origin, "cannot read: %s: %s",
		    entry->folder, strerror(-err));
		return;
	}
	for (size_t i = 0; i < count; i++)
		add_pair_of_folder(r, n, &found[i], entry);
	folder_pairs_free(found, count);
}

static void
keep_folder(struct reader *r, const struct certificate_entry *entry)
{
	struct snapshot *s = r->s;
	struct certificate_folder *folders =
	    reader_grow(r, s->certificate_folders, s->certificate_folder_count,
		sizeof(*folders));

	if (folders == NULL) {
		free(entry->folder);
		return;
	}
	s->certificate_folders = folders;
	folders[s->certificate_folder_count++] = (struct certificate_folder){
		.path = entry->folder,
		.ocsp_fetch = entry->pair.ocsp_fetch,
		.ocsp_off = entry->pair.ocsp_off,
	};
}

static void
take_folder(
    struct reader *r, const struct node *n, struct certificate_entry *entry)
{
	const struct node *at = node_get(n, "folder");

	if (entry->pair.crt != NULL || entry->pair.key != NULL ||
	    entry->pair.label != NULL) {
		reader_complain(r, &at->origin,
		    "'folder' stands without 'name', 'crt' and 'key'");
		free(entry->folder);
	} else if (entry->pair.ocsp_file != NULL) {
		reader_complain(r, &node_get(n, "ocsp")->origin,
		    "'ocsp' of a folder is auto, fetch or off: one response "
		    "cannot be about several certificates");
		free(entry->folder);
	} else {
		add_files_of_folder(r, at, entry);
		keep_folder(r, entry);
	}
	pair_fini(&entry->pair);
}

static void
read_certificate(struct reader *r, const struct node *n, const struct key *key)
{
	struct certificate_entry entry = { 0 };
	struct source source = { 0 };

	section_read(r, n, key->name, &schema_certificate, &entry);
	if (n->kind == NODE_MAP) {
		source.crt = node_get(n, "crt");
		source.key = node_get(n, "key");
	}
	if (entry.folder != NULL) {
		take_folder(r, n, &entry);
	} else if (entry.pair.crt != NULL) {
		add_pair(r, &entry.pair, &source);
	} else {
		if (n->kind == NODE_MAP && source.crt == NULL &&
		    node_get(n, "folder") == NULL)
			reader_complain(
			    r, &n->origin, "'crt' or 'folder' is missing");
		pair_fini(&entry.pair);
	}
}

void
read_certificates(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	(void)target;
	if (!reader_list(r, n, key))
		return;
	for (size_t i = 0; i < n->item_count; i++)
		read_certificate(r, n->items[i], key);
}

/* Keys that everybody may read are keys of everybody. */
static void
warn_of_open_key(struct reader *r, const struct certificate_settings *pair,
    const struct certificate *c, const struct node *where)
{
	if (certificate_key_is_exposed(c))
		reader_warn(r, &where->origin,
		    "every user of this machine can read the private key: "
		    "chmod o-rwx %s",
		    pair->key != NULL ? pair->key : pair->crt);
}

static void
warn_of_times(struct reader *r, const struct certificate_settings *pair,
    const struct certificate *c, const struct node *where)
{
	int64_t now = time(NULL);
	int64_t left = certificate_not_after(c) - now;

	if (left < 0)
		reader_warn(r, &where->origin,
		    "%s: expired %" PRId64 " day%s ago", pair->crt,
		    -left / DAY_S, -left / DAY_S == 1 ? "" : "s");
	else if (left < SOON_DAYS * DAY_S)
		reader_warn(r, &where->origin,
		    "%s: expires in %" PRId64 " day%s", pair->crt, left / DAY_S,
		    left / DAY_S == 1 ? "" : "s");
	if (certificate_not_before(c) > now)
		reader_warn(
		    r, &where->origin, "%s: is not valid yet", pair->crt);
}

/* The place of a label, made if it is new; SIZE_MAX without memory. */
static size_t
find_label(struct reader *r, const char *name)
{
	struct certificate_reading *c = r->certificates;
	size_t at = c->label_count;
	struct label *list =
	    reader_grow(r, c->label_list, at, sizeof(*c->label_list));
	int err;

	if (list == NULL)
		return SIZE_MAX;
	c->label_list = list;
	err = index_add(&c->labels, span_text(name), at, &at);
	if (err == -ENOMEM) {
		reader_no_memory(r);
		return SIZE_MAX;
	}
	if (err == 0)
		list[c->label_count++] = (struct label){ .name = name };
	return at;
}

/* Of two with the same kind of key one would never be shown. */
static void
check_label(struct reader *r, const struct certificate *c, const char *name,
    const struct node *where)
{
	size_t at = name != NULL ? find_label(r, name) : SIZE_MAX;
	enum key_kind kind;
	const struct node **first;

	if (at == SIZE_MAX || c == NULL)
		return;
	kind = certificate_key_kind(c);
	first = &r->certificates->label_list[at].where[kind];
	if (*first == NULL)
		*first = where;
	else
		reader_complain(r, &where->origin,
		    "the name '%s' has a certificate with a key of that kind "
		    "(%s) already, in line %u",
		    name, key_kind_name(kind), (*first)->origin.line);
}

static void
index_name(struct reader *r, const char *name)
{
	size_t known;

	if (index_add(&r->certificates->names, span_text(name), 0, &known) ==
	    -ENOMEM)
		reader_no_memory(r);
}

/* A name, and all domains that it lies in, as ".test". */
static void
index_names(struct reader *r, const struct certificate *c)
{
	for (size_t i = 0; i < certificate_name_count(c); i++) {
		const char *name = certificate_name(c, i);

		index_name(r, name);
		while ((name = strchr(name, '.')) != NULL)
			index_name(r, name++);
	}
}

static void
check_ocsp(struct reader *r, const struct certificate_settings *pair,
    const struct certificate *c, const struct source *source)
{
	if (pair->ocsp_fetch && !source->from_folder &&
	    certificate_ocsp_url(c) == NULL)
		reader_complain(r, &source->crt->origin,
		    "'ocsp: fetch': %s names no responder that could be asked",
		    pair->crt);
}

/* Once for all that name the same files. */
static void
complain_of_file(struct reader *r, const struct source *source,
    const struct certificate_settings *pair, struct keyring_file *file)
{
	bool of_key =
	    pair->key != NULL && error_is_about(file->error, pair->key);
	const struct node *where = of_key ? source->key : source->crt;

	r->certificates->incomplete = true;
	if (file->error[0] != '\0')
		reader_complain(r, &where->origin, "%s", file->error);
	file->error[0] = '\0';
}

static void
add_to_keyring(
    struct reader *r, struct certificate_settings *pair, struct certificate *c)
{
	if (keyring_add(r->s->keyring, pair->label, certificate_get(c),
		&pair->id) < 0) {
		certificate_put(c);
		reader_no_memory(r);
	}
}

static void
take_loaded(struct reader *r, size_t i, struct keyring_file *file)
{
	const struct source *source = &r->certificates->sources[i];
	struct certificate_settings *pair = &r->s->certificates[i];
	struct certificate *c = file->loaded;

	check_label(r, c, pair->label, source->crt);
	if (c == NULL) {
		complain_of_file(r, source, pair, file);
		return;
	}
	warn_of_times(r, pair, c, source->crt);
	warn_of_open_key(
	    r, pair, c, source->key != NULL ? source->key : source->crt);
	check_ocsp(r, pair, c, source);
	index_names(r, c);
	add_to_keyring(r, pair, c);
}

void
certificates_load(struct reader *r)
{
	struct certificate_reading *c = r->certificates;
	struct snapshot *s = r->s;
	struct keyring_file *files;

	if (c == NULL || s->certificate_count == 0)
		return;
	files = reader_array(r, c->file_count, sizeof(*files));
	if (files == NULL)
		return;
	for (size_t i = 0; i < s->certificate_count; i++)
		files[c->sources[i].loaded] = (struct keyring_file){
			.label = s->certificates[i].label,
			.crt = s->certificates[i].crt,
			.key = s->certificates[i].key,
		};
	keyring_read_files(files, c->file_count);
	for (size_t i = 0; i < s->certificate_count; i++)
		take_loaded(r, i, &files[c->sources[i].loaded]);
	for (size_t i = 0; i < c->file_count; i++)
		certificate_put(files[i].loaded);
	free(files);
}

static const char *
nearest_label(struct reader *r, const char *label)
{
	const struct certificate_reading *c = r->certificates;
	const char **names, *near;

	if (c == NULL)
		return NULL;
	names = reader_array(r, c->label_count, sizeof(*names));
	if (names == NULL)
		return NULL;
	for (size_t i = 0; i < c->label_count; i++)
		names[i] = c->label_list[i].name;
	near = nearest_word(span_text(label), names, c->label_count);
	free(names);
	return near;
}

void
certificates_need_label(
    struct reader *r, const struct node *n, const char *label)
{
	const char *near;
	size_t at;

	if (r->certificates != NULL &&
	    index_find(&r->certificates->labels, span_text(label), &at))
		return;
	near = nearest_label(r, label);
	if (near != NULL)
		reader_complain(r, &n->origin,
		    "'%s': no certificate has the name '%s'; did you mean "
		    "'%s'?",
		    n->key, label, near);
	else
		reader_complain(r, &n->origin,
		    "'%s': no certificate has the name '%s'", n->key, label);
}

bool
certificates_cover(struct reader *r, const struct host *pattern)
{
	const struct certificate_reading *c = r->certificates;
	const char *domain = strchr(pattern->text, '.');
	char wildcard[HOST_MAX_BYTES + 2];
	size_t at;

	if (c == NULL)
		return false;
	if (c->incomplete)
		return true;
	/* Some of the names that a wildcard stands for will do. */
	if (host_is_wildcard(pattern))
		return index_find(&c->names, span_text(domain), &at);
	if (index_find(&c->names, host_span(pattern), &at))
		return true;
	if (domain == NULL)
		return false;
	snprintf(wildcard, sizeof(wildcard), "*%s", domain);
	return index_find(&c->names, span_text(wildcard), &at);
}
