#include "engine/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/socket.h"

/* One clear line that says what to do. */
static void
explain(int error, const struct listen_settings *settings, struct text *out)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(&settings->addr, text);
	text_addf(out, "cannot listen on %s: ", settings->address);
	if (error == -EADDRINUSE)
		text_addf(out,
		    "another process uses port %u; stop it (`ss -ltnp` names "
		    "it) or choose another address",
		    settings->addr.port);
	else if (error == -EACCES || error == -EPERM)
		text_addf(out,
		    "no permission for port %u; use a port from 1024 up such "
		    "as :8443, or give the CAP_NET_BIND_SERVICE capability",
		    settings->addr.port);
	else if (error == -EADDRNOTAVAIL)
		text_addf(
		    out, "this machine does not have the address %s", text);
	else
		text_add(out, log_errno_text(-error));
}

static bool
listens_on(const struct listener *l, const struct addr *wanted)
{
	const struct addr *have = &l->settings->addr;

	return l->fd >= 0 && addr_same_ip(have, wanted) &&
	       have->port == wanted->port;
}

/* The one in the same place first: several may have asked for port 0. */
static struct listener *
find_old(const struct addr *wanted, size_t index,
    const struct listener_sources *sources)
{
	struct listener *const *old = sources->old;

	if (index < sources->old_count && listens_on(old[index], wanted))
		return old[index];
	for (size_t i = 0; i < sources->old_count && wanted->port != 0; i++)
		if (listens_on(old[i], wanted))
			return old[i];
	return NULL;
}

static int
open_socket(const struct addr *wanted, size_t index,
    const struct listener_sources *sources)
{
	struct listener *same = find_old(wanted, index, sources);
	int fd = -1;

	if (!same && sources->inherited)
		fd = inherit_pick(sources->inherited, wanted);
	if (!same)
		return fd >= 0 ? fd : socket_listen(wanted);
	fd = fcntl(same->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

struct listener *
listener_new(struct snapshot *s, size_t index,
    const struct listener_sources *sources, struct text *error)
{
	const struct listen_settings *settings = &s->listens[index];
	struct listener *l = calloc(1, sizeof(*l));

	if (!l) {
		text_add(error, "no memory for a listener");
		return NULL;
	}
	l->fd = open_socket(&settings->addr, index, sources);
	if (l->fd < 0 || socket_local_addr(l->fd, &l->bound) < 0) {
		explain(l->fd < 0 ? l->fd : -errno, settings, error);
		if (l->fd >= 0)
			close(l->fd);
		free(l);
		return NULL;
	}
	atomic_init(&l->refs, 1);
	l->name = settings->address;
	l->snapshot = snapshot_get(s);
	l->settings = settings;
	return l;
}

struct listener *
listener_get(struct listener *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void
listener_put(struct listener *l)
{
	if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) > 1)
		return;
	listener_close(l);
	snapshot_put(l->snapshot);
	free(l);
}

void
listener_close(struct listener *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}
