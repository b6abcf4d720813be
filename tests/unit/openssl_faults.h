/*
 * Memory that OpenSSL is not given: every n-th of its allocations fails, or one
 * of them (see faults.h). To be included by the test program's main file only.
 *
 * Its objects are counted with instructions that the thread sanitizer cannot
 * see, so that a free of ours would look like a race: there nothing is taken
 * over, and OPENSSL_FAULTS is 0.
 */
#ifndef TESTS_OPENSSL_FAULTS_H
#define TESTS_OPENSSL_FAULTS_H

#include <openssl/crypto.h>
#include <stdlib.h>

#include "faults.h"

FAULT(openssl);

#ifdef __SANITIZE_THREAD__
#define OPENSSL_FAULTS 0
#else
#define OPENSSL_FAULTS 1

static void *
faulty_malloc(size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return fault_hits(&openssl_fault) ? NULL : malloc(size);
}

static void *
faulty_realloc(void *old, size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return fault_hits(&openssl_fault) ? NULL : realloc(old, size);
}

static void
plain_free(void *old, const char *file, int line)
{
	(void)file, (void)line;
	free(old);
}

/* Only before OpenSSL has allocated anything. */
__attribute__((constructor)) static void
take_over_memory(void)
{
	if (!CRYPTO_set_mem_functions(
		faulty_malloc, faulty_realloc, plain_free))
		abort();
}
#endif

/*
 * Runs `call`, whose result is 0 or -ENOMEM, with the first, the second and
 * each further allocation failing, until one run meets no fault. `zeros` (of
 * `len` bytes) must be zeros after each failure. At least `least` runs fail.
 */
#define CHECK_WITHOUT_MEMORY(call, zeros, len, least)                       \
	do {                                                                \
		unsigned failures_ = 0;                                     \
		for (unsigned n_ = 1; OPENSSL_FAULTS && n_ < 10000; n_++) { \
			int result_ = -1;                                   \
			fault_set(&openssl_fault, n_, ENOMEM);              \
			UNDER_FAULTS(result_ = (call));                     \
			if (result_ < 0) {                                  \
				ck_assert_int_eq(result_, -ENOMEM);         \
				check_zeros(zeros, len);                    \
				failures_++;                                \
			}                                                   \
			if (atomic_load(&openssl_fault.hits) == 0) {        \
				ck_assert_int_eq(result_, 0);               \
				break;                                      \
			}                                                   \
		}                                                           \
		if (OPENSSL_FAULTS)                                         \
			ck_assert_uint_ge(failures_, least);                \
	} while (0)

static void
check_zeros(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len-- > 0)
		ck_assert_uint_eq(*at++, 0);
}

#endif
