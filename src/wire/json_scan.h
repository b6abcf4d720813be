/*
 * Where a JSON value ends, for requests that come in pieces with nothing behind
 * them: braces, brackets and strings are followed, all else is left to who
 * parses it. One that ends here may still be no JSON; one that is JSON ends
 * where it should (RFC 8259).
 */
#ifndef WIRE_JSON_SCAN_H
#define WIRE_JSON_SCAN_H

#include "base/compiler.h"
#include "base/span.h"

#define JSON_SCAN_MAX_DEPTH 64

/* Begins zeroed. */
struct json_scan {
	uint64_t arrays; /* bit n: what is open at depth n is an array */
	unsigned depth;
	bool in_string, escaped;
};

/*
 * Goes on with the next bytes. PARSE_OK: the value ended, `*used` of them are
 * its last; PARSE_MORE: all belong to it, or to the space before it; PARSE_BAD:
 * it is no object or array, is nested too deeply, or closes what is not open.
 */
enum parse json_scan(
    struct json_scan *j, struct span bytes, size_t *used) MUST_CHECK;

#endif
