#include "engine/stapler.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/index.h"
#include "tls/ocsp.h"

#define MS_PER_S 1000
/* The end of the process does not wait longer for an answer. */
#define STOP_WAIT_MS 500

/* One certificate that is kept stapled. */
struct job {
	struct certificate *certificate; /* counted */
	uint8_t *answer;		 /* the last good one; NULL: none */
	size_t answer_len;
	uint64_t due_ms;   /* when to ask (again) */
	unsigned failures; /* in a row */
};

struct stapler {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;

	/* Under the lock. */
	bool started, stop, ended;
	bool abandoned; /* the thread has to free it all */
	struct job *jobs;
	size_t count;

	uint8_t *buffer; /* the thread's: OCSP_MAX_RESPONSE_BYTES */
};

static int64_t
wall_s(void)
{
	return clock_wall_us() / 1000000;
}

static void
drop_answer(struct job *j)
{
	free(j->answer);
	j->answer = NULL;
	j->answer_len = 0;
}

static bool
keep_answer(struct job *j, struct span answer)
{
	drop_answer(j);
	j->answer = malloc(answer.len);
	if (!j->answer)
		return false;
	memcpy(j->answer, answer.data, answer.len);
	j->answer_len = answer.len;
	return true;
}

static void
free_jobs(struct job *jobs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		drop_answer(&jobs[i]);
		certificate_put(jobs[i].certificate);
	}
	free(jobs);
}

static void
job_init(struct job *j, struct certificate *c)
{
	*j = (struct job){
		.certificate = certificate_get(c),
		.due_ms = clock_ms(),
	};
}

static bool
same_leaf(const struct certificate *a, const struct certificate *b)
{
	return !strcmp(certificate_fingerprint(a), certificate_fingerprint(b));
}

static bool
staple(struct certificate *c, struct span answer)
{
	char storage[256];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	return certificate_set_staple(c, answer, wall_s(), NULL, &error) == 0;
}

/* The same leaf, read from its file again: what the responder said of it still
 * holds. */
static void
inherit(struct job *j, const struct job *old)
{
	struct span answer = span_of(old->answer, old->answer_len);

	j->failures = old->failures;
	if (old->answer && staple(j->certificate, answer) &&
	    keep_answer(j, answer))
		j->due_ms = old->due_ms;
}

/* The job for a certificate itself, or NULL. */
static struct job *
find_job(struct stapler *s, const struct certificate *c)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->jobs[i].certificate == c)
			return &s->jobs[i];
	return NULL;
}

/* One for the same leaf, rather with an answer than without, or NULL. */
static struct job *
find_leaf(struct stapler *s, const struct certificate *c)
{
	struct job *found = NULL;

	for (size_t i = 0; i < s->count; i++)
		if (same_leaf(s->jobs[i].certificate, c) &&
		    (!found || !found->answer))
			found = &s->jobs[i];
	return found;
}

static struct job *
next_job(struct stapler *s)
{
	struct job *next = NULL;

	for (size_t i = 0; i < s->count; i++)
		if (!next || s->jobs[i].due_ms < next->due_ms)
			next = &s->jobs[i];
	return next;
}

/* Half of the answer's life, but between an hour and a day; if it does not live
 * so long, half of it all the same. */
static uint64_t
use_ms(int64_t life_s)
{
	int64_t half = life_s / 2;

	if (half > STAPLER_MAX_USE_S)
		half = STAPLER_MAX_USE_S;
	if (half < STAPLER_MIN_USE_S && life_s > STAPLER_MIN_USE_S)
		half = STAPLER_MIN_USE_S;
	if (half < STAPLER_MIN_PAUSE_S)
		half = STAPLER_MIN_PAUSE_S;
	return (uint64_t)half * MS_PER_S;
}

static uint64_t
pause_ms(unsigned failures)
{
	uint64_t pause = STAPLER_MIN_PAUSE_S;

	while (--failures > 0 && pause < STAPLER_MAX_PAUSE_S)
		pause *= 2;
	return (pause < STAPLER_MAX_PAUSE_S ? pause : STAPLER_MAX_PAUSE_S) *
	       MS_PER_S;
}

/* 1, 2, 4, 8 ... failures are told of: a responder may be gone for months. */
static bool
is_worth_a_line(unsigned failures)
{
	return (failures & (failures - 1)) == 0;
}

static const char *
name_of(const struct certificate *c)
{
	return certificate_name_count(c) > 0 ? certificate_name(c, 0)
					     : certificate_subject(c);
}

