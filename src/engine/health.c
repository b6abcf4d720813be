#include "engine/health.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "sys/socket.h"

/* A check that has not connected by then has failed; a shorter period ends it
 * earlier. */
#define CHECK_MS 3000

/*
 * A name on its way through the resolver. It has two owners, the check and the
 * resolver, of which either may go first, on different threads.
 */
struct question {
	struct resolver_query query;
	atomic_uint owners;
	struct check *check; /* NULL: nobody waits; the worker's thread only */
};

struct check {
	struct health *health;
	struct upstream *upstream;
	struct health_settings settings;
	struct timeout timeout; /* the next check, or the end of this one */
	struct watch watch;
	int fd; /* -1: not connecting */
	bool running;
	uint64_t began_ms;
	unsigned failures, successes; /* in a row */
	struct question *question;
	struct addr addrs[RESOLVER_MAX_ADDRS]; /* to be tried */
	size_t addr_count, addr_next;
	struct list retired;
};

struct health {
	struct loop *loop;
	struct timeouts *timeouts;
	struct resolver *resolver;
	struct mailbox *mailbox;
	struct check **checks; /* by address of their upstream */
	size_t count;
	/* Stopped, but the loop's batch may still point at them. */
	struct list retired;
	struct timeout sweep;
};

static void connect_next(struct check *c, int last_error);

static void
question_put(struct question *q)
{
	if (atomic_fetch_sub_explicit(&q->owners, 1, memory_order_acq_rel) == 1)
		free(q);
}

static void
disconnect(struct check *c)
{
	if (c->fd < 0)
		return;
	loop_remove(c->health->loop, &c->watch);
	close(c->fd);
	c->fd = -1;
}

static void
forget_question(struct check *c)
{
	if (!c->question)
		return;
	c->question->check = NULL;
	question_put(c->question);
	c->question = NULL;
}

static void
set_down(struct check *c, bool down, int error)
{
	if (atomic_exchange(&c->upstream->down, down) == down)
		return;
	if (down)
		LOG_WARN("upstream is down",
		    LOG_TEXT("upstream", c->upstream->address.text),
		    LOG_ERRNO(-error));
	else
		LOG_INFO("upstream is up",
		    LOG_TEXT("upstream", c->upstream->address.text));
}

static unsigned
at_least_one(unsigned count)
{
	return count ? count : 1;
}

/* The state starts as up, whatever `rise` says. */
static void
count_result(struct check *c, int error)
{
	if (error < 0) {
		c->successes = 0;
		if (++c->failures >= at_least_one(c->settings.fall))
			set_down(c, true, error);
		return;
	}
	c->failures = 0;
	upstream_worked(c->upstream);
	if (++c->successes >= at_least_one(c->settings.rise))
		set_down(c, false, 0);
}

/* Error 0: it accepted. The next check begins one period after this one did. */
static void
finish(struct check *c, int error)
{
	disconnect(c);
	forget_question(c);
	c->running = false;
	count_result(c, error);
	timeouts_set(c->health->timeouts, &c->timeout,
	    c->began_ms + c->settings.every_ms);
}

static void
on_ready(struct watch *w, uint32_t events)
{
	struct check *c = CONTAINER_OF(w, struct check, watch);
	int err;

	(void)events;
	if (c->fd < 0)
		return;
	err = socket_connect_result(c->fd);
	if (err == -EINPROGRESS || err == -EAGAIN)
		return;
	if (err == 0)
		finish(c, 0);
	else
		connect_next(c, err);
}

/* Takes a descriptor or the error that stands in its place. */
static int
watch_socket(struct check *c, int fd)
{
	int err;

	if (fd < 0)
		return fd;
	c->fd = fd;
	err = loop_add(c->health->loop, &c->watch, fd, on_ready);
	if (err < 0) {
		close(fd);
		c->fd = -1;
	}
	return err;
}

/* One of a name's addresses is enough. */
static void
connect_next(struct check *c, int last_error)
{
	disconnect(c);
	while (c->addr_next < c->addr_count) {
		last_error =
		    watch_socket(c, socket_connect(&c->addrs[c->addr_next++]));
		if (last_error >= 0)
			return;
	}
	finish(c, last_error);
}

