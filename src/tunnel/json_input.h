/*
 * JSON from outside to jansson's values, within bounds: bytes, depth and number
 * of values are limited before anything is allocated, a key may stand in an
 * object once, texts are UTF-8 without NUL. All that jansson allocates is wiped
 * when it is freed, since tokens and keys pass through it.
 *
 * Any thread. Source: RFC 8259, strictly.
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

/*
 * The object that `text` is. 0, and `*out` goes back by json_decref; -EPROTO
 * with what is wrong and where in `error`, never with a part of the text;
 * -ENOMEM. `*out` is NULL after an error.
 */
int json_input(struct span text, const struct json_limits *limits, json_t **out,
    struct text *error) MUST_CHECK;

#endif