static void
tell_failure(struct certificate *c, unsigned failures, const char *error)
{
	/* 0: nobody wants it any more. */
	if (failures == 0 || !is_worth_a_line(failures))
		return;
	LOG_WARN("no OCSP answer to staple", LOG_TEXT("name", name_of(c)),
	    LOG_TEXT("fingerprint", certificate_fingerprint(c)),
	    LOG_TEXT("responder", certificate_ocsp_url(c)),
	    LOG_INT("failures", failures),
	    LOG_TEXT("stapled", certificate_is_stapled(c, wall_s())
				    ? "still the last answer"
				    : "nothing"),
	    LOG_TEXT("error", error));
}

static void
tell_success(struct certificate *c, unsigned failures, int64_t next_update)
{
	char until[40];
	struct text t;

	text_init(&t, until, sizeof(until));
	text_add_time(&t, next_update * 1000000, 3);
	LOG_AT(failures > 0 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG,
	    "OCSP answer stapled", LOG_TEXT("name", name_of(c)),
	    LOG_TEXT("fingerprint", certificate_fingerprint(c)),
	    LOG_TEXT("until", until));
}

/* How often asking had failed before. */
static unsigned
take_answer(struct job *j, struct span answer, int64_t life_s)
{
	unsigned failures = j->failures;

	j->failures = 0;
	j->due_ms = clock_ms() + use_ms(life_s);
	/* Without a copy the next reload asks again. */
	(void)!keep_answer(j, answer);
	return failures;
}

/*
 * For all jobs of the leaf, not for that of `c` alone: while the responder was
 * asked the pair may have been read again, and then another certificate of the
 * same leaf has the job. It is not stapled yet, and must not ask for what has
 * just come. If there is no such job any more nobody needs the answer.
 */
static unsigned
note_success(struct stapler *s, struct certificate *c, struct span answer,
    int64_t life_s)
{
	unsigned failures = 0, before;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->count; i++) {
		struct job *j = &s->jobs[i];

		if (!same_leaf(j->certificate, c) ||
		    (j->certificate != c && !staple(j->certificate, answer)))
			continue;
		before = take_answer(j, answer, life_s);
		if (before > failures)
			failures = before;
	}
	pthread_mutex_unlock(&s->lock);
	return failures;
}

static unsigned
note_failure(struct stapler *s, struct certificate *c)
{
	struct job *j;
	unsigned failures = 0;

	pthread_mutex_lock(&s->lock);
	j = find_job(s, c);
	if (j) {
		failures = ++j->failures;
		j->due_ms = clock_ms() + pause_ms(failures);
	}
	pthread_mutex_unlock(&s->lock);
	return failures;
}

static void
ask(struct stapler *s, struct certificate *c)
{
	char storage[512];
	struct text error;
	size_t len = 0;
	int64_t next_update = 0;
	struct span answer;

	text_init(&error, storage, sizeof(storage));
	int r = ocsp_fetch(c, STAPLER_TRY_S, s->buffer, &len, &error);

	answer = span_of(s->buffer, len);
	if (r == 0)
		r = certificate_set_staple(
		    c, answer, wall_s(), &next_update, &error);
	if (r == 0)
		tell_success(c,
		    note_success(s, c, answer, next_update - wall_s()),
		    next_update);
	else
		tell_failure(c, note_failure(s, c), error.data);
}

/* Lock held. False: nothing happened. */
static bool
wait_ms(struct stapler *s, uint64_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(ms / MS_PER_S);
	t.tv_nsec += (long)(ms % MS_PER_S) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return pthread_cond_timedwait(&s->changed, &s->lock, &t) == 0;
}

/* Lock held on entry and return. */
static void
turn(struct stapler *s)
{
	struct job *j = next_job(s);
	uint64_t now_ms = clock_ms();
	struct certificate *c;

	if (!j) {
		pthread_cond_wait(&s->changed, &s->lock);
		return;
	}
	if (j->due_ms > now_ms) {
		wait_ms(s, j->due_ms - now_ms);
		return;
	}
	c = certificate_get(j->certificate);
	pthread_mutex_unlock(&s->lock);
	ask(s, c);
	certificate_put(c);
	pthread_mutex_lock(&s->lock);
}

static void
free_parts(struct stapler *s)
{
	free_jobs(s->jobs, s->count);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s->buffer);
	free(s);
}

