/*
 * What the tests of the renewal share: certificates on disk with a snapshot of
 * them made by hand, a log and a journal that can be searched, and a responder
 * of OCSP on the loopback.
 */
#ifndef TESTS_RENEWAL_BENCH_H
#define TESTS_RENEWAL_BENCH_H

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "engine/generation.h"
#include "engine/journal.h"
#include "tls_support.h"
#include "unit.h"

#define BENCH_PATIENCE_MS 30000
#define BENCH_PAIRS 1100
#define BENCH_TRUSTS 4

/* Asks again and again until it is so. */
#define WAIT_FOR(cond)                                            \
	do {                                                      \
		mark_point();                                     \
		for (int tries_ = 0; !(cond); tries_++) {         \
			if (tries_ == BENCH_PATIENCE_MS)          \
				ck_abort_msg("never: %s", #cond); \
			usleep(1000);                             \
		}                                                 \
	} while (0)

struct bench {
	const char *folder;
	struct made *ca;
	struct snapshot snapshot;
	struct generation generation;
	struct certificate_settings pairs[BENCH_PAIRS];
	struct endpoint endpoints[BENCH_TRUSTS];
	struct endpoint *endpoint_list[BENCH_TRUSTS];
	struct certificate_folder folders[1];
	struct journal *journal;
};

/* The log goes to a file, events to memory. */
void renewal_bench_init(struct bench *b);
/* All references but the bench's own must be back. */
void renewal_bench_fini(struct bench *b);
/* What a reload with the same text makes: another snapshot and keyring of the
 * same files as they are now. */
void renewal_bench_copy(const struct bench *b, struct bench *out);
void renewal_bench_copy_fini(struct bench *b);

/* The certificate in NAME.crt with its issuer, the key in NAME.key; each is
 * replaced by rename. */
void renewal_bench_write(
    const struct bench *b, const char *name, struct made *leaf);
void renewal_bench_write_file(
    const struct bench *b, const char *name, const char *text);
struct made *renewal_bench_leaf(const struct bench *b, const char *dns_name);
/* A leaf that is written, loaded and put into the snapshot; its place. */
size_t renewal_bench_add(struct bench *b, const char *name, struct made *leaf);
/* A bundle with the bench's CA that an endpoint trusts. */
struct trust *renewal_bench_trust(struct bench *b, const char *name);

/* The fingerprint of who serves in a place, or for a name (NULL: nobody). */
const char *serves(const struct bench *b, size_t id);
const char *serves_name(const struct bench *b, const char *name);
const char *fingerprint(const struct made *m);
bool is_stapled(const struct bench *b, size_t id);

/* Lines of the log, and events, that hold both texts. */
unsigned logged(const struct bench *b, const char *text, const char *also);
unsigned told(const char *text, const char *also);

/* A responder of the bench's CA. */
struct responder {
	const struct bench *bench;
	int fd;
	char url[64];
	pthread_t thread;
	_Atomic int status;  /* of HTTP: 200 */
	_Atomic int life_s;  /* how long its answers live */
	_Atomic bool silent; /* takes the question and does not answer */
	_Atomic bool held;   /* answers when responder_release was called */
	sem_t released;
	_Atomic bool revoked;
	_Atomic unsigned asked;
	_Atomic int talking_to; /* a descriptor, or -1 */
};

void responder_init(struct responder *r, const struct bench *b);
void responder_fini(struct responder *r);
/* Answers the question it holds; it holds no other from now on. */
void responder_release(struct responder *r);
/* An answer as a file holds it, about the last certificate of this CA. */
struct span make_answer(
    const struct bench *b, const struct made *leaf, int life_s);

#endif
