/* Peers that keep to no rule, and a machine without memory. */
#include "unit.h"

#include "base/hash.h"
#include "bytes.h"
#include "faults.h"
#include "mux_bench.h"

FAULT(malloc);
FAULT(calloc);

void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);

void *
__wrap_malloc(size_t size)
{
	if (fault_hits(&malloc_fault))
		return NULL;
	return __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	if (fault_hits(&calloc_fault))
		return NULL;
	return __real_calloc(count, size);
}

static struct side edge;
static struct bytes wire;

static void
start(void)
{
	side_init(&edge, false);
	edge.any_bytes = true;
}

static void
setup(void)
{
	start();
	wire.len = 0;
}

static void
teardown(void)
{
	side_fini(&edge);
}

/* --- what the peer sends --- */

static void
add_frame(size_t length, unsigned type_flags, uint32_t stream)
{
	add_u24(&wire, length);
	add_u8(&wire, type_flags);
	add_u16(&wire, stream >> 16);
	add_u16(&wire, stream);
}

static void
add_data(uint32_t stream, unsigned flags, size_t length)
{
	add_frame(length, 0x10 | flags, stream);
	add_zeros(&wire, length);
}

static void
add_number(unsigned type, uint32_t stream, uint32_t number)
{
	add_frame(4, type << 4, stream);
	add_u16(&wire, number >> 16);
	add_u16(&wire, number);
}

static int
feed(void)
{
	int error = mux_feed(edge.mux, bytes_span(&wire));

	wire.len = 0;
	return error;
}

/* What is answered: the last frame of a type, and how many there were. */
struct answers {
	unsigned count[4];
	struct frame last[4];
};

static struct answers
answers(void)
{
	struct span out = side_output(&edge);
	struct answers a = { 0 };
	struct frame f;
	size_t needed;
	const char *why;

	while (out.len > 0) {
		ck_assert_int_eq(frame_parse(out, &f, &needed, &why), PARSE_OK);
		a.count[f.type]++;
		a.last[f.type] = f;
		if (f.type == FRAME_DATA)
			f.bytes += f.length;
		out.data += f.bytes;
		out.len -= f.bytes;
	}
	return a;
}

static void
check_reset(uint32_t stream, uint32_t error)
{
	struct answers a = answers();

	ck_assert_uint_eq(a.count[FRAME_GOAWAY], 0);
	ck_assert_uint_eq(a.count[FRAME_RST], 1);
	ck_assert_uint_eq(a.last[FRAME_RST].stream, stream);
	ck_assert_uint_eq(a.last[FRAME_RST].error, error);
}

static void
check_quiet(void)
{
	ck_assert_uint_eq(side_output(&edge).len, 0);
}

/* --- frames that end the session --- */

/* An agent whose streams 3 and 7 are there, 3 is over, and 2 is the edge's. */
static void
begin(void)
{
	side_open(&edge, 3, 10, false);
	(void)side_output(&edge);
	add_data(3, FRAME_SYN, 8);
	add_number(FRAME_RST, 3, 0);
	add_data(7, FRAME_SYN, 8);
	ck_assert_int_eq(feed(), 0);
	check_quiet();
}

static const struct {
	const char *name;
	uint32_t stream;
	unsigned type_flags;
	uint32_t length, number;
} fatal[] = {
	{ "type 4", 7, 0x40, 4, 0 },
	{ "type 15", 7, 0xf0, 0, 0 },
	{ "stream 0", 0, 0x10, 0, 0 },
	{ "stream of 32 bits", 0x80000007, 0x10, 0, 0 },
	{ "SYN twice", 7, 0x12, 4, 0 },
	{ "SYN of one that is over", 3, 0x12, 4, 0 },
	{ "SYN of the other side", 8, 0x12, 4, 0 },
	{ "SYN of our own", 2, 0x12, 4, 0 },
	{ "data before SYN", 9, 0x10, 4, 0 },
	{ "data with FIN before SYN", 9, 0x11, 4, 0 },
	{ "data for what was passed over", 5, 0x10, 4, 0 },
	{ "data for our next one", 4, 0x10, 4, 0 },
	{ "WNDINC before SYN", 9, 0x20, 4, 1 },
	{ "WNDINC for our next one", 4, 0x20, 4, 1 },
	{ "RST before SYN", 9, 0, 4, 1 },
	{ "RST for our next one", 4, 0, 4, 1 },
	{ "RST without error", 7, 0, 0, 0 },
	{ "WNDINC of 5 bytes", 7, 0x20, 5, 0 },
	{ "WNDINC of 32 bits", 7, 0x20, 4, 0xffffffff },
	{ "GOAWAY for a stream", 7, 0x30, 8, 0 },
	{ "GOAWAY of 4 bytes", 0, 0x30, 4, 0 },
	{ "a GOAWAY without end", 0, 0x30, 0xffffff, 0 },
};