static void *
stapler_main(void *arg)
{
	struct stapler *s = arg;
	bool abandoned;

	pthread_setname_np(pthread_self(), "stapler");
	pthread_mutex_lock(&s->lock);
	while (!s->stop)
		turn(s);
	s->ended = true;
	abandoned = s->abandoned;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
	if (abandoned)
		free_parts(s);
	return NULL;
}

struct stapler *
stapler_new(void)
{
	struct stapler *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	if (!s)
		return NULL;
	s->buffer = malloc(OCSP_MAX_RESPONSE_BYTES);
	if (!s->buffer) {
		free(s);
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	return s;
}

/* Lock held. False: it still waits for an answer. */
static bool
wait_for_end(struct stapler *s)
{
	while (!s->ended)
		if (!wait_ms(s, STOP_WAIT_MS))
			return s->ended;
	return true;
}

void
stapler_free(struct stapler *s)
{
	bool runs_on;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->changed);
	runs_on = s->started && !wait_for_end(s);
	s->abandoned = runs_on;
	if (runs_on)
		pthread_detach(s->thread);
	pthread_mutex_unlock(&s->lock);
	if (runs_on)
		return;
	if (s->started)
		pthread_join(s->thread, NULL);
	free_parts(s);
}

/* Most edges have nothing to staple and need no thread for it. Lock held. */
static void
start_if_needed(struct stapler *s)
{
	int err;

	pthread_cond_signal(&s->changed);
	if (s->started || s->count == 0)
		return;
	err = pthread_create(&s->thread, NULL, stapler_main, s);
	s->started = err == 0;
	if (err != 0)
		LOG_ERROR("cannot start the thread that asks OCSP responders",
		    LOG_ERRNO(err));
}

static void
take_jobs(struct stapler *s, struct job *jobs, size_t count)
{
	free_jobs(s->jobs, s->count);
	s->jobs = jobs;
	s->count = count;
	start_if_needed(s);
}

static int
index_jobs(const struct stapler *s, struct index *by_leaf)
{
	size_t known;

	for (size_t i = 0; i < s->count; i++) {
		const char *leaf =
		    certificate_fingerprint(s->jobs[i].certificate);

		if (index_add(by_leaf, span_text(leaf), i, &known) == -ENOMEM)
			return -ENOMEM;
	}
	return 0;
}

/* Lock held. */
static int
set_jobs(
    struct stapler *s, struct certificate *const *certificates, size_t count)
{
	struct job *jobs = calloc(count + 1, sizeof(*jobs));
	struct index by_leaf = { 0 };
	size_t old;

	if (!jobs || index_jobs(s, &by_leaf) < 0) {
		index_fini(&by_leaf);
		free(jobs);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		const char *leaf = certificate_fingerprint(certificates[i]);

		job_init(&jobs[i], certificates[i]);
		if (index_find(&by_leaf, span_text(leaf), &old))
			inherit(&jobs[i], &s->jobs[old]);
	}
	index_fini(&by_leaf);
	take_jobs(s, jobs, count);
	return 0;
}

int
stapler_set(
    struct stapler *s, struct certificate *const *certificates, size_t count)
{
	int err;

	pthread_mutex_lock(&s->lock);
	err = set_jobs(s, certificates, count);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static void
remove_job(struct stapler *s, struct job *j)
{
	drop_answer(j);
	certificate_put(j->certificate);
	*j = s->jobs[--s->count];
}

/* Lock held. */
static int
replace_job(struct stapler *s, struct certificate *old, struct certificate *c)
{
	struct job *jobs, *last, *j, *twin;

	jobs = realloc(s->jobs, (s->count + 1) * sizeof(*jobs));
	if (!jobs)
		return -ENOMEM;
	s->jobs = jobs;
	j = old ? find_job(s, old) : NULL;
	if (c) {
		/* Not only from `old`: where two labels share a certificate,
		 * the first one to be read again has taken its job. */
		twin = find_leaf(s, c);
		last = &jobs[s->count++];
		job_init(last, c);
		if (twin)
			inherit(last, twin);
	}
	if (j)
		remove_job(s, j);
	start_if_needed(s);
	return 0;
}

int
stapler_replace(
    struct stapler *s, struct certificate *old, struct certificate *c)
{
	int err;

	pthread_mutex_lock(&s->lock);
	err = replace_job(s, old, c);
	pthread_mutex_unlock(&s->lock);
	return err;
}
