#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "engine/journal.h"

/* A sink that keeps what it got and can be held up in the middle of a write. */
struct memory_sink {
	struct journal_sink sink;
	const char *only; /* type, NULL: all */
	int error;
	struct record *record;
};

/* Outlives the sink, so that the test can look at it after the free. */
struct record {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char *data;
	size_t len;
	unsigned writes, reopens, frees;
	bool hold, holding;
};

static void
record_init(struct record *r)
{
	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
}

static void
record_fini(struct record *r)
{
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r->data);
}

static bool
sink_wants(struct journal_sink *s, const char *type)
{
	struct memory_sink *m = CONTAINER_OF(s, struct memory_sink, sink);

	return !m->only || !strcmp(m->only, type);
}

static int
sink_write(struct journal_sink *s, struct span line)
{
	struct memory_sink *m = CONTAINER_OF(s, struct memory_sink, sink);
	struct record *r = m->record;

	pthread_mutex_lock(&r->lock);
	r->writes++;
	r->holding = true;
	pthread_cond_broadcast(&r->changed);
	while (r->hold)
		pthread_cond_wait(&r->changed, &r->lock);
	r->holding = false;
	if (m->error == 0) {
		r->data = realloc(r->data, r->len + line.len);
		memcpy(r->data + r->len, line.data, line.len);
		r->len += line.len;
	}
	pthread_mutex_unlock(&r->lock);
	return m->error;
}

static int
sink_reopen(struct journal_sink *s)
{
	struct memory_sink *m = CONTAINER_OF(s, struct memory_sink, sink);

	pthread_mutex_lock(&m->record->lock);
	m->record->reopens++;
	pthread_cond_broadcast(&m->record->changed);
	pthread_mutex_unlock(&m->record->lock);
	return m->error;
}

static void
sink_free(struct journal_sink *s)
{
	struct memory_sink *m = CONTAINER_OF(s, struct memory_sink, sink);

	pthread_mutex_lock(&m->record->lock);
	m->record->frees++;
	pthread_mutex_unlock(&m->record->lock);
	free(m);
}

static struct journal_sink *
sink_new(struct record *r, const char *only, int error)
{
	struct memory_sink *m = calloc(1, sizeof(*m));

	m->sink.wants = sink_wants;
	m->sink.write = sink_write;
	m->sink.reopen = sink_reopen;
	m->sink.free = sink_free;
	m->only = only;
	m->error = error;
	m->record = r;
	return &m->sink;
}

