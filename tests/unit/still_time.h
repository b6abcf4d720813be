/*
 * A clock that stands still: no deadline passes while a busy machine keeps the
 * test from doing its part. What waits for a deadline lets time go on when that
 * is done: an edge that is told of both takes what came before what is due. The
 * program is linked with --wrap=clock_ms and includes this once.
 */
#ifndef TESTS_STILL_TIME_H
#define TESTS_STILL_TIME_H

#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"

uint64_t __real_clock_ms(void);
uint64_t __wrap_clock_ms(void);

static _Atomic uint64_t still_ms; /* 0: it goes on */

uint64_t
__wrap_clock_ms(void)
{
	uint64_t still = atomic_load(&still_ms);

	return still > 0 ? still : __real_clock_ms();
}

static inline void
time_stands_still(void)
{
	atomic_store(&still_ms, __real_clock_ms());
}

static inline void
time_goes_on(void)
{
	atomic_store(&still_ms, 0);
}

/* Only if this reason of an end is one that the clock gives. */
static inline void
time_goes_on_for(const char *reason)
{
	if (strstr(reason, "timeout"))
		time_goes_on();
}

#endif
