#include "crew.h"

#include "common.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

void
crew_watch(const struct crew_worker *w, int fd, void *data)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = data,
	};

	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

void
crew_start(struct crew_worker *w, void *(*work)(void *), void *arg)
{
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_mutex_init(&w->lock, NULL);
	crew_watch(w, w->event_fd, NULL);
	if (pthread_create(&w->thread, NULL, work, arg) != 0)
		die("pthread_create");
}

struct handed *
crew_take(struct crew_worker *w)
{
	struct handed *list;
	eventfd_t count;

	eventfd_read(w->event_fd, &count);
	pthread_mutex_lock(&w->lock);
	list = w->handed;
	w->handed = NULL;
	pthread_mutex_unlock(&w->lock);
	return list;
}

static void
hand_over(struct crew_worker *w, int fd, size_t size)
{
	struct handed *h = calloc(1, size);
	bool was_empty;

	if (!h)
		die("calloc");
	h->fd = fd;
	pthread_mutex_lock(&w->lock);
	was_empty = !w->handed;
	h->next = w->handed;
	w->handed = h;
	pthread_mutex_unlock(&w->lock);
	if (was_empty)
		eventfd_write(w->event_fd, 1);
}

void
crew_accept(struct crew_worker *workers[CREW_WORKERS], size_t size)
{
	unsigned turn = 0, port;
	int fd, listener = listen_anywhere(&port);
	struct pollfd fds[2] = { { listener, POLLIN, 0 },
		{ STDIN_FILENO, POLLIN, 0 } };

	printf("%u\n", port);
	fflush(stdout);
	while (poll(fds, 2, -1) >= 0 && !fds[1].revents)
		while ((fd = accept4(listener, NULL, NULL,
			    SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
			hand_over(workers[turn++ % CREW_WORKERS], fd, size);
}
