#include "engine/journal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"

#define RING_BYTES (8 * 1024 * 1024)
/* Events leave this much free, so that a change of sinks finds room even when
 * a sink has stalled and the ring is full. */
#define RING_RESERVE_BYTES (64 * 1024)
#define BATCH_BYTES (64 * 1024)
/* How long the writer lets events gather: at most a hundred wake-ups a second,
 * instead of one an event. */
#define GATHER_MS 10
/* From here on it is woken early. */
#define GATHER_BYTES (1024 * 1024)

enum record_kind { RECORD_EVENT, RECORD_SINKS, RECORD_SKIP };

/* Records are whole multiples of this struct, so that at the ring's end there
 * is always room for one more header, the one that says "go on at the start".
 */
struct record {
	enum record_kind kind;
	uint32_t len;  /* of the line behind it */
	uint64_t size; /* of all of it, padding included */
	const char *type;
	struct journal_sink *sinks;
};
_Static_assert(RING_BYTES % sizeof(struct record) == 0, "headers fit");

struct journal {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t arrived; /* something is inside where nothing was */
	pthread_cond_t hurry;	/* stop gathering */

	/* Under the lock. Positions grow without wrapping; what lies between
	 * them is read by the writer without the lock. */
	uint64_t read_at, write_at;
	bool idle; /* the writer waits for `arrived` */
	bool stop, reopen;
	struct journal_counts counts;

	/* The writer's alone. */
	struct journal_sink *sinks;
	char *batch;
	size_t batch_len, batch_lines;

	char *ring;
};

static struct record *
record_at(const struct journal *j, uint64_t position)
{
	return (struct record *)(void *)(j->ring + position % RING_BYTES);
}

static char *
record_line(struct record *r)
{
	return (char *)(r + 1);
}

static uint64_t
record_size(size_t line_len)
{
	size_t unit = sizeof(struct record);

	return unit + (line_len + unit - 1) / unit * unit;
}

static uint64_t
bytes_inside(const struct journal *j)
{
	return j->write_at - j->read_at;
}

/* A record of `size` bytes in one piece, or NULL if that leaves less than
 * `reserve` free. */
static struct record *
append(struct journal *j, uint64_t size, uint64_t reserve)
{
	uint64_t to_end = RING_BYTES - j->write_at % RING_BYTES;
	uint64_t skip = size > to_end ? to_end : 0;
	struct record *r;

	if (bytes_inside(j) + skip + size + reserve > RING_BYTES)
		return NULL;
	if (skip > 0) {
		*record_at(j, j->write_at) =
		    (struct record){ .kind = RECORD_SKIP, .size = skip };
		j->write_at += skip;
	}
	r = record_at(j, j->write_at);
	*r = (struct record){ .size = size };
	j->write_at += size;
	return r;
}

static void
wake_writer(struct journal *j)
{
	if (j->idle) {
		j->idle = false;
		pthread_cond_signal(&j->arrived);
	} else if (bytes_inside(j) > GATHER_BYTES) {
		pthread_cond_signal(&j->hurry);
	}
}

void
journal_write(struct journal *j, const char *type, struct span line)
{
	struct record *r = NULL;
	uint64_t dropped;

	pthread_mutex_lock(&j->lock);
	if (line.len < RING_BYTES)
		r = append(j, record_size(line.len + 1), RING_RESERVE_BYTES);
	if (r) {
		r->kind = RECORD_EVENT;
		r->type = type;
		r->len = (uint32_t)line.len + 1;
		if (line.len > 0)
			memcpy(record_line(r), line.data, line.len);
		record_line(r)[line.len] = '\n';
		wake_writer(j);
	} else {
		j->counts.dropped++;
	}
	dropped = j->counts.dropped;
	pthread_mutex_unlock(&j->lock);
	if (!r)
		LOG_LIMITED(LOG_LEVEL_WARN,
		    "events dropped, the sinks are slow",
		    LOG_INT("dropped", dropped));
}

static void
free_sinks(struct journal_sink *sinks)
{
	while (sinks) {
		struct journal_sink *next = sinks->next;

		sinks->free(sinks);
		sinks = next;
	}
}

void
journal_set_sinks(struct journal *j, struct journal_sink *sinks)
{
	struct record *r;

	pthread_mutex_lock(&j->lock);
	r = append(j, record_size(0), 0);
	if (r) {
		r->kind = RECORD_SINKS;
		r->sinks = sinks;
		wake_writer(j);
	}
	pthread_mutex_unlock(&j->lock);
	if (r)
		return;
	/* Two thousand changes while one write was stalled. */
	LOG_WARN("event sinks not replaced, the old ones are stalled");
	free_sinks(sinks);
}

void
journal_reopen(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	j->reopen = true;
	wake_writer(j);
	pthread_mutex_unlock(&j->lock);
}

void
journal_counts(struct journal *j, struct journal_counts *out)
{
	pthread_mutex_lock(&j->lock);
	*out = j->counts;
	pthread_mutex_unlock(&j->lock);
}

static struct timespec
gather_deadline(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += GATHER_MS * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_nsec -= 1000000000L;
		t.tv_sec++;
	}
	return t;
}

/* Waits for something to do, then a little for more of it. Lock held. */
static void
wait_for_work(struct journal *j)
{
	struct timespec deadline;

	while (bytes_inside(j) == 0 && !j->stop && !j->reopen) {
		j->idle = true;
		pthread_cond_wait(&j->arrived, &j->lock);
	}
	j->idle = false;
	deadline = gather_deadline();
	while (!j->stop && !j->reopen && bytes_inside(j) <= GATHER_BYTES)
		if (pthread_cond_timedwait(&j->hurry, &j->lock, &deadline) ==
		    ETIMEDOUT)
			break;
}

