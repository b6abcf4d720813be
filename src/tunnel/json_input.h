/*
 * JSON from outside to jansson's values, within bounds: bytes, depth and number
 * of values are limited before anything is allocated, a key may stand in an
 * object once, texts are UTF-8 without NUL.
 *
 * A document's values lie in one block of memory that is taken first: jansson
 * 2.14 does not look at all of its allocations, and without memory drops
 * characters or aborts. With the document the block is wiped, since tokens and
 * keys pass through it.
 *
 * Any thread; a document is its maker's. Source: RFC 8259, strictly.
 */
#ifndef TUNNEL_JSON_INPUT_H
#define TUNNEL_JSON_INPUT_H

#include <jansson.h>

#include "base/text.h"

struct json_limits {
	size_t bytes;
	unsigned depth;
	size_t values;
};

struct json_document {
	json_t *root; /* an object; lent, and nothing may be put into it */
	uint8_t *block;
	size_t size, used;
};

/*
 * Reads the object that `text` is. 0, and the document goes back by
 * json_input_end; -EPROTO with what is wrong and where in `error`, never with a
 * part of the text; -ENOMEM. After an error there is no document.
 */
int json_input(struct span text, const struct json_limits *limits,
    struct json_document *out, struct text *error) MUST_CHECK;
void json_input_end(struct json_document *d);

#endif
