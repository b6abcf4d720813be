/*
 * A crew: an accept thread that hands connections to workers in turn (mutex,
 * list, eventfd), as Lunette does. What both floors have in common.
 */
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>

#define CREW_WORKERS 2
#define CREW_EVENTS 256

/* What a worker is handed begins with this. */
struct handed {
	struct handed *next;
	int fd;
};

struct crew_worker {
	pthread_t thread;
	int epoll_fd, event_fd;
	pthread_mutex_t lock;
	struct handed *handed;
};

/* Starts the thread, which runs `work(arg)`; its events come with data NULL
 * when something was handed over. Exits on failure. */
void crew_start(struct crew_worker *w, void *(*work)(void *), void *arg);

/* Edge-triggered, both directions. */
void crew_watch(const struct crew_worker *w, int fd, void *data);

/* All that was handed over. */
struct handed *crew_take(struct crew_worker *w);

/*
 * Prints the port and accepts until standard input ends; each connection comes
 * to a worker as `size` zeroed bytes from the heap.
 */
void crew_accept(struct crew_worker *workers[CREW_WORKERS], size_t size);

#endif
