#include "engine/acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/edge_private.h"
#include "engine/event.h"
#include "sys/socket.h"

/* Connections taken from one listener before the next has its turn. */
#define ACCEPT_BATCH 64
#define BACKOFF_FIRST_MS 5
#define BACKOFF_MAX_MS 500

struct listener_set {
	struct listener **listeners;
	size_t count;
};

struct acceptor {
	struct edge *edge;
	pthread_t thread;
	bool started;
	int event_fd;		  /* something below has changed */
	int reserve_fd;		  /* given up for a moment to shed with */
	pthread_mutex_t lock;	  /* of `next` and its flags */
	struct listener_set next; /* takes effect when `has_next` */
	bool has_next, stopping;
	atomic_bool waits_for_room;
	struct listener_set current; /* the thread's own from here on */
	struct pollfd *polled;
	unsigned next_worker;
	bool paused;	/* do not look at the listeners for backoff_ms */
	int backoff_ms; /* grows while accepting fails, 0 once it works */
};

static void
close_set(struct listener_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		listener_close(set->listeners[i]);
		listener_put(set->listeners[i]);
	}
	free(set->listeners);
	*set = (struct listener_set){ NULL, 0 };
}

static void
signal_event(struct acceptor *a)
{
	uint64_t one = 1;

	if (write(a->event_fd, &one, sizeof(one)) < 0)
		ASSERT(errno == EAGAIN || errno == EINTR);
}

static void
drain_event(struct acceptor *a)
{
	uint64_t count;

	if (read(a->event_fd, &count, sizeof(count)) < 0)
		ASSERT(errno == EAGAIN || errno == EINTR);
}

static void
back_off(struct acceptor *a)
{
	a->backoff_ms =
	    a->backoff_ms == 0 ? BACKOFF_FIRST_MS : a->backoff_ms * 2;
	if (a->backoff_ms > BACKOFF_MAX_MS)
		a->backoff_ms = BACKOFF_MAX_MS;
	a->paused = true;
}

/* Room to poll so many listeners and the event. */
static bool
make_room(struct acceptor *a, size_t count)
{
	struct pollfd *polled =
	    realloc(a->polled, (count + 1) * sizeof(*polled));

	if (polled)
		a->polled = polled;
	return polled != NULL;
}

/* Takes what main has posted; without memory, at one of the next turns. False:
 * stop. */
static bool
take_orders(struct acceptor *a)
{
	struct listener_set old = { NULL, 0 };
	bool go_on;

	pthread_mutex_lock(&a->lock);
	go_on = !a->stopping;
	if (a->has_next && !make_room(a, a->next.count)) {
		back_off(a);
	} else if (a->has_next) {
		old = a->current;
		a->current = a->next;
		a->next = (struct listener_set){ NULL, 0 };
		a->has_next = false;
	}
	pthread_mutex_unlock(&a->lock);
	close_set(&old);
	return go_on;
}

/* Of two workers in turn, the one with fewer connections. */
static struct worker *
choose_worker(struct acceptor *a)
{
	struct edge *e = a->edge;
	struct worker *one = &e->workers[a->next_worker % e->worker_count];
	struct worker *two =
	    &e->workers[(a->next_worker + 1) % e->worker_count];

	a->next_worker++;
	return worker_open_count(two) < worker_open_count(one) ? two : one;
}

static void
deliver_arrival(struct mail *mail, void *receiver)
{
	struct arrival *a = CONTAINER_OF(mail, struct arrival, mail);

	conn_new(receiver, a);
	if (a->listener)
		listener_put(a->listener);
	free(a);
}

static void
free_arrival(struct arrival *a)
{
	close(a->fd);
	listener_put(a->listener);
	free(a);
}

static void
discard_arrival(struct mail *mail)
{
	free_arrival(CONTAINER_OF(mail, struct arrival, mail));
}