START_TEST(the_session_ends)
{
	struct answers a;

	begin();
	add_frame(fatal[_i].length, fatal[_i].type_flags, fatal[_i].stream);
	add_u16(&wire, fatal[_i].number >> 16);
	add_u16(&wire, fatal[_i].number);
	add_zeros(&wire, 8);
	ck_assert_msg(feed() == -EPROTO, "%s", fatal[_i].name);
	ck_assert_ptr_nonnull(mux_fault(edge.mux));
	a = answers();
	ck_assert_uint_eq(a.count[FRAME_GOAWAY], 1);
	ck_assert_uint_eq(a.last[FRAME_GOAWAY].error, FRAME_ERROR_PROTOCOL);
	ck_assert_uint_eq(a.last[FRAME_GOAWAY].last_stream, 7);
	ck_assert(span_is(a.last[FRAME_GOAWAY].text, mux_fault(edge.mux)));
	/* Nothing is taken any more. */
	add_data(11, FRAME_SYN, 4);
	ck_assert_int_eq(feed(), -EPROTO);
	ck_assert_ptr_null(mux_find(edge.mux, 11));
	ck_assert(!mux_may_open(edge.mux));
	check_quiet();
}
END_TEST

/* --- frames that are passed over --- */

static const struct {
	const char *name;
	uint32_t stream;
	unsigned type_flags;
	uint32_t length;
} harmless[] = {
	{ "data for one that is over", 3, 0x10, 100 },
	{ "FIN for one that is over", 3, 0x11, 0 },
	{ "RST for one that is over", 3, 0, 4 },
	{ "WNDINC for one that is over", 3, 0x20, 4 },
	{ "RST for one that was passed over", 5, 0, 4 },
	{ "WNDINC for one that was passed over", 5, 0x20, 4 },
	{ "an end before SYN", 9, 0x11, 0 },
	{ "WNDINC of nothing", 7, 0x20, 4 },
	{ "data of nothing", 7, 0x10, 0 },
	{ "unknown flags", 7, 0x1c, 0 },
};

START_TEST(the_session_goes_on)
{
	struct end *e;

	begin();
	e = edge.last;
	add_frame(
	    harmless[_i].length, harmless[_i].type_flags, harmless[_i].stream);
	add_zeros(&wire, harmless[_i].length);
	add_data(9, FRAME_SYN, 4);
	ck_assert_msg(
	    feed() == 0, "%s: %s", harmless[_i].name, mux_fault(edge.mux));
	ck_assert_ptr_nonnull(mux_find(edge.mux, 9));
	ck_assert(!e->was_reset && !e->at_end);
	check_quiet();
}
END_TEST

START_TEST(a_stream_that_was_overtaken_may_come_late)
{
	begin();
	add_data(201, FRAME_SYN, 4);
	add_data(199, FRAME_SYN, 4);
	add_data(75, FRAME_SYN, 4);
	add_data(301, FRAME_SYN, 4);
	ck_assert_int_eq(feed(), 0);
	ck_assert_ptr_nonnull(mux_find(edge.mux, 199));
	ck_assert_ptr_nonnull(mux_find(edge.mux, 75));
	/* Once, and not by far. */
	if (_i == 0)
		add_data(199, FRAME_SYN, 4);
	else if (_i == 1)
		add_data(301 - 130, FRAME_SYN, 4);
	else
		add_data(301 - 126, FRAME_SYN, 4);
	ck_assert_int_eq(feed(), _i == 2 ? 0 : -EPROTO);
}
END_TEST

