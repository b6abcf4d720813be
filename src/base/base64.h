/*
 * Base64, the common alphabet with padding (RFC 4648 section 4). Pure; any
 * thread. Times do not depend on the bytes more than their number does, but
 * for refusals.
 */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/compiler.h"
#include "base/span.h"

/* The text of so many bytes, with NUL. */
#define BASE64_SIZE(bytes) (((bytes) + 2) / 3 * 4 + 1)
/* At most so many bytes come out of so many characters. */
#define BASE64_BYTES(chars) ((chars) / 4 * 3)

/* `out` has BASE64_SIZE(bytes.len). Returns the length without the NUL. */
size_t base64_encode(struct span bytes, char *out);

/* `out` has BASE64_BYTES(text.len). Strict: whole groups, padding only at the
 * end, no blanks, no stray bits. 0 with `*len`, or -EINVAL. */
int base64_decode(struct span text, uint8_t *out, size_t *len) MUST_CHECK;

#endif
