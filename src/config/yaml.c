#include "config/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

#include "config/index.h"

/* A list or a map that is open; a map's key waits here for its value. */
struct frame {
	struct node *node;
	char *key;
	struct origin key_origin;
};

struct reading {
	const char *source;
	struct problems *problems;
	yaml_parser_t parser;
	struct node *root;
	struct frame stack[TREE_MAX_DEPTH];
	size_t depth;
	size_t node_count;
	unsigned document_count;
	bool failed; /* there was a problem */
	bool ended;  /* nothing more can be read */
};

static struct origin
origin_of(const struct reading *r, yaml_mark_t mark)
{
	return (struct origin){ r->source, (uint32_t)mark.line + 1,
		(uint32_t)mark.column + 1 };
}

PRINTF_LIKE(3, 4)
static void
complain(struct reading *r, const struct origin *where, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	problems_vadd(r->problems, where, format, args);
	va_end(args);
	r->failed = true;
}

static void
no_memory(struct reading *r)
{
	problems_add_no_memory(r->problems);
	r->failed = r->ended = true;
}

/*
 * The first pass, over bytes: what libyaml would take, skip or report without a
 * place. A tab in front of a line is refused even where YAML allows it, since
 * what it aligns with is in the eye of the editor.
 */
static const char *
byte_fault(struct span text, size_t at, bool in_indentation)
{
	uint8_t c = text.data[at];

	if (c == 0)
		return "a NUL byte; the file is not plain text";
	if (c == '\t' && in_indentation)
		return "a tab as indentation; use spaces";
	if (c == '\r' && (at + 1 == text.len || text.data[at + 1] != '\n'))
		return "a carriage return without a line feed";
	if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f)
		return "a control character";
	return NULL;
}

static bool
has_byte_order_mark(struct span text)
{
	return (text.len >= 3 && !memcmp(text.data, "\xEF\xBB\xBF", 3)) ||
	       (text.len >= 2 && !memcmp(text.data, "\xFE\xFF", 2)) ||
	       (text.len >= 2 && !memcmp(text.data, "\xFF\xFE", 2));
}

/* Moves the place over one byte; columns count characters, as libyaml does. */
static void
advance(struct origin *where, uint8_t c)
{
	if (c == '\n') {
		where->line++;
		where->column = 1;
	} else if ((c & 0xC0) != 0x80) {
		where->column++;
	}
}

static void
check_bytes(struct reading *r, struct span text)
{
	struct origin where = { r->source, 1, 1 };
	bool in_indentation = true;

	if (text.len > TREE_MAX_BYTES) {
		complain(r, &where, "the file is larger than 16 MiB");
		return;
	}
	if (has_byte_order_mark(text)) {
		complain(r, &where,
		    "a byte order mark; save the file as UTF-8 without it");
		return;
	}
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];
		const char *fault = byte_fault(text, i, in_indentation);

		if (fault != NULL) {
			complain(r, &where, "%s", fault);
			return;
		}
		in_indentation = c == '\n' || (in_indentation && c == ' ');
		advance(&where, c);
	}
}

/* libyaml's reader (encoding faults) knows the byte, not line and column. */
static void
complain_of_encoding(struct reading *r, struct span text)
{
	struct origin where = { r->source, 1, 1 };
	size_t end = r->parser.problem_offset;

	for (size_t i = 0; i < end && i < text.len; i++)
		advance(&where, text.data[i]);
	complain(r, &where, "not valid UTF-8 text: %s", r->parser.problem);
}

static void
complain_of_syntax(struct reading *r, struct span text)
{
	const yaml_parser_t *y = &r->parser;
	struct origin where = origin_of(r, y->problem_mark);

	r->ended = true;
	if (y->error == YAML_MEMORY_ERROR)
		no_memory(r);
	else if (y->error == YAML_READER_ERROR)
		complain_of_encoding(r, text);
	else if (y->context != NULL)
		complain(r, &where, "%s (%s)", y->problem, y->context);
	else
		complain(r, &where, "%s", y->problem);
}