static void
connect_unix(struct check *c)
{
	int err =
	    watch_socket(c, socket_connect_unix(c->upstream->address.path));

	if (err < 0)
		finish(c, err);
}

static void
take_addrs(struct check *c, const struct resolver_answer *answer)
{
	if (answer->error < 0) {
		finish(c, answer->error);
		return;
	}
	for (size_t i = 0; i < answer->count; i++) {
		c->addrs[i] = answer->addrs[i];
		c->addrs[i].port = c->upstream->address.port;
	}
	c->addr_count = answer->count;
	connect_next(c, -ENOENT);
}

static struct question *
question_of(struct resolver_query *q)
{
	return CONTAINER_OF(q, struct question, query);
}

static void
on_answer(struct resolver_query *query, void *receiver)
{
	struct question *q = question_of(query);
	struct check *c = q->check;

	(void)receiver;
	if (c) {
		forget_question(c);
		take_addrs(c, &query->answer);
	}
	question_put(q);
}

/* The worker is leaving; the check puts its part in health_free. */
static void
on_discard(struct resolver_query *query)
{
	question_put(question_of(query));
}

static void
resolve(struct check *c)
{
	struct question *q = calloc(1, sizeof(*q));

	if (!q) {
		finish(c, -ENOMEM);
		return;
	}
	q->query.return_to = c->health->mailbox;
	q->query.name = c->upstream->address.name;
	q->query.on_answer = on_answer;
	q->query.on_discard = on_discard;
	q->check = c;
	atomic_init(&q->owners, 2);
	c->question = q;
	if (resolver_ask(c->health->resolver, &q->query))
		on_answer(&q->query, NULL);
}

static uint64_t
check_ms(const struct check *c)
{
	return c->settings.every_ms < CHECK_MS ? c->settings.every_ms
					       : CHECK_MS;
}

static void
start(struct check *c)
{
	const struct upstream_address *a = &c->upstream->address;

	c->running = true;
	c->began_ms = c->health->timeouts->now_ms;
	timeouts_set(
	    c->health->timeouts, &c->timeout, c->began_ms + check_ms(c));
	c->addr_count = c->addr_next = 0;
	switch (a->kind) {
	case UPSTREAM_UNIX:
		connect_unix(c);
		break;
	case UPSTREAM_NAME:
		resolve(c);
		break;
	case UPSTREAM_IP:
		c->addrs[c->addr_count++] = a->addr;
		c->addrs[0].port = a->port;
		connect_next(c, 0);
		break;
	}
}

static void
on_timeout(struct timeout *t)
{
	struct check *c = CONTAINER_OF(t, struct check, timeout);

	if (c->running)
		finish(c, -ETIMEDOUT);
	else
		start(c);
}

static void
free_retired(struct health *h)
{
	struct list *node;

	while ((node = list_shift(&h->retired)))
		free(LIST_ENTRY(node, struct check, retired));
}

static void
on_sweep(struct timeout *t)
{
	free_retired(CONTAINER_OF(t, struct health, sweep));
}

/* Its memory stays until the turn is over: see struct watch. */
static void
retire(struct check *c)
{
	struct health *h = c->health;

	disconnect(c);
	forget_question(c);
	timeouts_clear(h->timeouts, &c->timeout);
	atomic_store(&c->upstream->down, false);
	upstream_put(c->upstream);
	list_append(&h->retired, &c->retired);
	timeouts_set(
	    h->timeouts, &h->sweep, h->timeouts->now_ms + 2 * TIMEOUTS_SLOT_MS);
}

struct health *
health_new(struct loop *loop, struct timeouts *timeouts,
    struct resolver *resolver, struct mailbox *mailbox)
{
	struct health *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->loop = loop;
	h->timeouts = timeouts;
	h->resolver = resolver;
	h->mailbox = mailbox;
	list_init(&h->retired);
	timeout_init(&h->sweep, on_sweep);
	return h;
}

void
health_free(struct health *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->count; i++)
		retire(h->checks[i]);
	timeouts_clear(h->timeouts, &h->sweep);
	free_retired(h);
	free(h->checks);
	free(h);
}

