/*
 * The vault: what one edge holds for ending TLS, over all reloads: the ticket
 * keys that its workers share, the local CA, the limits of handshakes, and the
 * key log if somebody insists on one. Main thread, but for what is said to be
 * any thread's in its own header.
 */
#ifndef ENGINE_VAULT_H
#define ENGINE_VAULT_H

#include "engine/generation.h"
#include "policy/rates.h"
#include "tls/tickets.h"

struct vault {
	struct tickets *tickets;
	struct authority *authority;	    /* NULL: not needed so far */
	_Atomic(struct rates *) handshakes; /* NULL: none was ever limited */
	int keylog_fd;			    /* -1: no secrets are written */
};

/* Before the workers. False with one line in `error`; vault_fini in any case,
 * with keylog_fd set to -1 before. */
bool vault_init(
    struct vault *v, const struct snapshot *s, struct text *error) MUST_CHECK;
void vault_fini(struct vault *v);

/* Gives a new generation its part, and takes over what it says about ticket
 * keys: the last step of a reload that can fail. False with `error` filled. */
bool vault_prepare(
    struct vault *v, struct generation *g, struct text *error) MUST_CHECK;

#endif
