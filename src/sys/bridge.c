#include "sys/bridge.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

int
bridge_open(struct bridge **out, int fds[2])
{
	struct bridge *b = malloc(sizeof(*b));
	int size = BRIDGE_BUFFER_BYTES, error;

	if (!b)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		fds) < 0) {
		error = -errno;
		free(b);
		return error;
	}
	atomic_init(&b->refs, 2);
	atomic_init(&b->reset[BRIDGE_OUTER], false);
	atomic_init(&b->reset[BRIDGE_INNER], false);
	atomic_init(&b->code[BRIDGE_OUTER], 0);
	atomic_init(&b->code[BRIDGE_INNER], 0);
	/* What one end has sent and the other not read counts as the sender's.
	 * Less is no fault. */
	(void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	*out = b;
	return 0;
}

struct bridge *
bridge_get(struct bridge *b)
{
	atomic_fetch_add(&b->refs, 1);
	return b;
}

void
bridge_put(struct bridge *b)
{
	if (!b)
		return;
	if (atomic_fetch_sub(&b->refs, 1) == 1)
		free(b);
}

void
bridge_note_reset(struct bridge *b, enum bridge_end end)
{
	atomic_store(&b->reset[end], true);
}

bool
bridge_was_reset(const struct bridge *b, enum bridge_end end)
{
	return atomic_load(&b->reset[end]);
}

void
bridge_set_code(struct bridge *b, enum bridge_end end, unsigned code)
{
	atomic_store(&b->code[end], code);
}

unsigned
bridge_code(const struct bridge *b, enum bridge_end end)
{
	return atomic_load(&b->code[end]);
}

/* unix_poll: POLLHUP is both directions shut, which the other end's close does
 * and a shutdown of its sending alone does not; but our own and the other's
 * together do. */
bool
bridge_is_parted(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}
