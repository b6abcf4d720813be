/*
 * The messages of a session: what each says, from JSON and to JSON. A request
 * or response is one JSON object; names are capitalised as the agent SDKs
 * write them.
 *
 * x_read fills a struct that owns all it holds: no text of it is NULL unless
 * its comment says so, and x_fini gives everything back, wiped. What is written
 * may instead be lent by whoever fills the struct; then there is no x_fini. A
 * struct of zeros is an empty message, and harmless to x_fini.
 *
 * Reading: unknown fields are skipped, missing ones and null have the default
 * (nothing, 0, false). Refused are fields of a wrong type, over their limit or
 * twice in one object, and messages that are no JSON, too deep or too large.
 * The error names the field, never what it holds.
 *
 * Any thread; no function blocks. Sources: ngrok-go internal/tunnel/proto,
 * ngrok-rust internals/proto.rs, and what their SDKs were seen to send.
 */
#ifndef TUNNEL_MESSAGE_H
#define TUNNEL_MESSAGE_H

#include "base/text.h"

enum message_type {
	MESSAGE_AUTH = 0,	    /* agent to edge */
	MESSAGE_BIND = 1,	    /* agent to edge */
	MESSAGE_UNBIND = 2,	    /* agent to edge */
	MESSAGE_PROXY = 3,	    /* edge to agent: tunnel/stream_header.h */
	MESSAGE_RESTART = 4,	    /* edge to agent */
	MESSAGE_STOP = 5,	    /* edge to agent */
	MESSAGE_UPDATE = 6,	    /* edge to agent */
	MESSAGE_START_LABELLED = 7, /* agent to edge: StartTunnelWithLabel */
	MESSAGE_SRV_INFO = 8,	    /* agent to edge, before Auth */
	MESSAGE_STOP_TUNNEL = 9,    /* edge to agent */
	/* Only between Lunette's own (ALPN lunette/1): */
	MESSAGE_DATA_CONNECTIONS = 0x4c01, /* edge to agent */
	MESSAGE_DATA_END = 0x4c02,	   /* either way */
	MESSAGE_MOVING = 0x4c03,	   /* edge to agent */
};

#define MESSAGE_MAX_BYTES (1024 * 1024)
#define MESSAGE_MAX_DEPTH 16
#define MESSAGE_MAX_VALUES 16384 /* in one message */
#define MESSAGE_ERROR_SIZE 256	 /* is enough for the error of any x_read */

/* Limits in bytes; what is longer is refused. */
#define MESSAGE_WORD_MAX 128
#define MESSAGE_LINE_MAX 1024
#define MESSAGE_ERROR_TEXT_MAX 4096
#define MESSAGE_METADATA_MAX 4096
#define MESSAGE_DESCRIPTION_MAX 255
#define MESSAGE_ID_MAX 64 /* as much as DATA_ENDPOINT_MAX_BYTES */
#define MESSAGE_TOKEN_MAX 1024
#define MESSAGE_COOKIE_MAX 1024
#define MESSAGE_PEM_MAX (256 * 1024) /* decoded */
#define MESSAGE_SESSION_ID_BYTES 16
#define MESSAGE_MAX_LABELS 64
#define MESSAGE_LABEL_MAX 256
#define MESSAGE_MAX_NETWORKS 4096 /* of each list */

struct message_texts {
	char **items;
	size_t count;
};

struct message_bytes {
	uint8_t *data; /* NULL when there are none */
	size_t len;
};

struct message_label {
	char *name, *value;
};

struct message_labels {
	struct message_label *items;
	size_t count;
};

/*
 * All x_read: `json` is lent. 0; -EPROTO with why in `error` (escaped: it may
 * go into a log line and an answer); -ENOMEM. After an error `out` is empty.
 *
 * All x_write: 0 with the JSON in `*out`, to be given back with message_wipe;
 * -ENOMEM, or -EMSGSIZE if it would be larger than MESSAGE_MAX_BYTES, with
 * `*out` empty. Texts that are not UTF-8 are written with U+FFFD.
 */
void message_wipe(struct span *json); /* empty is harmless */

/* A text for a message that is only written, which borrows it; NULL is "". */
static inline char *
message_lend(const char *text)
{
	return (char *)(uintptr_t)(text ? text : "");
}

static inline struct span
message_span(const struct message_bytes *b)
{
	return span_of(b->data, b->len);
}

/* --- Auth ---
 * SDKs send `auth_token` plain (the one in Rust as `AuthToken`, the one in Go
 * as `Authtoken`; both are read, the first is written); Lunette's agent sends
 * `token_id` and `proof` instead, see tls/token.h. */
