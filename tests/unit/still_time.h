/*
 * A clock that stands still: no deadline passes while a busy machine keeps the
 * test from doing its part. Who waits for one lets time go on from there when
 * that is done, or leap over what would be long to wait for. The program is
 * linked with --wrap=clock_ms and includes this once.
 */
#ifndef TESTS_STILL_TIME_H
#define TESTS_STILL_TIME_H

#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"

uint64_t __real_clock_ms(void);
uint64_t __wrap_clock_ms(void);

static _Atomic uint64_t still_ms; /* where it stands; 0: it goes on */
static _Atomic uint64_t lost_ms;  /* while it stood */

uint64_t
__wrap_clock_ms(void)
{
	uint64_t still = atomic_load(&still_ms);

	return still > 0 ? still : __real_clock_ms() - atomic_load(&lost_ms);
}

/* Once a test, before there are other threads. */
static inline void
time_stands_still(void)
{
	atomic_store(&still_ms, __real_clock_ms());
}

static inline void
time_goes_on(void)
{
	atomic_store(&lost_ms, __real_clock_ms() - atomic_load(&still_ms));
	atomic_store(&still_ms, 0);
}

/* What has fallen due meanwhile happens once its thread looks at the clock. */
static inline void
time_leaps(uint64_t ms)
{
	atomic_fetch_sub(&lost_ms, ms);
}

/* Only if this reason of an end is one that the clock gives. */
static inline void
time_goes_on_for(const char *reason)
{
	if (strstr(reason, "timeout"))
		time_goes_on();
}

#endif
