#include "sys/timeouts.h"

#define WORD_BITS 64

/*
 * Time is counted in ticks of one slot. A timeout is filed under the first tick
 * that is not before its deadline, but no further ahead than the wheel reaches;
 * when that tick comes it is filed again if its deadline is still ahead. So a
 * slot only ever holds what belongs to its next tick.
 */
static uint64_t
tick_at(uint64_t ms)
{
	return ms / TIMEOUTS_SLOT_MS;
}

static uint64_t
tick_not_before(uint64_t ms)
{
	return tick_at(ms) + (ms % TIMEOUTS_SLOT_MS != 0);
}

static void
mark_used(struct timeouts *ts, unsigned slot)
{
	ts->used[slot / WORD_BITS] |= (uint64_t)1 << slot % WORD_BITS;
}

static void
mark_if_empty(struct timeouts *ts, unsigned slot)
{
	if (list_empty(&ts->slots[slot]))
		ts->used[slot / WORD_BITS] &=
		    ~((uint64_t)1 << slot % WORD_BITS);
}

static void
file_timeout(struct timeouts *ts, struct timeout *t)
{
	uint64_t tick = tick_not_before(t->deadline_ms);
	uint64_t first = tick_at(ts->now_ms);
	unsigned slot;

	if (tick < first)
		tick = first;
	if (tick > first + TIMEOUTS_SLOTS - 1)
		tick = first + TIMEOUTS_SLOTS - 1;
	slot = (unsigned)(tick % TIMEOUTS_SLOTS);
	t->queued_ms = tick * TIMEOUTS_SLOT_MS;
	list_append(&ts->slots[slot], &t->node);
	mark_used(ts, slot);
}

static void
unfile_timeout(struct timeouts *ts, struct timeout *t)
{
	list_remove(&t->node);
	mark_if_empty(ts, (unsigned)(tick_at(t->queued_ms) % TIMEOUTS_SLOTS));
}

void
timeouts_init(struct timeouts *ts, uint64_t now_ms)
{
	*ts = (struct timeouts){ .now_ms = now_ms };
	for (size_t i = 0; i < TIMEOUTS_SLOTS; i++)
		list_init(&ts->slots[i]);
}

void
timeout_init(struct timeout *t, void (*on_timeout)(struct timeout *))
{
	*t = (struct timeout){ .on_timeout = on_timeout };
	list_init(&t->node);
}

bool
timeout_is_set(const struct timeout *t)
{
	return t->deadline_ms != 0;
}

void
timeouts_set(struct timeouts *ts, struct timeout *t, uint64_t deadline_ms)
{
	bool was_set = timeout_is_set(t);

	t->deadline_ms = deadline_ms > 0 ? deadline_ms : 1;
	if (was_set) {
		if (t->deadline_ms >= t->queued_ms)
			return;
		unfile_timeout(ts, t);
	} else {
		ts->count++;
	}
	file_timeout(ts, t);
}

void
timeouts_clear(struct timeouts *ts, struct timeout *t)
{
	if (!timeout_is_set(t))
		return;
	t->deadline_ms = 0;
	ts->count--;
	unfile_timeout(ts, t);
}

static void
move_all(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

/* Empties the slots up to `now_ms` onto `due`, in the order of time. */
static void
take_due_slots(struct timeouts *ts, uint64_t now_ms, struct list *due)
{
	uint64_t first = tick_at(ts->now_ms), last = tick_at(now_ms);

	if (last - first >= TIMEOUTS_SLOTS)
		last = first + TIMEOUTS_SLOTS - 1;
	for (uint64_t tick = first; tick <= last; tick++) {
		unsigned slot = (unsigned)(tick % TIMEOUTS_SLOTS);

		move_all(due, &ts->slots[slot]);
		mark_if_empty(ts, slot);
	}
}

/*
 * Handlers see a wheel that stands at `now_ms` already; what they set, even for
 * the past, is for the next run, so that none can keep this one going.
 */
void
timeouts_run(struct timeouts *ts, uint64_t now_ms)
{
	struct list due, *node;

	if (now_ms < ts->now_ms)
		now_ms = ts->now_ms;
	list_init(&due);
	take_due_slots(ts, now_ms, &due);
	ts->now_ms = now_ms;
	while ((node = list_shift(&due))) {
		struct timeout *t = LIST_ENTRY(node, struct timeout, node);

		if (t->deadline_ms > now_ms) {
			file_timeout(ts, t);
			continue;
		}
		t->deadline_ms = 0;
		ts->count--;
		t->on_timeout(t);
	}
}

/*
 * How many slots after `start` the first used one is, going round; 0 if there
 * is none, for then all that is set is about to be fired by the run under way.
 */
static unsigned
slots_to_used(const struct timeouts *ts, unsigned start)
{
	for (unsigned ahead = 0; ahead < TIMEOUTS_SLOTS;) {
		unsigned slot = (start + ahead) % TIMEOUTS_SLOTS;
		uint64_t bits = ts->used[slot / WORD_BITS] >> slot % WORD_BITS;

		if (bits != 0)
			return ahead + (unsigned)__builtin_ctzll(bits);
		ahead += WORD_BITS - slot % WORD_BITS;
	}
	return 0;
}

int
timeouts_wait_ms(const struct timeouts *ts, uint64_t now_ms)
{
	uint64_t first = tick_at(ts->now_ms), due_ms;

	if (ts->count == 0)
		return -1;
	due_ms =
	    (first + slots_to_used(ts, (unsigned)(first % TIMEOUTS_SLOTS))) *
	    TIMEOUTS_SLOT_MS;
	return due_ms > now_ms ? (int)(due_ms - now_ms) : 0;
}