static struct check *
check_new(struct health *h, const struct health_target *target)
{
	struct check *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->health = h;
	c->upstream = target->upstream;
	c->fd = -1;
	timeout_init(&c->timeout, on_timeout);
	list_init(&c->retired);
	return c;
}

static int
compare_pointers(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

	return x < y ? -1 : x > y;
}

static int
compare_targets(const void *a, const void *b)
{
	const struct health_target *x = a, *y = b;

	return compare_pointers(x->upstream, y->upstream);
}

static int
compare_to_check(const void *upstream, const void *check)
{
	const struct check *const *c = check;

	return compare_pointers(upstream, (*c)->upstream);
}

static struct check *
find_check(const struct health *h, const struct upstream *u)
{
	struct check **found;

	if (h->count == 0)
		return NULL;
	found = bsearch(
	    u, h->checks, h->count, sizeof(struct check *), compare_to_check);
	return found ? *found : NULL;
}

/* Sorts by upstream, leaves out what has no period, and keeps the shortest
 * period of each upstream. Returns how many are left. */
static size_t
merge_targets(struct health_target *targets, size_t count)
{
	size_t kept = 0;

	qsort(targets, count, sizeof(*targets), compare_targets);
	for (size_t i = 0; i < count; i++) {
		struct health_target *last =
		    kept > 0 ? &targets[kept - 1] : NULL;

		if (targets[i].settings.every_ms == 0)
			continue;
		if (!last || last->upstream != targets[i].upstream)
			targets[kept++] = targets[i];
		else if (targets[i].settings.every_ms < last->settings.every_ms)
			*last = targets[i];
	}
	return kept;
}

/* For each target the check that it has or a new one. All or nothing. */
static int
gather_checks(struct health *h, const struct health_target *targets,
    size_t count, struct check **checks)
{
	for (size_t i = 0; i < count; i++) {
		checks[i] = find_check(h, targets[i].upstream);
		if (!checks[i])
			checks[i] = check_new(h, &targets[i]);
		if (checks[i])
			continue;
		while (i-- > 0)
			if (!find_check(h, checks[i]->upstream))
				free(checks[i]);
		return -ENOMEM;
	}
	return 0;
}

/* New checks begin anywhere in their period, so that a thousand of them are
 * not one burst; old ones are only pulled forward. */
static void
adopt(struct check *c, const struct health_settings *settings, bool is_new)
{
	struct timeouts *ts = c->health->timeouts;
	uint64_t next_ms = ts->now_ms + random_quick() % settings->every_ms;

	c->settings = *settings;
	if (is_new) {
		upstream_get(c->upstream);
		timeouts_set(ts, &c->timeout, next_ms);
	} else if (!c->running && c->timeout.deadline_ms > next_ms) {
		timeouts_set(ts, &c->timeout, next_ms);
	}
}

static bool
is_wanted(
    const struct check *c, const struct health_target *targets, size_t count)
{
	const struct health_target key = { .upstream = c->upstream };

	return count > 0 &&
	       bsearch(&key, targets, count, sizeof(key), compare_targets);
}

static void
replace_checks(struct health *h, struct check **checks,
    const struct health_target *targets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		adopt(checks[i], &targets[i].settings,
		    !find_check(h, targets[i].upstream));
	for (size_t i = 0; i < h->count; i++)
		if (!is_wanted(h->checks[i], targets, count))
			retire(h->checks[i]);
	free(h->checks);
	h->checks = checks;
	h->count = count;
}

int
health_set_targets(
    struct health *h, const struct health_target *targets, size_t count)
{
	struct health_target *sorted = calloc(count + 1, sizeof(*sorted));
	struct check **checks = calloc(count + 1, sizeof(struct check *));

	if (!sorted || !checks)
		goto fail;
	if (count > 0)
		memcpy(sorted, targets, count * sizeof(*sorted));
	count = merge_targets(sorted, count);
	if (gather_checks(h, sorted, count, checks) < 0)
		goto fail;
	replace_checks(h, checks, sorted, count);
	free(sorted);
	return 0;
fail:
	free(sorted);
	free(checks);
	return -ENOMEM;
}
