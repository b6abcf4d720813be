#include "engine/watchdog.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/edge_private.h"

#define LOOK_EVERY_MS 250
#define SAY_AFTER_MS 1000
#define ABORT_AFTER_MS 10000

struct watchdog {
	struct edge *edge;
	pthread_t thread;
	int stop_fd;
};

static void
look_at(const struct worker *w, uint64_t now_ms)
{
	uint64_t since =
	    atomic_load_explicit(&w->in_policy_since_ms, memory_order_relaxed);

	if (since == 0 || now_ms < since + SAY_AFTER_MS)
		return;
	LOG_LIMITED(LOG_LEVEL_ERROR, "a worker is stuck in a policy script",
	    LOG_INT("worker", w->index), LOG_INT("ms", now_ms - since));
	if (now_ms >= since + ABORT_AFTER_MS)
		abort();
}

static void *
watchdog_main(void *arg)
{
	struct watchdog *w = arg;
	struct pollfd stop = { .fd = w->stop_fd, .events = POLLIN };

	while (poll(&stop, 1, LOOK_EVERY_MS) <= 0)
		for (unsigned i = 0; i < w->edge->worker_count; i++)
			look_at(&w->edge->workers[i], clock_ms());
	return NULL;
}

struct watchdog *
watchdog_new(struct edge *edge)
{
	struct watchdog *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->edge = edge;
	w->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->stop_fd >= 0 &&
	    pthread_create(&w->thread, NULL, watchdog_main, w) == 0)
		return w;
	if (w->stop_fd >= 0)
		close(w->stop_fd);
	free(w);
	return NULL;
}

void
watchdog_free(struct watchdog *w)
{
	uint64_t one = 1;

	if (!w)
		return;
	if (write(w->stop_fd, &one, sizeof(one)) < 0)
		ASSERT(errno == EAGAIN);
	pthread_join(w->thread, NULL);
	close(w->stop_fd);
	free(w);
}
