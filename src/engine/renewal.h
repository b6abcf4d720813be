/*
 * The renewal: a thread that keeps fresh what TLS lives on while the edge runs.
 * It watches the files of certificates, keys, staples, CAs, CRLs and ticket
 * keys, and the folders of certificates; what has changed is read again and
 * takes its place without a reload. It rotates the ticket keys, has staples
 * fetched and tells of certificates that run out.
 *
 * Main thread.
 */
#ifndef ENGINE_RENEWAL_H
#define ENGINE_RENEWAL_H

#include "engine/generation.h"
#include "engine/journal.h"
#include "tls/tickets.h"

struct renewal;

/* Borrows the journal and the ticket keys; takes a reference on the generation.
 * NULL without memory, descriptor or thread. */
struct renewal *renewal_new(
    struct journal *journal, struct tickets *tickets, struct generation *g);

/*
 * Another generation from now on, of which it takes a reference. Staples that
 * were fetched for the same certificates are set in it on return: so before
 * workers get it.
 */
void renewal_switch(struct renewal *r, struct generation *g);

/* Waits for what is being read. NULL is harmless. */
void renewal_free(struct renewal *r);

#endif