/* One call of a sink; the events that it lost. */
static uint64_t
write_lines(struct journal_sink *s, const char *data, size_t len, size_t lines)
{
	int err;

	if (len == 0)
		return 0;
	err = s->write(s, span_of(data, len));
	if (err == 0)
		return 0;
	LOG_LIMITED(LOG_LEVEL_ERROR, "writing events failed", LOG_ERRNO(-err),
	    LOG_INT("events", lines));
	return lines;
}

static uint64_t
flush_batch(struct journal *j, struct journal_sink *s)
{
	uint64_t failed =
	    write_lines(s, j->batch, j->batch_len, j->batch_lines);

	j->batch_len = j->batch_lines = 0;
	return failed;
}

static uint64_t
add_to_batch(struct journal *j, struct journal_sink *s, struct record *r)
{
	uint64_t failed = 0;

	if (r->len > BATCH_BYTES - j->batch_len)
		failed = flush_batch(j, s);
	if (r->len > BATCH_BYTES)
		return failed + write_lines(s, record_line(r), r->len, 1);
	memcpy(j->batch + j->batch_len, record_line(r), r->len);
	j->batch_len += r->len;
	j->batch_lines++;
	return failed;
}

/* Gives one sink what it wants of the events from `from` to `to`. */
static uint64_t
write_to_sink(
    struct journal *j, struct journal_sink *s, uint64_t from, uint64_t to)
{
	uint64_t failed = 0;

	while (from < to) {
		struct record *r = record_at(j, from);

		if (r->kind == RECORD_EVENT && s->wants(s, r->type))
			failed += add_to_batch(j, s, r);
		from += r->size;
	}
	return failed + flush_batch(j, s);
}

static uint64_t
write_to_sinks(struct journal *j, uint64_t from, uint64_t to)
{
	uint64_t failed = 0;

	for (struct journal_sink *s = j->sinks; s; s = s->next)
		failed += write_to_sink(j, s, from, to);
	return failed;
}

/* Up to where there is no change of sinks; counts the events on the way. */
static uint64_t
find_change(const struct journal *j, uint64_t from, uint64_t to,
    struct journal_counts *done)
{
	while (from < to) {
		const struct record *r = record_at(j, from);

		if (r->kind == RECORD_SINKS)
			break;
		if (r->kind == RECORD_EVENT)
			done->written++;
		from += r->size;
	}
	return from;
}

static void
write_out(
    struct journal *j, uint64_t from, uint64_t to, struct journal_counts *done)
{
	while (from < to) {
		uint64_t change = find_change(j, from, to, done);

		done->failed += write_to_sinks(j, from, change);
		if (change < to) {
			struct record *r = record_at(j, change);

			free_sinks(j->sinks);
			j->sinks = r->sinks;
			change += r->size;
		}
		from = change;
	}
}

static void
reopen_sinks(struct journal *j)
{
	for (struct journal_sink *s = j->sinks; s; s = s->next) {
		int err = s->reopen(s);

		if (err < 0)
			LOG_ERROR("opening the event file again failed",
			    LOG_ERRNO(-err));
	}
}

/* Takes what is inside, writes it without the lock, gives the room back. Lock
 * held on entry and return. */
static void
write_round(struct journal *j)
{
	uint64_t from = j->read_at, to = j->write_at;
	struct journal_counts done = { 0 };
	bool reopen = j->reopen;

	j->reopen = false;
	pthread_mutex_unlock(&j->lock);
	write_out(j, from, to, &done);
	if (reopen)
		reopen_sinks(j);
	pthread_mutex_lock(&j->lock);
	j->read_at = to;
	j->counts.written += done.written;
	j->counts.failed += done.failed;
	/* Back to the start when empty: a quiet process then touches a few
	 * pages of the ring, not all eight megabytes in turn. */
	if (bytes_inside(j) == 0)
		j->read_at = j->write_at = 0;
}

static void *
run(void *arg)
{
	struct journal *j = arg;

	pthread_setname_np(pthread_self(), "journal");
	pthread_mutex_lock(&j->lock);
	while (!j->stop || bytes_inside(j) > 0) {
		wait_for_work(j);
		write_round(j);
	}
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

static void
init_locks(struct journal *j)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&j->lock, NULL);
	pthread_condattr_init(&attr);
	/* So that a jump of the wall clock cannot hold events back. */
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->arrived, NULL);
	pthread_cond_init(&j->hurry, &attr);
	pthread_condattr_destroy(&attr);
}

static void
free_parts(struct journal *j)
{
	free(j->ring);
	free(j->batch);
	free(j);
}

/* Signals are the main thread's business. */
static int
start_thread(struct journal *j)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&j->thread, NULL, run, j);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

struct journal *
journal_new(struct journal_sink *sinks)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->ring = malloc(RING_BYTES);
	j->batch = malloc(BATCH_BYTES);
	if (!j->ring || !j->batch)
		goto fail;
	init_locks(j);
	j->sinks = sinks;
	if (start_thread(j) < 0)
		goto fail;
	return j;
fail:
	free_parts(j);
	return NULL;
}

void
journal_free(struct journal *j)
{
	if (!j)
		return;
	pthread_mutex_lock(&j->lock);
	j->stop = true;
	pthread_cond_signal(&j->arrived);
	pthread_cond_signal(&j->hurry);
	pthread_mutex_unlock(&j->lock);
	pthread_join(j->thread, NULL);
	free_sinks(j->sinks);
	pthread_cond_destroy(&j->arrived);
	pthread_cond_destroy(&j->hurry);
	pthread_mutex_destroy(&j->lock);
	free_parts(j);
}
