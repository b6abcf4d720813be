/*
 * A snapshot: one whole, validated configuration, immutable once made and
 * shared by all threads by counted reference. A reload makes the next one
 * beside it; a connection keeps the one that it began with until it relays, and
 * after that only its endpoint.
 *
 * Strings in it live as long as the struct that holds them.
 */
#ifndef CONFIG_SNAPSHOT_H
#define CONFIG_SNAPSHOT_H

#include <stdatomic.h>

#include "base/log.h"
#include "base/netset.h"
#include "config/tree.h"
#include "tls/keyring.h"
#include "tls/trust.h"
#include "wire/host.h"
#include "wire/routes.h"
#include "wire/upstream_address.h"

enum terminate_at { TERMINATE_EDGE, TERMINATE_AGENT, TERMINATE_UPSTREAM };
enum balance {
	BALANCE_ROUND_ROBIN,
	BALANCE_LEAST_CONNECTIONS,
	BALANCE_RANDOM_TWO,
	BALANCE_HASH,
};

/* Registered TLVs that `proxy_tlvs` may ask for, as bits. */
enum proxy_tlv_choice {
	PROXY_SEND_AUTHORITY = 1 << 0,
	PROXY_SEND_ALPN = 1 << 1,
	PROXY_SEND_UNIQUE_ID = 1 << 2,
	PROXY_SEND_CRC32C = 1 << 3,
	PROXY_SEND_SSL = 1 << 4,
	PROXY_SEND_CLIENT_CERTIFICATE = 1
					<< 5, /* within ssl, which it brings */
};

struct health_settings {
	uint64_t every_ms; /* 0: no active checks */
	unsigned fall, rise;
};

struct upstream_settings {
	struct upstream_address address;
	unsigned weight; /* 1 to 256 */
};

/* How TLS is terminated here. */
struct termination_settings {
	char *certificate; /* a label of the keyring; NULL: chosen by name */
	uint16_t min_version, max_version; /* enum tls_version */
	uint8_t *alpn; /* ProtocolNameList without its length; NULL: none */
	size_t alpn_len;
	enum client_auth auth;
	struct trust *trust; /* NULL when auth is NONE */
};

enum verify { VERIFY_AUTO, VERIFY_ON, VERIFY_OFF };

/* How a `tls://` upstream is spoken to. */
struct upstream_tls_settings {
	enum verify verify;  /* AUTO: but for loopback and Unix addresses */
	struct trust *trust; /* NULL: the system's */
	char *server_name;   /* NULL: the address's name */
	char *certificate;   /* a label of the keyring; NULL: none */
};

struct agent_pool; /* engine/registry.h */

/* An endpoint's settings; counted apart from its snapshot. In an agent's file
 * `terminate_at: agent` is here, `edge` means that plain bytes arrive. */
struct endpoint {
	atomic_uint refs;
	size_t index;	    /* in its snapshot */
	char id[24];	    /* "ep_" and base32 of a hash of the URL */
	char *name;	    /* in an agent's file, unique; NULL: none */
	char *url;	    /* "tls://name", or "tls://" for any name */
	struct host domain; /* empty: any name (`lunette tls`) */
	bool is_random;	    /* the edge chooses the name: url is NULL */
	bool pooling_enabled;
	/* Bound by agents: who serves it. NULL: configured. */
	struct agent_pool *agents;
	void (*release_agents)(struct agent_pool *);
	enum terminate_at terminate_at;
	struct termination_settings termination;
	struct certificate *own_certificate; /* counted; NULL: the keyring's */
	/* Files that an agent sends to the edge, which ends TLS with them. */
	char *bind_crt, *bind_key; /* NULL: none */
	struct upstream_tls_settings upstream_tls;
	uint64_t handshakes_per_second; /* terminated here; 0: no limit */
	struct upstream_settings *upstreams;
	size_t upstream_count;
	enum balance balance;
	struct health_settings health;
	uint8_t proxy_proto;	     /* 0, 1, 2 */
	unsigned proxy_tlvs;	     /* enum proxy_tlv_choice */
	struct netset *allow, *deny; /* both NULL: no restriction */
	int policy_script;	     /* index into snapshot.scripts, -1: none */
	/* Timeouts in force for it. */
	uint64_t handshake_ms, connect_ms, idle_ms;
	uint64_t bytes_per_second; /* each direction; 0: no limit */
	char *metadata;		   /* "" when none */
	char **label_names, **label_values;
	size_t label_count;
};

