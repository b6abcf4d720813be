/*
 * What a reload, or a change on disk, reads again: certificates, keys, CAs,
 * revocation lists, ticket keys, tokens. Who gave up root must still be able
 * to.
 */
#ifndef CMD_REREAD_H
#define CMD_REREAD_H

#include "config/snapshot.h"

/* Opens each file for reading and closes it. False with the first one that
 * cannot be, and why, in `error`. */
bool reread_possible(const struct snapshot *s, struct text *error);

#endif