static char *
copy_scalar(struct reading *r, const yaml_event_t *e)
{
	struct origin where = origin_of(r, e->start_mark);
	const char *value = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;
	char *copy;

	if (memchr(value, 0, len) != NULL) {
		complain(r, &where, "a NUL character in the text");
		len = 0;
	} else if (len > TREE_MAX_SCALAR_BYTES) {
		complain(r, &where, "a text of more than 64 KiB");
		len = 0;
	}
	copy = malloc(len + 1);
	if (copy == NULL) {
		no_memory(r);
		return NULL;
	}
	memcpy(copy, value, len);
	copy[len] = '\0';
	return copy;
}

static struct frame *
top(struct reading *r)
{
	return r->depth > 0 ? &r->stack[r->depth - 1] : NULL;
}

static bool
wants_key(const struct frame *f)
{
	return f != NULL && f->node->kind == NODE_MAP && f->key == NULL;
}

/* Puts a new node where the reading stands. Takes the node, also if it fails;
 * what is not in the tree must not be used any more. */
static bool
attach(struct reading *r, struct node *n)
{
	struct frame *f = top(r);

	if (f == NULL) {
		r->root = n;
		return true;
	}
	if (f->key != NULL) {
		n->key = f->key;
		n->key_origin = f->key_origin;
		f->key = NULL;
	}
	if (node_append(f->node, n) < 0) {
		node_free(n);
		no_memory(r);
		return false;
	}
	return true;
}

static struct node *
add_node(struct reading *r, enum node_kind kind, const struct origin *where)
{
	struct node *n;

	if (++r->node_count > TREE_MAX_NODES) {
		complain(r, where, "more than 1,000,000 values");
		r->ended = true;
		return NULL;
	}
	n = node_new(kind, where);
	if (n == NULL) {
		no_memory(r);
		return NULL;
	}
	return attach(r, n) ? n : NULL;
}

static void
take_key(struct reading *r, const yaml_event_t *e)
{
	struct frame *f = top(r);

	f->key_origin = origin_of(r, e->start_mark);
	f->key = copy_scalar(r, e);
	if (f->key != NULL && f->key[0] == '\0' && !r->failed)
		complain(r, &f->key_origin, "an empty key");
}

static void
on_scalar(struct reading *r, const yaml_event_t *e)
{
	struct origin where = origin_of(r, e->start_mark);
	struct node *n;

	if (wants_key(top(r))) {
		take_key(r, e);
		return;
	}
	n = add_node(r, NODE_SCALAR, &where);
	if (n == NULL)
		return;
	n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	n->text = copy_scalar(r, e);
}

static void
on_open(struct reading *r, const yaml_event_t *e, enum node_kind kind)
{
	struct origin where = origin_of(r, e->start_mark);
	struct node *n;

	if (wants_key(top(r))) {
		complain(r, &where, "a key must be a text");
		r->ended = true;
		return;
	}
	if (r->depth == TREE_MAX_DEPTH) {
		complain(r, &where, "nested deeper than 64 levels");
		r->ended = true;
		return;
	}
	n = add_node(r, kind, &where);
	if (n != NULL)
		r->stack[r->depth++] = (struct frame){ .node = n };
}

static void
check_duplicates(struct reading *r, const struct node *map)
{
	struct index seen = { 0 };

	for (size_t i = 0; i < map->item_count; i++) {
		const struct node *n = map->items[i];
		size_t first;
		int err = index_add(&seen, span_text(n->key), i, &first);

		if (err == -EEXIST) {
			complain(r, &n->key_origin,
			    "duplicate key '%s' (the first is in line %u)",
			    n->key, map->items[first]->key_origin.line);
		} else if (err < 0) {
			no_memory(r);
			break;
		}
	}
	index_fini(&seen);
}

static void
on_close(struct reading *r)
{
	const struct node *n = r->stack[--r->depth].node;

	if (n->kind == NODE_MAP && n->item_count > 1)
		check_duplicates(r, n);
}

