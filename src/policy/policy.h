/*
 * The policy engine: the operator's Lua scripts, run once for each connection.
 *
 * A `policy` is one worker's Lua state with all scripts of one configuration
 * version, frozen after load. A `policy_run` is one connection's coroutine in
 * it. Everything that waits is told to the caller as an outcome: the caller
 * does the waiting and resumes. A policy may be made on one thread and handed
 * to another; after that it belongs to that thread alone. `policy_shared`
 * belongs to the process.
 *
 * No failure of a script is a failure of a caller: it is an outcome that
 * denies.
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include "base/addr.h"
#include "policy/decision.h"
#include "sys/resolver.h"
#include "tls/stream.h"
#include "wire/hello.h"
#include "wire/proxy.h"
#include "wire/upstream_address.h"

struct policy;
struct policy_run;
struct policy_shared;

/* Dictionaries, rates, active counts: they outlive reloads. */
struct policy_shared *policy_shared_new(void);
void policy_shared_free(struct policy_shared *s);

#define POLICY_VERSION_SIZE 17 /* 16 hex digits of a SHA-256, and NUL */

/* What the SNI matches now, for conn.endpoint. Lent for the call. */
struct policy_endpoint {
	const char *url, *domain, *terminate_at, *metadata;
	bool online;
	unsigned agents;
	size_t label_count;
	char *const *label_names;
	char *const *label_values;
};

/*
 * One connection as scripts see it. The engine embeds it; the host's functions
 * find the rest with CONTAINER_OF. It must stay at its address while a run or a
 * close hook uses it.
 */
struct policy_conn {
	char id[32];
	struct addr client, peer, server;
	const char *listener;
	int64_t start_wall_us;
	const struct proxy_header *proxy; /* NULL: none */
	struct span sni;		  /* empty: none */
	/* The client's TLS was terminated here: host->tls tells about it, and
	 * what a decision could say about termination comes too late. */
	bool terminated;
	/* This process is an agent; the edge has decided before. */
	bool at_agent;
	const char *ja4; /* NULL: computed when a script asks for it */
};

struct policy_pool_settings {
	const char *balance; /* "round_robin" ..., checked by the host */
	const struct span *addresses;
	const unsigned *weights;
	size_t count;
	uint64_t health_every_ms; /* 0: no active checks */
	unsigned fall, rise;
};

/* What the engine offers to scripts. All on the policy's thread; none blocks
 * and none raises. */
struct policy_host {
	/* NULL when there is none to read (in a close hook). */
	const struct hello *(*hello)(struct policy_conn *c);
	bool (*endpoint)(struct policy_conn *c, struct policy_endpoint *out);
	bool (*knows_endpoint)(struct policy_conn *c, struct span url);
	/* A label of the configuration's certificates. */
	bool (*knows_certificate)(struct policy_conn *c, struct span label);
	/* What was agreed with the client; only when `terminated`. */
	void (*tls)(struct policy_conn *c, struct tls_facts *out);
	/* The client's verified certificate, or NULL; only when `terminated`.
	 */
	const struct peer *(*peer)(struct policy_conn *c);
	/* conn:log(fields): one JSON object for traffic_policy.logs. */
	void (*log)(struct policy_conn *c, struct span json);
	/* conn:track(key): counts the connection under the key until it ends,
	 * once a key. 0 or -ENOMEM, -E2BIG for too many keys. */
	int (*track)(struct policy_conn *c, struct span key);
	/* lunette.active(key). Any time; `host_data` of policy_settings. */
	uint32_t (*active)(void *host_data, struct span key);
	/* lunette.pool{...}. NULL with a message in `error`. */
	void *(*pool_open)(void *host_data,
	    const struct policy_pool_settings *settings, struct text *error);
	void (*pool_close)(void *host_data, void *pool);
	/* Picks by the client's address (or `key` if not empty, for "hash").
	 * False when no upstream is up. `out` gets the canonical address. */
	bool (*pool_pick)(void *pool, const struct addr *client,
	    struct span key, char out[UPSTREAM_ADDRESS_SIZE]);
	/* conn.geo and conn.as; false when there is no database or no entry.
	 * `name` is the field, e.g. "country_code"; numbers as text. */
	bool (*geo)(void *host_data, const struct addr *client,
	    const char *name, char *out, size_t size);
};

