#include "config/schema.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/nearest.h"
#include "base/units.h"
#include "tls/stream.h"

#define MAX_SECTION_KEYS 40
#define AMOUNT_SIZE 32

void
reader_complain(
    struct reader *r, const struct origin *where, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	problems_vadd(r->problems, where, format, args);
	va_end(args);
	r->failed = true;
}

void
reader_warn(
    struct reader *r, const struct origin *where, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	problems_vadd(r->s->warnings, where, format, args);
	va_end(args);
}

void
reader_no_memory(struct reader *r)
{
	problems_add_no_memory(r->problems);
	r->failed = true;
}

void *
key_member(const struct key *key, void *target)
{
	return (char *)target + key->offset;
}

/* The next key of a section, at first with NULL; then of what it has also. */
static const struct key *
next_key(const struct section **section, const struct key *key)
{
	if (key == NULL)
		return (*section)->keys;
	if (++key < (*section)->keys + (*section)->count)
		return key;
	*section = (*section)->also;
	return *section != NULL ? (*section)->keys : NULL;
}

static const struct key *
find_key(const struct section *section, const char *name)
{
	const struct key *key = NULL;

	while ((key = next_key(&section, key)) != NULL)
		if (!strcmp(key->name, name))
			return key;
	return NULL;
}

static bool
is_of_file(const struct reader *r, const struct key *key)
{
	return key->files == 0 || (key->files & r->file) != 0;
}

static void
complain_of_unknown(
    struct reader *r, const struct node *n, const struct section *section)
{
	const char *names[MAX_SECTION_KEYS], *near;
	const struct key *key = NULL;
	/* What would make it the other kind of file is a key of any. */
	bool any = section == &schema_root;
	size_t count = 0;
	char all[512];
	struct text known;

	text_init(&known, all, sizeof(all));
	while ((key = next_key(&section, key)) != NULL) {
		if (key->read == NULL || (!any && !is_of_file(r, key)))
			continue;
		text_addf(&known, "%s%s", count > 0 ? ", " : "", key->name);
		ASSERT(count < MAX_SECTION_KEYS);
		names[count++] = key->name;
	}
	near = nearest_word(span_text(n->key), names, count);
	if (near != NULL)
		reader_complain(r, &n->key_origin,
		    "unknown key '%s'; did you mean '%s'?", n->key, near);
	else
		reader_complain(r, &n->key_origin,
		    "unknown key '%s'; known here: %s", n->key, all);
}

static const char *
kind_shown(const struct node *n)
{
	if (n->kind == NODE_LIST)
		return "a list";
	return n->kind == NODE_MAP ? "keys and values" : "a text";
}

static void
complain_of_kind(struct reader *r, const struct node *n, const char *name,
    const char *expected)
{
	reader_complain(r, &n->origin, "'%s': expected %s, found %s", name,
	    expected, kind_shown(n));
}

/* The likely mistake is the file, not the key. */
static void
complain_of_file(struct reader *r, const struct node *n)
{
	if (r->file == FILE_AGENT)
		reader_complain(r, &n->key_origin,
		    "'%s' is for an edge's file, and 'agent' makes this an "
		    "agent's",
		    n->key);
	else
		reader_complain(r, &n->key_origin,
		    "'%s' is for an agent's file, and this is an edge's: it "
		    "has no 'agent'",
		    n->key);
}

void
section_read(struct reader *r, const struct node *n, const char *name,
    const struct section *section, void *target)
{
	const struct key *key = NULL;

	if (n->kind != NODE_MAP) {
		complain_of_kind(r, n, name, "keys and values");
		return;
	}
	for (size_t i = 0; i < n->item_count; i++) {
		const struct node *item = n->items[i];

		key = find_key(section, item->key);
		if (key == NULL)
			complain_of_unknown(r, item, section);
		else if (key->read == NULL)
			reader_complain(r, &item->key_origin,
			    "'%s' is not in this version of Lunette",
			    item->key);
		else if (!is_of_file(r, key))
			complain_of_file(r, item);
		else
			key->read(r, item, key, target);
	}
	key = NULL;
	while ((key = next_key(&section, key)) != NULL)
		if (key->required && is_of_file(r, key) &&
		    node_get(n, key->name) == NULL)
			reader_complain(
			    r, &n->origin, "'%s' is missing", key->name);
}

/* A default is read as if it had been written, so the manual, which shows the
 * same text, cannot differ from it. */
static void
read_fallback(struct reader *r, const struct key *key, void *target)
{
	char text[AMOUNT_SIZE];
	struct node n = {
		.kind = NODE_SCALAR, .origin = { "default", 0, 0 }, .text = text
	};

	ASSERT(strlen(key->fallback) < sizeof(text));
	strcpy(text, key->fallback);
	key->read(r, &n, key, target);
}

