/*
 * A meter: what the connections of one endpoint amount to, as the published
 * agent API shows them (the "conns" of a tunnel's metrics).
 *
 * It counts connections, averages how many begin, and keeps a sample of how
 * long they lasted. The rates are exponentially weighted moving averages over
 * 1, 5 and 15 minutes that move every 5 seconds, as a load average does. They
 * are worked out when somebody asks or counts, so no timer is needed. The
 * sample is the forward-decaying reservoir of Cormode, Shkapenyuk, Srivastava
 * and Xu, "Forward Decay" (ICDE 2009), of 1,028 values with alpha 0.015 a
 * second: mostly the last few minutes count. Rates, sample and the way
 * percentiles are interpolated are those of the metrics library that the
 * published agent is built with, so the numbers compare.
 *
 * Counted, since a connection may outlive its endpoint: meter_new gives the
 * first reference. Every function may be called from any thread; each takes the
 * meter's own lock, for a microsecond at most. `now_us` is the monotonic clock
 * (clock_us); a time before the last one counts as the last.
 */
#ifndef CONTROL_METER_H
#define CONTROL_METER_H

#include <stdint.h>

struct meter;

struct meter_figures {
	uint64_t count;		     /* connections that began */
	uint64_t gauge;		     /* of them open now */
	double rate1, rate5, rate15; /* that begin, a second */
	/* How long they lasted, in nanoseconds; 0 without any. */
	double p50, p90, p95, p99;
	uint64_t ended;	      /* connections that have ended */
	uint64_t duration_us; /* all that ended together */
};

/* NULL without memory. */
struct meter *meter_new(int64_t now_us);
struct meter *meter_get(struct meter *m);
void meter_put(struct meter *m); /* NULL is allowed */

void meter_begin(struct meter *m, int64_t now_us);

/* One that began has ended and lasted `duration_us` (below 0 counts as 0).
 * Without memory for the sample it is counted all the same. */
void meter_end(struct meter *m, int64_t now_us, int64_t duration_us);

/* A consistent copy. Sorts the sample, outside of the lock: about 50 us. */
void meter_read(struct meter *m, int64_t now_us, struct meter_figures *out);

#endif
