#include "base/hash.h"

#include <errno.h>
#include <pthread.h>
#include <sys/random.h>

#include "base/compiler.h"

static struct {
	pthread_once_t once;
	uint64_t word[2];
} key = { .once = PTHREAD_ONCE_INIT };

static void
draw_key(void)
{
	random_bytes(key.word, sizeof(key.word));
}

static inline uint64_t
rotate_left(uint64_t x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static inline uint64_t
load_le64(const uint8_t *p)
{
	uint64_t word = 0;

	for (int i = 7; i >= 0; i--)
		word = word << 8 | p[i];
	return word;
}

static inline void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate_left(v[1], 13) ^ v[0];
	v[0] = rotate_left(v[0], 32);
	v[2] += v[3];
	v[3] = rotate_left(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate_left(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate_left(v[1], 17) ^ v[2];
	v[2] = rotate_left(v[2], 32);
}

/* SipHash-1-3 of Aumasson and Bernstein: one round a word, three at the end. */
uint64_t
hash_bytes(struct span s)
{
	uint64_t v[4], last = (uint64_t)s.len << 56;
	size_t whole = s.len & ~(size_t)7;

	pthread_once(&key.once, draw_key);
	v[0] = key.word[0] ^ 0x736f6d6570736575;
	v[1] = key.word[1] ^ 0x646f72616e646f6d;
	v[2] = key.word[0] ^ 0x6c7967656e657261;
	v[3] = key.word[1] ^ 0x7465646279746573;
	for (size_t i = 0; i < whole; i += 8) {
		uint64_t word = load_le64(s.data + i);

		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (size_t i = whole; i < s.len; i++)
		last |= (uint64_t)s.data[i] << (8 * (i - whole));
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* FNV-1a alone is weak in its high bits, hence MurmurHash3's finaliser. */
uint64_t
hash_stable(struct span s)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < s.len; i++)
		h = (h ^ s.data[i]) * 0x100000001b3;
	h = (h ^ h >> 33) * 0xff51afd7ed558ccd;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53;
	return h ^ h >> 33;
}

void
random_bytes(void *out, size_t len)
{
	uint8_t *at = out;

	while (len > 0) {
		ssize_t got = getrandom(at, len, 0);

		if (got < 0 && errno == EINTR)
			continue;
		ASSERT(got > 0);
		at += got;
		len -= (size_t)got;
	}
}

/* xorshift64*, seeded by each thread for itself. */
uint64_t
random_quick(void)
{
	static _Thread_local uint64_t state;

	while (state == 0)
		random_bytes(&state, sizeof(state));
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1d;
}
