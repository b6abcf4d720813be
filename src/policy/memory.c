/*
 * The allocator of a state: what it counts, what it refuses, and which small
 * blocks it keeps for the next run.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "policy/state.h"

/* More than lua_newstate takes, which is 12 KiB in 2.1.0-beta3. */
#define RESERVE_SIZE (64 * 1024)

/* A run makes and forgets a dozen small blocks; malloc and free of these were
 * a sixth of its time (measured). */
#define SPARE_STEP 16
#define MAX_SPARE (SPARE_STEP * POLICY_SPARE_CLASSES)
#define MAX_SPARE_BYTES (1024 * 1024)

/*
 * Most instructions take nanoseconds. Those on long strings (a comparison, ..,
 * arithmetic on digits) or large tables (next over holes) take up to a
 * millisecond for each MiB (measured), so while there are such blocks the clock
 * is looked at more often, and no string is longer than POLICY_MAX_STRING.
 */
#define LONG_STRING (64 * 1024)
#define LARGE_TABLE (512 * 1024)

#ifdef __SANITIZE_ADDRESS__
#define KEEP_SPARES 0 /* the sanitizer must see each block come and go */
#else
#define KEEP_SPARES 1
#endif

/* ---- what the limits say ---- */

static bool
is_power_of_two(size_t n)
{
	return n > 0 && (n & (n - 1)) == 0;
}

/* By its size, not one of LuaJIT's tables (hash parts of 24 bytes a slot, array
 * parts of one slot more than a power of two) or its buffers. */
static bool
may_be_string(size_t n)
{
	return n > LONG_STRING && !is_power_of_two(n) &&
	       !(n % 24 == 0 && is_power_of_two(n / 24)) &&
	       !(n % 8 == 0 && is_power_of_two(n / 8 - 1));
}

static bool
is_slow(size_t n)
{
	return n > LONG_STRING && (n > LARGE_TABLE || may_be_string(n));
}

/* Whether a limit forbids a block of `size`, which is `grow` more than now. */
static bool
refuses(struct policy *p, size_t size, size_t grow)
{
	const struct policy_settings *s = &p->settings;

	if (p->phase == 0)
		return false;
	if (p->used + grow > s->memory_bytes) {
		p->state_is_full = true;
		return true;
	}
	if (p->phase != LOADING && p->gross + grow > s->run_memory_bytes) {
		p->run_is_full = true;
		return true;
	}
	if (size > POLICY_MAX_STRING && may_be_string(size) && !p->reads_file) {
		p->string_is_long = true;
		return true;
	}
	return false;
}

/* ---- where blocks come from ---- */

/*
 * lua_newstate of LuaJIT follows a null pointer when its own allocations fail
 * (measured with 2.1.0-beta3). So until the state stands, memory that malloc
 * does not give comes from a reserve; a state that needed it is not used.
 */
bool
memory_open_reserve(struct policy *p)
{
	p->reserve = malloc(RESERVE_SIZE);
	return p->reserve != NULL;
}

void
memory_close_reserve(struct policy *p)
{
	free(p->reserve);
	p->reserve = NULL;
}

static void *
take_reserve(struct policy *p, size_t size)
{
	size_t rounded = (size + 15) & ~(size_t)15;
	char *block;

	if (!p->reserve || rounded > RESERVE_SIZE - p->reserve_used)
		return NULL;
	block = p->reserve + p->reserve_used;
	p->reserve_used += rounded;
	return block;
}

static bool
is_reserve(const struct policy *p, const void *ptr)
{
	uintptr_t at = (uintptr_t)ptr, start = (uintptr_t)p->reserve;

	return p->reserve && at >= start && at < start + RESERVE_SIZE;
}

/* The class of a size, or POLICY_SPARE_CLASSES for what is not kept. */
static size_t
class_of(size_t size)
{
	if (!KEEP_SPARES || size > MAX_SPARE)
		return POLICY_SPARE_CLASSES;
	return (size - 1) / SPARE_STEP;
}

static void *
take(struct policy *p, size_t size)
{
	size_t class = class_of(size);
	struct spare *spare;
	void *block;

	if (class < POLICY_SPARE_CLASSES) {
		size = (class + 1) * SPARE_STEP;
		spare = p->spares[class];
		if (spare) {
			p->spares[class] = spare->next;
			p->spare_bytes -= size;
			return spare;
		}
	}
	block = malloc(size);
	if (!block)
		block = take_reserve(p, size);
	return block;
}

static void
give_back(struct policy *p, void *block, size_t size)
{
	size_t class = class_of(size);
	struct spare *spare = block;

	if (is_reserve(p, block))
		return;
	if (class == POLICY_SPARE_CLASSES ||
	    p->spare_bytes >= MAX_SPARE_BYTES) {
		free(block);
		return;
	}
	spare->next = p->spares[class];
	p->spares[class] = spare;
	p->spare_bytes += (class + 1) * SPARE_STEP;
}

static void *
resize(struct policy *p, void *old, size_t old_size, size_t new_size)
{
	size_t class = class_of(new_size);
	void *new;

	if (!old)
		return take(p, new_size);
	if (class == class_of(old_size) && !is_reserve(p, old))
		return class < POLICY_SPARE_CLASSES ? old
						    : realloc(old, new_size);
	new = take(p, new_size);
	if (!new)
		return NULL;
	memcpy(new, old, old_size < new_size ? old_size : new_size);
	give_back(p, old, old_size);
	return new;
}

/* ---- the allocator ---- */

static void
count_slow(struct policy *p, size_t old_size, size_t new_size)
{
	if (is_slow(old_size))
		p->slow_blocks--;
	if (!is_slow(new_size))
		return;
	if (p->slow_blocks++ == 0 && p->phase != 0)
		state_look_often(p);
}

static void *
fail(struct policy *p)
{
	p->faulted = true;
	p->fault = POLICY_FAULT_MEMORY;
	return NULL;
}

void *
memory_allocate(void *owner, void *old, size_t old_size, size_t new_size)
{
	struct policy *p = owner;
	size_t grow = new_size > old_size ? new_size - old_size : 0;
	void *new;

	if (new_size == 0) {
		if (old)
			give_back(p, old, old_size);
		p->used -= old_size;
		if (old_size > LONG_STRING)
			count_slow(p, old_size, 0);
		return NULL;
	}
	if (grow > 0 && refuses(p, new_size, grow))
		return fail(p);
	new = resize(p, old, old_size, new_size);
	if (!new &&grow == 0)
		new = old; /* Lua relies on that shrinking works */
	if (!new)
		return fail(p);
	p->used = p->used - old_size + new_size;
	p->gross += grow;
	if (old_size > LONG_STRING || new_size > LONG_STRING)
		count_slow(p, old_size, new_size);
	return new;
}

void
memory_free_spares(struct policy *p)
{
	for (size_t i = 0; i < POLICY_SPARE_CLASSES; i++) {
		struct spare *spare = p->spares[i], *next;

		for (; spare; spare = next) {
			next = spare->next;
			free(spare);
		}
	}
}

/*
 * LuaJIT ends the process when it may not make the code that it has compiled
 * executable, as under MemoryDenyWriteExecute= of systemd: so it is asked
 * before.
 */
bool
memory_may_become_code(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool may;

	if (page == MAP_FAILED)
		return false;
	may = mprotect(page, size, PROT_READ | PROT_EXEC) == 0;
	munmap(page, size);
	return may;
}