struct auth {
	struct message_texts versions; /* "3", "2": the best first */
	char *client_id;	       /* "": a new client */
	char *os, *arch;
	char *auth_token; /* secret */
	char *version;	  /* of the agent */
	char *hostname, *user_agent;
	char *metadata;
	char *cookie; /* secret */
	/* Nanoseconds, at least 0; 0: not said. */
	int64_t heartbeat_interval_ns, heartbeat_tolerance_ns;
	/* NULL: not said, so the agent cannot; "": it can; else why not. */
	char *update_unsupported, *stop_unsupported, *restart_unsupported;
	char *proxy_type;
	bool mutual_tls, service_run, custom_interface, custom_cas;
	char *config_version, *client_type;
	char *data_encryption; /* Lunette: DataEncryption, "always" or "" */
	uint32_t leg_number;
	struct message_bytes token_id; /* Lunette: none, or TOKEN_ID_BYTES */
	struct message_bytes proof;    /* Lunette: at most TOKEN_MAX_BYTES */
};

int auth_read(
    struct span json, struct auth *out, struct text *error) MUST_CHECK;
int auth_write(const struct auth *a, struct span *out) MUST_CHECK;
void auth_fini(struct auth *a);

struct auth_response {
	char *version; /* of the protocol, one of those offered */
	char *client_id;
	char *error; /* "": welcome */
	char *server_version, *region;
	char *cookie; /* secret */
	char *account_name, *plan_name, *banner;
	int64_t session_seconds; /* SessionDuration; 0: no end */
	char *agent_session_id;	 /* AgentSessionID: "ts_..." */
	/* Lunette: SessionId, with which data connections are offered; none,
	 * or MESSAGE_SESSION_ID_BYTES. Secret. */
	struct message_bytes session_id;
};

int auth_response_read(
    struct span json, struct auth_response *out, struct text *error) MUST_CHECK;
int auth_response_write(
    const struct auth_response *a, struct span *out) MUST_CHECK;
void auth_response_fini(struct auth_response *a);

/* --- SrvInfo: the request is an empty object --- */
struct srv_info_response {
	char *region;
};

int srv_info_response_read(struct span json, struct srv_info_response *out,
    struct text *error) MUST_CHECK;
int srv_info_response_write(
    const struct srv_info_response *s, struct span *out) MUST_CHECK;
void srv_info_response_fini(struct srv_info_response *s);

/* --- Bind --- */

/* `Opts` of an endpoint with TLS. */
struct bind_options {
	char *url;		    /* "tls://app.example.com"; all four */
	char *domain;		    /* may be "": a random name */
	char *hostname, *subdomain; /* older forms */
	unsigned proxy_proto;	    /* 0, 1 or 2 */
	/* Lunette: TerminateAt, "edge", "agent" or "upstream"; "": not said. */
	char *terminate_at;
	bool mutual_tls_at_agent;	    /* only said, nothing to do */
	bool has_mutual_tls_at_edge;	    /* MutualTLSAtEdge is not null */
	struct message_bytes mutual_tls_ca; /* its PEM */
	/* TLSTermination is not null: TLS ends at the edge, with the edge's own
	 * certificate if there is none. */
	bool ends_at_edge;
	struct message_bytes cert, key; /* PEM, both or none; key is secret */
	struct message_texts allow_cidrs, deny_cidrs;
	/* TrafficPolicy or Policy is there and says something. What it says is
	 * not read: whoever does not obey it must refuse it. Not written. */
	bool has_traffic_policy;
	bool has_sealed_key; /* refused by bind_read */
};

struct bind {
	char *id;    /* the agent's; "": the edge makes one */
	char *proto; /* "tls"; others have other options, which are skipped */
	char *forwards_to, *forwards_proto;
	struct bind_options options;
	char *name;
	char *token;	     /* secret; of an earlier response, or "" */
	char *ip_policy_ref; /* "" or something that Lunette does not have */
	char *metadata, *description;
	struct message_texts bindings; /* "public" ... */
	/* PoolingEnabled; ngrok-go once sent it as AllowsPooling. */
	bool pooling_enabled;
};

int bind_read(
    struct span json, struct bind *out, struct text *error) MUST_CHECK;
int bind_write(const struct bind *b, struct span *out) MUST_CHECK;
void bind_fini(struct bind *b);

/* `Opts` goes back as it is in force; SDKs need it there. */
struct bind_response {
	char *id, *url, *proto;
	char *error; /* "": bound */
	struct bind_options options;
	char *token; /* secret */
};

