/*
 * Bytes as text: base64 (RFC 4648 section 4, with padding) and base32 in lower
 * case without padding (section 6), which fits into host names. Any thread.
 */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/compiler.h"
#include "base/span.h"

/* Characters for so many bytes, without a NUL. */
#define BASE64_LEN(bytes) (((bytes) + 2) / 3 * 4)
#define BASE32_LEN(bytes) (((bytes)*8 + 4) / 5)

/* To `out`, which has room for BASE64_LEN or BASE32_LEN of them and a NUL. */
void base64_write(struct span bytes, char *out);
void base32_write(struct span bytes, char *out);

/*
 * Strict: no other character, no missing padding, no bits left over. `out` has
 * room for 3 bytes for each 4 characters; `*len` is how many there were. False:
 * it is not base64, and `out` may hold a part.
 */
bool base64_read(struct span text, uint8_t *out, size_t *len) MUST_CHECK;

#endif