enum serves { SERVES_BOTH, SERVES_AGENTS, SERVES_CLIENTS };

struct listen_settings {
	char *address; /* as written, for logs */
	struct addr addr;
	unsigned proxy_accept; /* bits 1 << version; 0: no PROXY protocol */
	struct netset *proxy_from;
	bool proxy_required;
	enum serves serves;
};

/* `edge.agents`: the agents that this edge takes. */
struct agents_settings {
	bool enabled;		   /* the section is there */
	struct host *server_names; /* reserved: agents connect to these */
	size_t server_name_count;
	char *certificate; /* a label of the keyring; NULL: chosen by name */
	char *authtokens_file;
	bool encrypts_data; /* data_encryption: always */
	bool no_data;	    /* data_connections: never */
	uint64_t heartbeat_interval_ms, heartbeat_tolerance_ms;
	uint64_t sessions;		/* at most; 0: no limit */
	uint64_t endpoints_per_session; /* at most; 0: no limit */
};

struct edge_address {
	char *text; /* as written */
	struct upstream_address address;
};

/* `agent`: only in an agent's file. */
struct agent_settings {
	bool enabled;	 /* this snapshot is an agent's */
	char *authtoken; /* wiped when freed; NULL: none */
	struct edge_address *edges;
	size_t edge_count;
	unsigned connections;
	char *connect_cas; /* NULL or "host": the system's; "sha256:" and hex;
			    * else a path */
	uint64_t heartbeat_interval_ms, heartbeat_tolerance_ms, connect_ms;
	char *metadata; /* "" when none */
	char *web_addr; /* as written; NULL: off */
	struct addr web;
	char *proxy_url;    /* http:// or socks5://, may hold a password: wiped
			     * when freed; NULL: none */
	bool encrypts_data; /* data_encryption: always */
};

struct event_settings {
	char *file; /* a path, or NULL: standard output */
	bool to_stdout;
	char **types; /* none: all */
	size_t type_count;
};

struct timeout_settings {
	uint64_t proxy_ms, hello_ms, handshake_ms, connect_ms, idle_ms,
	    drain_ms, linger_ms;
};

struct limit_settings {
	uint64_t connections;		 /* 0: derived from descriptors */
	uint64_t connections_per_client; /* 0: none */
	uint64_t handshakes_per_second;	 /* terminated here; 0: none */
	uint64_t handshakes_per_second_per_client; /* 0: none */
};

/* One pair of files of the keyring, for watching and for OCSP. */
struct certificate_settings {
	char *label;	 /* NULL: none */
	char *crt, *key; /* key NULL: in crt */
	/* Where its staple comes from: a file, the responder (`ocsp_fetch`;
	 * also without being told when it must be stapled), or nowhere. */
	char *ocsp_file;
	bool ocsp_fetch, ocsp_off;
	size_t id; /* its place in the keyring */
};

/* A folder whose pairs are in `certificates`; what comes into it later is
 * stapled as these say. */
struct certificate_folder {
	char *path;
	bool ocsp_fetch, ocsp_off;
};

struct policy_options {
	char **path; /* folders for require() */
	size_t path_count;
	uint64_t cpu_ms;	   /* between waits: 50 */
	uint64_t wall_ms;	   /* in all: 10000 */
	uint64_t memory_bytes;	   /* of a state: 64 MiB */
	uint64_t run_memory_bytes; /* of one run: 1 MiB */
	bool jit;
};