/* References would let a small file stand for a huge tree ("billion laughs"),
 * so there are none. */
static void
on_alias(struct reading *r, const yaml_event_t *e)
{
	struct origin where = origin_of(r, e->start_mark);

	complain(r, &where, "references ('*%s') are not supported",
	    (const char *)e->data.alias.anchor);
	r->ended = true;
}

static void
on_document(struct reading *r, const yaml_event_t *e)
{
	struct origin where = origin_of(r, e->start_mark);

	if (++r->document_count == 1)
		return;
	complain(r, &where, "a second document; a file holds one");
	r->ended = true;
}

static void
check_properties(struct reading *r, const yaml_event_t *e,
    const yaml_char_t *anchor, const yaml_char_t *tag)
{
	struct origin where = origin_of(r, e->start_mark);

	if (anchor != NULL)
		complain(r, &where, "anchors ('&%s') are not supported",
		    (const char *)anchor);
	if (tag != NULL)
		complain(r, &where, "tags ('%s') are not supported",
		    (const char *)tag);
}

static void
on_event(struct reading *r, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		on_document(r, e);
		break;
	case YAML_ALIAS_EVENT:
		on_alias(r, e);
		break;
	case YAML_SCALAR_EVENT:
		check_properties(
		    r, e, e->data.scalar.anchor, e->data.scalar.tag);
		on_scalar(r, e);
		break;
	case YAML_SEQUENCE_START_EVENT:
		check_properties(r, e, e->data.sequence_start.anchor,
		    e->data.sequence_start.tag);
		on_open(r, e, NODE_LIST);
		break;
	case YAML_MAPPING_START_EVENT:
		check_properties(r, e, e->data.mapping_start.anchor,
		    e->data.mapping_start.tag);
		on_open(r, e, NODE_MAP);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		on_close(r);
		break;
	case YAML_STREAM_END_EVENT:
		r->ended = true;
		break;
	default:
		break;
	}
}

/* A token may stand in the file, and libyaml frees what it has as it is. */
static void
forget_event(yaml_event_t *event)
{
	if (event->type == YAML_SCALAR_EVENT)
		explicit_bzero(
		    event->data.scalar.value, event->data.scalar.length);
	yaml_event_delete(event);
}

static void
forget_parser(yaml_parser_t *y)
{
	explicit_bzero(y->raw_buffer.start,
	    (size_t)(y->raw_buffer.end - y->raw_buffer.start));
	explicit_bzero(
	    y->buffer.start, (size_t)(y->buffer.end - y->buffer.start));
	yaml_parser_delete(y);
}

static void
read_events(struct reading *r, struct span text)
{
	yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r->parser, text.data, text.len);
	while (!r->ended) {
		yaml_event_t event;

		if (!yaml_parser_parse(&r->parser, &event)) {
			complain_of_syntax(r, text);
			break;
		}
		on_event(r, &event);
		forget_event(&event);
	}
	while (r->depth > 0)
		free(r->stack[--r->depth].key);
}

static void
check_root(struct reading *r)
{
	struct origin start = { r->source, 1, 1 };

	if (r->failed)
		return;
	if (r->root == NULL ||
	    (r->root->kind == NODE_SCALAR && r->root->text[0] == '\0'))
		complain(r, &start, "the file is empty");
	else if (r->root->kind != NODE_MAP)
		complain(r, &r->root->origin,
		    "keys and values are expected here, such as 'version: 1'");
}

struct node *
yaml_read(const char *source, struct span text, struct problems *p)
{
	struct reading *r = calloc(1, sizeof(*r));
	struct node *root;

	if (r == NULL || !yaml_parser_initialize(&r->parser)) {
		problems_add_no_memory(p);
		free(r);
		return NULL;
	}
	r->source = source;
	r->problems = p;
	check_bytes(r, text);
	if (!r->failed)
		read_events(r, text);
	check_root(r);
	forget_parser(&r->parser);
	root = r->root;
	if (r->failed) {
		node_free(root);
		root = NULL;
	}
	free(r);
	return root;
}