int bind_response_read(
    struct span json, struct bind_response *out, struct text *error) MUST_CHECK;
int bind_response_write(
    const struct bind_response *b, struct span *out) MUST_CHECK;
/* With certificates and key as the agent has sent them, and only back to that
 * agent: SDKs bind again, after a reconnect, with the Opts of the answer. */
int bind_response_write_whole(
    const struct bind_response *b, struct span *out) MUST_CHECK;
void bind_response_fini(struct bind_response *b);

/* --- Unbind --- */
struct unbind {
	char *id;
};

int unbind_read(
    struct span json, struct unbind *out, struct text *error) MUST_CHECK;
int unbind_write(const struct unbind *u, struct span *out) MUST_CHECK;
void unbind_fini(struct unbind *u);

/* --- StartTunnelWithLabel --- */
struct start_labelled {
	struct message_labels labels; /* in the order of their names */
	char *forwards_to, *forwards_proto, *metadata;
};

int start_labelled_read(struct span json, struct start_labelled *out,
    struct text *error) MUST_CHECK;
int start_labelled_write(
    const struct start_labelled *s, struct span *out) MUST_CHECK;
void start_labelled_fini(struct start_labelled *s);

struct start_labelled_response {
	char *id;
	char *error; /* "": started */
};

int start_labelled_response_read(struct span json,
    struct start_labelled_response *out, struct text *error) MUST_CHECK;
int start_labelled_response_write(
    const struct start_labelled_response *s, struct span *out) MUST_CHECK;
void start_labelled_response_fini(struct start_labelled_response *s);

/* --- what only has an error for an answer ---
 * Unbind, Restart, Stop, Update; and of Lunette's own DataConnections, DataEnd
 * and Moving. StopTunnel has no answer; an empty one is fine everywhere. */
struct error_response {
	char *error; /* "": done */
};

int error_response_read(struct span json, struct error_response *out,
    struct text *error) MUST_CHECK;
int error_response_write(
    const struct error_response *e, struct span *out) MUST_CHECK;
void error_response_fini(struct error_response *e);

/* --- commands to the agent; Restart and Stop are empty objects --- */

/* "{}", for SrvInfo, Restart and Stop; as all x_write. */
int message_write_empty(struct span *out) MUST_CHECK;
/* Whether that is an object at all; 0 or as all x_read. */
int message_read_empty(struct span json, struct text *error) MUST_CHECK;

struct update {
	char *version; /* "": the latest */
	bool permit_major_version;
};

int update_read(
    struct span json, struct update *out, struct text *error) MUST_CHECK;
int update_write(const struct update *u, struct span *out) MUST_CHECK;
void update_fini(struct update *u);

struct stop_tunnel {
	char *id;
	char *message;	  /* for people */
	char *error_code; /* "ERR_NGROK_300", or "" */
};

int stop_tunnel_read(
    struct span json, struct stop_tunnel *out, struct text *error) MUST_CHECK;
int stop_tunnel_write(const struct stop_tunnel *s, struct span *out) MUST_CHECK;
void stop_tunnel_fini(struct stop_tunnel *s);

/* --- Lunette's own; these own nothing --- */

#define DATA_COUNTER_MAX ((UINT64_C(1) << 53) - 1)
#define DATA_CONNECTIONS_MAX 1024u /* asked for in one message */

/* Open one connection for each counter from `first` on. */
struct data_connections {
	uint64_t first; /* from 1 */
	uint32_t count; /* at least 1; the last is at most DATA_COUNTER_MAX */
	unsigned mode;	/* 0 raw, 1 TLS with external PSK */
};

int data_connections_read(struct span json, struct data_connections *out,
    struct text *error) MUST_CHECK;
int data_connections_write(
    const struct data_connections *d, struct span *out) MUST_CHECK;

/* Why the connection with this counter ended, after it was accepted. */
struct data_end {
	uint64_t counter;
	char reason[64]; /* a word such as a close reason's */
};

int data_end_read(
    struct span json, struct data_end *out, struct text *error) MUST_CHECK;
int data_end_write(const struct data_end *d, struct span *out) MUST_CHECK;

/* The edge is about to end: connect anew, bind there, then close this session.
 * What relays may go on as long as that. */
struct moving {
	int64_t drain_ns; /* Drain, at least 0 */
};

int moving_read(
    struct span json, struct moving *out, struct text *error) MUST_CHECK;
int moving_write(const struct moving *m, struct span *out) MUST_CHECK;

#endif
