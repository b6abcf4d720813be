#include "tunnel/json_input.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

/* --- jansson's memory --- */

static void *
allocate(size_t size)
{
	return malloc(size);
}

/* By the size that it really has, and not by one noted in front of it: so it
 * does not matter if something was allocated before jansson was told of us. */
static void
wipe_and_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

/* The seed is given to it because it would open /dev/urandom for one. */
static void
prepare_jansson(void)
{
	size_t seed;

	json_set_alloc_funcs(allocate, wipe_and_free);
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
find_excess(struct span text, const struct json_limits *limits)
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

int
json_input(struct span text, const struct json_limits *limits, json_t **out,
    struct text *error)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char *why = find_excess(text, limits);
	json_error_t e;

	*out = NULL;
	if (why) {
		text_add(error, why);
		return -EPROTO;
	}
	pthread_once(&once, prepare_jansson);
	*out = json_loadb(text.len > 0 ? (const char *)text.data : "", text.len,
	    JSON_REJECT_DUPLICATES, &e);
	if (*out && json_is_object(*out))
		return 0;
	if (*out) {
		json_decref(*out);
		*out = NULL;
		text_add(error, "the message is not a JSON object");
		return -EPROTO;
	}
	if (json_error_code(&e) == json_error_out_of_memory)
		return -ENOMEM;
	text_addf(error, "%s, near byte %d", kind_of_error(&e), e.position);
	return -EPROTO;
}