START_TEST(streams_may_begin_with_1)
{
	add_data(1, FRAME_SYN, 4);
	ck_assert_int_eq(feed(), 0);
	ck_assert_ptr_nonnull(mux_find(edge.mux, 1));
	add_data(1, FRAME_SYN, 4);
	ck_assert_int_eq(feed(), -EPROTO);
}
END_TEST

/* --- limits --- */

START_TEST(one_byte_over_the_window)
{
	edge.stall = true;
	add_data(3, FRAME_SYN, 100000);
	ck_assert_int_eq(feed(), 0);
	add_data(3, 0, MUX_WINDOW_BYTES - 200000);
	ck_assert_int_eq(feed(), 0);
	add_data(3, 0, 100000);
	ck_assert_int_eq(feed(), 0);
	ck_assert_uint_eq(
	    mux_unread_bytes(edge.last->stream), MUX_WINDOW_BYTES);
	check_quiet();
	/* Told from the header, before a byte came. */
	add_frame(1, 0x10, 3);
	ck_assert_int_eq(feed(), 0);
	check_reset(3, FRAME_ERROR_FLOW_CONTROL);
	ck_assert(edge.last->was_reset);
	ck_assert_uint_eq(edge.last->error, FRAME_ERROR_FLOW_CONTROL);
	ck_assert_uint_eq(mux_counters(edge.mux).unread_bytes, 0);
	add_u8(&wire, 0);
	add_data(5, FRAME_SYN, 4);
	ck_assert_int_eq(feed(), 0);
	ck_assert_ptr_nonnull(mux_find(edge.mux, 5));
}
END_TEST

START_TEST(a_frame_larger_than_the_window)
{
	add_frame(MUX_WINDOW_BYTES + 1, 0x12, 3);
	ck_assert_int_eq(feed(), 0);
	check_reset(3, FRAME_ERROR_FLOW_CONTROL);
	ck_assert_ptr_null(mux_find(edge.mux, 3));
	for (int i = 0; i < 4; i++) {
		add_zeros(&wire, MUX_WINDOW_BYTES / 4);
		ck_assert_int_eq(feed(), 0);
	}
	add_u8(&wire, 0);
	add_data(5, FRAME_SYN, 4);
	ck_assert_int_eq(feed(), 0);
	ck_assert_ptr_nonnull(mux_find(edge.mux, 5));
	ck_assert_uint_eq(edge.opened_count, 1);
}
END_TEST

START_TEST(who_does_it_again_and_again_is_put_out)
{
	uint32_t id = 3;
	int error = 0, times = 0;

	while (error == 0 && times < 100) {
		add_data(id, FRAME_SYN | FRAME_FIN, 4);
		add_data(id, 0, 1);
		id += 2;
		times++;
		error = feed();
	}
	ck_assert_int_eq(error, -EPROTO);
	ck_assert_int_eq(times, 17);
}
END_TEST

START_TEST(bytes_behind_a_fin)
{
	edge.stall = true;
	add_data(3, FRAME_SYN | FRAME_FIN, 4);
	add_data(3, FRAME_FIN, 0);
	ck_assert_int_eq(feed(), 0);
	check_quiet();
	add_data(3, 0, 1);
	ck_assert_int_eq(feed(), 0);
	check_reset(3, FRAME_ERROR_STREAM_CLOSED);
	ck_assert(edge.last->was_reset);
}
END_TEST

START_TEST(a_window_of_more_than_31_bits)
{
	add_data(3, FRAME_SYN, 4);
	add_number(FRAME_WNDINC, 3, FRAME_MAX_WINDOW - MUX_WINDOW_BYTES);
	ck_assert_int_eq(feed(), 0);
	ck_assert_uint_eq(
	    mux_window_bytes(edge.last->stream), FRAME_MAX_WINDOW);
	check_quiet();
	add_number(FRAME_WNDINC, 3, 1);
	ck_assert_int_eq(feed(), 0);
	check_reset(3, FRAME_ERROR_FLOW_CONTROL);
	ck_assert(edge.last->was_reset);
}
END_TEST

