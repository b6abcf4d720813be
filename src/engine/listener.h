/*
 * A listener: one listening socket of one configuration version. A reload that
 * keeps an address gives the new version a duplicate of the descriptor: both
 * share the kernel's queue, so no connection is lost between them.
 * Counted: connections that have not reached the relay hold theirs. Any thread.
 */
#ifndef ENGINE_LISTENER_H
#define ENGINE_LISTENER_H

#include "config/snapshot.h"
#include "sys/inherit.h"

struct listener {
	atomic_uint refs;
	int fd;
	struct addr bound;	   /* with the port the kernel chose */
	const char *name;	   /* as written; lives in `settings` */
	struct snapshot *snapshot; /* counted; what `settings` lives in */
	const struct listen_settings *settings;
};

/* Sockets that are there already. */
struct listener_sources {
	struct listener *const *old; /* may be NULL */
	size_t old_count;
	struct inherit *inherited; /* NULL: none */
};

/*
 * Binds, or takes over the socket of a source that listens on the same address.
 * NULL with one clear line in `error`.
 */
struct listener *listener_new(struct snapshot *s, size_t index,
    const struct listener_sources *sources, struct text *error);
struct listener *listener_get(struct listener *l);
void listener_put(struct listener *l);

/* Closes the socket; the rest stays until the last reference is gone. */
void listener_close(struct listener *l);

#endif