struct snapshot {
	atomic_uint refs;
	int64_t begun_wall_us; /* before any of its files was read */
	struct listen_settings *listens;
	size_t listen_count;
	unsigned workers; /* 0: one a core */
	char *user;	  /* to become after binding; NULL: stay */
	struct endpoint **endpoints;
	size_t endpoint_count;
	struct routes *routes;		   /* to struct endpoint */
	struct endpoint *default_endpoint; /* NULL: none; not counted again */
	bool hide_names;
	char **scripts; /* paths; each distinct file once */
	size_t script_count;
	int edge_script; /* index into scripts, -1: none */
	struct policy_options policy;
	struct timeout_settings timeouts;
	struct limit_settings limits;
	struct event_settings *events;
	size_t event_count;
	char *resolver_servers;	 /* NULL: the system's */
	char *geo_database;	 /* path, NULL: none */
	char *state;		 /* the state folder; never NULL */
	bool local_ca;		 /* certificates for names without one */
	struct keyring *keyring; /* counted; never NULL, may be empty */
	struct certificate_settings *certificates;
	size_t certificate_count;
	struct certificate_folder *certificate_folders;
	size_t certificate_folder_count;
	char *ticket_keys;	  /* file; NULL: made and rotated here */
	uint64_t session_life_ms; /* of tickets; 0: no resumption */
	char *keylog;		  /* from the flag only; NULL: none */
	char *log_target;
	enum log_format log_format;
	enum log_level log_level;
	struct agents_settings agents;
	struct agent_settings agent;
	struct host base_domain;   /* random names are below it; len 0: none */
	struct problems *warnings; /* what is odd but no error; never NULL */
};

/*
 * Validates the whole tree against the schema and builds the snapshot. Relative
 * paths are taken relative to `folder`. NULL when there was any problem; all of
 * them are in `p`. Touches no socket and runs no script. Main thread.
 */
struct snapshot *snapshot_build(
    struct tree *t, const char *folder, struct problems *p);

/* Whether the file is an agent's: by its key `agent`. */
bool config_is_agents(const struct node *root);

#define AUTHTOKEN_MAX_BYTES 256

/*
 * For a snapshot that nobody shares yet: the agent's token, copied, instead of
 * what the file says. NULL, or what is wrong with it, to be put behind "the
 * token"; nothing is changed then.
 */
const char *snapshot_set_authtoken(struct snapshot *s, struct span token);

/* For a snapshot of an agent that nobody shares yet: keeps the endpoints of
 * these names only. 0, or -1 with each name that there is not in `p`. */
int snapshot_choose(struct snapshot *s, const char *const *names, size_t count,
    struct problems *p) MUST_CHECK;

struct snapshot *snapshot_get(struct snapshot *s); /* any thread */
void snapshot_put(struct snapshot *s);

/* An endpoint that an agent binds: this pattern, with the snapshot's defaults
 * and no metadata; one reference. NULL without memory. Any thread. */
struct endpoint *endpoint_new_bound(
    const struct snapshot *s, const struct host *domain);
struct endpoint *endpoint_get(struct endpoint *e); /* any thread */
void endpoint_put(struct endpoint *e);

/* The endpoint that a name leads to: exact, wildcard, "any name", then the
 * default. `name` empty: the default or "any name" only. Lent. NULL: none. */
struct endpoint *snapshot_route(const struct snapshot *s, struct span name);

/* The endpoint with this URL, or NULL. */
struct endpoint *snapshot_endpoint(const struct snapshot *s, struct span url);

/* Whether this name of a certificate (a label) is known. */
bool snapshot_has_certificate(const struct snapshot *s, const char *label);

/* Allowed if there is no restriction, or an allow rule and no deny rule match.
 * An address that is not IP is never allowed by a restriction. */
bool endpoint_allows(const struct endpoint *e, const struct addr *client);

const char *terminate_at_name(enum terminate_at t);

/* The manual's table of all keys, as roff for lunette.yaml(5): from the schema
 * that snapshot_build reads by. Written to `out`. */
void schema_write_manual(struct text *out);

#endif
