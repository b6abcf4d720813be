#include <errno.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/json.h"
#include "tunnel/fields.h"

#define FIRST_BYTES 2048 /* enough for most of what is written */

static const void *
const_member(const struct field *f, const void *source)
{
	return (const char *)source + f->offset;
}

/* The struct of an object's fields. */
static const void *
const_inside(const struct field *f, const void *source)
{
	return (const char *)source + f->base;
}

static uint64_t
number_of(const struct field *f, const void *source)
{
	const void *at = const_member(f, source);

	return f->size == sizeof(uint32_t) ? *(const uint32_t *)at
					   : *(const uint64_t *)at;
}

static const char *
text_of(const struct field *f, const void *source)
{
	return *(char *const *)const_member(f, source);
}

static bool all_empty(const struct fields *fields, const void *source);

/* What reading would make of nothing. */
static bool
is_empty(const struct field *f, const void *source)
{
	const void *at = const_member(f, source);

	switch (f->kind) {
	case FIELD_TEXT:
		return !text_of(f, source) || text_of(f, source)[0] == '\0';
	case FIELD_NULLABLE_TEXT:
		return !text_of(f, source);
	case FIELD_WORD:
		return *(const char *)at == '\0';
	case FIELD_BOOL:
		return !*(const bool *)at;
	case FIELD_NUMBER:
		return number_of(f, source) == 0;
	case FIELD_BYTES:
		return ((const struct message_bytes *)at)->len == 0;
	case FIELD_TEXTS:
		return ((const struct message_texts *)at)->count == 0;
	case FIELD_LABELS:
		return ((const struct message_labels *)at)->count == 0;
	case FIELD_OBJECT:
		return f->told ? !*(const bool *)at
			       : all_empty(f->fields, const_inside(f, source));
	default:
		return true;
	}
}

static bool
all_empty(const struct fields *fields, const void *source)
{
	for (size_t i = 0; i < fields->count; i++)
		if (!is_empty(&fields->items[i], source))
			return false;
	return true;
}

/* In pieces of 48 bytes, so that no second copy of a key is left anywhere. */
static void
write_bytes(struct json *j, const struct field *f, const void *source)
{
	struct span bytes = message_span(const_member(f, source));
	char piece[BASE64_LEN(48) + 1];

	json_key_span(j, span_text(f->name));
	text_add_char(j->out, '"');
	for (size_t at = 0; at < bytes.len; at += 48) {
		size_t left = bytes.len - at;

		base64_write(
		    span_of(bytes.data + at, left < 48 ? left : 48), piece);
		text_add(j->out, piece);
	}
	explicit_bzero(piece, sizeof(piece));
	text_add_char(j->out, '"');
	j->need_comma = true;
}

static void
write_texts(struct json *j, const struct field *f, const void *source)
{
	const struct message_texts *t = const_member(f, source);

	json_open_list(j, f->name);
	for (size_t i = 0; i < t->count; i++)
		json_text(j, NULL, t->items[i]);
	json_close_list(j);
}

static void
write_labels(struct json *j, const struct field *f, const void *source)
{
	const struct message_labels *l = const_member(f, source);

	json_open(j, f->name);
	for (size_t i = 0; i < l->count; i++)
		json_text(j, l->items[i].name, l->items[i].value);
	json_close(j);
}

static void write_object(
    struct json *j, const struct fields *fields, const void *source);

static void
write_inner(struct json *j, const struct field *f, const void *source)
{
	if (f->spare && is_empty(f, source)) {
		json_null(j, f->name);
		return;
	}
	json_open(j, f->name);
	write_object(j, f->fields, const_inside(f, source));
	json_close(j);
}

static void
write_field(struct json *j, const struct field *f, const void *source)
{
	switch (f->kind) {
	case FIELD_TEXT:
		json_text(j, f->name, text_of(f, source));
		break;
	case FIELD_NULLABLE_TEXT:
		if (text_of(f, source))
			json_text(j, f->name, text_of(f, source));
		else
			json_null(j, f->name);
		break;
	case FIELD_WORD:
		json_text(j, f->name, const_member(f, source));
		break;
	case FIELD_BOOL:
		json_bool(j, f->name, *(const bool *)const_member(f, source));
		break;
	case FIELD_NUMBER:
		json_int(j, f->name, (int64_t)number_of(f, source));
		break;
	case FIELD_BYTES:
		write_bytes(j, f, source);
		break;
	case FIELD_TEXTS:
		write_texts(j, f, source);
		break;
	case FIELD_LABELS:
		write_labels(j, f, source);
		break;
	case FIELD_OBJECT:
		write_inner(j, f, source);
		break;
	case FIELD_BLANK:
		json_text(j, f->name, "");
		break;
	case FIELD_CONTENT:
		break;
	}
}

static void
write_object(struct json *j, const struct fields *fields, const void *source)
{
	for (size_t i = 0; i < fields->count; i++) {
		const struct field *f = &fields->items[i];

		if (f->spare && f->kind != FIELD_OBJECT && is_empty(f, source))
			continue;
		write_field(j, f, source);
	}
}

/* Into a buffer of this size; false if that is too small, and it is gone. */
static int
write_within(const struct fields *fields, const void *source, size_t size,
    struct span *out)
{
	char *buffer = malloc(size);
	struct text text;
	struct json j;

	if (!buffer)
		return -ENOMEM;
	text_init(&text, buffer, size);
	json_init(&j, &text);
	json_open(&j, NULL);
	write_object(&j, fields, source);
	json_close(&j);
	*out = text_span(&text);
	if (!text.truncated)
		return 0;
	message_wipe(out);
	return -EMSGSIZE;
}

int
fields_write(const struct fields *fields, const void *source, size_t max,
    struct span *out)
{
	int result = -EMSGSIZE;

	*out = span_of(NULL, 0);
	for (size_t size = FIRST_BYTES; result == -EMSGSIZE; size *= 2) {
		bool last = size > max;

		result =
		    write_within(fields, source, last ? max + 1 : size, out);
		if (last)
			break;
	}
	return result;
}