void
section_defaults(struct reader *r, const struct section *section, void *target)
{
	const struct key *key = NULL;

	while ((key = next_key(&section, key)) != NULL) {
		if (key->section != NULL && !key->list && !key->lazy)
			section_defaults(
			    r, key->section, key_member(key, target));
		else if (key->fallback != NULL)
			read_fallback(r, key, target);
	}
}

void
read_section(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	section_read(r, n, key->name, key->section, key_member(key, target));
}

/* What YAML calls null: a key with nothing behind it is a slip. */
static bool
is_nothing(const struct node *n)
{
	return !n->quoted && (n->text[0] == '\0' || !strcmp(n->text, "~") ||
				 !strcmp(n->text, "null"));
}

const char *
reader_text(struct reader *r, const struct node *n, const struct key *key)
{
	if (n->kind != NODE_SCALAR) {
		complain_of_kind(r, n, key->name, key->type);
		return NULL;
	}
	if (is_nothing(n) || n->text[0] == '\0') {
		reader_complain(r, &n->origin, "'%s' has no value", key->name);
		return NULL;
	}
	return n->text;
}

char *
reader_copy(struct reader *r, const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		reader_no_memory(r);
	return copy;
}

void *
reader_array(struct reader *r, size_t count, size_t size)
{
	/* One more, so that an empty array is not NULL. */
	void *array = calloc(count + 1, size);

	if (array == NULL)
		reader_no_memory(r);
	return array;
}

void *
reader_grow(struct reader *r, void *array, size_t count, size_t size)
{
	void *grown;

	/* At each power of two. */
	if ((count & (count - 1)) != 0)
		return array;
	grown = reallocarray(array, count ? 2 * count : 1, size);
	if (grown == NULL)
		reader_no_memory(r);
	return grown;
}

bool
reader_list(struct reader *r, const struct node *n, const struct key *key)
{
	if (n->kind != NODE_LIST) {
		complain_of_kind(r, n, key->name, key->type);
		return false;
	}
	if (n->item_count < key->min) {
		reader_complain(
		    r, &n->origin, "'%s' must not be empty", key->name);
		return false;
	}
	if (key->max != 0 && n->item_count > key->max) {
		reader_complain(r, &n->items[key->max]->origin,
		    "'%s' has more than %" PRIu64 " entries", key->name,
		    key->max);
		return false;
	}
	return true;
}

void
reader_texts(struct reader *r, const struct node *n, const struct key *key,
    char ***out, size_t *count)
{
	if (!reader_list(r, n, key))
		return;
	*out = reader_array(r, n->item_count, sizeof(**out));
	for (size_t i = 0; *out != NULL && i < n->item_count; i++) {
		const char *text = reader_text(r, n->items[i], key);

		if (text != NULL)
			(*out)[(*count)++] = reader_copy(r, text);
	}
}

void
key_set_text(const struct key *key, void *target, char *text)
{
	char **at = key_member(key, target);

	free(*at);
	*at = text;
}

void
read_text(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	const char *text = reader_text(r, n, key);

	if (text == NULL)
		return;
	if (key->max != 0 && strlen(text) > key->max) {
		reader_complain(r, &n->origin,
		    "'%s' is longer than %" PRIu64 " bytes", key->name,
		    key->max);
		return;
	}
	key_set_text(key, target, reader_copy(r, text));
}

static void
store(const struct key *key, void *target, uint64_t value)
{
	void *at = key_member(key, target);

	switch (key->size) {
	case sizeof(uint8_t):
		*(uint8_t *)at = (uint8_t)value;
		break;
	case sizeof(uint16_t):
		*(uint16_t *)at = (uint16_t)value;
		break;
	case sizeof(unsigned):
		*(unsigned *)at = (unsigned)value;
		break;
	default:
		ASSERT(key->size == sizeof(uint64_t));
		*(uint64_t *)at = value;
	}
}

struct unit {
	uint64_t factor;
	const char *name;
};

static const struct unit time_units[] = {
	{ 86400000, "d" },
	{ 3600000, "h" },
	{ 60000, "m" },
	{ 1000, "s" },
	{ 1, "ms" },
};
static const struct unit size_units[] = {
	{ UINT64_C(1) << 40, "TiB" },
	{ 1 << 30, "GiB" },
	{ 1 << 20, "MiB" },
	{ 1 << 10, "KiB" },
	{ 1, "" },
};

/* In the largest unit that shows it whole. */
static void
add_amount(struct text *out, uint64_t value, const struct unit *units)
{
	if (value == 0) {
		text_add(out, "0");
		return;
	}
	while (value % units->factor != 0)
		units++;
	text_addf(out, "%" PRIu64 "%s", value / units->factor, units->name);
}

void
key_range(const struct key *key, struct text *out)
{
	static const struct unit one = { 1, "" };
	const struct unit *units;

	if (key->read == read_duration)
		units = time_units;
	else if (key->read == read_size)
		units = size_units;
	else if (key->read == read_number || key->read == read_workers)
		units = &one;
	else
		return;
	add_amount(out, key->min, units);
	text_add(out, " to ");
	add_amount(out, key->max, units);
}

