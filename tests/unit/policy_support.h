/*
 * What the policy tests share: scripts from strings, a host that offers fixed
 * things and keeps what it was told, one connection.
 */
#ifndef TESTS_POLICY_SUPPORT_H
#define TESTS_POLICY_SUPPORT_H

#include "policy/policy.h"

#define BENCH_LOGS 16

struct bench { /* a test bench, not a benchmark */
	char folder[64];
	struct policy_settings settings;
	struct policy_host host;
	struct policy *policy;
	struct policy_conn conn;
	bool has_hello;
	uint8_t wire[1024];
	struct hello hello;
	char log[BENCH_LOGS][4200];
	size_t log_count;
	char tracked[64];
	struct tls_facts tls;
	struct peer *peer; /* lent; NULL: no certificate */
	unsigned peer_reads;
	struct policy_run *run;
	char error_storage[1024];
	struct text error;
};

void policy_bench_init(struct bench *b);
void policy_bench_fini(struct bench *b);

/* Writes a file into the bench's folder. */
void policy_bench_write(struct bench *b, const char *name, const char *text);

/* Loads the text as the only script; false with b->error. */
bool policy_bench_load(struct bench *b, const char *text);

/* Starts a run of the script and gives its outcome; ends the run before. */
struct policy_outcome *policy_bench_run(struct bench *b);

/* policy_bench_load, which must work, then policy_bench_run. */
struct policy_outcome *policy_bench_try(struct bench *b, const char *text);

/* As a function's body: `return function(conn) BODY end`. */
struct policy_outcome *policy_bench_body(struct bench *b, const char *body);

/* What the engine does once the handshake that a run waits for is done: TLS
 * 1.3, "h2", the hello is gone. */
struct policy_outcome *policy_bench_shake_hands(struct bench *b);

#endif