static bool
post_to_any(struct acceptor *a, struct mail *mail)
{
	struct edge *e = a->edge;

	for (unsigned i = 0; i < e->worker_count; i++)
		if (mailbox_try_post(&e->workers[i].mailbox, mail))
			return true;
	return false;
}

/* Hands over to a worker that has room. Where none has, this one still goes
 * into a box, and the rest waits in the kernel's queue. */
static bool
hand_over(struct acceptor *a, struct arrival *arrival)
{
	struct worker *chosen = choose_worker(a);

	if (mailbox_try_post(&chosen->mailbox, &arrival->mail) ||
	    post_to_any(a, &arrival->mail))
		return true;
	mailbox_post(&chosen->mailbox, &arrival->mail);
	back_off(a);
	return false;
}

static struct arrival *
arrival_new(const struct arrival *what)
{
	struct arrival *arrival = malloc(sizeof(*arrival));

	if (!arrival)
		return NULL;
	*arrival = *what;
	arrival->mail.deliver = deliver_arrival;
	arrival->mail.discard = discard_arrival;
	listener_get(arrival->listener);
	return arrival;
}

/* Somebody else may have been quicker when it was given up last. */
static void
hold_reserve(struct acceptor *a)
{
	if (a->reserve_fd < 0)
		a->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* No descriptor is left: the reserve takes one connection off the queue and
 * ends it, so that its client learns and the queue moves. */
static void
shed_one(struct acceptor *a, struct listener *l)
{
	struct arrival arrival = { .listener = l };

	if (a->reserve_fd < 0)
		return;
	close(a->reserve_fd);
	a->reserve_fd = -1;
	arrival.fd = socket_accept(l->fd, &arrival.peer, &arrival.local);
	if (arrival.fd >= 0) {
		arrival.start_us = clock_us();
		arrival.start_wall_us = clock_wall_us();
		event_lost(a->edge, &arrival, REASON_LIMIT);
		close(arrival.fd);
	}
	hold_reserve(a);
}

/* What accept says when it gives no connection. True: try the next one. */
static bool
accept_failed(struct acceptor *a, struct listener *l, int error)
{
	switch (error) {
	case -EAGAIN:
		return false;
	case -ECONNABORTED:
	case -EINTR:
	case -EPERM:
	case -EPROTO:
		return true; /* that client is gone, the next may be there */
	case -EMFILE:
	case -ENFILE:
		shed_one(a, l);
		break;
	default:
		break;
	}
	LOG_LIMITED(LOG_LEVEL_ERROR, "cannot accept; trying again shortly",
	    LOG_TEXT("listener", l->name), LOG_ERRNO(-error));
	back_off(a);
	return false;
}

static bool
has_room(struct acceptor *a)
{
	struct edge *e = a->edge;

	return atomic_load(&e->open_count) < atomic_load(&e->open_limit);
}

static void
refuse_without_memory(struct acceptor *a, struct arrival *lost)
{
	event_lost(a->edge, lost, REASON_NO_MEMORY);
	close(lost->fd);
	back_off(a);
}

/* A socket that listens on one address tells nothing new of its local end. */
static int
take_one(struct listener *l, struct arrival *out)
{
	bool any = addr_is_any(&l->bound);

	out->local = l->bound;
	return socket_accept(l->fd, &out->peer, any ? &out->local : NULL);
}

static bool
accept_one(struct acceptor *a, struct listener *l)
{
	struct arrival lost = { .listener = l };
	struct arrival *arrival;

	lost.fd = take_one(l, &lost);
	if (lost.fd < 0)
		return accept_failed(a, l, lost.fd);
	lost.start_us = clock_us();
	lost.start_wall_us = clock_wall_us();
	arrival = arrival_new(&lost);
	if (!arrival) {
		refuse_without_memory(a, &lost);
		return false;
	}
	a->backoff_ms = 0;
	atomic_fetch_add(&a->edge->open_count, 1);
	return hand_over(a, arrival);
}

static void
accept_batch(struct acceptor *a, struct listener *l)
{
	for (int i = 0; i < ACCEPT_BATCH && has_room(a); i++)
		if (!accept_one(a, l))
			return;
}

static size_t
prepare_poll(struct acceptor *a)
{
	bool look = !a->paused && has_room(a);
	size_t count = 0;

	a->polled[count++] =
	    (struct pollfd){ .fd = a->event_fd, .events = POLLIN };
	for (size_t i = 0; look && i < a->current.count; i++)
		a->polled[count++] = (struct pollfd){
			.fd = a->current.listeners[i]->fd,
			.events = POLLIN,
		};
	return count;
}

static int
wait_ms(struct acceptor *a)
{
	if (a->paused)
		return a->backoff_ms;
	if (has_room(a))
		return -1;
	/* Said before looking again: a place that becomes free in between
	 * wakes us. The time-out is a second string to the bow. */
	atomic_store(&a->waits_for_room, true);
	LOG_LIMITED(LOG_LEVEL_WARN,
	    "limits.connections reached; new connections wait",
	    LOG_INT("limit", atomic_load(&a->edge->open_limit)));
	return has_room(a) ? 0 : BACKOFF_MAX_MS;
}

static void
acceptor_turn(struct acceptor *a)
{
	int timeout_ms = wait_ms(a);
	size_t count = prepare_poll(a);
	int ready = poll(a->polled, count, timeout_ms);

	a->paused = false;
	hold_reserve(a);
	if (ready <= 0)
		return;
	if (a->polled[0].revents)
		drain_event(a);
	for (size_t i = 1; i < count; i++)
		if (a->polled[i].revents)
			accept_batch(a, a->current.listeners[i - 1]);
}

static void *
acceptor_main(void *arg)
{
	struct acceptor *a = arg;

	while (take_orders(a))
		acceptor_turn(a);
	close_set(&a->current);
	return NULL;
}

struct acceptor *
acceptor_new(struct edge *edge)
{
	struct acceptor *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->edge = edge;
	pthread_mutex_init(&a->lock, NULL);
	a->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	a->reserve_fd = -1;
	hold_reserve(a);
	a->polled = calloc(1, sizeof(*a->polled));
	if (a->event_fd < 0 || a->reserve_fd < 0 || !a->polled) {
		acceptor_free(a);
		return NULL;
	}
	return a;
}

int
acceptor_start(struct acceptor *a)
{
	int error = pthread_create(&a->thread, NULL, acceptor_main, a);

	a->started = error == 0;
	return -error;
}

void
acceptor_set_listeners(
    struct acceptor *a, struct listener **listeners, size_t count)
{
	struct listener_set unused;

	pthread_mutex_lock(&a->lock);
	unused = a->next;
	a->next = (struct listener_set){ listeners, count };
	a->has_next = true;
	pthread_mutex_unlock(&a->lock);
	close_set(&unused);
	signal_event(a);
}

void
acceptor_note_room(struct acceptor *a)
{
	if (atomic_load_explicit(&a->waits_for_room, memory_order_relaxed) &&
	    atomic_exchange(&a->waits_for_room, false))
		signal_event(a);
}

void
acceptor_stop(struct acceptor *a)
{
	pthread_mutex_lock(&a->lock);
	a->stopping = true;
	pthread_mutex_unlock(&a->lock);
	if (!a->started)
		return;
	signal_event(a);
	pthread_join(a->thread, NULL);
	a->started = false;
}

void
acceptor_free(struct acceptor *a)
{
	if (!a)
		return;
	acceptor_stop(a);
	close_set(&a->next);
	close_set(&a->current);
	if (a->event_fd >= 0)
		close(a->event_fd);
	if (a->reserve_fd >= 0)
		close(a->reserve_fd);
	pthread_mutex_destroy(&a->lock);
	free(a->polled);
	free(a);
}
