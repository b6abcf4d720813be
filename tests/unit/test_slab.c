#include "unit.h"

#include <string.h>

#include "base/hash.h"
#include "base/slab.h"
#include "faults.h"

FAULT(malloc);
static int chunks;

void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void __real_free(void *);
void __wrap_free(void *);

void *
__wrap_malloc(size_t size)
{
	if (fault_hits(&malloc_fault))
		return NULL;
	chunks += faults_armed;
	return __real_malloc(size);
}

void
__wrap_free(void *p)
{
	chunks -= faults_armed && p;
	__real_free(p);
}

#define CELLS 5000

static bool
is_zero(const unsigned char *cell, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (cell[i] != 0)
			return false;
	return true;
}

START_TEST(cells_are_zero_aligned_and_apart)
{
	static const size_t sizes[] = { 1, 8, 24, 100, 4096, 70000 };
	unsigned char *cells[200];
	size_t bytes = sizes[_i];
	struct slab s;

	slab_init(&s, bytes);
	for (int i = 0; i < 200; i++) {
		cells[i] = slab_alloc(&s);
		ck_assert_uint_eq((uintptr_t)cells[i] % 16, 0);
		ck_assert(is_zero(cells[i], bytes));
		memset(cells[i], i + 1, bytes);
	}
	for (int i = 0; i < 200; i++)
		for (size_t at = 0; at<bytes; at += bytes> 9 ? bytes / 9 : 1)
			ck_assert_uint_eq(cells[i][at], (unsigned)i + 1);
	for (int i = 0; i < 200; i++)
		slab_free(&s, cells[i]);
	unsigned char *again = slab_alloc(&s);
	ck_assert(is_zero(again, bytes));
	slab_free(&s, again);
	slab_fini(&s);
}
END_TEST

START_TEST(empty_chunks_go_back_but_one)
{
	static void *cells[CELLS];
	struct slab s;

	slab_init(&s, 500);
	for (int i = 0; i < CELLS; i++)
		UNDER_FAULTS(cells[i] = slab_alloc(&s));
	ck_assert_uint_eq(s.used_count, CELLS);
	ck_assert_int_gt(chunks, 2);
	for (int i = 0; i < CELLS; i++)
		UNDER_FAULTS(slab_free(&s, cells[i]));
	ck_assert_uint_eq(s.used_count, 0);
	ck_assert_int_eq(chunks, 1);
	/* Going to and fro across the border of a chunk takes none. */
	fault_set(&malloc_fault, 1, ENOMEM);
	for (int i = 0; i < 100; i++)
		UNDER_FAULTS(slab_free(&s, slab_alloc(&s)));
	fault_set(&malloc_fault, 0, 0);
	UNDER_FAULTS(slab_fini(&s));
	ck_assert_int_eq(chunks, 0);
}
END_TEST

START_TEST(random_use_keeps_count)
{
	static unsigned char *cells[CELLS];
	size_t live = 0;
	struct slab s;

	slab_init(&s, 120);
	for (int round = 0; round < 200000; round++) {
		size_t at = random_quick() % CELLS;

		if (cells[at]) {
			QUICK_ASSERT(cells[at][0] == at % 251);
			QUICK_ASSERT(cells[at][119] == at % 251);
			slab_free(&s, cells[at]);
			cells[at] = NULL;
			live--;
		} else {
			cells[at] = slab_alloc(&s);
			QUICK_ASSERT(is_zero(cells[at], 120));
			memset(cells[at], (int)(at % 251), 120);
			live++;
		}
		QUICK_ASSERT(s.used_count == live);
	}
	for (size_t i = 0; i < CELLS; i++)
		if (cells[i])
			slab_free(&s, cells[i]);
	slab_fini(&s);
}
END_TEST

START_TEST(without_memory_there_is_no_cell)
{
	void *cells[300];
	struct slab s;
	int got = 0;

	slab_init(&s, 1000);
	fault_set(&malloc_fault, 2, ENOMEM);
	for (int i = 0; i < 300; i++) {
		UNDER_FAULTS(cells[got] = slab_alloc(&s));
		got += cells[got] != NULL;
	}
	ck_assert_uint_gt(atomic_load(&malloc_fault.hits), 0);
	ck_assert_int_lt(got, 300);
	fault_set(&malloc_fault, 0, 0);
	while (got > 0)
		slab_free(&s, cells[--got]);
	slab_fini(&s);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, cells_are_zero_aligned_and_apart, 0, 6);
	tcase_add_test(tcase, empty_chunks_go_back_but_one);
	tcase_add_test(tcase, random_use_keeps_count);
	tcase_add_test(tcase, without_memory_there_is_no_cell);
}

UNIT_MAIN("slab", add_tests)
