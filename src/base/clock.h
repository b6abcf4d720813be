/*
 * Time. Deadlines and durations use the monotonic clock; the wall clock is only
 * for what people read. Any thread; no function fails.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_ms(void);	    /* monotonic, milliseconds */
int64_t clock_us(void);		    /* monotonic, microseconds */
int64_t clock_wall_us(void);	    /* Unix time, microseconds */
uint64_t clock_thread_cpu_ns(void); /* CPU time of the calling thread */

#endif
