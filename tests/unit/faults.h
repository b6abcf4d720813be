/*
 * Faults for wrapped functions (-Wl,--wrap=name): every n-th call fails.
 *
 *	FAULT(accept4)
 *	int __wrap_accept4(...) { if (fault_hits(&accept4_fault)) ... }
 *
 * In a test: fault_set(&accept4_fault, 3, EMFILE), and then what may fail in
 * UNDER_FAULTS(...), for Check itself calls malloc and write as well. Armed is
 * the calling thread only.
 */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

struct fault {
	unsigned every; /* 0: never */
	int error;	/* the errno it fails with */
	atomic_uint calls, hits;
};

#define FAULT(name) static struct fault name##_fault

static _Thread_local bool faults_armed;

#define UNDER_FAULTS(statement)       \
	do {                          \
		faults_armed = true;  \
		statement;            \
		faults_armed = false; \
	} while (0)

static inline bool
fault_hits(struct fault *f)
{
	if (!faults_armed || f->every == 0 ||
	    (atomic_fetch_add(&f->calls, 1) + 1) % f->every)
		return false;
	atomic_fetch_add(&f->hits, 1);
	errno = f->error;
	return true;
}

static inline void
fault_set(struct fault *f, unsigned every, int error)
{
	f->every = every;
	f->error = error;
	atomic_store(&f->calls, 0);
	atomic_store(&f->hits, 0);
}

#endif
