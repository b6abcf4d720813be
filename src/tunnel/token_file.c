#include "tunnel/token_file.h"

#include <errno.h>
#include <stdlib.h>

#include "config/schema.h"
#include "tls/file.h"

#define ERROR_SIZE 1024

/* What the schema's functions are given: they know the reader only. */
struct token_reader {
	struct reader reader; /* first: see token_reader_of */
	struct token_file *file;
	struct problems *warnings; /* NULL: nobody asks */
	struct index names, hashes;
	size_t tried; /* entries without an id */
};

static struct token_reader *
token_reader_of(struct reader *r)
{
	return CONTAINER_OF(r, struct token_reader, reader);
}

/* --- the keys of an entry --- */

static void
read_name(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct token_entry *e = target;

	read_text(r, n, key, target);
	if (e->name && e->name[strcspn(e->name, "\n\r\t")] != '\0')
		reader_complain(
		    r, &n->origin, "'name' must be one line of text");
}

static void
hash_token(struct reader *r, struct span token, struct token_entry *e)
{
	if (sha256_bytes(token, e->sha256) < 0 || token_id(token, e->id) < 0)
		reader_no_memory(r);
	e->has_id = true;
	e->has_hash = true;
	e->is_plain = true;
}

/* Nothing here says what the token is. */
static void
read_token(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct token_reader *t = token_reader_of(r);
	struct span token = span_text(reader_text(r, n, key));

	if (token.len == 0)
		return;
	if (!token_is_well_formed(token)) {
		reader_complain(r, &n->origin,
		    token.len > TOKEN_MAX_BYTES
			? "'token' is longer than 256 bytes"
			: "'token' has a control character");
		return;
	}
	if (token.len < TOKEN_MIN_BYTES && t->warnings)
		problems_add(t->warnings, &n->origin,
		    "'token' is shorter than %u bytes: it may be guessed, and "
		    "Lunette's agents cannot prove it without sending it",
		    TOKEN_MIN_BYTES);
	hash_token(r, token, target);
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
read_hex(struct reader *r, const struct node *n, const struct key *key,
    uint8_t *out, size_t len)
{
	const char *text = reader_text(r, n, key);
	size_t at = 0;

	if (!text)
		return false;
	while (at < 2 * len && hex_value(text[at]) >= 0) {
		out[at / 2] = (uint8_t)(out[at / 2] << 4 | hex_value(text[at]));
		at++;
	}
	if (at == 2 * len && text[at] == '\0')
		return true;
	reader_complain(r, &n->origin, "'%s' must be %zu hexadecimal digits",
	    key->name, 2 * len);
	return false;
}

static void
read_hash(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct token_entry *e = target;

	if (!e->has_hash)
		e->has_hash = read_hex(r, n, key, e->sha256, SHA256_BYTES);
}

static void
read_id(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct token_entry *e = target;

	if (!e->has_id)
		e->has_id = read_hex(r, n, key, e->id, TOKEN_ID_BYTES);
}

static void
read_rule(struct reader *r, const struct node *n, const struct key *key,
    struct acl *acl)
{
	const char *rule = reader_text(r, n, key), *why;
	int result;

	if (!rule)
		return;
	result = acl_add(acl, span_text(rule), &why);
	if (result == -ENOMEM)
		reader_no_memory(r);
	else if (result < 0)
		reader_complain(r, &n->origin, "'%s': '%s' is no rule: %s",
		    key->name, rule, why);
}

static void
read_acl(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct token_entry *e = target;

	if (!reader_list(r, n, key))
		return;
	e->has_acl = true;
	for (size_t i = 0; i < n->item_count; i++)
		read_rule(r, n->items[i], key, &e->acl);
}

static const struct key entry_keys[] = {
	{
	    .name = "name",
	    .read = read_name,
	    .type = "text",
	    .offset = offsetof(struct token_entry, name),
	    .size = sizeof(char *),
	    .max = CREDENTIAL_NAME_MAX,
	    .required = true,
	},
	{ .name = "token", .read = read_token, .type = "text" },
	{ .name = "token_sha256", .read = read_hash, .type = "text" },
	{ .name = "id", .read = read_id, .type = "text" },
	{
	    .name = "acl",
	    .read = read_acl,
	    .type = "list of rules",
	    .max = CREDENTIAL_MAX_RULES,
	},
};
static const struct section entry_section = {
	.keys = entry_keys,
	.count = ARRAY_COUNT(entry_keys),
};

/* --- an entry as a whole --- */

static void
check_parts(struct reader *r, const struct node *n)
{
	bool has_token = node_get(n, "token");
	bool has_hash = node_get(n, "token_sha256");

	if (has_token && has_hash)
		reader_complain(r, &n->origin,
		    "either 'token' or 'token_sha256' is needed, not both");
	else if (!has_token && !has_hash)
		reader_complain(
		    r, &n->origin, "'token' or 'token_sha256' is missing");
	if (has_token && node_get(n, "id"))
		reader_complain(r, &node_get(n, "id")->key_origin,
		    "'id' is for entries with 'token_sha256' only");
}

/* An entry that is whole is in no other's place. */
static void
check_unique(struct token_reader *t, const struct node *n, size_t index)
{
	struct token_entry *e = &t->file->entries[index];
	size_t known = 0;
	int named = index_add(&t->names, span_text(e->name), index, &known);
	int hashed;

	if (named == -EEXIST)
		reader_complain(&t->reader, &node_get(n, "name")->origin,
		    "'name': entry %zu has this name too", known + 1);
	hashed = index_add(
	    &t->hashes, span_of(e->sha256, SHA256_BYTES), index, &known);
	if (hashed == -EEXIST)
		reader_complain(&t->reader, &n->origin,
		    "entry %zu has the same token", known + 1);
	if (named == -ENOMEM || hashed == -ENOMEM)
		reader_no_memory(&t->reader);
}

static void
count_tried(struct token_reader *t, const struct node *n)
{
	if (t->tried++ == TOKENS_MAX_TRIED)
		reader_complain(&t->reader, &n->origin,
		    "more than %u entries have 'token_sha256' without 'id'",
		    TOKENS_MAX_TRIED);
}

static void
read_entry(struct reader *r, const struct node *n, size_t index)
{
	struct token_reader *t = token_reader_of(r);
	struct token_entry *e = &t->file->entries[index];

	t->file->count++;
	section_read(r, n, "tokens", &entry_section, e);
	if (n->kind != NODE_MAP)
		return;
	check_parts(r, n);
	if (!e->name || !e->has_hash)
		return;
	check_unique(t, n, index);
	if (!e->has_id)
		count_tried(t, n);
}

static void
read_tokens(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct token_file *f = target;

	if (!reader_list(r, n, key))
		return;
	f->entries = reader_array(r, n->item_count, sizeof(*f->entries));
	for (size_t i = 0; f->entries && i < n->item_count; i++)
		read_entry(r, n->items[i], i);
}

static const struct key root_keys[] = {
	{
	    .name = "tokens",
	    .read = read_tokens,
	    .type = "list of tokens",
	    .max = TOKENS_MAX,
	    .required = true,
	},
};
static const struct section root_section = {
	.keys = root_keys,
	.count = ARRAY_COUNT(root_keys),
};

/* --- the file --- */

/* Tokens are in the texts of nodes, and where somebody slipped in the keys. */
static void
wipe_node(struct node *n)
{
	if (n->text)
		explicit_bzero(n->text, strlen(n->text));
	if (n->key)
		explicit_bzero(n->key, strlen(n->key));
	for (size_t i = 0; i < n->item_count; i++)
		wipe_node(n->items[i]);
}

static bool
read_tree(struct tree *tree, struct token_file *out, struct problems *p,
    struct problems *warnings)
{
	struct token_reader t = {
		.reader = { .problems = p },
		.file = out,
		.warnings = warnings,
	};

	section_read(&t.reader, tree_root(tree), "tokens", &root_section, out);
	index_fini(&t.names);
	index_fini(&t.hashes);
	return !t.reader.failed;
}

static struct tree *
parse_file(const char *path, struct problems *p)
{
	struct origin whole = { path, 0, 0 };
	char storage[ERROR_SIZE];
	struct span bytes;
	struct text error;
	struct tree *tree;

	text_init(&error, storage, sizeof(storage));
	if (file_read(path, FILE_SECRET, &bytes, &error) < 0) {
		size_t skip =
		    error_is_about(storage, path) ? strlen(path) + 2 : 0;

		problems_add(p, &whole, "%s", storage + skip);
		return NULL;
	}
	tree = tree_parse(path, bytes, p);
	file_wipe(&bytes);
	return tree;
}

bool
token_file_read(const char *path, struct token_file *out, struct problems *p,
    struct problems *warnings)
{
	struct tree *tree = parse_file(path, p);
	bool good;

	*out = (struct token_file){ NULL, 0 };
	if (!tree)
		return false;
	good = read_tree(tree, out, p, warnings);
	wipe_node(tree_root(tree));
	tree_free(tree);
	return good;
}

void
token_file_fini(struct token_file *f)
{
	for (size_t i = 0; i < f->count; i++) {
		acl_fini(&f->entries[i].acl);
		free(f->entries[i].name);
	}
	if (f->entries)
		explicit_bzero(f->entries, f->count * sizeof(*f->entries));
	free(f->entries);
	*f = (struct token_file){ NULL, 0 };
}
