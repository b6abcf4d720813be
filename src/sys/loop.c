#include "sys/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BATCH_EVENTS 256

int
loop_init(struct loop *l)
{
	l->turn = 0;
	l->on_woken = NULL;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return l->epoll_fd < 0 ? -errno : 0;
}

void
loop_fini(struct loop *l)
{
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	l->epoll_fd = -1;
}

int
loop_add(struct loop *l, struct watch *w, int fd,
    void (*on_ready)(struct watch *, uint32_t))
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
		.data.ptr = w,
	};

	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	*w = (struct watch){
		.magic = WATCH_MAGIC,
		.fd = fd,
		.added_turn = l->turn,
		.on_ready = on_ready,
	};
	return 0;
}

static bool
is_added(const struct watch *w)
{
	return w->magic == WATCH_MAGIC && w->fd >= 0;
}

void
loop_remove(struct loop *l, struct watch *w)
{
	if (!is_added(w))
		return;
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	w->fd = -1;
}

/*
 * An event may have been fetched for a watch that an earlier handler of the
 * batch removed, or removed and added again for another descriptor: what was
 * true of the old one must not be told of the new one.
 */
static void
deliver(const struct loop *l, const struct epoll_event *event)
{
	struct watch *w = event->data.ptr;

	ASSERT(w->magic == WATCH_MAGIC);
	if (w->fd >= 0 && w->added_turn != l->turn)
		w->on_ready(w, event->events);
}

void
loop_turn(struct loop *l, int timeout_ms)
{
	struct epoll_event events[BATCH_EVENTS];
	int count = epoll_wait(l->epoll_fd, events, BATCH_EVENTS, timeout_ms);

	ASSERT(count >= 0 || errno == EINTR);
	l->turn++;
	if (l->on_woken)
		l->on_woken(l);
	for (int i = 0; i < count; i++)
		deliver(l, &events[i]);
}
