/*
 * "Did you mean": the word of a list that is nearest to a mistyped one, by edit
 * distance with transpositions, or NULL if none is near enough to be a help.
 */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include "base/span.h"

const char *nearest_word(
    struct span word, const char *const words[], size_t count);

#endif