START_TEST(answers_that_nobody_takes)
{
	uint32_t id = 3;
	int error = 0;
	bool stopped = false;

	edge.refuse = true;
	for (; error == 0 && id < 400000; id += 2) {
		add_data(id, FRAME_SYN, 0);
		error = feed();
		/* Who looks does not get so far. */
		if (mux_has_room(edge.mux))
			ck_assert(!stopped);
		else
			stopped = true;
	}
	ck_assert(stopped);
	ck_assert_int_eq(error, -ENOBUFS);
	ck_assert_uint_gt(id, 3 + 2 * 1024);
	ck_assert_uint_eq(answers().count[FRAME_GOAWAY], 1);
}
END_TEST

START_TEST(answers_that_are_taken_make_room_again)
{
	unsigned sum = 0;

	edge.refuse = true;
	for (uint32_t id = 3; id < 4003; id += 2)
		add_data(id, FRAME_SYN, 0);
	ck_assert_int_eq(feed(), 0);
	ck_assert(!mux_has_room(edge.mux));
	while (mux_has_output(edge.mux))
		sum += answers().count[FRAME_RST];
	ck_assert_uint_eq(sum, 2000);
	ck_assert(mux_has_room(edge.mux));
}
END_TEST

START_TEST(goaways_without_end)
{
	int error = 0, times = 0;

	while (error == 0 && times < 100) {
		add_frame(8, 0x30, 0);
		add_zeros(&wire, 8);
		times++;
		error = feed();
	}
	ck_assert_int_eq(error, -EPROTO);
	ck_assert_int_eq(times, 17);
}
END_TEST

/* Ids that would fall into one bucket of a table by their low bits. */
START_TEST(ids_are_the_peers_choice)
{
	for (uint32_t i = 0; i < 1000; i++)
		add_data(3 + i * 0x100000, FRAME_SYN, 4);
	ck_assert_int_eq(feed(), 0);
	for (uint32_t i = 0; i < 1000; i++)
		ck_assert_ptr_nonnull(mux_find(edge.mux, 3 + i * 0x100000));
	ck_assert_ptr_null(mux_find(edge.mux, 5));
}
END_TEST

/* A little of everything, whole and cut at each byte. */
START_TEST(every_split_gives_the_same)
{
	static uint8_t copy[2000];
	size_t len;

	add_data(3, FRAME_SYN, 20);
	add_number(FRAME_WNDINC, 3, 77);
	add_data(5, FRAME_SYN | FRAME_FIN, 9);
	add_number(FRAME_RST, 3, 5);
	add_data(7, FRAME_SYN, 4);
	add_data(7, FRAME_FIN, 0);
	add_frame(8 + 3, 0x30, 0);
	add_span(&wire, BYTES("\0\0\0\2\0\0\0\1bye"));
	add_data(9, FRAME_SYN, 4);
	len = wire.len;
	memcpy(copy, wire.data, len);
	for (size_t cut = 0; cut <= len; cut++) {
		side_fini(&edge);
		start();
		ck_assert_int_eq(mux_feed(edge.mux, span_of(copy, cut)), 0);
		ck_assert_int_eq(
		    mux_feed(edge.mux, span_of(copy + cut, len - cut)), 0);
		ck_assert_uint_le(edge.opened_count, 4);
		ck_assert_uint_ge(edge.opened_count, 3);
		ck_assert_str_eq(edge.gone_text, "bye");
		ck_assert_uint_eq(edge.gone_error, 1);
		ck_assert_ptr_null(mux_find(edge.mux, 3));
		ck_assert(mux_at_end(mux_find(edge.mux, 5)));
		ck_assert(mux_at_end(mux_find(edge.mux, 7)));
		ck_assert(!mux_at_end(mux_find(edge.mux, 9)));
	}
}
END_TEST

/* Bytes that mean nothing, and frames that mean nothing. */
START_TEST(noise)
{
	for (int round = 0; round < 2000; round++) {
		int error = 0;

		side_fini(&edge);
		start();
		edge.stall = round % 2;
		edge.echo = round % 3 == 0;
		for (int i = 0; i < 50 && error == 0; i++) {
			uint64_t r = random_quick();

			wire.len = 0;
			add_frame(r % 40 ? r >> 8 & 15 : 4,
			    r % 3 ? 0x10 | (r >> 16 & 3) : r >> 20 & 0x33,
			    (r >> 24 & 15) | 1);
			add_zeros(&wire, r >> 8 & 15);
			error = feed();
			if (r >> 60 == 0)
				(void)side_output(&edge);
		}
	}
}
END_TEST

