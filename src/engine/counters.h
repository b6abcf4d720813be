/*
 * A worker's counters: written by the worker alone, read by anyone. Relaxed
 * atomics: a reader may see one counter before another.
 */
#ifndef ENGINE_COUNTERS_H
#define ENGINE_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "engine/reason.h"

struct counters {
	_Atomic uint64_t connections_open;
	_Atomic uint64_t connections_total;
	_Atomic uint64_t bytes_in, bytes_out;
	_Atomic uint64_t policy_hooks_dropped;
	_Atomic uint64_t reasons[REASON_COUNT];
};

static inline void
counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline void
counter_subtract(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_sub_explicit(counter, n, memory_order_relaxed);
}

static inline uint64_t
counter_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