static void
complain_of_range(struct reader *r, const struct node *n, const struct key *key)
{
	char storage[2 * AMOUNT_SIZE];
	struct text range;

	text_init(&range, storage, sizeof(storage));
	key_range(key, &range);
	reader_complain(r, &n->origin, "'%s' must be %sfrom %s", key->name,
	    key->read == read_duration || key->read == read_size ? ""
	    : key->read == read_workers ? "auto or a whole number "
					: "a whole number ",
	    range.data);
}

static void
store_amount(struct reader *r, const struct node *n, const struct key *key,
    void *target, uint64_t value)
{
	if (value >= key->min && value <= key->max)
		store(key, target, value);
	else
		complain_of_range(r, n, key);
}

void
read_duration(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	const char *text = reader_text(r, n, key), *why;
	uint64_t value;

	if (text == NULL)
		return;
	if (duration_parse(span_text(text), &value, &why) < 0)
		reader_complain(
		    r, &n->origin, "'%s': '%s' %s", key->name, text, why);
	else
		store_amount(r, n, key, target, value);
}

void
read_size(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	const char *text = reader_text(r, n, key), *why;
	uint64_t value;

	if (text == NULL)
		return;
	if (size_parse(span_text(text), &value, &why) < 0)
		reader_complain(
		    r, &n->origin, "'%s': '%s' %s", key->name, text, why);
	else
		store_amount(r, n, key, target, value);
}

bool
reader_number(struct reader *r, const struct node *n, const struct key *key,
    uint64_t *out)
{
	const char *text = reader_text(r, n, key);

	if (text == NULL)
		return false;
	if (!n->quoted &&
	    number_parse(span_text(text), key->min, key->max, out) == 0)
		return true;
	complain_of_range(r, n, key);
	return false;
}

void
read_number(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	uint64_t value;

	if (reader_number(r, n, key, &value))
		store(key, target, value);
}

/* YAML 1.1's words, so that nobody is surprised. */
void
read_boolean(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	static const char *const words[] = { "true", "yes", "on", "false", "no",
		"off" };
	const char *text = reader_text(r, n, key);

	if (text == NULL)
		return;
	for (size_t i = 0; !n->quoted && i < ARRAY_COUNT(words); i++) {
		if (!strcmp(text, words[i])) {
			store(key, target, i < 3);
			return;
		}
	}
	reader_complain(r, &n->origin, "'%s' must be true or false", key->name);
}

static void
complain_of_word(struct reader *r, const struct node *n, const struct key *key)
{
	char all[256];
	const char *names[32], *near;
	struct text known;
	size_t count = 0;

	text_init(&known, all, sizeof(all));
	for (size_t i = 0; key->words[i] != NULL; i++) {
		text_addf(&known, "%s%s", count > 0 ? ", " : "", key->words[i]);
		names[count++] = key->words[i];
	}
	near = nearest_word(span_text(n->text), names, count);
	if (near != NULL && count > 1)
		reader_complain(r, &n->origin,
		    "'%s': unknown word '%s'; did you mean '%s'?", key->name,
		    n->text, near);
	else
		reader_complain(r, &n->origin,
		    "'%s': unknown word '%s'; known: %s", key->name, n->text,
		    all);
}

int
reader_word(struct reader *r, const struct node *n, const struct key *key)
{
	const char *text = reader_text(r, n, key);

	if (text == NULL)
		return -1;
	for (int i = 0; key->words[i] != NULL; i++)
		if (!strcmp(text, key->words[i]))
			return i;
	complain_of_word(r, n, key);
	return -1;
}

void
read_word(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	int word = reader_word(r, n, key);

	if (word >= 0)
		store(key, target, (uint64_t)word);
}

void
read_tls_version(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	const char *text = reader_text(r, n, key);

	if (text == NULL)
		return;
	if (!strcmp(text, "1.2"))
		store(key, target, TLS_VERSION_1_2);
	else if (!strcmp(text, "1.3"))
		store(key, target, TLS_VERSION_1_3);
	else
		reader_complain(
		    r, &n->origin, "'%s' must be 1.2 or 1.3", key->name);
}

static void
add_network(struct reader *r, const struct node *n, const struct key *key,
    struct netset *set)
{
	const char *text = reader_text(r, n, key), *why;
	struct network net;

	if (text == NULL)
		return;
	if (network_parse(span_text(text), &net, &why) < 0)
		reader_complain(
		    r, &n->origin, "'%s': '%s' %s", key->name, text, why);
	else if (netset_add(set, &net, 0) < 0)
		reader_no_memory(r);
}

void
read_networks(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct netset **set = key_member(key, target);

	if (!reader_list(r, n, key))
		return;
	*set = netset_new();
	if (*set == NULL) {
		reader_no_memory(r);
		return;
	}
	for (size_t i = 0; i < n->item_count; i++)
		add_network(r, n->items[i], key, *set);
}