/* --- memory --- */

static struct pair pair;

static void
converse(void)
{
	struct end *e[6];

	pair.agent.echo = pair.edge.echo = true;
	for (int i = 0; i < 6; i++)
		e[i] = side_open(
		    i % 2 ? &pair.agent : &pair.edge, 1, i * 20000, true);
	UNDER_FAULTS(pair_settle(&pair));
	for (int i = 0; i < 6; i++) {
		/* Whole, or ended, or never begun. */
		ck_assert(!e[i]->stream || e[i]->at_end);
		if (e[i]->stream) {
			ck_assert_uint_eq(e[i]->received, e[i]->to_send);
			end_release(e[i]);
		}
	}
}

START_TEST(without_memory_streams_end_and_the_rest_goes_on)
{
	for (unsigned every = 1; every < 20; every++) {
		pair_init(&pair);
		pair.max_piece = 3000;
		fault_set(_i ? &calloc_fault : &malloc_fault, every, ENOMEM);
		converse();
		ck_assert(
		    every > 2 || atomic_load(_i ? &calloc_fault.hits
						: &malloc_fault.hits) > 0);
		fault_set(_i ? &calloc_fault : &malloc_fault, 0, 0);
		ck_assert_int_eq(mux_feed(pair.edge.mux, span_of("", 0)), 0);
		pair_fini(&pair);
	}
}
END_TEST

START_TEST(no_memory_for_a_multiplexer)
{
	struct mux_settings settings = side_settings(&edge, false);
	struct mux *m;

	fault_set(&calloc_fault, 1, ENOMEM);
	UNDER_FAULTS(m = mux_new(&settings));
	fault_set(&calloc_fault, 0, 0);
	ck_assert_ptr_null(m);
}
END_TEST

START_TEST(no_memory_for_many_refusals_ends_the_session)
{
	int error;

	edge.refuse = true;
	fault_set(&malloc_fault, 1, ENOMEM);
	for (uint32_t i = 0; i < 20; i++)
		add_data(3 + 2 * i, FRAME_SYN, i < 16 ? 4 : 0);
	UNDER_FAULTS(error = feed());
	fault_set(&malloc_fault, 0, 0);
	ck_assert_int_eq(error, -ENOMEM);
	ck_assert_uint_eq(answers().count[FRAME_GOAWAY], 1);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, the_session_ends, 0, ARRAY_COUNT(fatal));
	tcase_add_loop_test(
	    tcase, the_session_goes_on, 0, ARRAY_COUNT(harmless));
	tcase_add_loop_test(
	    tcase, a_stream_that_was_overtaken_may_come_late, 0, 3);
	tcase_add_test(tcase, streams_may_begin_with_1);
	tcase_add_test(tcase, one_byte_over_the_window);
	tcase_add_test(tcase, a_frame_larger_than_the_window);
	tcase_add_test(tcase, who_does_it_again_and_again_is_put_out);
	tcase_add_test(tcase, bytes_behind_a_fin);
	tcase_add_test(tcase, a_window_of_more_than_31_bits);
	tcase_add_test(tcase, answers_that_nobody_takes);
	tcase_add_test(tcase, answers_that_are_taken_make_room_again);
	tcase_add_test(tcase, goaways_without_end);
	tcase_add_test(tcase, ids_are_the_peers_choice);
	tcase_add_test(tcase, every_split_gives_the_same);
	tcase_add_test(tcase, noise);
	tcase_add_loop_test(
	    tcase, without_memory_streams_end_and_the_rest_goes_on, 0, 2);
	tcase_add_test(tcase, no_memory_for_a_multiplexer);
	tcase_add_test(tcase, no_memory_for_many_refusals_ends_the_session);
}

UNIT_MAIN_TOGETHER("mux_hostile", add_tests)