static void
set_hold(struct record *r, bool hold)
{
	pthread_mutex_lock(&r->lock);
	r->hold = hold;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

static void
wait_until_held(struct record *r)
{
	pthread_mutex_lock(&r->lock);
	while (!r->holding)
		pthread_cond_wait(&r->changed, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

static void
check_data(const struct record *r, const char *expected)
{
	ck_assert_uint_eq(r->len, strlen(expected));
	ck_assert(!memcmp(r->data, expected, r->len));
}

START_TEST(freeing_writes_what_is_inside)
{
	struct record r;
	struct journal *j;

	record_init(&r);
	j = journal_new(sink_new(&r, NULL, 0));
	journal_write(j, "a", span_text("{1}"));
	journal_write(j, "b", span_text(""));
	journal_write(j, "a", span_text("{2}"));
	journal_free(j);
	check_data(&r, "{1}\n\n{2}\n");
	ck_assert_uint_eq(r.frees, 1);
	record_fini(&r);
}
END_TEST

START_TEST(each_sink_gets_what_it_wants)
{
	struct record all, some;
	struct journal_sink *first, *second;
	struct journal *j;

	record_init(&all);
	record_init(&some);
	first = sink_new(&all, NULL, 0);
	second = sink_new(&some, "b", 0);
	first->next = second;
	j = journal_new(first);
	journal_write(j, "a", span_text("1"));
	journal_write(j, "b", span_text("2"));
	journal_write(j, "c", span_text("3"));
	journal_write(j, "b", span_text("4"));
	journal_free(j);
	check_data(&all, "1\n2\n3\n4\n");
	check_data(&some, "2\n4\n");
	ck_assert_uint_eq(all.frees + some.frees, 2);
	record_fini(&all);
	record_fini(&some);
}
END_TEST

START_TEST(without_sinks_events_count_as_written)
{
	struct journal *j = journal_new(NULL);

	journal_write(j, "a", span_text("1"));
	journal_set_sinks(j, NULL);
	journal_reopen(j);
	journal_free(j);
	journal_free(NULL);
}
END_TEST

START_TEST(changed_sinks_get_what_came_after)
{
	struct record r[3];
	struct journal *j;

	for (int i = 0; i < 3; i++)
		record_init(&r[i]);
	r[0].hold = true;
	j = journal_new(sink_new(&r[0], NULL, 0));
	journal_write(j, "a", span_text("0"));
	wait_until_held(&r[0]);
	/* Two changes while the first sink is stalled. */
	journal_write(j, "a", span_text("0 late"));
	journal_set_sinks(j, sink_new(&r[1], NULL, 0));
	journal_write(j, "a", span_text("1"));
	journal_set_sinks(j, sink_new(&r[2], NULL, 0));
	journal_write(j, "a", span_text("2"));
	set_hold(&r[0], false);
	journal_free(j);
	check_data(&r[0], "0\n0 late\n");
	check_data(&r[1], "1\n");
	check_data(&r[2], "2\n");
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(r[i].frees, 1);
		record_fini(&r[i]);
	}
}
END_TEST

START_TEST(a_stalled_sink_costs_events_not_producers)
{
	enum { LINE = 100 * 1000 };
	struct record r;
	struct journal_counts counts;
	struct journal *j;
	char *line = malloc(LINE);
	unsigned sent = 1;

	memset(line, 'x', LINE);
	record_init(&r);
	r.hold = true;
	j = journal_new(sink_new(&r, NULL, 0));
	journal_write(j, "a", span_text("first"));
	wait_until_held(&r);
	do {
		journal_write(j, "a", span_of(line, LINE));
		sent++;
		journal_counts(j, &counts);
	} while (counts.dropped < 5);
	ck_assert_uint_gt(sent, 8u * 1024 * 1024 / LINE - 5);
	/* A change of sinks still goes through, in its order. */
	journal_set_sinks(j, NULL);
	set_hold(&r, false);
	journal_free(j);
	ck_assert_uint_eq(
	    r.len, strlen("first\n") + (sent - 6) * ((size_t)LINE + 1));
	free(line);
	record_fini(&r);
}
END_TEST

START_TEST(a_line_that_never_fits_is_dropped)
{
	size_t len = 9u * 1024 * 1024;
	char *line = calloc(1, len);
	struct journal *j = journal_new(NULL);
	struct journal_counts counts;

	journal_write(j, "a", span_of(line, len));
	journal_counts(j, &counts);
	ck_assert_uint_eq(counts.dropped, 1);
	journal_free(j);
	free(line);
}
END_TEST

START_TEST(failures_are_counted_by_event)
{
	struct record bad, good;
	struct journal_sink *first, *second;
	struct journal_counts counts;
	struct journal *j;

	record_init(&bad);
	record_init(&good);
	first = sink_new(&bad, NULL, -ENOSPC);
	second = sink_new(&good, NULL, 0);
	first->next = second;
	j = journal_new(first);
	for (int i = 0; i < 10; i++)
		journal_write(j, "a", span_text("x"));
	do
		journal_counts(j, &counts);
	while (counts.written < 10);
	ck_assert_uint_eq(counts.failed, 10);
	ck_assert_uint_eq(counts.dropped, 0);
	journal_free(j);
	ck_assert_uint_eq(good.len, 20);
	record_fini(&bad);
	record_fini(&good);
}
END_TEST

START_TEST(reopen_reaches_the_sinks_without_events)
{
	struct record r;
	struct journal *j;

	record_init(&r);
	j = journal_new(sink_new(&r, NULL, 0));
	journal_reopen(j);
	pthread_mutex_lock(&r.lock);
	while (r.reopens == 0)
		pthread_cond_wait(&r.changed, &r.lock);
	pthread_mutex_unlock(&r.lock);
	journal_free(j);
	record_fini(&r);
}
END_TEST

#define PRODUCERS 4
#define EVENTS_EACH 30000

struct producer {
	struct journal *journal;
	int number;
};

static void *
produce(void *arg)
{
	struct producer *p = arg;
	char line[700];

	for (int i = 0; i < EVENTS_EACH; i++) {
		int len = snprintf(line, sizeof(line), "%d %d %0*d", p->number,
		    i, 1 + (i * 37) % 600, 0);

		journal_write(
		    p->journal, i % 3 ? "a" : "b", span_of(line, (size_t)len));
	}
	return NULL;
}

/* Lines come whole, and each producer's in its order. */
static unsigned
check_lines(const struct record *r, int last[PRODUCERS])
{
	unsigned lines = 0;
	const char *at = r->data, *end = r->data + r->len;

	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		int who, number, zero, used = 0;
		char line[800] = "";

		ck_assert_ptr_nonnull(newline);
		ck_assert_int_lt(newline - at, sizeof(line));
		memcpy(line, at, (size_t)(newline - at));
		ck_assert_int_eq(
		    sscanf(line, "%d %d %d%n", &who, &number, &zero, &used), 3);
		ck_assert_int_eq(used, newline - at);
		ck_assert_int_gt(number, last[who]);
		last[who] = number;
		lines++;
		at = newline + 1;
	}
	return lines;
}

START_TEST(threads_and_changes_lose_nothing_but_what_is_counted)
{
	enum { SINKS = 6 };
	struct record r[SINKS];
	struct producer producers[PRODUCERS];
	pthread_t threads[PRODUCERS];
	struct journal_counts counts;
	struct journal *j;
	int last[PRODUCERS];
	unsigned lines = 0;

	memset(last, -1, sizeof(last));
	for (int i = 0; i < SINKS; i++)
		record_init(&r[i]);
	j = journal_new(sink_new(&r[0], NULL, 0));
	for (int i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct producer){ j, i };
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, produce, &producers[i]),
		    0);
	}
	for (int i = 1; i < SINKS; i++) {
		uint64_t before;

		journal_counts(j, &counts);
		before = counts.written;
		do
			journal_counts(j, &counts);
		while (
		    counts.written == before &&
		    counts.written + counts.dropped < PRODUCERS * EVENTS_EACH);
		journal_set_sinks(j, sink_new(&r[i], NULL, 0));
		journal_reopen(j);
	}
	for (int i = 0; i < PRODUCERS; i++)
		pthread_join(threads[i], NULL);
	journal_counts(j, &counts);
	journal_free(j);
	for (int i = 0; i < SINKS; i++) {
		lines += check_lines(&r[i], last);
		record_fini(&r[i]);
	}
	ck_assert_uint_eq(lines + counts.dropped, PRODUCERS * EVENTS_EACH);
	ck_assert_uint_gt(lines, 0);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, freeing_writes_what_is_inside);
	tcase_add_test(tcase, each_sink_gets_what_it_wants);
	tcase_add_test(tcase, without_sinks_events_count_as_written);
	tcase_add_test(tcase, changed_sinks_get_what_came_after);
	tcase_add_test(tcase, a_stalled_sink_costs_events_not_producers);
	tcase_add_test(tcase, a_line_that_never_fits_is_dropped);
	tcase_add_test(tcase, failures_are_counted_by_event);
	tcase_add_test(tcase, reopen_reaches_the_sinks_without_events);
	tcase_add_test(
	    tcase, threads_and_changes_lose_nothing_but_what_is_counted);
}

UNIT_MAIN("journal", add_tests)