struct policy_settings {
	char *const *scripts; /* paths */
	size_t script_count;
	char *const *path; /* folders for require(), the installed lua/ last */
	size_t path_count;
	uint64_t cpu_ms, memory_bytes, run_memory_bytes;
	bool jit;
	bool silent; /* failed runs are outcomes only, and no log lines */
	const struct policy_host *host;
	void *host_data;
	struct policy_shared *shared;
	struct resolver
	    *resolver; /* for lunette.resolve's cache; may be NULL */
};

/*
 * Compiles and loads all scripts. NULL with a message ("file:line: what") in
 * `error` if any fails; then nothing is left behind. Any thread.
 */
struct policy *policy_new(
    const struct policy_settings *settings, struct text *error);
void policy_free(struct policy *p); /* its thread; its runs end with it */

/* The hash of all scripts and modules that were loaded. Lives with `p`. */
const char *policy_version(const struct policy *p);

/* Which functions a script offers. */
bool policy_has_retry(const struct policy *p, unsigned script);
bool policy_has_close(const struct policy *p, unsigned script);

enum policy_state { POLICY_DECIDED, POLICY_WAITING, POLICY_FAILED };
enum policy_wait {
	POLICY_WAIT_SLEEP,
	POLICY_WAIT_RESOLVE,
	POLICY_WAIT_TERMINATE,
};
enum policy_fault {
	POLICY_FAULT_ERROR,   /* raised, or an invalid decision */
	POLICY_FAULT_TIMEOUT, /* CPU budget */
	POLICY_FAULT_MEMORY,
	POLICY_FAULT_LIMIT, /* too many suspended runs already */
};

struct policy_outcome {
	enum policy_state state;
	/* POLICY_WAITING */
	enum policy_wait wait;
	uint64_t sleep_ms;
	struct host resolve_name;
	struct decision_termination termination; /* as long as it waits */
	/* POLICY_DECIDED; `decided` false: the script returned nothing */
	bool decided;
	struct decision decision;
	/* POLICY_FAILED: printable, one line, without the traceback (which has
	 * been logged) */
	enum policy_fault fault;
	char message[256];
	int line;
};

struct policy_failure { /* for retry(conn, failure) */
	const char *reason;
	unsigned attempt;
	const char *upstream;
};

/*
 * Starts `connect` (failure NULL) or `retry` of a script. `run` is set in every
 * case but no memory (NULL then: deny with no_memory); end it with
 * policy_finish. `conn` is borrowed until then.
 */
struct policy_run *policy_start(struct policy *p, unsigned script,
    struct policy_conn *conn, const struct policy_failure *failure);

/* The outcome of the last start or resume; lives with the run. The caller may
 * move the decision out (copy it and decision_init the original). */
struct policy_outcome *policy_outcome(struct policy_run *run);

/* Goes on after the wait that the outcome asked for: after a sleep and after
 * the client's TLS was terminated (conn->terminated is set then) with NULL,
 * after a resolve with the answer. A handshake that fails ends the connection,
 * and the run with policy_finish. */
void policy_resume(
    struct policy_run *run, const struct resolver_answer *answer);

/* Ends a run in any state, waiting too. */
void policy_finish(struct policy_run *run);

struct policy_summary { /* for close(conn, summary) */
	const char *reason, *detail, *endpoint, *upstream;
	uint64_t bytes_in, bytes_out;
	int64_t duration_us;
};

/* Runs a script's close function under the same limits. Errors are logged. */
void policy_close(struct policy *p, unsigned script, struct policy_conn *conn,
    const struct policy_summary *summary);

/* One bounded step of the garbage collector; call once a loop turn. */
void policy_collect(struct policy *p);

/*
 * True when scripts hold so much that their state's cap stops even runs that
 * keep to their own, and collecting does not help: time for another state.
 */
bool policy_is_spent(const struct policy *p);

/*
 * The same scripts in a fresh state. NULL with a message when they cannot be
 * loaded, or are not the same version any more: that needs a reload.
 */
struct policy *policy_renew(const struct policy *p, struct text *error);

#endif
