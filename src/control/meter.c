#include "control/meter.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "base/hash.h"

#define TICK_US 5000000
#define TICK_SECONDS 5.0
#define SAMPLES_MAX 1028
#define SAMPLES_FIRST 16
#define SAMPLE_ALPHA 0.015 /* a second */

static const double window_seconds[] = { 60, 300, 900 };
#define WINDOWS ARRAY_COUNT(window_seconds)

struct sample {
	double priority;
	uint64_t ns;
};

struct meter {
	atomic_uint refs;
	pthread_mutex_t lock;

	/* Under the lock. */
	uint64_t count, ended, duration_us;
	int64_t start_us; /* the reservoir's zero */
	int64_t tick_us;  /* when the current tick began */
	uint64_t begun;	  /* in the current tick */
	bool has_ticked;
	double rates[WINDOWS];
	/* A heap whose root has the lowest priority; grows up to SAMPLES_MAX.
	 */
	struct sample *samples;
	size_t sample_count, sample_room;
};

struct meter *
meter_new(int64_t now_us)
{
	struct meter *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	atomic_init(&m->refs, 1);
	pthread_mutex_init(&m->lock, NULL);
	m->start_us = m->tick_us = now_us;
	return m;
}

struct meter *
meter_get(struct meter *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void
meter_put(struct meter *m)
{
	if (!m ||
	    atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) > 1)
		return;
	pthread_mutex_destroy(&m->lock);
	free(m->samples);
	free(m);
}

/*
 * Moves the averages up to `now_us`. What began belongs to the first of the
 * ticks that have passed; the others were empty and only let the averages
 * decay, all of them in one step.
 */
static void
catch_up(struct meter *m, int64_t now_us)
{
	int64_t ticks = (now_us - m->tick_us) / TICK_US;
	double instant = (double)m->begun / TICK_SECONDS;

	if (ticks <= 0)
		return;
	for (size_t i = 0; i < WINDOWS; i++) {
		double part = TICK_SECONDS / window_seconds[i];
		double *rate = &m->rates[i];

		if (m->has_ticked)
			*rate += (1 - exp(-part)) * (instant - *rate);
		else
			*rate = instant;
		*rate *= exp(-part * (double)(ticks - 1));
	}
	m->has_ticked = true;
	m->begun = 0;
	m->tick_us += ticks * TICK_US;
}

void
meter_begin(struct meter *m, int64_t now_us)
{
	pthread_mutex_lock(&m->lock);
	catch_up(m, now_us);
	m->count++;
	m->begun++;
	pthread_mutex_unlock(&m->lock);
}

/*
 * The priority of Cormode's paper is exp(alpha * t) / u with u drawn from
 * (0, 1]; the largest ones stay. Its logarithm orders them alike and does not
 * overflow in a process that runs for years.
 */
static double
draw_priority(const struct meter *m, int64_t now_us)
{
	double u = ((double)(random_quick() >> 11) + 1) * 0x1p-53;

	return SAMPLE_ALPHA * (double)(now_us - m->start_us) / 1e6 - log(u);
}

static void
sift_up(struct sample *heap, size_t at, struct sample s)
{
	while (at > 0 && heap[(at - 1) / 2].priority > s.priority) {
		heap[at] = heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	heap[at] = s;
}

static void
sift_down(struct sample *heap, size_t count, struct sample s)
{
	size_t at = 0, child;

	while ((child = 2 * at + 1) < count) {
		if (child + 1 < count &&
		    heap[child + 1].priority < heap[child].priority)
			child++;
		if (heap[child].priority >= s.priority)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = s;
}

/* Doubles the room for samples; a failure leaves what there is. */
static void
grow(struct meter *m)
{
	size_t room = m->sample_room ? m->sample_room * 2 : SAMPLES_FIRST;
	struct sample *larger;

	if (room > SAMPLES_MAX)
		room = SAMPLES_MAX;
	larger = realloc(m->samples, room * sizeof(*larger));
	if (larger) {
		m->samples = larger;
		m->sample_room = room;
	}
}

static void
keep_sample(struct meter *m, struct sample s)
{
	if (m->sample_count == m->sample_room && m->sample_room < SAMPLES_MAX)
		grow(m);
	if (m->sample_count < m->sample_room)
		sift_up(m->samples, m->sample_count++, s);
	else if (m->sample_count > 0 && s.priority > m->samples[0].priority)
		sift_down(m->samples, m->sample_count, s);
}

void
meter_end(struct meter *m, int64_t now_us, int64_t duration_us)
{
	uint64_t us = duration_us < 0 ? 0 : (uint64_t)duration_us;

	pthread_mutex_lock(&m->lock);
	m->ended++;
	m->duration_us += us;
	keep_sample(m, (struct sample){ .priority = draw_priority(m, now_us),
			   .ns = us * 1000 });
	pthread_mutex_unlock(&m->lock);
}

static int
compare_ns(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/* Between the two values that are nearest, in proportion. */
static double
percentile(const uint64_t *sorted, size_t count, double part)
{
	double position = part * (double)(count + 1), lower, upper;
	size_t below;

	if (count == 0)
		return 0;
	if (position < 1)
		return (double)sorted[0];
	if (position >= (double)count)
		return (double)sorted[count - 1];
	below = (size_t)position;
	lower = (double)sorted[below - 1];
	upper = (double)sorted[below];
	return lower + (position - (double)below) * (upper - lower);
}

static void
fill_percentiles(struct meter_figures *out, uint64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare_ns);
	out->p50 = percentile(values, count, 0.5);
	out->p90 = percentile(values, count, 0.9);
	out->p95 = percentile(values, count, 0.95);
	out->p99 = percentile(values, count, 0.99);
}

void
meter_read(struct meter *m, int64_t now_us, struct meter_figures *out)
{
	uint64_t values[SAMPLES_MAX];
	size_t count;

	pthread_mutex_lock(&m->lock);
	catch_up(m, now_us);
	*out = (struct meter_figures){
		.count = m->count,
		.gauge = m->count - m->ended,
		.rate1 = m->rates[0],
		.rate5 = m->rates[1],
		.rate15 = m->rates[2],
		.ended = m->ended,
		.duration_us = m->duration_us,
	};
	count = m->sample_count;
	for (size_t i = 0; i < count; i++)
		values[i] = m->samples[i].ns;
	pthread_mutex_unlock(&m->lock);
	fill_percentiles(out, values, count);
}
