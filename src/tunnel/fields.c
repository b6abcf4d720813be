#include "tunnel/fields.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/base64.h"
#include "tunnel/json_input.h"

#define MAX_NESTED 4

static void *
member(const struct field *f, void *target)
{
	return (char *)target + f->offset;
}

/* The struct of an object's fields. */
static void *
inside(const struct field *f, void *target)
{
	return (char *)target + f->base;
}

/* --- giving back; all is wiped, for most structs hold a secret --- */

static void
wipe_text(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static void
wipe_bytes(struct message_bytes *b)
{
	if (b->data)
		explicit_bzero(b->data, b->len);
	free(b->data);
	*b = (struct message_bytes){ NULL, 0 };
}

static void
wipe_texts(struct message_texts *t)
{
	for (size_t i = 0; i < t->count; i++)
		wipe_text(t->items[i]);
	free(t->items);
}

static void
wipe_labels(struct message_labels *l)
{
	for (size_t i = 0; i < l->count; i++) {
		wipe_text(l->items[i].name);
		wipe_text(l->items[i].value);
	}
	free(l->items);
}

static void
release(const struct fields *fields, void *target)
{
	for (size_t i = 0; i < fields->count; i++) {
		const struct field *f = &fields->items[i];

		switch (f->kind) {
		case FIELD_TEXT:
		case FIELD_NULLABLE_TEXT:
			wipe_text(*(char **)member(f, target));
			break;
		case FIELD_BYTES:
			wipe_bytes(member(f, target));
			break;
		case FIELD_TEXTS:
			wipe_texts(member(f, target));
			break;
		case FIELD_LABELS:
			wipe_labels(member(f, target));
			break;
		case FIELD_OBJECT:
			release(f->fields, inside(f, target));
			break;
		default:
			break;
		}
	}
}

void
fields_fini(const struct fields *fields, void *target, size_t size)
{
	release(fields, target);
	explicit_bzero(target, size);
}

/* --- reading --- */

struct reading {
	struct text *error;
	int result;
	const char *path[MAX_NESTED]; /* the objects around the field */
	unsigned depth;
};

/* "Opts.IPRestriction.allow_cidrs must be ..." */
static bool
complain(struct reading *r, const struct field *f, const char *what)
{
	for (unsigned i = 0; i < r->depth; i++)
		text_addf(r->error, "%s.", r->path[i]);
	text_addf(r->error, "%s %s", f->name, what);
	r->result = -EPROTO;
	return false;
}

static bool
complain_of_length(struct reading *r, const struct field *f)
{
	complain(r, f, "");
	text_addf(r->error, "is longer than %" PRIu64 " bytes", f->max);
	return false;
}

static bool
no_memory(struct reading *r)
{
	r->result = -ENOMEM;
	return false;
}

static bool
is_missing(const json_t *value)
{
	return !value || json_is_null(value);
}

static bool
copy_text(
    struct reading *r, const struct field *f, const json_t *value, char **out)
{
	size_t len;

	if (!json_is_string(value))
		return complain(r, f, "must be a text");
	len = json_string_length(value);
	if (len > f->max)
		return complain_of_length(r, f);
	*out = malloc(len + 1);
	if (!*out)
		return no_memory(r);
	memcpy(*out, json_string_value(value), len + 1);
	return true;
}

static bool
read_text(struct reading *r, const struct field *f, json_t *value, char **out)
{
	if (!is_missing(value))
		return copy_text(r, f, value, out);
	if (f->kind == FIELD_NULLABLE_TEXT)
		return true;
	*out = calloc(1, 1);
	return *out || no_memory(r);
}

static bool
read_word(struct reading *r, const struct field *f, json_t *value, char *out)
{
	if (is_missing(value))
		return true;
	if (!json_is_string(value))
		return complain(r, f, "must be a text");
	if (json_string_length(value) > f->max)
		return complain_of_length(r, f);
	ASSERT(f->max < f->size);
	memcpy(out, json_string_value(value), json_string_length(value) + 1);
	return true;
}

static bool
read_bool(struct reading *r, const struct field *f, json_t *value, bool *out)
{
	if (is_missing(value))
		return true;
	if (!json_is_boolean(value))
		return complain(r, f, "must be true or false");
	*out = json_is_true(value);
	return true;
}

static bool
complain_of_number(struct reading *r, const struct field *f)
{
	complain(r, f, "must be a whole number");
	text_addf(r->error, " from %" PRIu64 " to %" PRIu64, f->min, f->max);
	return false;
}

static bool
read_number(struct reading *r, const struct field *f, json_t *value, void *out)
{
	json_int_t number = json_integer_value(value);

	if (is_missing(value) && f->min == 0)
		return true;
	if (!json_is_integer(value) || number < 0 ||
	    (uint64_t)number < f->min || (uint64_t)number > f->max)
		return complain_of_number(r, f);
	if (f->size == sizeof(uint32_t)) {
		*(uint32_t *)out = (uint32_t)number;
	} else {
		ASSERT(f->size == sizeof(uint64_t));
		*(uint64_t *)out = (uint64_t)number;
	}
	return true;
}

static bool
read_bytes(struct reading *r, const struct field *f, json_t *value,
    struct message_bytes *out)
{
	struct span text;

	if (is_missing(value))
		return true;
	if (!json_is_string(value))
		return complain(r, f, "must be a text in base64");
	text = span_of(json_string_value(value), json_string_length(value));
	if (text.len == 0)
		return true;
	if (text.len > BASE64_LEN(f->max))
		return complain_of_length(r, f);
	out->data = malloc(text.len / 4 * 3 + 3);
	if (!out->data)
		return no_memory(r);
	if (!base64_read(text, out->data, &out->len)) {
		explicit_bzero(out->data, text.len / 4 * 3);
		return complain(r, f, "must be a text in base64");
	}
	if (out->len > f->max)
		return complain_of_length(r, f);
	return out->len >= f->min || complain(r, f, "is too short");
}

/* Room for the items of a list or an object, which is counted as they come. */
static bool
make_room(struct reading *r, const struct field *f, size_t count, size_t size,
    void **items)
{
	if (count > f->items) {
		complain(r, f, "has more than");
		text_addf(r->error, " %zu entries", f->items);
		return false;
	}
	if (count == 0)
		return true;
	*items = calloc(count, size);
	return *items || no_memory(r);
}

static bool
read_texts(struct reading *r, const struct field *f, json_t *value,
    struct message_texts *out)
{
	void *items = NULL;
	size_t count = json_array_size(value);

	if (is_missing(value))
		return true;
	if (!json_is_array(value))
		return complain(r, f, "must be a list of texts");
	if (!make_room(r, f, count, sizeof(*out->items), &items))
		return false;
	for (out->items = items; out->count < count; out->count++)
		if (!copy_text(r, f, json_array_get(value, out->count),
			&out->items[out->count]))
			return false;
	return true;
}

static int
compare_labels(const void *a, const void *b)
{
	const struct message_label *one = a, *other = b;

	return strcmp(one->name, other->name);
}

/* ngrok's: '=' is what stands between name and value elsewhere. */
static const char *
objection_to_label(const char *name, const char *value)
{
	if (*name == '\0')
		return "has an empty name";
	if (strchr(name, '=') || strchr(value, '='))
		return "has a name or value with '=' in it";
	return NULL;
}

static bool
read_label(struct reading *r, const struct field *f, const char *name,
    json_t *value, struct message_label *out)
{
	const char *why;

	if (!json_is_string(value))
		return complain(r, f, "must be texts by name");
	if (strlen(name) > f->max)
		return complain_of_length(r, f);
	why = objection_to_label(name, json_string_value(value));
	if (why)
		return complain(r, f, why);
	out->name = strdup(name);
	if (!out->name)
		return no_memory(r);
	return copy_text(r, f, value, &out->value);
}

static bool
read_labels(struct reading *r, const struct field *f, json_t *value,
    struct message_labels *out)
{
	void *items = NULL;

	if (is_missing(value))
		return true;
	if (!json_is_object(value))
		return complain(r, f, "must be texts by name");
	if (!make_room(
		r, f, json_object_size(value), sizeof(*out->items), &items))
		return false;
	out->items = items;
	for (void *i = json_object_iter(value); i;
	     i = json_object_iter_next(value, i)) {
		/* Counted before it is whole, so that it is given back. */
		if (!read_label(r, f, json_object_iter_key(i),
			json_object_iter_value(i), &out->items[out->count++]))
			return false;
	}
	if (out->count > 1)
		qsort(out->items, out->count, sizeof(*out->items),
		    compare_labels);
	return true;
}

static bool
has_content(const json_t *value)
{
	if (json_is_string(value))
		return json_string_length(value) > 0;
	if (json_is_object(value))
		return json_object_size(value) > 0;
	if (json_is_array(value))
		return json_array_size(value) > 0;
	return !is_missing(value);
}

static bool read_object(struct reading *r, const struct fields *fields,
    json_t *object, void *target);

/* Nothing in it is read when it is missing, but its texts get their "". */
static bool
read_inner(
    struct reading *r, const struct field *f, json_t *value, void *target)
{
	bool good;

	if (is_missing(value))
		value = NULL;
	else if (!json_is_object(value))
		return complain(r, f, "must be an object");
	if (f->told)
		*(bool *)member(f, target) = value != NULL;
	ASSERT(r->depth < MAX_NESTED);
	r->path[r->depth++] = f->name;
	good = read_object(r, f->fields, value, inside(f, target));
	r->depth--;
	return good;
}

static bool
read_field(
    struct reading *r, const struct field *f, json_t *value, void *target)
{
	void *at = member(f, target);

	switch (f->kind) {
	case FIELD_TEXT:
	case FIELD_NULLABLE_TEXT:
		return read_text(r, f, value, at);
	case FIELD_WORD:
		return read_word(r, f, value, at);
	case FIELD_BOOL:
		return read_bool(r, f, value, at);
	case FIELD_NUMBER:
		return read_number(r, f, value, at);
	case FIELD_BYTES:
		return read_bytes(r, f, value, at);
	case FIELD_TEXTS:
		return read_texts(r, f, value, at);
	case FIELD_LABELS:
		return read_labels(r, f, value, at);
	case FIELD_OBJECT:
		return read_inner(r, f, value, target);
	case FIELD_CONTENT:
		*(bool *)at |= has_content(value);
		return true;
	case FIELD_BLANK:
		break;
	}
	return true;
}

static bool
read_object(struct reading *r, const struct fields *fields, json_t *object,
    void *target)
{
	for (size_t i = 0; i < fields->count; i++) {
		const struct field *f = &fields->items[i];
		json_t *value = json_object_get(object, f->name);
		json_t *also =
		    f->also ? json_object_get(object, f->also) : NULL;

		if (value && also)
			return complain(r, f, "is there twice");
		if (!read_field(r, f, value ? value : also, target))
			return false;
	}
	return true;
}

int
fields_read(const struct fields *fields, struct span json, size_t max,
    void *out, size_t size, struct text *error)
{
	const struct json_limits limits = { max, MESSAGE_MAX_DEPTH,
		MESSAGE_MAX_VALUES };
	struct reading r = { .error = error };
	struct json_document document;
	int result;

	memset(out, 0, size);
	result = json_input(json, &limits, &document, error);
	if (result < 0)
		return result;
	if (!read_object(&r, fields, document.root, out))
		fields_fini(fields, out, size);
	json_input_end(&document);
	return r.result;
}
