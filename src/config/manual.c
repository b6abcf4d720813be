/* The manual's tables of keys, written from the schema. */
#include "config/schema.h"

#define PATH_SIZE 128

/* The backslash and the leading dot and quote are roff's own; words with a
 * hyphen or a minus print as they would be typed. */
static void
add_roff(struct text *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			text_add(out, "\\e");
		else if (*text == '-')
			text_add(out, "\\-");
		else if (*text == '"')
			text_add(out, "\\(dq");
		else
			text_add_char(out, *text);
	}
}

static void
add_words(struct text *out, const struct key *key)
{
	bool first = true;

	for (size_t i = 0; key->words[i] != NULL; i++) {
		if (!first)
			text_add(out, ", ");
		text_add(out, key->words[i]);
		first = false;
	}
}

static void
add_type(struct text *out, const struct key *key)
{
	if (key->words == NULL) {
		text_add(out, key->type);
		return;
	}
	if (!strncmp(key->type, "list of", 7))
		text_add(out, "list of ");
	add_words(out, key);
}

static const char *
default_shown(const struct key *key)
{
	if (key->shown != NULL)
		return key->shown;
	if (key->fallback != NULL)
		return key->fallback;
	if (key->required)
		return "required";
	/* A map has none; its keys do. */
	return key->section != NULL && !key->list ? "" : "none";
}

/* Narrow columns: ragged lines read better than stretched ones. */
static void
add_cell(struct text *out, const char *text)
{
	text_add(out, "\tT{\n.na\n");
	add_roff(out, text);
	text_add(out, "\nT}");
}

/* Long names may go on in the next line behind an underscore. */
static void
add_name(struct text *out, const struct key *key)
{
	for (const char *at = key->name; *at != '\0'; at++) {
		text_add_char(out, *at);
		if (*at == '_')
			text_add(out, "\\:");
	}
	text_add(out, key->list ? "[]" : "");
}

static const char *
file_shown(unsigned files)
{
	if (files == FILE_EDGE)
		return "edge";
	return files == FILE_AGENT ? "agent" : "both";
}

/* The name alone, set in by its depth, as in the file: a path would be as wide
 * as half a page. */
static void
add_row(
    struct text *out, const char *path, const struct key *key, unsigned files)
{
	char storage[PATH_SIZE];
	struct text type;

	text_add(out, "T{\n.na\n");
	for (; *path != '\0'; path++)
		if (*path == '.')
			text_add(out, "\\ \\ ");
	add_name(out, key);
	text_add(out, "\nT}");
	text_init(&type, storage, sizeof(storage));
	add_type(&type, key);
	add_cell(out, storage);
	add_cell(out, default_shown(key));
	text_addf(out, "\t%s\t%s\n", file_shown(files),
	    key->change == ON_RELOAD ? "reload" : "restart");
}

static void
add_entry(
    struct text *out, const char *path, const struct key *key, unsigned files)
{
	char storage[PATH_SIZE];
	struct text range;

	(void)files;
	text_add(out, ".TP\n.B ");
	add_roff(out, path);
	text_add(out, "\n");
	add_roff(out, key->help);
	text_init(&range, storage, sizeof(storage));
	key_range(key, &range);
	if (range.len > 0)
		text_addf(out, " From %s.", range.data);
	text_add(out, "\n");
}

typedef void write_function(
    struct text *out, const char *path, const struct key *key, unsigned files);

/* Keys of the maps below follow their own line, as in the file. `files` is what
 * they are in unless they say. */
static void
write_section(struct text *out, const char *prefix,
    const struct section *section, unsigned files, write_function *write)
{
	for (size_t i = 0; i < section->count; i++) {
		const struct key *key = &section->keys[i];
		unsigned own = key->files != 0 ? key->files : files;
		char storage[PATH_SIZE];
		struct text path;

		if (key->read == NULL)
			continue;
		text_init(&path, storage, sizeof(storage));
		text_addf(&path, "%s%s", prefix, key->name);
		write(out, storage, key, own);
		if (key->section == NULL)
			continue;
		text_add(&path, key->list ? "[]." : ".");
		ASSERT(!path.truncated);
		write_section(out, storage, key->section, own, write);
	}
	/* What both have stands once. */
	if (section->also != NULL && files == FILE_EDGE)
		write_section(
		    out, prefix, section->also, FILE_EDGE | FILE_AGENT, write);
}

void
schema_write_manual(struct text *out)
{
	const unsigned both = FILE_EDGE | FILE_AGENT;

	text_add(out, ".SS Meaning\n");
	write_section(out, "", &schema_root, both, add_entry);
	text_add(
	    out, ".SS Type, default, file and when a change takes effect\n");
	text_add(out, ".nh\n.TS\nlw(23n)1 lw(18n)1 lw(14n)1 l1 l.\n");
	text_add(out, "\\fBkey\\fP\t\\fBtype\\fP\t\\fBdefault\\fP\t"
		      "\\fBfile\\fP\t\\fBchange\\fP\n");
	write_section(out, "", &schema_root, both, add_row);
	text_add(out, ".TE\n.hy\n");
}
