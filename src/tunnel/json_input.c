#include "tunnel/json_input.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

/* For a value jansson has at most an object's struct, its table of buckets, and
 * its place in the table around it; of a text there are the token while it
 * grows, by doubling, and what is made of it. */
#define BYTES_FOR_VALUE 512
#define COPIES_OF_TEXT 8
#define BYTES_AT_LEAST 4096

/* --- jansson's memory --- */

/* The document that the thread makes or ends just now. */
static _Thread_local struct json_document *current;

static void *
allocate(size_t size)
{
	struct json_document *d = current;
	size_t rounded = (size + 15) & ~(size_t)15;
	void *p;

	if (!d || rounded < size || rounded > d->size - d->used)
		return malloc(size);
	p = d->block + d->used;
	d->used += rounded;
	return p;
}

static bool
is_of_block(const void *p)
{
	const struct json_document *d = current;

	return d && (uintptr_t)p >= (uintptr_t)d->block &&
	       (uintptr_t)p < (uintptr_t)d->block + d->size;
}

/* What is in no block, as of other users of jansson, may be secret as well. The
 * size is what it really has, and was not noted in front of it: so it does not
 * matter if it was allocated before jansson was told of us. */
static void
release(void *p)
{
	if (!p || is_of_block(p))
		return;
	explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

/* The seed is given to it because it would open /dev/urandom for one. */
static void
prepare_jansson(void)
{
	size_t seed;

	json_set_alloc_funcs(allocate, release);
	random_bytes(&seed, sizeof(seed));
	json_object_seed(seed | 1);
}

/* --- bounds --- */

/* What comes after the backslash of an escape is skipped with it. Returns the
 * place behind the closing quote, or the end. */
static size_t
skip_string(struct span text, size_t at)
{
	while (at < text.len && text.data[at] != '"')
		at += text.data[at] == '\\' ? 2 : 1;
	return at < text.len ? at + 1 : text.len;
}

/* Only what bounds need; jansson says whether it is JSON. NULL, or what is too
 * much. */
static const char *
find_excess(
    struct span text, const struct json_limits *limits, size_t *value_count)
{
	size_t at = 0, values = 1;
	unsigned depth = 0;

	if (text.len > limits->bytes)
		return "the message is too large";
	while (at < text.len) {
		uint8_t c = text.data[at++];

		if (c == '"')
			at = skip_string(text, at);
		else if (c == '{' || c == '[')
			depth++, values++;
		else if ((c == '}' || c == ']') && depth > 0)
			depth--;
		else if (c == ',')
			values++;
		if (depth > limits->depth)
			return "the message is nested too deeply";
		if (values > limits->values)
			return "the message has too many values";
	}
	*value_count = values;
	return NULL;
}

/* --- reading --- */

/* jansson's own texts quote the input, in which there may be secrets. */
static const char *
kind_of_error(const json_error_t *e)
{
	switch (json_error_code(e)) {
	case json_error_premature_end_of_input:
		return "the JSON ends too early";
	case json_error_end_of_input_expected:
		return "there is something behind the JSON";
	case json_error_invalid_utf8:
		return "the JSON is not valid UTF-8";
	case json_error_duplicate_key:
		return "the JSON has a key twice";
	case json_error_null_byte_in_key:
	case json_error_null_character:
		return "the JSON has a NUL character";
	case json_error_numeric_overflow:
		return "the JSON has a number that is too large";
	default:
		return "this is not valid JSON";
	}
}

/* Pages of it that are not needed are not touched. */
static bool
take_block(struct json_document *d, struct span text, size_t values)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, prepare_jansson);
	d->size = BYTES_AT_LEAST + values * BYTES_FOR_VALUE +
		  text.len * COPIES_OF_TEXT;
	d->block = malloc(d->size);
	d->used = 0;
	return d->block;
}

void
json_input_end(struct json_document *d)
{
	current = d;
	json_decref(d->root);
	current = NULL;
	if (d->block)
		explicit_bzero(d->block, d->used);
	free(d->block);
	*d = (struct json_document){ 0 };
}

int
json_input(struct span text, const struct json_limits *limits,
    struct json_document *out, struct text *error)
{
	size_t values = 0;
	const char *why = find_excess(text, limits, &values);
	json_error_t e;

	*out = (struct json_document){ 0 };
	if (why) {
		text_add(error, why);
		return -EPROTO;
	}
	if (!take_block(out, text, values))
		return -ENOMEM;
	current = out;
	out->root = json_loadb(text.len > 0 ? (const char *)text.data : "",
	    text.len, JSON_REJECT_DUPLICATES, &e);
	current = NULL;
	if (json_is_object(out->root))
		return 0;
	if (out->root)
		text_add(error, "the message is not a JSON object");
	else
		text_addf(
		    error, "%s, near byte %d", kind_of_error(&e), e.position);
	json_input_end(out);
	return -EPROTO;
}
