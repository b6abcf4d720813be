/*
 * UTF-8 (RFC 3629, Unicode 15 table 3-7): no overlong forms, no surrogates,
 * nothing above U+10FFFF. Foreign bytes become valid text before they go into
 * a document that must be.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/text.h"

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* The length of the well-formed character at the start of `s`, which is not
 * empty; 0 if there is none. */
size_t utf8_len(struct span s);

/* Adds `s` with each byte that belongs to no character as U+FFFD. At most three
 * times as long as before. */
void text_add_utf8(struct text *t, struct span s);

#endif
