/*
 * The engine as `lunette policy test` plays it: one connection made of a Lua
 * table, and a policy_host that answers from it. Nothing is dialled, asked or
 * waited for.
 */
#ifndef POLICY_SIMULATION_H
#define POLICY_SIMULATION_H

#include "policy/state.h"

#define SIMULATION_MAX_LIST 32
#define SIMULATION_MAX_ALPN 16
#define SIMULATION_HELLO_BYTES 2048

struct simulated_pair { /* both belong to the table that `decide` was given */
	const char *name, *value;
};

struct simulated_answer {
	const char *name;
	struct resolver_answer answer;
};

/* One call of `decide`. Strings are lent by its argument. */
struct simulation {
	uint32_t magic;
	struct policy_conn conn;
	struct proxy_header proxy;
	uint8_t tlvs[PROXY_MAX_BYTES];
	uint8_t wire[SIMULATION_HELLO_BYTES];
	uint8_t scratch[HELLO_MAX_BYTES];
	struct hello hello;

	bool has_endpoint;
	struct policy_endpoint endpoint;
	char *label_names[SIMULATION_MAX_LIST];
	char *label_values[SIMULATION_MAX_LIST];

	struct simulated_pair geo[SIMULATION_MAX_LIST];
	size_t geo_count;
	struct simulated_pair active[SIMULATION_MAX_LIST];
	size_t active_count;
	const char *endpoints[SIMULATION_MAX_LIST];
	size_t endpoint_count;
	bool any_endpoint; /* no list was given */
	const char *down[SIMULATION_MAX_LIST];
	size_t down_count;
	struct simulated_answer answers[SIMULATION_MAX_LIST];
	size_t answer_count;

	/* TLS that is terminated. */
	const char *certificates[SIMULATION_MAX_LIST];
	size_t certificate_count;
	bool any_certificate; /* no list was given */
	struct peer *client;  /* owned; NULL: it has none */
	char client_path[POLICY_PATH_SIZE];
	struct tls_facts agreed; /* as the test says; empty: by default */
	struct tls_facts tls;	 /* once it is terminated */
	const struct peer *shown;
	char protocol[256];
	const char *handshake_reason; /* of its failure, or NULL */
	char handshake_detail[256];

	/* What the script did. */
	char storage[16384];
	struct text logs;    /* one JSON object a line */
	struct text tracked; /* one key a line */
	uint64_t waited_ms;
	bool waited_too_long;
	struct policy_outcome outcome;
};

/* Between these two, the host's functions answer from `s`. */
struct simulator {
	struct simulation *current;
};

/* For policy_settings.host; host_data is a struct simulator. */
const struct policy_host *simulation_host(void);

/* Runs the script's connect (or retry) to its end. The outcome is moved into
 * `s`; never raises. */
void simulation_run(struct simulator *simulator, struct policy *p,
    struct simulation *s, const struct policy_failure *failure);

/* Fills `s` (zeroed) from the table at 1. Raises for what it does not know. */
void simulation_read(lua_State *L, struct simulation *s);

/* Keys of that table about TLS (simulation_tls.c). */
void simulation_read_client_cert(
    lua_State *L, struct simulation *s, const char *key);
void simulation_read_terminated(
    lua_State *L, struct simulation *s, const char *key);
void simulation_read_tls(lua_State *L, struct simulation *s, const char *key);
/* After all keys: for a connection that is terminated from the beginning. */
void simulation_begin_tls(struct simulation *s);

/* Sets a field of the table on top; NULL: leaves it out. */
void simulation_set_text(lua_State *L, const char *key, const char *value);

/* The handshake that conn:terminate asks for. False: it fails, and the run is
 * over; handshake_reason says why. */
bool simulation_terminate(
    struct simulation *s, const struct decision_termination *t);

/* For simulation_host. */
bool simulation_knows_certificate(struct policy_conn *c, struct span label);
void simulation_tls(struct policy_conn *c, struct tls_facts *out);
const struct peer *simulation_peer(struct policy_conn *c);

/* Adds what a decision says about TLS to the table on top. */
void simulation_set_tls(lua_State *L, const struct decision *d);

/* Pushes what came of it as a table. */
void simulation_push_result(lua_State *L, const struct simulation *s);

#endif
