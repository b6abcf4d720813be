/*
 * A bridge: two connected local stream sockets, for bytes that do not come from
 * the network to be treated as if they did. The outer end is a connection for
 * the engine, the inner one belongs to who makes and takes the bytes (see
 * tunnel/pump.h).
 *
 * A local socket has FIN but no reset, so each end notes in the struct that
 * both share that it closes by one, before it closes; who reads the end of the
 * stream asks for it. The ends may live on different threads.
 */
#ifndef SYS_BRIDGE_H
#define SYS_BRIDGE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/compiler.h"

/* What each direction may hold, as far as net.core.wmem_max allows. */
#define BRIDGE_BUFFER_BYTES (256 * 1024)

enum bridge_end { BRIDGE_OUTER, BRIDGE_INNER };

struct bridge {
	atomic_uint refs;
	atomic_bool reset[2]; /* by enum bridge_end */
	atomic_uint code[2];  /* why; 0: nothing was said */
};

/*
 * Makes both ends, non-blocking and close-on-exec: `fds` by enum bridge_end,
 * the caller's to close. The struct comes with two references, one for each
 * end. 0, or -errno and nothing was made.
 */
int bridge_open(struct bridge **out, int fds[2]) MUST_CHECK;

struct bridge *bridge_get(struct bridge *b); /* any thread */
void bridge_put(struct bridge *b);	     /* any thread; NULL is harmless */

/* `end` is about to be closed by a reset. Any thread, before the close. */
void bridge_note_reset(struct bridge *b, enum bridge_end end);

/* Whether `end` was: to be asked by the other one, once a read has met EOF. */
bool bridge_was_reset(const struct bridge *b, enum bridge_end end);

/* Why it closes by a reset, as the two ends have agreed to number it. Any
 * thread, before bridge_note_reset. */
void bridge_set_code(struct bridge *b, enum bridge_end end, unsigned code);
unsigned bridge_code(const struct bridge *b, enum bridge_end end);

/* Whether the other end of `fd` is closed for good, not just its direction
 * ended by a shutdown. Does not block. */
bool bridge_is_parted(int fd);

#endif
