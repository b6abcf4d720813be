#include "base/clock.h"

#include <time.h>

#include "base/compiler.h"

static int64_t
read_ns(clockid_t clock)
{
	struct timespec ts;

	ASSERT(clock_gettime(clock, &ts) == 0);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

uint64_t
clock_ms(void)
{
	return (uint64_t)read_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t
clock_us(void)
{
	return read_ns(CLOCK_MONOTONIC) / 1000;
}

int64_t
clock_wall_us(void)
{
	return read_ns(CLOCK_REALTIME) / 1000;
}

uint64_t
clock_thread_cpu_ns(void)
{
	return (uint64_t)read_ns(CLOCK_THREAD_CPUTIME_ID);
}
