#include "wire/json_scan.h"

static bool
is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void
scan_string(struct json_scan *j, uint8_t c)
{
	if (j->escaped)
		j->escaped = false;
	else if (c == '\\')
		j->escaped = true;
	else if (c == '"')
		j->in_string = false;
}

static enum parse
open_one(struct json_scan *j, bool is_array)
{
	uint64_t bit = (uint64_t)1 << j->depth % JSON_SCAN_MAX_DEPTH;

	if (j->depth == JSON_SCAN_MAX_DEPTH)
		return PARSE_BAD;
	j->arrays = is_array ? j->arrays | bit : j->arrays & ~bit;
	j->depth++;
	return PARSE_MORE;
}

static enum parse
close_one(struct json_scan *j, bool is_array)
{
	if (j->depth == 0)
		return PARSE_BAD;
	j->depth--;
	if ((j->arrays >> j->depth & 1) != is_array)
		return PARSE_BAD;
	return j->depth == 0 ? PARSE_OK : PARSE_MORE;
}

static enum parse
scan_byte(struct json_scan *j, uint8_t c)
{
	switch (c) {
	case '{':
	case '[':
		return open_one(j, c == '[');
	case '}':
	case ']':
		return close_one(j, c == ']');
	case '"':
		j->in_string = true;
		break;
	default:
		break;
	}
	return j->depth > 0 || is_space(c) ? PARSE_MORE : PARSE_BAD;
}

enum parse
json_scan(struct json_scan *j, struct span bytes, size_t *used)
{
	enum parse parse = PARSE_MORE;
	size_t at = 0;

	for (; at < bytes.len && parse == PARSE_MORE; at++) {
		if (j->in_string)
			scan_string(j, bytes.data[at]);
		else
			parse = scan_byte(j, bytes.data[at]);
	}
	*used = at;
	return parse;
}
