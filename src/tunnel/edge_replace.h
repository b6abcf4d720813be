/*
 * A client that comes again while its old session is still there: the old one,
 * on whatever worker, lets go of all that it has bound before the new one is
 * answered, so that a name is never found taken by oneself.
 */
#ifndef TUNNEL_EDGE_REPLACE_H
#define TUNNEL_EDGE_REPLACE_H

#include <stdbool.h>

#include "base/compiler.h"

struct edge_relief;
struct edge_session;

/*
 * Makes `old` let go; edge_auth_welcome(es) comes when it has, if `es` still
 * waits then. Takes the reference on `old`. False without memory, and nothing
 * was taken. The thread of `es`.
 */
bool edge_replace(struct edge_session *es, struct edge_session *old) MUST_CHECK;

/* Tells who waits for this one, if anybody does and it has nothing left. Its
 * thread. */
void edge_relieve(struct edge_session *es);

void edge_relief_free(struct edge_relief *r); /* NULL is harmless */

#endif
