/*
 * What one policy decision costs: start, decide, finish, with the collector's
 * share. Prints nanoseconds of CPU time a decision.
 *
 *	policy_bench [SCRIPT [LIBRARY-FOLDER]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "policy/policy.h"

#define RUNS 1000000
#define RUNS_A_TURN 32
#define ROUNDS 5

static const struct hello *
no_hello(struct policy_conn *c)
{
	(void)c;
	return NULL;
}

static const struct policy_host host = { .hello = no_hello };

static void
decide(struct policy *p, struct policy_conn *conn)
{
	struct policy_run *run = policy_start(p, 0, conn, NULL);

	if (!run || policy_outcome(run)->state != POLICY_DECIDED) {
		fprintf(stderr, "policy_bench: %s\n",
		    run ? policy_outcome(run)->message : "no memory");
		exit(EXIT_FAILURE);
	}
	policy_finish(run);
}

static double
measure(struct policy *p, struct policy_conn *conn)
{
	uint64_t start = clock_thread_cpu_ns();

	for (int i = 0; i < RUNS; i++) {
		/* As each connection brings its own name and address. */
		conn->client.bytes[3] = (uint8_t)i;
		decide(p, conn);
		if (i % RUNS_A_TURN == 0)
			policy_collect(p);
	}
	return (double)(clock_thread_cpu_ns() - start) / RUNS;
}

int
main(int argc, char **argv)
{
	char script[4096] = "bench/policy_bench.lua", folder[4096] = "lua";
	char *scripts[] = { script }, *path[] = { folder };
	struct policy_settings settings = { .scripts = scripts,
		.script_count = 1,
		.path = path,
		.path_count = 1,
		.host = &host };
	struct policy_conn conn = { .id = "bench",
		.listener = "bench",
		.sni = span_text("app.example.com") };
	char storage[512];
	struct text error;
	struct policy *p;

	text_init(&error, storage, sizeof(storage));
	if (argc > 1)
		snprintf(script, sizeof(script), "%s", argv[1]);
	if (argc > 2)
		snprintf(folder, sizeof(folder), "%s", argv[2]);
	if (addr_parse(span_text("192.0.2.7"), &conn.client) != 0)
		return EXIT_FAILURE;
	p = policy_new(&settings, &error);
	if (!p) {
		fprintf(stderr, "policy_bench: %s\n", error.data);
		return EXIT_FAILURE;
	}
	measure(p, &conn); /* to warm up */
	for (int i = 0; i < ROUNDS; i++)
		printf("policy_decision_ns %.0f\n", measure(p, &conn));
	policy_free(p);
	return EXIT_SUCCESS;
}
